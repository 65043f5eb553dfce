//! What a worker is made of and what it may be told.

use std::sync::Arc;
use std::time::Duration;

use event_log::Seq;
use event_log::storage::Storage;
use shared::StoreId;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::claims::Claims;
use crate::clock::Clock;
use crate::follower::Retried;
use crate::jobs::{JobKind, JobTicket};
use crate::persistence::LoadedStore;
use crate::source::LogSource;
use crate::store_state::StoreShared;
use crate::view::ViewStore;

/// Commands that may wait for a worker.
pub const CONTROLS_MAX: usize = 64;

/// Stores that are written to disk at the same time, and as many as there are processors at most. More
/// would only have more threads wait for one disk, each with memory of its own.
pub const SAVES_AT_ONCE_MAX: usize = 4;

/// What a worker may be tuned by.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOptions {
    /// Between saves, at least.
    pub persist_interval: Duration,
    /// A node with more events than this is begun from a snapshot, if it has one.
    pub snapshot_events_min: u64,
    /// The first wait before a lost node is tried again, at most.
    pub backoff_min: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
    /// Where the chance of the waits begins, for runs that must repeat; none = anywhere.
    pub backoff_seed: Option<u64>,
    /// How long the breaker stays open at most; the first time it is a second.
    pub breaker_open: Duration,
    /// How often a node that sends no keep-alives is asked how far it is.
    pub probe_interval: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            persist_interval: Duration::from_secs(2),
            snapshot_events_min: 100_000,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            backoff_seed: None,
            breaker_open: Duration::from_secs(30),
            probe_interval: Duration::from_secs(2),
        }
    }
}

/// What an operator may tell a worker.
#[derive(Debug)]
pub enum Control {
    /// Stop following, keep what is held.
    Pause,
    /// Follow (again), also after a quarantine, from the last good state.
    Resume,
    /// Bootstrap anew in the shadow.
    Bootstrap {
        /// Why.
        kind: JobKind,
        /// Whom to tell.
        ticket: JobTicket,
    },
    /// A job was cancelled: it may be the one at hand.
    LookAtOrders,
    /// Try a dead letter again.
    Retry {
        /// Its seq.
        seq: Seq,
        /// What became of it; none if there is no such letter.
        reply: oneshot::Sender<Option<Retried>>,
    },
    /// Forget a dead letter.
    Discard {
        /// Its seq.
        seq: Seq,
        /// Whether it was there.
        reply: oneshot::Sender<bool>,
    },
    /// End; [`SyncWorker::run`](super::SyncWorker::run) returns when it is done.
    Leave(Leave),
}

/// How a worker ends before the process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Another worker goes on with what is held: it stays visible, and the node isn't told.
    HandOver,
    /// Out of the view and the node's list of consumers; the files stay.
    Keep,
    /// The same, and the files go.
    Forget,
}

/// Everything that a worker is made of.
pub struct WorkerParts<L: LogSource, S: Storage, V: ViewStore> {
    /// The node.
    pub source: L,
    /// The data directory.
    pub storage: S,
    /// The view.
    pub view: V,
    /// Where the API looks.
    pub shared: Arc<StoreShared>,
    /// Who follows which store.
    pub claims: Claims,
    /// The time.
    pub clock: Clock,
    /// Places for saves, of all stores together: [`SAVES_AT_ONCE_MAX`].
    pub saves: Arc<Semaphore>,
    /// Tuning.
    pub options: WorkerOptions,
    /// The store that the URL must be, if that was said.
    pub expected: Option<StoreId>,
    /// What was saved of it.
    pub loaded: Option<LoadedStore<V>>,
    /// Commands.
    pub control: mpsc::Receiver<Control>,
    /// Turns true when the process ends.
    pub shutdown: watch::Receiver<bool>,
}
