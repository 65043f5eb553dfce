//! Keeps one store's part of the view in step with its node: connects, bootstraps, absorbs, saves,
//! acknowledges, and fences the store alone when what the node says doesn't fit what it said
//! before. One worker a store, each a task of its own: nothing here may wait for another store.
//!
//! ```text
//! following ──lost──▶ wait (backoff, breaker) ──▶ following
//!     │ compacted away, first contact with a big node ──▶ bootstrap ──▶ following
//!     │ another log, broken chain, wrong digest … ──▶ fenced, until an operator says
//!     └ pause / resync / rebind / rebuild by an operator
//! ```
//! Resyncs and rebuilds fill a second slot, the shadow, while everybody sees the first; the shadow
//! takes its place once the node's digest has proved it.

mod bootstrap;
mod breaker;
mod compare;
mod pace;
mod parts;
mod saving;
mod session;
mod shadow;
mod upkeep;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use event_log::storage::Storage;
use event_log::{LogId, Seq};
use shared::StoreId;
use shared::wire::global_sync::SyncState;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep};

use crate::claims::Claims;
use crate::clock::Clock;
use crate::dead_letter::DeadLetter;
use crate::follower::{Follower, Retried};
use crate::jobs::{JobKind, JobTicket, JobWatch};
use crate::persistence::{LoadedStore, StoreFiles, highest_generation};
use crate::source::{Identity, LogSource};
use crate::store_state::StoreShared;
use crate::view::ViewStore;
use breaker::Breaker;
use pace::Backoff;
use saving::Saver;

pub use bootstrap::ITEMS_SECTION_KIND;
pub use compare::{DIFFERENCES_MAX, compare};
pub use parts::{CONTROLS_MAX, Control, Leave, SAVES_AT_ONCE_MAX, WorkerOptions, WorkerParts};

/// How often a worker looks after what isn't a frame.
const TICK: Duration = Duration::from_millis(100);

/// The worker of one store.
pub struct SyncWorker<L: LogSource, S: Storage, V: ViewStore> {
    source: L,
    storage: S,
    view: V,
    shared: Arc<StoreShared>,
    claims: Claims,
    clock: Clock,
    saves: Arc<Semaphore>,
    options: WorkerOptions,
    expected: Option<StoreId>,
    phase: Phase,
    follower: Option<Follower<V>>,
    saver: Option<Saver<L, S>>,
    order: Option<Order<V>>,
    /// The job of the order that waits or is at hand.
    order_job: Option<JobWatch>,
    breaker: Breaker,
    backoff: Backoff,
    inbox: Inbox,
    /// How far the node was when it last said so.
    node_seq: Option<Seq>,
    /// When it last said so, or was asked.
    asked_at: Instant,
    /// How it ends, if not with the process.
    leave: Option<Leave>,
}

/// What the worker is meant to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Following,
    Paused,
    Fenced(String),
}

/// A bootstrap into the shadow.
struct Order<V: ViewStore> {
    /// None: the node has compacted away what comes next.
    kind: Option<JobKind>,
    ticket: Option<JobTicket>,
    /// What a lost connection left of it.
    shadow: Option<Follower<V>>,
}

/// Why a piece of work ended.
enum End {
    /// The process ends, or the store is removed.
    Shutdown,
    /// The phase or the order changed.
    Again,
    /// Out of contact.
    Lost(String),
    /// What the node says can't be right.
    Fenced(String),
    /// The node no longer has what comes next.
    Compacted,
}

struct Inbox {
    control: mpsc::Receiver<Control>,
    shutdown: watch::Receiver<bool>,
}

impl Inbox {
    /// The next command; none when the process ends.
    async fn next(&mut self) -> Option<Control> {
        tokio::select! {
            biased;
            // An error means that whoever would say so is gone, which says the same.
            _ = self.shutdown.wait_for(|is_ending| *is_ending) => None,
            control = self.control.recv() => control,
        }
    }
}

impl<L: LogSource, S: Storage, V: ViewStore> SyncWorker<L, S, V> {
    /// A worker that goes on from what was loaded, or begins with nothing.
    pub fn new(parts: WorkerParts<L, S, V>) -> Self {
        let options = parts.options;
        let mut worker = Self {
            source: parts.source,
            storage: parts.storage,
            view: parts.view,
            shared: parts.shared,
            claims: parts.claims,
            clock: parts.clock,
            saves: parts.saves,
            options,
            expected: parts.expected,
            phase: Phase::Following,
            follower: None,
            saver: None,
            order: None,
            order_job: None,
            breaker: Breaker::new(options.breaker_open),
            backoff: Backoff::new(options.backoff_min, options.backoff_max, options.backoff_seed),
            inbox: Inbox { control: parts.control, shutdown: parts.shutdown },
            node_seq: None,
            asked_at: Instant::now(),
            leave: None,
        };
        if let Some(loaded) = parts.loaded {
            worker.go_on_from(loaded);
        }
        worker
    }

    fn go_on_from(&mut self, loaded: LoadedStore<V>) {
        let LoadedStore { saved, slot, generation } = loaded;
        let store_id = saved.store_id.clone();
        self.view.publish(&slot, &store_id);
        self.phase = match saved.quarantine {
            Some(reason) => Phase::Fenced(reason),
            None if saved.paused => Phase::Paused,
            None => Phase::Following,
        };
        *self.shared.letters.lock() = saved.letters;
        self.shared.update(|status| {
            status.store_id = Some(store_id.clone());
            status.as_of = saved.as_of;
            status.last_contact_at = saved.last_contact_at;
            status.reason = Some("not contacted since the start".to_owned());
        });
        self.follower = Some(Follower::new(self.view.clone(), slot, saved.state));
        let files = StoreFiles::new(self.storage.clone(), store_id.clone(), generation);
        self.saver = Some(self.new_saver(files));
        self.expected = Some(store_id);
        // An upgrade may read what the former version couldn't.
        self.retry_letters(|_| true);
        self.show(SyncState::Unreachable);
    }

    /// Works until the process ends or the worker is told to leave; returns what it hands over.
    pub async fn run(mut self) -> Option<LoadedStore<V>> {
        loop {
            let end = match (self.order.take(), &self.phase) {
                (Some(order), _) => {
                    let end = self.carry_out(order).await;
                    self.order_job.take_if(|_| self.order.is_none());
                    end
                }
                (None, Phase::Following) => self.follow().await,
                (None, Phase::Paused | Phase::Fenced(_)) => self.rest().await,
            };
            let end = match end {
                End::Lost(reason) => self.wait_for_contact(reason).await,
                other => Some(other),
            };
            match end {
                Some(End::Shutdown) => break,
                Some(End::Fenced(reason)) => self.fence(reason),
                Some(End::Compacted) => {
                    self.order = Some(Order { kind: None, ticket: None, shadow: None });
                }
                Some(End::Again | End::Lost(_)) | None => {}
            }
        }
        self.finish().await
    }

    /// Keeps the last good state, marked stale with the reason; the other stores go on.
    fn fence(&mut self, reason: String) {
        let store = self.name();
        tracing::error!(store, reason, "store quarantined");
        metrics::counter!("aggregator_quarantines_total", "store" => store).increment(1);
        self.phase = Phase::Fenced(reason);
        if let Some(saver) = &mut self.saver {
            saver.mark_urgent();
        }
    }

    /// Does nothing until an operator says so.
    async fn rest(&mut self) -> End {
        match &self.phase {
            Phase::Paused => self.show(SyncState::Paused),
            Phase::Fenced(reason) => {
                let reason = reason.clone();
                self.show(SyncState::Quarantined);
                self.shared.update(|status| status.reason = Some(reason));
            }
            Phase::Following => return End::Again,
        }
        match self.interruptible(std::future::pending::<()>()).await {
            Ok(()) => End::Again,
            Err(end) => end,
        }
    }

    async fn wait_for_contact(&mut self, reason: String) -> Option<End> {
        let mut wait = self.backoff.next_wait();
        if let Err(left) = self.breaker.admit() {
            // Nothing is tried before the next probe; workers that wait for one spread a little.
            wait = left + wait.min(left / 4);
        }
        tracing::debug!(
            store = self.name(),
            reason,
            wait_ms = wait.as_millis() as u64,
            "no contact"
        );
        self.node_seq = None;
        self.show(SyncState::Unreachable);
        self.shared.update(|status| status.reason = Some(reason));
        self.interruptible(sleep(wait)).await.err()
    }

    /// Lets `work` run while commands are obeyed and saves are looked after.
    async fn interruptible<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                control = self.inbox.next() => {
                    if let Some(end) = self.obey(control) {
                        return Err(end);
                    }
                }
                done = &mut work => return Ok(done),
                () = sleep(TICK) => self.tend_saves(false).await,
            }
        }
    }

    /// Does what an operator says; returns why the work at hand must end, if it must.
    fn obey(&mut self, control: Option<Control>) -> Option<End> {
        match control {
            None => return Some(End::Shutdown),
            Some(Control::Pause) => {
                self.phase = Phase::Paused;
                self.replace_order(None);
            }
            Some(Control::Resume) => {
                self.phase = Phase::Following;
                self.replace_order(None);
            }
            Some(Control::Bootstrap { kind, ticket }) => {
                let job = ticket.watch();
                if job.is_cancelled() {
                    ticket.cancelled();
                    return None;
                }
                let (kind, ticket) = (Some(kind), Some(ticket));
                self.replace_order(Some(Order { kind, ticket, shadow: None }));
                self.order_job = Some(job);
            }
            Some(Control::LookAtOrders) => {
                if !self.order_job.as_ref().is_some_and(JobWatch::is_cancelled) {
                    return None;
                }
                self.replace_order(None);
            }
            Some(Control::Retry { seq, reply }) => {
                let _ = reply.send(self.retry_letters(|letter| letter.seq == seq).pop());
                return None;
            }
            Some(Control::Discard { seq, reply }) => {
                let was_there = self.shared.letters.lock().remove(seq);
                self.mark_urgent();
                let _ = reply.send(was_there);
                return None;
            }
            Some(Control::Leave(leave)) => {
                self.leave = Some(leave);
                return Some(End::Shutdown);
            }
        }
        self.mark_urgent();
        Some(End::Again)
    }

    /// An operator has looked: what was ordered before is off, and the node is tried at once.
    fn replace_order(&mut self, order: Option<Order<V>>) {
        let former = std::mem::replace(&mut self.order, order);
        self.order_job = None;
        if let Some(ticket) = former.and_then(|former| former.ticket) {
            ticket.cancelled();
        }
        self.backoff.reset();
        self.breaker = Breaker::new(self.options.breaker_open);
        self.show_circuit(false);
    }

    /// Tries open letters again that pass the test, oldest first.
    fn retry_letters(&mut self, test: impl Fn(&DeadLetter) -> bool) -> Vec<Retried> {
        let now = (self.clock)();
        let Some(follower) = &mut self.follower else {
            return Vec::new();
        };
        let mut letters = self.shared.letters.lock();
        let chosen: Vec<DeadLetter> =
            letters.iter().filter(|letter| letter.is_open() && test(letter)).cloned().collect();
        let mut results = Vec::new();
        for letter in chosen {
            let retried = follower.retry(letter.seq, &letter.record);
            match &retried {
                Retried::Healed => letters.heal(&[letter.sku], follower.state().position.seq),
                Retried::StillMarked => letters.tried(letter.seq, None, now),
                Retried::StillRefused(reason) => {
                    letters.tried(letter.seq, Some(reason.clone()), now);
                }
            }
            results.push(retried);
        }
        drop(letters);
        if !results.is_empty() {
            self.mark_urgent();
        }
        results
    }

    fn new_saver(&self, files: StoreFiles<S>) -> Saver<L, S> {
        let saves = Arc::clone(&self.saves);
        Saver::new(files, self.source.clone(), saves, self.options.persist_interval)
    }

    fn mark_dirty(&mut self) {
        if let Some(saver) = &mut self.saver {
            saver.mark_dirty();
        }
    }

    fn mark_urgent(&mut self) {
        if let Some(saver) = &mut self.saver {
            saver.mark_urgent();
        }
    }

    /// What logs and metrics call the store.
    fn name(&self) -> String {
        self.expected.as_ref().map_or_else(|| self.shared.url.clone(), ToString::to_string)
    }

    /// Whether the node is who it should be; `log_id` is the log that it must have, if any.
    fn check_identity(&self, identity: &Identity, log_id: Option<LogId>) -> Result<(), End> {
        if let Some(expected) = &self.expected
            && *expected != identity.store_id
        {
            let found = &identity.store_id;
            return Err(End::Fenced(format!("the node is {found}, not {expected}")));
        }
        match log_id {
            Some(bound) if bound != identity.log_id => Err(End::Fenced(format!(
                "the node has another log: {} instead of {bound}",
                identity.log_id
            ))),
            _ => Ok(()),
        }
    }

    /// Binds the URL to the store that answers there.
    fn bind(&mut self, store_id: &StoreId, by_force: bool) -> Result<(), End> {
        let claimed = self.claims.claim(store_id, &self.shared.url, by_force);
        claimed.map_err(End::Fenced)?;
        self.expected = Some(store_id.clone());
        if self.saver.is_none() {
            let generation = highest_generation(&self.storage, store_id).unwrap_or(0);
            let files = StoreFiles::new(self.storage.clone(), store_id.clone(), generation);
            self.saver = Some(self.new_saver(files));
        }
        self.shared.update(|status| status.store_id = Some(store_id.clone()));
        Ok(())
    }
}
