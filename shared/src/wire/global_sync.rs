//! The JSON of the aggregator's sync: states of the stores, dead letters, jobs. Field names and
//! their order are the contract (the API examples); nothing here decides anything.

use compact_str::CompactString;
use serde::Serialize;

use crate::ids::StoreId;
use crate::sku::Sku;
use crate::time::Timestamp;

/// How the sync of one store is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncState {
    /// In contact, and everything the node has made durable is in the view.
    Live,
    /// In contact, and behind.
    CatchingUp,
    /// Loading a snapshot of the node.
    Bootstrapping,
    /// Out of contact; tried again by itself.
    Unreachable,
    /// Fenced: what the node says doesn't fit what it said before. An operator must look.
    Quarantined,
    /// Stopped by an operator.
    Paused,
}

impl SyncState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Live,
        Self::CatchingUp,
        Self::Bootstrapping,
        Self::Unreachable,
        Self::Quarantined,
        Self::Paused,
    ];

    /// The state as the API shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::CatchingUp => "catching-up",
            Self::Bootstrapping => "bootstrapping",
            Self::Unreachable => "unreachable",
            Self::Quarantined => "quarantined",
            Self::Paused => "paused",
        }
    }

    /// The state of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// The answer of `GET /api/sync/status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// When it was made.
    pub as_of: Timestamp,
    /// All stores together.
    pub global: GlobalSync,
    /// Each store, by store id.
    pub stores: Vec<StoreSync>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// The sync of all stores together.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GlobalSync {
    /// Stores that are followed.
    pub stores: u64,
    /// Those that are live.
    pub live: u64,
    /// Milliseconds that the worst store's part is old; null when a store was never reached.
    pub worst_lag_ms: Option<i64>,
    /// The most events that a reachable store is behind.
    pub worst_lag_events: u64,
    /// Events taken over in the last full second.
    pub events_per_second: u64,
    /// Open dead letters.
    pub dead_letters: u64,
    /// Whether every store is verified.
    pub all_verified: bool,
}

/// The sync of one store.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreSync {
    /// The store; null until the first contact with its URL.
    pub store_id: Option<StoreId>,
    /// Where its node answers.
    pub url: String,
    /// How it is doing.
    pub state: SyncState,
    /// Why it is doing so; null while all is well.
    pub reason: Option<String>,
    /// The log that it is bound to.
    pub log_id: Option<String>,
    /// The node's opening of that log, as last seen.
    pub epoch: Option<u64>,
    /// The last seq in the view.
    pub seq: u64,
    /// The node's durable watermark; null while it is out of contact.
    pub node_seq: Option<u64>,
    /// Events behind; null while it is out of contact, never a guess.
    pub lag_events: Option<u64>,
    /// Milliseconds since everything at the node was known; null before the first contact.
    pub lag_ms: Option<i64>,
    /// When the node last said something valid.
    pub last_contact_at: Option<Timestamp>,
    /// Whether the digest of what is held equals the one sealed at `verifiedSeq`.
    pub verified: bool,
    /// The seq of the last digest that matched.
    pub verified_seq: Option<u64>,
    /// Open dead letters of this store.
    pub dead_letters: u64,
}

/// The answer of `GET` and `PUT /api/sync/stores/{id}`: the store's sync, and what operators call it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreAnswer {
    /// How its sync is doing.
    #[serde(flatten)]
    pub sync: StoreSync,
    /// What people call it; null where nobody said.
    pub name: Option<String>,
    /// Its IANA time zone; null where nobody said.
    pub timezone: Option<String>,
}

/// A record that couldn't be taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterView {
    /// `<store id>:<seq>`.
    pub id: String,
    /// The store.
    pub store_id: StoreId,
    /// The record's seq in the store's log.
    pub seq: u64,
    /// The item that the record is about.
    pub sku: Sku,
    /// The version that the record makes.
    pub version: u64,
    /// Why it wasn't taken over.
    pub reason: String,
    /// `open`, or `healed` once a later event or a retry settled the item.
    pub state: &'static str,
    /// The seq of the event that healed it, if one did.
    pub healed_by_seq: Option<u64>,
    /// How often it was tried.
    pub tries: u32,
    /// When it was first seen.
    pub first_seen_at: Timestamp,
    /// When it was last tried.
    pub last_tried_at: Timestamp,
    /// The record's bytes as standard base64; only in the answer for one letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

/// An operator's long work.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// Its id.
    pub id: String,
    /// `resync`, `rebind` or `rebuild`.
    pub kind: &'static str,
    /// `running`, `done`, `failed` or `cancelled`.
    pub state: &'static str,
    /// Stores that are finished.
    pub done: u64,
    /// Stores in all.
    pub total: u64,
    /// What went wrong, if anything did.
    pub error: Option<String>,
    /// What differed, store by store.
    pub reports: Vec<ResyncReport>,
}

/// What a store's old part and its new one differed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResyncReport {
    /// The store.
    pub store_id: StoreId,
    /// The seq up to which both could be compared.
    pub compared_up_to_seq: u64,
    /// Cells that were compared.
    pub compared: u64,
    /// Cells that differed.
    pub different: u64,
    /// The first of them.
    pub differences: Vec<CellDifference>,
}

/// One SKU that differed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CellDifference {
    /// The item.
    pub sku: Sku,
    /// What the view held; null where it held nothing.
    pub held: Option<CellView>,
    /// What the node has; null where it has nothing.
    pub node: Option<CellView>,
}

/// The counted state of one SKU at one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CellView {
    /// Its version.
    pub version: u64,
    /// The seq of its last event.
    pub seq: u64,
    /// On hand.
    pub stock: u64,
    /// Promised.
    pub reserved: u64,
    /// Sold ever.
    pub sold: u64,
    /// On its way here.
    pub incoming: u64,
    /// On its way elsewhere.
    pub in_transit_out: u64,
    /// The low-stock threshold.
    pub reorder_point: u64,
    /// Kept back from sellable.
    pub safety_stock: u64,
    /// In sale.
    pub active: bool,
    /// What it is called.
    pub name: CompactString,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_names_are_those_of_the_json() {
        for state in SyncState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
            assert_eq!(SyncState::parse(state.name()), Some(state));
        }
    }
}
