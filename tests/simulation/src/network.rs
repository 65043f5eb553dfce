//! A network that is worse than any real one that keeps TCP's promises: lines are slow, cut, silent
//! (what is sent arrives once they aren't, or never) or half open (what is sent arrives, and nothing
//! comes back), answers come in pieces of any size, and a line that is cut in the middle of an answer
//! leaves the caller with the beginning. Each request is a connection of its own, and what is sent
//! later on one may arrive earlier than what is sent on another. A machine without power tells
//! nobody that it is gone.
//!
//! Requests reach the real routes of a node, without a socket. Nothing here may decide what a
//! request means.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use event_log::storage::sim::SimStorage;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::time::sleep;
use tower::ServiceExt;

use crate::dice::Dice;
use crate::signal::Signal;

/// How a line between two places is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Fast.
    Up,
    /// Tens of milliseconds for each piece.
    Slow,
    /// Nothing arrives until it is up again; nobody is told.
    Silent,
    /// Requests arrive and are worked on; their answers never come, not even when the line is up
    /// again, and nobody is told.
    HalfOpen,
    /// Both sides are told that it broke.
    Cut,
}

/// What the other end of a connection knows of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Running,
    /// It has ended, and its machine says so.
    Ended,
    /// Its machine is gone and says nothing: its connections are half open.
    Dark,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Nobody listens there: nothing was sent.
    Refused,
    /// It broke on the way: nobody knows what was done.
    Reset,
}

/// All lines and all nodes. Clones are the same network.
#[derive(Clone)]
pub struct Network(Arc<Mutex<Places>>);

struct Places {
    dice: Dice,
    nodes: BTreeMap<String, Listening>,
    lines: BTreeMap<(String, String), Signal<Line>>,
    damaged: BTreeSet<String>,
}

/// A node that listens.
#[derive(Clone)]
struct Listening {
    router: Router,
    process: Process,
}

/// A process on a machine.
#[derive(Clone)]
struct Process {
    life: Signal<Life>,
    disk: SimStorage,
}

impl Process {
    fn is_there(&self) -> bool {
        self.life.get() == Life::Running && !self.disk.is_off()
    }
}

impl Network {
    /// A network without nodes.
    pub fn new(dice: Dice) -> Self {
        let (nodes, lines, damaged) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self(Arc::new(Mutex::new(Places { dice, nodes, lines, damaged })))
    }

    /// A node listens under `name` as long as its process runs and its disk has power: nothing
    /// leaves a machine that went dark.
    pub fn listen(&self, name: &str, router: Router, life: Signal<Life>, disk: SimStorage) {
        let process = Process { life, disk };
        self.0.lock().nodes.insert(name.to_owned(), Listening { router, process });
    }

    /// Sets the line between two places.
    pub fn set(&self, from: &str, to: &str, line: Line) {
        self.line(from, to).0.set(line);
    }

    /// All lines are fine again.
    pub fn heal(&self) {
        for line in self.0.lock().lines.values() {
            line.set(Line::Up);
        }
    }

    /// Notes whether a store's log is damaged: then it may fail to answer.
    pub fn set_damaged(&self, store: &str, is_damaged: bool) {
        let mut places = self.0.lock();
        if is_damaged {
            places.damaged.insert(store.to_owned());
        } else {
            places.damaged.remove(store);
        }
    }

    /// Whether a store's log is damaged.
    pub fn is_damaged(&self, store: &str) -> bool {
        self.0.lock().damaged.contains(store)
    }

    fn line(&self, from: &str, to: &str) -> (Signal<Line>, Dice) {
        let mut places = self.0.lock();
        let dice = places.dice.fork();
        let line = places.lines.entry((from.to_owned(), to.to_owned()));
        (line.or_insert_with(|| Signal::new(Line::Up)).clone(), dice)
    }

    /// Sends a request and waits for the head of its answer, without end if need be: patience is
    /// the caller's.
    pub async fn send(
        &self,
        from: &str,
        to: &str,
        request: Request<Bytes>,
    ) -> Result<Response<Pieces>, Broken> {
        let (line, dice) = self.line(from, to);
        let mut way = Way { line: line.clone(), process: None, dice };
        way.pass().await.map_err(|_| Broken::Refused)?;
        let listening = self.0.lock().nodes.get(to).cloned();
        let Some(Listening { router, process }) = listening.filter(|node| node.process.is_there())
        else {
            return Err(Broken::Refused);
        };
        way.process = Some(process);
        let asked = router.oneshot(request.map(Body::from));
        let answered = way.unless_broken(asked).await?;
        let Ok(response) = answered;
        way.pass().await?;
        Ok(response.map(|body| Pieces { body, way, rest: Bytes::new(), broken: None }))
    }
}

/// One connection's way through the network.
struct Way {
    line: Signal<Line>,
    /// The process at the other end.
    process: Option<Process>,
    dice: Dice,
}

impl Way {
    /// Waits as long as a piece needs.
    async fn pass(&mut self) -> Result<(), Broken> {
        loop {
            let line = self.line.get();
            let pause_us = match line {
                // The answer of a connection whose one half is gone.
                Line::HalfOpen if self.process.is_some() => return std::future::pending().await,
                // The runtime wakes whole milliseconds together: only over several of them do
                // connections overtake each other.
                Line::Up | Line::HalfOpen => self.dice.between(50, 3_000),
                Line::Slow => self.dice.between(10_000, 80_000),
                Line::Cut => return Err(Broken::Reset),
                Line::Silent => {
                    self.unless_dead().await?;
                    continue;
                }
            };
            self.unless_broken(sleep(Duration::from_micros(pause_us))).await?;
            if self.line.get() != Line::Silent {
                return Ok(());
            }
        }
    }

    /// Waits for a silent line to change.
    async fn unless_dead(&self) -> Result<(), Broken> {
        tokio::select! {
            biased;
            () = self.death() => Err(Broken::Reset),
            () = self.line.until(|line| line != Line::Silent) => Ok(()),
        }
    }

    /// The result of `work`, unless the line or the process at its end breaks first.
    async fn unless_broken<T>(&self, work: impl Future<Output = T>) -> Result<T, Broken> {
        tokio::select! {
            biased;
            () = self.death() => Err(Broken::Reset),
            () = self.line.until(|line| line == Line::Cut) => Err(Broken::Reset),
            done = work => {
                match &self.process {
                    Some(process) if process.life.get() == Life::Ended => Err(Broken::Reset),
                    // It may well have been done; a dark machine says nothing.
                    Some(process) if !process.is_there() => std::future::pending().await,
                    Some(_) | None => Ok(done),
                }
            }
        }
    }

    /// Resolves when the process at the other end has ended, if its machine can say so.
    async fn death(&self) {
        match &self.process {
            Some(process) => process.life.until(|life| life == Life::Ended).await,
            None => std::future::pending().await,
        }
    }
}

/// An answer's body on its way.
pub struct Pieces {
    body: Body,
    way: Way,
    rest: Bytes,
    broken: Option<Broken>,
}

impl Pieces {
    /// The next piece; none at the end. Dropping a pending call loses nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let piece = self.receive().await;
        if let Err(broken) = piece {
            self.broken = Some(broken);
        }
        piece
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, Broken> {
        while self.rest.is_empty() {
            let frame = self.way.unless_broken(self.body.frame()).await?;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return Err(Broken::Reset),
            }
        }
        self.way.pass().await?;
        let most = self.rest.len() as u64;
        let count = if self.way.dice.chance(300) { self.way.dice.between(1, most) } else { most };
        Ok(Some(self.rest.split_to(count as usize)))
    }

    /// The whole body.
    pub async fn collect(mut self) -> Result<Vec<u8>, Broken> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Path;
    use axum::routing::get;
    use tokio::time::timeout;

    use super::*;

    /// A node that writes down what arrives, in order.
    struct Rig {
        network: Network,
        arrived: Arc<Mutex<Vec<u32>>>,
        life: Signal<Life>,
    }

    fn rig() -> Rig {
        let network = Network::new(Dice::new(7));
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&arrived);
        let note = move |Path(number): Path<u32>| {
            book.lock().push(number);
            async move { format!("{number}, and some more to come in pieces") }
        };
        let life = Signal::new(Life::Running);
        let router = Router::new().route("/{number}", get(note));
        network.listen("node", router, life.clone(), SimStorage::new(1));
        Rig { network, arrived, life }
    }

    impl Rig {
        async fn ask(&self, number: u32) -> Result<Vec<u8>, Broken> {
            let uri = format!("/{number}");
            let request = Request::builder().uri(uri).body(Bytes::new()).expect("a request");
            self.network.send("till", "node", request).await?.into_body().collect().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connections_overtake_each_other() {
        let rig = rig();
        let all = futures_util::future::join_all((0..20).map(|number| rig.ask(number))).await;
        assert!(all.iter().all(Result::is_ok));
        let arrived = rig.arrived.lock().clone();
        assert_eq!(arrived.len(), 20);
        assert!(!arrived.is_sorted(), "{arrived:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_half_open_line_brings_is_never_answered() {
        let rig = rig();
        rig.network.set("till", "node", Line::HalfOpen);
        let hour = Duration::from_hours(1);
        let mut asked = std::pin::pin!(rig.ask(1));
        assert!(timeout(hour, asked.as_mut()).await.is_err());
        assert_eq!(*rig.arrived.lock(), [1], "it arrived");
        rig.network.heal();
        assert!(timeout(hour, asked).await.is_err(), "that connection is gone for good");
        assert!(rig.ask(2).await.is_ok(), "another one isn't");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dark_machine_tells_nobody_and_an_ended_process_does() {
        for (life, told) in [(Life::Dark, None), (Life::Ended, Some(Err(Broken::Reset)))] {
            let rig = rig();
            rig.network.set("till", "node", Line::Slow);
            let mut asked = std::pin::pin!(rig.ask(1));
            while rig.arrived.lock().is_empty() {
                assert!(timeout(Duration::from_millis(1), asked.as_mut()).await.is_err());
            }
            // The answer is on its way.
            rig.network.set("till", "node", Line::Silent);
            rig.life.set(life);
            assert_eq!(timeout(Duration::from_hours(1), asked).await.ok(), told, "{life:?}");
        }
    }
}
