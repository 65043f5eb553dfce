//! When faults have stopped: whether log, node and global view hold the same, item by item.

use std::collections::BTreeMap;

use super::evidence::StoreLog;
use super::history::State;
use super::{Faults, Promise};

/// What somebody holds of each item; seqs play no part.
pub type Held = BTreeMap<String, State>;

/// Notes every item on which the log, the node and the view don't agree.
pub fn agreement(log: &StoreLog, node: &Held, view: &Held, faults: &mut Faults) {
    let told = log.last_states();
    compare(&log.store, ("the log", &told), ("the node", node), Promise::Durable, faults);
    compare(&log.store, ("the node", node), ("the view", view), Promise::Converged, faults);
}

fn compare(
    store: &str,
    (one_name, one): (&str, &Held),
    (other_name, other): (&str, &Held),
    promise: Promise,
    faults: &mut Faults,
) {
    let plain = |held: &Held, sku: &str| held.get(sku).map(|state| State { seq: None, ..*state });
    for sku in one.keys().chain(other.keys().filter(|sku| !one.contains_key(*sku))) {
        let (left, right) = (plain(one, sku), plain(other, sku));
        if left != right {
            let what = format!("{sku} of {store}: {one_name} has {left:?}, {other_name} {right:?}");
            faults.note(promise, what);
        }
    }
}
