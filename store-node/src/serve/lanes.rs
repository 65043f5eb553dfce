//! Lanes: threads that serve connections, each its own and without the others. A connection stays on
//! its lane, so that what a request touches is in one core's cache, nothing of it is handed from
//! thread to thread, and those of its neighbours that one frame makes durable are woken together.
//! What takes long must not be done on a lane: everyone else on it would wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use axum::Router;
use event_log::storage::Storage;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::http::{App, router};

/// A sixteenth of what is counted fades with each sample.
const FADING: u64 = 16;

/// All lanes of a node.
pub(super) struct Lanes<S: Storage>(Vec<Lane<S>>);

/// One of them.
pub(super) struct Lane<S: Storage> {
    /// What its handlers share.
    pub(super) app: Arc<App<S>>,
    /// Its routes.
    pub(super) routes: Router,
    /// Where its tasks run.
    pub(super) runtime: Handle,
    /// What it has to do.
    pub(super) work: Arc<LaneWork>,
    thread: JoinHandle<()>,
    /// Dropped, it ends the thread.
    ending: oneshot::Sender<()>,
}

/// What a lane had to do in the last third of a second or so.
#[derive(Debug, Default)]
pub(super) struct LaneWork {
    /// Requests that began since the last sample.
    begun: AtomicU64,
    /// Requests, the older ones counting less.
    requests: AtomicU64,
    /// For each connection that came what the others have to do on average, since a new one has done
    /// nothing yet; the older ones counting less.
    expected: AtomicU64,
}

impl LaneWork {
    /// A request begins.
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// To be called every 20 ms, by one thread.
    pub(super) fn sample(&self) {
        fade(&self.requests, self.begun.swap(0, Ordering::Relaxed));
        fade(&self.expected, 0);
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn recent(&self) -> u64 {
        self.requests() + self.expected.load(Ordering::Relaxed)
    }
}

fn fade(count: &AtomicU64, new: u64) {
    let before = count.load(Ordering::Relaxed);
    count.store(before - before.div_ceil(FADING) + new, Ordering::Relaxed);
}

/// Which lane a connection goes to, of at least one; it counts there from now on.
fn quietest<'a>(lanes: impl Iterator<Item = &'a LaneWork> + Clone, connections: usize) -> usize {
    // Not of what is expected: short connections would make it grow without end.
    let of_all: u64 = lanes.clone().map(LaneWork::requests).sum();
    let least = lanes.enumerate().min_by_key(|(_, work)| work.recent());
    let (index, work) = least.expect("there is at least one lane");
    let usual = of_all / (connections as u64).max(1);
    work.expected.fetch_add(usual + 1, Ordering::Relaxed);
    index
}

impl<S: Storage> Lanes<S> {
    /// Starts so many lanes, at least one. Each takes a few of the process's file descriptors.
    pub(super) fn start(app: &Arc<App<S>>, count: usize) -> io::Result<Self> {
        let start = |number| {
            Lane::start(app.of_another_lane()).map_err(|error| {
                let detail = format!("worker_threads: lane {number} of {count}: {error}");
                io::Error::new(error.kind(), detail)
            })
        };
        (1..=count).map(start).collect::<Result<_, _>>().map(Self)
    }

    /// The lane for a connection: the one that had the least to do lately, among `connections`.
    pub(super) fn quietest(&self, connections: usize) -> &Lane<S> {
        &self.0[quietest(self.0.iter().map(|lane| &*lane.work), connections)]
    }

    /// What each lane has to do.
    pub(super) fn work(&self) -> Vec<Arc<LaneWork>> {
        self.0.iter().map(|lane| Arc::clone(&lane.work)).collect()
    }

    /// Ends all lanes and whatever still runs there, and waits for it.
    pub(super) fn end(self) {
        for Lane { thread, ending, .. } in self.0 {
            drop(ending);
            if thread.join().is_err() {
                tracing::error!("a lane panicked");
            }
        }
    }
}

impl<S: Storage> Lane<S> {
    fn start(app: Arc<App<S>>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (ending, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("lane".to_owned()).spawn(move || {
            // Nothing is ever sent: the other half is dropped.
            let _ended = runtime.block_on(ended);
        })?;
        let routes = router(Arc::clone(&app));
        Ok(Self { app, routes, runtime: handle, work: Arc::default(), thread, ending })
    }

    /// Takes over a connection that another runtime accepted.
    pub(super) fn adopt(&self, stream: TcpStream) -> io::Result<TcpStream> {
        let stream = stream.into_std()?;
        let _entered = self.runtime.enter();
        TcpStream::from_std(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(lanes: &[LaneWork], new: usize, connections: usize) -> Vec<usize> {
        let mut counts = vec![0; lanes.len()];
        for number in 0..new {
            counts[quietest(lanes.iter(), connections + number)] += 1;
        }
        counts
    }

    fn pass(lanes: &[LaneWork], samples: usize, requests: [u64; 2]) {
        for _ in 0..samples {
            for (work, requests) in lanes.iter().zip(requests) {
                (0..requests).for_each(|_| work.begin());
                work.sample();
            }
        }
    }

    #[test]
    fn connections_go_where_there_is_the_least_to_do() {
        let lanes = [LaneWork::default(), LaneWork::default()];
        assert_eq!(placed(&lanes, 64, 0), [32, 32]);
        // Those of one lane fall silent: as long as nobody works, new ones come in turn.
        pass(&lanes, 200, [0, 0]);
        assert_eq!(placed(&lanes, 32, 64), [16, 16]);
        // The connections of one lane work, those of the other one don't.
        pass(&lanes, 200, [200, 0]);
        assert_eq!(placed(&lanes, 8, 64), [0, 8]);
        // A burst isn't all sent to the lane that has a little less to do.
        pass(&lanes, 200, [100, 99]);
        let counts = placed(&lanes, 20, 64);
        assert!(counts.iter().all(|count| *count >= 9), "{counts:?}");
        pass(&lanes, 400, [0, 0]);
        assert!(lanes.iter().all(|work| work.recent() == 0), "what was long ago counts no more");
    }

    #[test]
    fn a_connection_for_each_request_makes_nothing_grow() {
        let lanes = [LaneWork::default(), LaneWork::default()];
        let mut counts = [0; 2];
        for _ in 0..100 {
            for _ in 0..1_000 {
                let index = quietest(lanes.iter(), 0);
                lanes[index].begin();
                counts[index] += 1;
            }
            pass(&lanes, 1, [0, 0]);
        }
        assert!(counts.iter().all(|count| *count > 40_000), "{counts:?}");
        assert!(lanes.iter().all(|work| work.requests() <= 16 * 1_000));
        pass(&lanes, 1_000, [0, 0]);
        assert!(lanes.iter().all(|work| work.recent() == 0), "what was long ago counts no more");
    }
}
