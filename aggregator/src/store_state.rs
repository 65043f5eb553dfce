//! What everybody may know about one store's sync: written by its worker, read by the API. It must
//! never say more than the worker knows: what isn't known is none, not zero.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use shared::wire::global_sync::{StoreSync, SyncState};
use shared::{StoreId, Timestamp};

use crate::dead_letter::DeadLetters;

/// One store as its worker last described it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreStatus {
    /// The store; none before the first contact with its URL.
    pub store_id: Option<StoreId>,
    /// How it is doing.
    pub state: SyncState,
    /// Why.
    pub reason: Option<String>,
    /// The log that it is bound to, as text.
    pub log_id: Option<String>,
    /// The node's opening, as last seen.
    pub epoch: Option<u64>,
    /// The last seq in the view.
    pub seq: u64,
    /// The node's durable watermark as last heard; none while out of contact.
    pub node_seq: Option<u64>,
    /// Up to when everything that happened at the store is in the view.
    pub as_of: Option<Timestamp>,
    /// When the node last said something valid.
    pub last_contact_at: Option<Timestamp>,
    /// Whether our digest equals the one that the node sealed where we stand.
    pub verified: bool,
    /// Where it last did.
    pub verified_seq: Option<u64>,
    /// Why its part couldn't be written to disk the last time, if it couldn't.
    pub save_error: Option<String>,
}

/// A store's worker and the API meet here.
#[derive(Debug)]
pub struct StoreShared {
    /// Where its node answers.
    pub url: String,
    status: Mutex<StoreStatus>,
    /// Its dead letters.
    pub letters: Mutex<DeadLetters>,
    events: AtomicU64,
}

impl StoreShared {
    /// A store that was never reached.
    pub fn new(url: String, store_id: Option<StoreId>) -> Self {
        let status = StoreStatus {
            store_id,
            state: SyncState::Unreachable,
            reason: Some("not contacted yet".to_owned()),
            log_id: None,
            epoch: None,
            seq: 0,
            node_seq: None,
            as_of: None,
            last_contact_at: None,
            verified: false,
            verified_seq: None,
            save_error: None,
        };
        let letters = Mutex::default();
        Self { url, status: Mutex::new(status), letters, events: AtomicU64::new(0) }
    }

    /// What is known now.
    pub fn status(&self) -> StoreStatus {
        self.status.lock().clone()
    }

    /// Changes what is known.
    pub fn update<R>(&self, change: impl FnOnce(&mut StoreStatus) -> R) -> R {
        change(&mut self.status.lock())
    }

    /// Counts events that were taken over.
    pub fn count_events(&self, count: u64) {
        self.events.fetch_add(count, Ordering::Relaxed);
    }

    /// Events taken over since the process began.
    pub fn event_count(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// The store as the API shows it.
    pub fn view(&self, now: Timestamp) -> StoreSync {
        let status = self.status();
        let in_contact = match status.state {
            SyncState::Live | SyncState::CatchingUp | SyncState::Bootstrapping => true,
            SyncState::Unreachable | SyncState::Quarantined | SyncState::Paused => false,
        };
        let node_seq = status.node_seq.filter(|_| in_contact);
        StoreSync {
            store_id: status.store_id,
            url: self.url.clone(),
            state: status.state,
            reason: status.reason,
            log_id: status.log_id,
            epoch: status.epoch,
            seq: status.seq,
            node_seq,
            lag_events: node_seq.map(|node_seq| node_seq.saturating_sub(status.seq)),
            lag_ms: status.as_of.map(|as_of| now.micros_since(as_of) / 1000),
            last_contact_at: status.last_contact_at,
            verified: status.verified,
            verified_seq: status.verified_seq,
            dead_letters: self.letters.lock().open_count(),
        }
    }
}
