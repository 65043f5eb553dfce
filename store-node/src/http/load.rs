//! How much the node has on its hands, and what it puts off: above 80 % lists, above 90 % reads,
//! above 95 % new reservations, when full other changes. It must never put off a release, a
//! deduct, a sale, a return, a batch (which may hold any of them) or what operators ask; and it
//! must cost a request no more than a look at two numbers.
//!
//! The load is the fuller of two queues: requests being worked on, against `requests_max`, and the
//! log's next batch, against the room preallocated for it. Why not a layer of `tower`:
//! `docs/decisions/2026-11-21-load-shedding.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use event_log::storage::Storage;
use shared::wire::problem::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::app::App;
use super::failure::Failure;
use super::metrics::Endpoint;

/// From here on lists and searches are put off, in percent.
const SEARCHES_PERCENT_MAX: u8 = 80;
/// From here on reads.
const READS_PERCENT_MAX: u8 = 90;
/// From here on new reservations.
const RESERVATIONS_PERCENT_MAX: u8 = 95;
/// From here on every other change that can wait.
const CHANGES_PERCENT_MAX: u8 = 100;
/// Downloads of `GET /api/log/snapshot` at a time. A whole snapshot is the most a single request can
/// ask of the disk and the line; those who need one, a view that begins, are few.
pub const SNAPSHOT_DOWNLOADS_MAX: usize = 8;
/// Streamed batches at a time: gateways and imports, of which each keeps some MiB of lines and
/// verdicts.
pub const BATCH_STREAMS_MAX: usize = 64;

/// The bounds of a node's load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadLimits {
    /// Requests being worked on that count as a full load.
    pub requests_max: usize,
    /// Log streams at a time.
    pub log_streams_max: usize,
    /// Downloads of a snapshot at a time.
    pub snapshot_downloads_max: usize,
    /// Streamed batches at a time.
    pub batch_streams_max: usize,
    /// Searches that run at a time.
    pub searches_max: usize,
    /// Searches that wait to run.
    pub searches_waiting_max: usize,
}

impl Default for LoadLimits {
    fn default() -> Self {
        Self {
            requests_max: 5_000,
            log_streams_max: 64,
            snapshot_downloads_max: SNAPSHOT_DOWNLOADS_MAX,
            batch_streams_max: BATCH_STREAMS_MAX,
            searches_max: 1,
            searches_waiting_max: 100,
        }
    }
}

/// The load of this moment.
#[derive(Debug)]
pub(super) struct Load {
    limits: LoadLimits,
    /// How full the log's next batch was when it was last looked at.
    log_percent: AtomicU8,
    log_streams: Places,
    snapshot_downloads: Places,
    batch_streams: Places,
    searches: Places,
    /// Room for one batch, or piece of a stream, a core: more at a time would only take caches from
    /// each other, and memory.
    long_works: Places,
    /// Searches that run or wait.
    searches_begun: AtomicUsize,
}

impl Load {
    pub(super) fn new(limits: LoadLimits) -> Self {
        Self {
            limits,
            log_percent: AtomicU8::new(0),
            log_streams: Places::new(limits.log_streams_max),
            snapshot_downloads: Places::new(limits.snapshot_downloads_max),
            batch_streams: Places::new(limits.batch_streams_max),
            searches: Places::new(limits.searches_max),
            long_works: Places::new(crate::cores()),
            searches_begun: AtomicUsize::new(0),
        }
    }

    /// How many log streams there are.
    pub(super) fn log_streams(&self) -> usize {
        self.log_streams.taken()
    }

    /// How many snapshots are being downloaded.
    pub(super) fn snapshot_downloads(&self) -> usize {
        self.snapshot_downloads.taken()
    }

    /// How many batches are being streamed.
    pub(super) fn batch_streams(&self) -> usize {
        self.batch_streams.taken()
    }

    /// How many searches run or wait.
    pub(super) fn searches(&self) -> usize {
        self.searches_begun.load(Ordering::Relaxed)
    }

    /// The load in percent, with so many requests being worked on.
    pub(super) fn percent(&self, in_flight: usize) -> u8 {
        let requests = in_flight.saturating_mul(100) / self.limits.requests_max.max(1);
        let requests = u8::try_from(requests).unwrap_or(u8::MAX);
        requests.max(self.log_percent.load(Ordering::Relaxed))
    }

    /// Takes over how full the log's next batch is.
    pub(super) fn note_log_percent(&self, percent: u8) {
        self.log_percent.store(percent, Ordering::Relaxed);
    }

    /// A place for work of many lines, as soon as there is one, to be held while it is done.
    pub(super) async fn begin_long_work(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.long_works.wait().await
    }

    /// A place for a log stream, to be held as long as it lasts.
    pub(super) fn begin_log_stream(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.log_streams.take("log streams are open, as many as log_streams_max allows")
    }

    /// A place for the download of a snapshot, to be held as long as it lasts.
    pub(super) fn begin_snapshot_download(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.snapshot_downloads.take("snapshots are being downloaded, as many as there may be")
    }

    /// A place for a streamed batch, to be held as long as it lasts.
    pub(super) fn begin_batch_stream(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.batch_streams.take("batches are being streamed, as many as there may be")
    }

    /// The refusal of a request that has to wait for better times.
    pub(super) fn put_off(&self, endpoint: Endpoint, in_flight: usize) -> Option<Failure> {
        let max = percent_max(endpoint)?;
        let percent = self.percent(in_flight);
        (percent >= max)
            .then(|| overloaded(format!("the node is at {percent} % of its load, try again soon")))
    }
}

/// Room for so many of a kind at a time.
#[derive(Debug)]
struct Places {
    max: usize,
    free: Arc<Semaphore>,
}

impl Places {
    fn new(max: usize) -> Self {
        Self { max, free: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))) }
    }

    /// How many are held.
    fn taken(&self) -> usize {
        self.max.saturating_sub(self.free.available_permits())
    }

    /// One of them, as soon as there is one.
    async fn wait(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.free).acquire_owned().await.map_err(Failure::internal)
    }

    /// One of them, or the refusal: how many there are, and `all_taken` in words.
    fn take(&self, all_taken: &str) -> Result<OwnedSemaphorePermit, Failure> {
        let place = Arc::clone(&self.free).try_acquire_owned();
        place.map_err(|_| overloaded(format!("{} {all_taken}", self.max)))
    }
}

/// The load at which a request of this kind is put off; none = never.
fn percent_max(endpoint: Endpoint) -> Option<u8> {
    match endpoint {
        Endpoint::List | Endpoint::Reservations => Some(SEARCHES_PERCENT_MAX),
        Endpoint::Get | Endpoint::Availability => Some(READS_PERCENT_MAX),
        Endpoint::Reserve => Some(RESERVATIONS_PERCENT_MAX),
        Endpoint::Create
        | Endpoint::Update
        | Endpoint::Deactivate
        | Endpoint::Receive
        | Endpoint::Adjust
        | Endpoint::Extend => Some(CHANGES_PERCENT_MAX),
        Endpoint::Sell
        | Endpoint::Return
        | Endpoint::Release
        | Endpoint::Deduct
        | Endpoint::Batch
        | Endpoint::LogStream
        | Endpoint::LogSnapshot
        | Endpoint::Consumers
        | Endpoint::SyncStatus
        | Endpoint::Admin
        | Endpoint::Jobs
        | Endpoint::Health
        | Endpoint::Metrics
        | Endpoint::Problems
        | Endpoint::Unmatched => None,
    }
}

fn overloaded(detail: String) -> Failure {
    Failure::new(ErrorCode::Overloaded, detail)
}

impl<S: Storage> App<S> {
    /// Looks at the log's queue; to be called many times a second.
    pub fn sample_load(&self) {
        self.load.note_log_percent(self.log().queue_percent());
    }

    /// Runs a search that may look at every item, on a thread where that holds nobody up; a
    /// bounded number at a time, with a bounded number waiting.
    pub(super) async fn search<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let limits = self.load.limits;
        let begun = Begun::new(self);
        if begun.before >= limits.searches_max.saturating_add(limits.searches_waiting_max) {
            let detail = format!("{} searches are running or waiting", begun.before);
            return Err(overloaded(detail));
        }
        let place = self.load.searches.wait().await?;
        let app = Arc::clone(self);
        let found = self.blocking(move || {
            let found = work(&app);
            drop(place);
            found
        });
        Ok(found.await?)
    }
}

/// A search that is counted until it is dropped.
struct Begun<S: Storage> {
    app: Arc<App<S>>,
    /// How many there were before it.
    before: usize,
}

impl<S: Storage> Begun<S> {
    fn new(app: &Arc<App<S>>) -> Self {
        let before = app.load.searches_begun.fetch_add(1, Ordering::Relaxed);
        Self { app: Arc::clone(app), before }
    }
}

impl<S: Storage> Drop for Begun<S> {
    fn drop(&mut self) {
        self.app.load.searches_begun.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::call::tests::app;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn searches_run_one_at_a_time_and_few_wait() {
        let app =
            app(LoadLimits { searches_max: 1, searches_waiting_max: 1, ..LoadLimits::default() });
        let (go, gone) = std::sync::mpsc::channel();
        let (tell, running) = tokio::sync::oneshot::channel();
        let first = {
            let app = Arc::clone(&app);
            tokio::spawn(async move {
                app.search(move |_| {
                    tell.send(()).unwrap();
                    gone.recv().unwrap()
                })
                .await
            })
        };
        running.await.unwrap();
        let second = {
            let app = Arc::clone(&app);
            tokio::spawn(async move { app.search(|_| 2).await })
        };
        while app.load.searches() < 2 {
            tokio::task::yield_now().await;
        }
        let third = app.search(|_| 3).await;
        assert_eq!(third.unwrap_err().code(), ErrorCode::Overloaded);
        go.send(1).unwrap();
        assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (1, 2));
        assert_eq!(app.load.searches(), 0);
    }

    #[test]
    fn what_can_wait_waits_in_order_and_the_rest_never() {
        let load = Load::new(LoadLimits { requests_max: 200, ..LoadLimits::default() });
        let cases = [
            (Endpoint::List, 80),
            (Endpoint::Get, 90),
            (Endpoint::Availability, 90),
            (Endpoint::Reserve, 95),
            (Endpoint::Receive, 100),
        ];
        for (endpoint, percent) in cases {
            let in_flight = usize::from(percent) * 2;
            assert!(load.put_off(endpoint, in_flight - 1).is_none(), "{endpoint:?} below");
            assert!(load.put_off(endpoint, in_flight).is_some(), "{endpoint:?} above");
            load.note_log_percent(percent - 1);
            assert!(load.put_off(endpoint, 0).is_none(), "{endpoint:?} below, by the log");
            load.note_log_percent(percent);
            assert!(load.put_off(endpoint, 0).is_some(), "{endpoint:?} above, by the log");
            load.note_log_percent(0);
        }
        for never in [
            Endpoint::Sell,
            Endpoint::Return,
            Endpoint::Release,
            Endpoint::Deduct,
            Endpoint::Batch,
            Endpoint::Health,
            Endpoint::Metrics,
        ] {
            assert!(load.put_off(never, usize::MAX).is_none(), "{never:?}");
        }
    }
}
