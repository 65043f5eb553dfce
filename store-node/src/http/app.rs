//! What all handlers share, and what only those of one lane do. It must never hold state of the
//! business: that is the ledger's.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use event_log::storage::Storage;
use event_log::{Log, Retention};
use shared::{StoreId, Timestamp};
use tokio::sync::Notify;

use super::jobs::{JobKind, Jobs};
use super::load::{Load, LoadLimits};
use super::lobby::Lobby;
use super::metrics::Metrics;
use super::request_id::RequestIds;
use crate::ledger::Ledger;
use crate::scrub::Findings;

/// Tells logged time.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How the API behaves.
#[derive(Debug, Clone)]
pub struct AppOptions {
    /// How long a reply waits for durability before it is `OutcomeUnknown`.
    pub reply_deadline: Duration,
    /// How long a request's body may take to arrive.
    pub body_deadline: Duration,
    /// How long a body that isn't complete yet may take once the node leaves.
    pub drain_body_deadline: Duration,
    /// Requests slower than this are logged.
    pub slow_request: Duration,
    /// Refuse changes of existing items without `If-Match` or `expectedVersion`.
    pub require_version: bool,
    /// When the node puts requests off.
    pub load: LoadLimits,
    /// What compaction keeps.
    pub retention: Retention,
    /// How fast a scrub reads, in bytes a second; 0 = as fast as the disk gives.
    pub scrub_bytes_per_second: u64,
    /// Where the request ids of this process begin.
    pub request_id_seed: u64,
    /// Whether what waits for the disk, or takes long, goes to threads of its own. The simulator
    /// does it at once: so it stays in one order.
    pub offloads: bool,
}

/// The state behind the routes, as the handlers of one lane have it: a thread and the connections
/// that it serves. What all lanes share is behind it; its own are the references, which no other
/// core counts, and the lobby.
pub struct App<S: Storage> {
    site: Arc<Site<S>>,
    /// Where the lane's requests wait for the disk.
    pub(super) lobby: Lobby,
}

/// What all lanes share.
pub struct Site<S: Storage> {
    ledger: Arc<Ledger<S>>,
    now: Now,
    options: AppOptions,
    pub(super) metrics: Metrics,
    pub(super) jobs: Jobs,
    pub(super) scrubs: Findings,
    pub(super) request_ids: RequestIds,
    pub(super) load: Load,
    connections: AtomicUsize,
    draining: AtomicBool,
    begun_draining: Notify,
    in_flight: AtomicUsize,
    idle: Notify,
    closed: Notify,
    is_closed: AtomicBool,
}

impl<S: Storage> App<S> {
    /// The state over an open ledger.
    pub fn new(ledger: Arc<Ledger<S>>, now: Now, options: AppOptions) -> Arc<Self> {
        let site = Site {
            ledger,
            now,
            metrics: Metrics::new(),
            jobs: Jobs::default(),
            scrubs: Findings::default(),
            request_ids: RequestIds::new(options.request_id_seed),
            load: Load::new(options.load),
            options,
            connections: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            begun_draining: Notify::new(),
            in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
            closed: Notify::new(),
            is_closed: AtomicBool::new(false),
        };
        Arc::new(Self { site: Arc::new(site), lobby: Lobby::default() })
    }

    /// The same for another lane.
    pub fn of_another_lane(&self) -> Arc<Self> {
        Arc::new(Self { site: Arc::clone(&self.site), lobby: Lobby::default() })
    }

    /// Starts a snapshot and then a compaction as a job; false if one is being taken already.
    pub fn start_maintenance(self: &Arc<Self>) -> bool {
        super::admin::start_maintenance(self)
    }

    /// Starts a round of the scrub as a job; false if one is running already.
    pub fn start_scrub(self: &Arc<Self>) -> bool {
        super::admin::start_scrub(self)
    }

    /// Counts a request in until the guard is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> InFlight<S> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }
}

impl<S: Storage> Deref for App<S> {
    type Target = Site<S>;

    fn deref(&self) -> &Site<S> {
        &self.site
    }
}

impl<S: Storage> Site<S> {
    /// The ledger.
    pub fn ledger(&self) -> &Arc<Ledger<S>> {
        &self.ledger
    }

    /// The log under the ledger.
    pub fn log(&self) -> &Arc<Log<S>> {
        self.ledger.log()
    }

    /// Which store this is.
    pub fn store_id(&self) -> &StoreId {
        self.ledger.store_id()
    }

    /// Logged time.
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// How the API behaves.
    pub fn options(&self) -> &AppOptions {
        &self.options
    }

    /// Keeps the figures of the metrics bounded; to be called every few seconds.
    pub fn run_upkeep(&self) {
        self.metrics.run_upkeep();
    }

    /// Whether a round of the scrub is running.
    pub fn is_scrubbing(&self) -> bool {
        self.jobs.is_running(JobKind::Scrub)
    }

    /// Turns readiness red and stops the jobs: the first step of leaving.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.jobs.stop_all();
        self.begun_draining.notify_waiters();
    }

    /// Resolves once this node is leaving.
    pub(super) async fn until_draining(&self) {
        let mut notified = std::pin::pin!(self.begun_draining.notified());
        notified.as_mut().enable();
        if !self.is_draining() {
            notified.await;
        }
    }

    /// Notes how many connections are open.
    pub fn note_connections(&self, open: usize) {
        self.connections.store(open, Ordering::Relaxed);
    }

    /// How many connections are open.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether this node is leaving.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Ends the log streams, once they have delivered the tail: the log is closed.
    pub fn log_closed(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.closed.notify_waiters();
    }

    /// Resolves when no request is being worked on (streams don't count).
    pub async fn idle(&self) {
        loop {
            let mut notified = std::pin::pin!(self.idle.notified());
            notified.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Requests that are being worked on.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Whether the log is closed, so that nothing more can come.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Resolves when the log is closed.
    pub(super) async fn until_closed(&self) {
        let mut notified = std::pin::pin!(self.closed.notified());
        notified.as_mut().enable();
        if !self.is_closed() {
            notified.await;
        }
    }
}

/// A request that is being worked on.
pub(super) struct InFlight<S: Storage>(Arc<App<S>>);

impl<S: Storage> Drop for InFlight<S> {
    fn drop(&mut self) {
        let before = self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        if before == 1 && self.0.is_draining() {
            self.0.idle.notify_waiters();
        }
    }
}
