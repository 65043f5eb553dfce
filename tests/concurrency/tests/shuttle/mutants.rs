//! Bugs on purpose in the locking, each of which must be seen within so many schedules of either
//! scheduler. One that isn't is a hole in the scenarios.

use concurrency::first_to_see;

use crate::ledger::{items, keys};
use crate::log::{handoff, waiting};

/// A bug, within how many schedules it must be seen, and in which scenario.
const MUTANTS: [(&str, usize, fn()); 12] = [
    ("acknowledge before sync", 200, handoff::appends),
    ("claim the key after the SKU lock", 200, keys::same_key),
    ("copy keys without awaiting claims", 2000, keys::copying),
    ("decide without the SKU lock", 200, items::overlapping),
    ("end a claim without waking", 200, keys::claims),
    ("give up and stay in the table", 200, waiting::waiting),
    ("lock a batch's SKUs in request order", 200, items::overlapping),
    ("move the watermark before the tip", 200, handoff::appends),
    ("poison without telling who waits", 200, handoff::poisoning),
    ("register without a second look", 5000, waiting::racing),
    ("sleep without a look at the batch", 5000, handoff::appends),
    ("wake before the watermark moves", 200, waiting::waiting),
];

#[test]
fn every_planted_bug_is_seen() {
    let mut survivors = Vec::new();
    for (bug, schedules_max, scenario) in MUTANTS {
        match first_to_see(bug, schedules_max, scenario) {
            [Some(random), Some(pct)] => println!("{bug}: schedule {random} sees it, PCT's {pct}"),
            seen => survivors.push(format!("{bug}: {seen:?} in {schedules_max} schedules")),
        }
    }
    assert!(survivors.is_empty(), "{survivors:#?}");
}
