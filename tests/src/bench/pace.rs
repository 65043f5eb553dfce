//! A client whose latencies leave nothing out: requests at a constant rate over keep-alive
//! connections, whether or not the last one was answered in time. A latency counts from the moment
//! at which the request was *due*, so that what piles up behind a slow answer is counted too (what
//! wrk2 and HdrHistogram call coordinated omission). One thread that waits with a timeout in
//! nanoseconds and touches only connections that have an answer or a request that is due: a
//! runtime's timers have steps of a millisecond, and what the client does for each connection again
//! and again takes the processor that the server needs. It must never leave out a request that was
//! due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use serde::Serialize;

/// How long nothing may be answered.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Looks at the connections in one run.
const TURNS_MAX: u64 = 1_000_000_000;
/// The latency of a request that was put off (503): it would have to be asked again.
const PUT_OFF: u64 = u64::MAX;

/// How requests are sent.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Connections.
    pub connections: usize,
    /// Requests a second over all of them; none: each connection sends as soon as it has its answer,
    /// and a latency counts from there.
    pub per_second: Option<f64>,
    /// How long requests fall due.
    pub seconds: f64,
}

/// What was seen, in microseconds; infinite where so many requests were put off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latencies {
    /// Requests that were due and answered.
    pub requests: u64,
    /// Those among them that were answered 503.
    pub put_off: u64,
    /// Answers a second.
    pub per_second: f64,
    /// Median.
    pub p50_us: f64,
    /// 95th percentile.
    pub p95_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99th percentile without what the client was late by itself.
    pub p99_served_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// When its request was due, after the start.
    pub due: Duration,
    /// How long it took from then, in nanoseconds; [`PUT_OFF`] for one that was put off.
    took_ns: u64,
    /// How much of that the client slept away: the connection was free, and the request not sent.
    /// A request that had to wait for the answer before it was not late.
    late_ns: u64,
}

impl Answer {
    fn served_ns(self) -> u64 {
        if self.took_ns == PUT_OFF { PUT_OFF } else { self.took_ns.saturating_sub(self.late_ns) }
    }
}

/// Sends what `request` writes for a connection and a number, and reads every answer. An answer that
/// is neither a success nor 503 is an error.
pub fn run(
    address: SocketAddr,
    pace: Pace,
    request: &impl Fn(usize, u64, &mut Vec<u8>),
) -> Result<Latencies> {
    let started = Instant::now();
    let answers = record(address, pace, started, &AtomicBool::new(false), request)?;
    Latencies::of_answers(answers.iter(), started.elapsed())
}

/// Like [`run`], but answers what was seen one by one, and ends sooner once `stop` is set. Requests
/// are due from `started` on.
pub fn record(
    address: SocketAddr,
    pace: Pace,
    started: Instant,
    stop: &AtomicBool,
    request: &impl Fn(usize, u64, &mut Vec<u8>),
) -> Result<Vec<Answer>> {
    let mut client = Client::connect(address, pace)?;
    let mut answers = Vec::new();
    for _ in 0..TURNS_MAX {
        let soonest = if stop.load(Ordering::Relaxed) {
            None
        } else {
            client.send_due(pace, started, request)?
        };
        if client.waiting == 0 && soonest.is_none() {
            return Ok(answers);
        }
        let pause = soonest.map(|due| due.saturating_sub(started.elapsed()));
        client.read_answers(pace, started, pause, &mut answers)?;
    }
    bail!("a run took more than {TURNS_MAX} turns");
}

/// All connections of a run.
struct Client {
    connections: Vec<Connection>,
    /// Those that wait for nothing, the one whose next request is due first at the top; without a
    /// pace it is due at once, and the time means nothing.
    idle: BinaryHeap<Reverse<(Duration, usize)>>,
    /// How many wait for an answer.
    waiting: usize,
    epoll: OwnedFd,
    /// What the last look at the connections brought.
    events: Vec<epoll::Event>,
}

impl Client {
    fn connect(address: SocketAddr, pace: Pace) -> Result<Self> {
        let count = pace.connections;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let open = |index| {
            let connection = Connection::open(address)?;
            let number = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &connection.stream, number, epoll::EventFlags::IN)?;
            Ok(connection)
        };
        let connections = (0..count).map(open).collect::<Result<_>>()?;
        let first = |index| Reverse((due(pace, index, 0).unwrap_or_default(), index));
        let idle = (0..count).map(first).collect();
        Ok(Self { connections, idle, waiting: 0, epoll, events: Vec::with_capacity(count.max(1)) })
    }

    /// Sends what is due on connections that have their last answer; returns when the next request
    /// will be due on one of them. Nothing falls due at the end any more.
    fn send_due(
        &mut self,
        pace: Pace,
        started: Instant,
        request: &impl Fn(usize, u64, &mut Vec<u8>),
    ) -> Result<Option<Duration>> {
        while let Some(Reverse((due, index))) = self.idle.peek().copied() {
            let now = started.elapsed();
            let due = pace.per_second.map_or(now, |_| due);
            let is_over = due.as_secs_f64() >= pace.seconds;
            if !is_over && due > now {
                return Ok(Some(due));
            }
            self.idle.pop();
            if !is_over {
                self.connections[index].send(index, due, now, request)?;
                self.waiting += 1;
            }
        }
        Ok(None)
    }

    /// Waits for answers, at most for `pause`, and reads those that came.
    fn read_answers(
        &mut self,
        pace: Pace,
        started: Instant,
        pause: Option<Duration>,
        answers: &mut Vec<Answer>,
    ) -> Result<()> {
        let timeout = Timespec::try_from(pause.unwrap_or(ANSWER_DEADLINE))?;
        self.events.clear();
        epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout))
            .context("waiting for answers")?;
        let is_silent = self.events.is_empty() && pause.is_none();
        ensure!(!is_silent, "nothing was answered for {ANSWER_DEADLINE:?}");
        for event in &self.events {
            let index = event.data.u64() as usize;
            let connection = &mut self.connections[index];
            if let Some(answer) = connection.read(started)? {
                answers.push(answer);
                self.waiting -= 1;
                let next = due(pace, index, connection.number).unwrap_or_default();
                self.idle.push(Reverse((next, index)));
            }
        }
        Ok(())
    }
}

impl Latencies {
    /// Good but for the tail, for tests of what judges the 95th percentile.
    #[cfg(test)]
    pub(crate) fn with_p95_us(p95_us: f64) -> Self {
        Self {
            requests: 1,
            put_off: 0,
            per_second: 1.0,
            p50_us: 1.0,
            p95_us,
            p99_us: 9e9,
            p99_served_us: 9e9,
            max_us: 9e9,
        }
    }

    /// Those of the requests that were due in a part of a run.
    pub fn within(answers: &[Answer], part: Range<Duration>) -> Result<Self> {
        let length = part.end.saturating_sub(part.start);
        let inside = |answer: &&Answer| part.contains(&answer.due);
        Self::of_answers(answers.iter().filter(inside), length)
    }

    fn of_answers<'a>(answers: impl Iterator<Item = &'a Answer>, length: Duration) -> Result<Self> {
        let (took, served): (Vec<_>, Vec<_>) =
            answers.map(|answer| (answer.took_ns, answer.served_ns())).unzip();
        Self::of(took, served, length.as_secs_f64())
    }

    fn of(mut took_ns: Vec<u64>, mut served_ns: Vec<u64>, seconds: f64) -> Result<Self> {
        ensure!(!took_ns.is_empty(), "no request fell due");
        took_ns.sort_unstable();
        served_ns.sort_unstable();
        let put_off = took_ns.iter().filter(|time| **time == PUT_OFF).count() as u64;
        Ok(Self {
            requests: took_ns.len() as u64,
            put_off,
            per_second: took_ns.len() as f64 / seconds,
            p50_us: percentile_us(&took_ns, 50),
            p95_us: percentile_us(&took_ns, 95),
            p99_us: percentile_us(&took_ns, 99),
            p99_served_us: percentile_us(&served_ns, 99),
            max_us: percentile_us(&took_ns, 100),
        })
    }
}

/// A percentile of sorted nanoseconds, in microseconds.
fn percentile_us(sorted_ns: &[u64], percent: usize) -> f64 {
    let index = (sorted_ns.len() * percent).div_ceil(100).saturating_sub(1);
    match sorted_ns[index] {
        PUT_OFF => f64::INFINITY,
        time => time as f64 / 1e3,
    }
}

/// When request `number` of a connection is due after the start: they take turns.
fn due(pace: Pace, index: usize, number: u64) -> Option<Duration> {
    let before = number as f64 * pace.connections as f64 + index as f64;
    pace.per_second.map(|rate| Duration::from_secs_f64(before / rate))
}

struct Connection {
    stream: TcpStream,
    /// The number of the next request.
    number: u64,
    /// When the request that is on its way was due, after the start.
    due: Option<Duration>,
    /// How late it was sent though the connection was free.
    late: Duration,
    /// When the last answer came, after the start.
    free_at: Duration,
    bytes: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).context("connecting")?;
        stream.set_nodelay(true)?;
        let (late, free_at) = (Duration::ZERO, Duration::ZERO);
        Ok(Self { stream, number: 0, due: None, late, free_at, bytes: Vec::new() })
    }

    /// Sends the next request, which was due then.
    fn send(
        &mut self,
        index: usize,
        due: Duration,
        now: Duration,
        request: &impl Fn(usize, u64, &mut Vec<u8>),
    ) -> Result<()> {
        self.late = now.saturating_sub(due.max(self.free_at));
        self.bytes.clear();
        request(index, self.number, &mut self.bytes);
        self.stream.write_all(&self.bytes)?;
        self.bytes.clear();
        self.number += 1;
        self.due = Some(due);
        Ok(())
    }

    /// Reads what is there; the answer once it is whole.
    fn read(&mut self, started: Instant) -> Result<Option<Answer>> {
        let mut chunk = [0; 16 << 10];
        let read = self.stream.read(&mut chunk).context("reading an answer")?;
        ensure!(read > 0, "the server closed the connection");
        self.bytes.extend_from_slice(&chunk[..read]);
        ensure!(self.bytes.len() <= ANSWER_BYTES_MAX, "an answer is too long");
        let Some((status, whole)) = head(&self.bytes)? else { return Ok(None) };
        if self.bytes.len() < whole {
            return Ok(None);
        }
        ensure!(self.bytes.len() == whole, "more came than one answer");
        let due = self.due.take().context("an answer without a request")?;
        self.free_at = started.elapsed();
        let took_ns = match status {
            200..300 => self.free_at.saturating_sub(due).as_nanos() as u64,
            503 => PUT_OFF,
            _ => bail!("status {status}: {}", String::from_utf8_lossy(&self.bytes)),
        };
        Ok(Some(Answer { due, took_ns, late_ns: self.late.as_nanos() as u64 }))
    }
}

/// Status and whole length of an answer, once its head is there.
fn head(answer: &[u8]) -> Result<Option<(u16, usize)>> {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..end]).context("a head is text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let (Some(status), Some(length)) = (status, length) else {
        bail!("no status or length in {text}");
    };
    Ok(Some((status, end + 4 + length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn percentiles_are_of_all_requests_and_what_was_put_off_is_endless() {
        let mut times: Vec<u64> = (1..=100).map(|time| time * 1_000).collect();
        let served = times.iter().map(|time| time / 2).collect();
        let all = Latencies::of(times.clone(), served, 2.0).unwrap();
        let expected = Latencies {
            requests: 100,
            put_off: 0,
            per_second: 50.0,
            p50_us: 50.0,
            p95_us: 95.0,
            p99_us: 99.0,
            p99_served_us: 49.5,
            max_us: 100.0,
        };
        assert_eq!(all, expected);
        times.truncate(98);
        times.extend([PUT_OFF, PUT_OFF]);
        let some = Latencies::of(times.clone(), times, 2.0).unwrap();
        assert_eq!(some.put_off, 2);
        assert!(some.p95_us < 96.0 && some.p99_us.is_infinite(), "{some:?}");
        assert!(Latencies::of(Vec::new(), Vec::new(), 1.0).is_err());
    }

    #[test]
    fn a_part_of_a_run_holds_what_was_due_in_it() {
        let answer = |due_ms| Answer {
            due: Duration::from_millis(due_ms),
            took_ns: due_ms * 1_000_000,
            late_ns: 0,
        };
        let answers: Vec<Answer> = (0..100).map(answer).collect();
        let part = Duration::from_millis(20)..Duration::from_millis(30);
        let seen = Latencies::within(&answers, part).unwrap();
        assert_eq!((seen.requests, seen.max_us), (10, 29_000.0));
        assert!((seen.per_second - 1_000.0).abs() < 1e-6);
        let behind = Duration::from_secs(1)..Duration::from_secs(2);
        assert!(Latencies::within(&answers, behind).is_err(), "nothing was due");
    }

    #[test]
    fn connections_take_turns_and_keep_the_rate() {
        let pace = Pace { connections: 4, per_second: Some(100.0), seconds: 1.0 };
        let at = |index, number| due(pace, index, number).unwrap().as_millis();
        assert_eq!([at(0, 0), at(1, 0), at(3, 0), at(0, 1), at(2, 5)], [0, 10, 30, 40, 220]);
        assert_eq!(due(Pace { per_second: None, ..pace }, 1, 1), None);
    }

    #[test]
    fn a_head_says_how_long_the_answer_is() {
        let text = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(head(text).unwrap(), Some((201, text.len())));
        assert_eq!(head(&text[..20]).unwrap(), None);
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    /// A server that holds its first answer back until it has seen that the clock went on: the
    /// requests that fell due meanwhile are late by as much, and all of them are counted.
    #[test]
    fn what_piles_up_behind_a_slow_answer_is_counted() {
        const PAUSE: Duration = Duration::from_millis(60);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0; 1];
            let began = Instant::now();
            while stream.read(&mut byte).unwrap() == 1 {
                thread::sleep(PAUSE.saturating_sub(began.elapsed()));
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        let pace = Pace { connections: 1, per_second: Some(1_000.0), seconds: 0.05 };
        let seen = run(address, pace, &|_, _, request| request.push(b'x')).unwrap();
        server.join().unwrap();
        assert_eq!(seen.requests, 50, "every request that fell due was sent");
        // Due at 0 to 49 ms, none answered before 60 ms: had each latency begun when it was sent,
        // all but one would be far below.
        assert!(seen.p50_us >= 35_000.0, "{seen:?}");
        assert!(
            seen.p99_served_us >= 35_000.0,
            "the server's lateness is not the client's: {seen:?}"
        );
    }

    #[test]
    fn what_the_client_slept_away_is_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = Connection::open(listener.local_addr().unwrap()).unwrap();
        let ms = Duration::from_millis;
        for (free_at, due, sent, late) in [(1, 3, 3, 0), (1, 3, 8, 5), (6, 3, 8, 2), (8, 3, 8, 0)] {
            connection.free_at = ms(free_at);
            connection.send(0, ms(due), ms(sent), &|_, _, bytes| bytes.push(b'x')).unwrap();
            assert_eq!(
                connection.late,
                ms(late),
                "free at {free_at}, due at {due}, sent at {sent}"
            );
        }
        let answer = Answer { due: ms(3), took_ns: 9, late_ns: 4 };
        assert_eq!(answer.served_ns(), 5);
        assert_eq!(Answer { took_ns: PUT_OFF, ..answer }.served_ns(), PUT_OFF);
    }
}
