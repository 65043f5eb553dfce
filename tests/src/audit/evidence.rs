//! What the logs hold against what the callers were told. The log is read as plain values, whoever
//! reads it; the arithmetic is this module's own.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::history::{LineAnswer, Operation, Outcome, State, operation_of};
use super::{Faults, Promise};

/// One event of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent {
    /// Its seq.
    pub seq: u64,
    /// Its item.
    pub sku: String,
    /// The version it makes.
    pub version: u64,
    /// What happened, as `store-node history` names it.
    pub change: String,
    /// What it moved: signed units of stock, of reserved, of sold.
    pub moved: (i64, i64, i64),
    /// The state after it: stock, reserved, sold.
    pub after: (u64, u64, u64),
    /// The order it belongs to, or nothing.
    pub order: String,
    /// The request that made it, or nothing.
    pub request_id: String,
    /// When it happened by the node's clock, µs since 1970 in UTC.
    pub at_us: i64,
    /// When the promise that it makes or moves ends, likewise; none = never, or it isn't one.
    pub expires_at_us: Option<i64>,
}

impl LogEvent {
    /// Whether time made it.
    pub fn is_expiry(&self) -> bool {
        self.change == "expired"
    }

    /// What a caller would have been told of it.
    pub fn answer(&self) -> LineAnswer {
        let (stock, reserved, sold) = self.after;
        LineAnswer::State(State {
            stock,
            reserved,
            sold,
            version: self.version,
            seq: Some(self.seq),
        })
    }
}

/// A record without an effect on stock: it answers a keyed request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogReceipt {
    /// Its seq.
    pub seq: u64,
}

/// A whole log from seq 1 on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreLog {
    /// The store.
    pub store: String,
    /// Its events in order.
    pub events: Vec<LogEvent>,
    /// Its receipts in order.
    pub receipts: Vec<LogReceipt>,
}

impl StoreLog {
    /// The events that an operation's tries made (expiries that came with them left out), in order.
    pub fn events_of(&self, operation: &str) -> Vec<&LogEvent> {
        let is_its =
            |event: &&LogEvent| operation_of(&event.request_id) == operation && !event.is_expiry();
        self.events.iter().filter(is_its).collect()
    }

    /// The state of each item at the end.
    pub fn last_states(&self) -> BTreeMap<String, State> {
        let mut states = BTreeMap::new();
        for event in &self.events {
            let (stock, reserved, sold) = event.after;
            let state = State { stock, reserved, sold, version: event.version, seq: None };
            states.insert(event.sku.clone(), state);
        }
        states
    }
}

/// Notes everything in a store's log that can't be, by itself and beside what was told.
pub fn evidence(operations: &[Operation], log: &StoreLog, faults: &mut Faults) {
    check_seqs(log, faults);
    check_items(log, faults);
    let mut by_operation: HashMap<&str, Vec<&LogEvent>> = HashMap::new();
    for event in log.events.iter().filter(|event| !event.is_expiry()) {
        by_operation.entry(operation_of(&event.request_id)).or_default().push(event);
    }
    let mut keys: HashMap<&str, (&Operation, usize)> = HashMap::new();
    for operation in operations.iter().filter(|operation| operation.store == log.store) {
        let events = by_operation.remove(operation.id.as_str()).unwrap_or_default();
        check_one_try(operation, &events, faults);
        check_outcome(operation, &events, faults);
        if let Some(key) = operation.key.as_deref() {
            check_key(&mut keys, key, operation, events.len(), faults);
        }
    }
    for (id, events) in by_operation {
        let what = format!("{}: nobody asked for {id:?}: {events:?}", log.store);
        faults.note(Promise::Durable, what);
    }
}

fn check_seqs(log: &StoreLog, faults: &mut Faults) {
    let mut seqs: Vec<u64> = log.events.iter().map(|event| event.seq).collect();
    seqs.extend(log.receipts.iter().map(|receipt| receipt.seq));
    seqs.sort_unstable();
    for (expected, seq) in (1..).zip(seqs) {
        if expected != seq {
            let what = format!("{}: seq {expected} should follow, {seq} is there", log.store);
            return faults.note(Promise::Gapless, what);
        }
    }
}

/// Versions, arithmetic and stock of every item, event by event.
fn check_items(log: &StoreLog, faults: &mut Faults) {
    let mut items: HashMap<&str, (u64, (u64, u64, u64))> = HashMap::new();
    for event in &log.events {
        let (version, before) = items.get(event.sku.as_str()).copied().unwrap_or_default();
        if event.version != version + 1 {
            let what = format!("{}: version {version} is followed by {event:?}", log.store);
            faults.note(Promise::Gapless, what);
        }
        let sum = |before: u64, moved: i64| i128::from(before) + i128::from(moved);
        let (stock, reserved, sold) = event.moved;
        let expected = (sum(before.0, stock), sum(before.1, reserved), sum(before.2, sold));
        let (stock, reserved, sold) = event.after;
        if expected != (i128::from(stock), i128::from(reserved), i128::from(sold)) {
            let what = format!("{}: {before:?} can't be followed by {event:?}", log.store);
            faults.note(Promise::Gapless, what);
        }
        if reserved > stock {
            let what = format!("{}: more is promised than there is after {event:?}", log.store);
            faults.note(Promise::NotOversold, what);
        }
        items.insert(&event.sku, (event.version, event.after));
    }
}

/// All effects of an operation come from one of its tries, in one append.
fn check_one_try(operation: &Operation, events: &[&LogEvent], faults: &mut Faults) {
    let tries: HashSet<&str> = events.iter().map(|event| event.request_id.as_str()).collect();
    if tries.len() > 1 {
        let what = format!("{operation:?} took effect more than once: {events:?}");
        faults.note(Promise::Idempotent, what);
    }
}

fn check_outcome(operation: &Operation, events: &[&LogEvent], faults: &mut Faults) {
    match &operation.outcome {
        Outcome::Refused { .. } if !events.is_empty() => {
            faults.note(Promise::Durable, format!("{operation:?} was refused: {events:?}"));
        }
        Outcome::Refused { .. } => {}
        Outcome::Unknown => {
            // A line that repeats what is done leaves no event; these always leave one.
            let mut changing = operation.lines.iter().filter(|line| line.verb.always_changes());
            let is_missing = changing.any(|line| events.iter().all(|event| event.sku != line.sku));
            if operation.atomic && !events.is_empty() && is_missing {
                faults.note(Promise::Durable, format!("a part of {operation:?}: {events:?}"));
            }
        }
        Outcome::Answered(answer) => {
            let told: Vec<(u64, &str, State)> = answer
                .lines
                .iter()
                .zip(&operation.lines)
                .filter_map(|(answer, line)| match answer {
                    LineAnswer::State(state) => Some((state.seq?, line.sku.as_str(), *state)),
                    LineAnswer::Rejected(_) | LineAnswer::NotApplied | LineAnswer::Absent => None,
                })
                .collect();
            for (seq, sku, state) in &told {
                let is_there = events.iter().any(|event| {
                    event.seq == *seq
                        && event.sku == *sku
                        && event.version == state.version
                        && event.after == (state.stock, state.reserved, state.sold)
                });
                if !is_there {
                    let what = format!(
                        "seq {seq} of {operation:?} was acknowledged, the log has {events:?}"
                    );
                    faults.note(Promise::Durable, what);
                }
            }
            if events.len() > told.len() {
                let what = format!("{operation:?} did more than it told: {events:?}");
                faults.note(Promise::Durable, what);
            }
        }
    }
}

/// One key, one effect, one answer.
fn check_key<'a>(
    keys: &mut HashMap<&'a str, (&'a Operation, usize)>,
    key: &'a str,
    operation: &'a Operation,
    events: usize,
    faults: &mut Faults,
) {
    let Some((first, first_events)) = keys.get_mut(key) else {
        keys.insert(key, (operation, events));
        return;
    };
    if *first_events > 0 && events > 0 {
        faults.note(Promise::Idempotent, format!("{first:?} and {operation:?} both took effect"));
    }
    if let (Outcome::Answered(one), Outcome::Answered(other)) = (&first.outcome, &operation.outcome)
        && one.body != other.body
    {
        faults.note(Promise::Idempotent, format!("{first:?} and {operation:?} differ"));
    }
    *first_events += events;
}
