//! Verbs and batches over the same SKUs at once: no deadlock, no version twice or missing, nothing
//! sold twice.

use concurrency::explore;
use store_node::ledger::{Executed, ExecutedBatch};
use threading::thread;

use super::world::{World, create, sell};

#[test]
fn verbs_and_batches_over_the_same_skus_end_and_sell_nothing_twice() {
    explore(2000, overlapping);
}

/// Two batches that name the same SKUs in opposite orders, and single verbs in between.
pub(crate) fn overlapping() {
    let world = World::quiet(&[("A", 2), ("B", 2)]);
    let there = {
        let world = world.clone();
        thread::spawn(move || {
            sold(&world.batch(true, &[("A", sell(1)), ("B", sell(1))], None).unwrap())
        })
    };
    let back = {
        let world = world.clone();
        thread::spawn(move || {
            sold(&world.batch(false, &[("B", sell(2)), ("A", sell(1))], None).unwrap())
        })
    };
    let singles = {
        let world = world.clone();
        thread::spawn(move || {
            let (a, b) = (world.ask("A", sell(1), None), world.ask("B", sell(1), None));
            [done(&a.unwrap()), done(&b.unwrap())]
        })
    };
    let there = there.join().unwrap();
    let back = back.join().unwrap();
    let singles = singles.join().unwrap();
    assert_eq!(there[0], there[1], "an atomic batch is wholly there or wholly not");
    world.audit();
    let units =
        |lines: [(bool, u64); 3]| lines.iter().map(|(done, units)| u64::from(*done) * units).sum();
    let (a, b): (u64, u64) = (
        units([(there[0], 1), (back[1], 1), (singles[0], 1)]),
        units([(there[1], 1), (back[0], 2), (singles[1], 1)]),
    );
    assert_eq!(world.stock_and_sold("A"), (2 - a, a), "as answered, and never more than there was");
    assert_eq!(world.stock_and_sold("B"), (2 - b, b), "as answered, and never more than there was");
}

#[test]
fn an_item_that_is_created_beside_refused_requests_exists_once() {
    explore(2000, creating);
}

/// Two create the same SKU, one way in a batch that may fail; one sells from it.
pub(crate) fn creating() {
    let world = World::quiet(&[("A", 1)]);
    let single = {
        let world = world.clone();
        thread::spawn(move || done(&world.ask("N", create(3), None).unwrap()))
    };
    let batch = {
        let world = world.clone();
        thread::spawn(move || {
            sold(&world.batch(true, &[("N", create(5)), ("A", sell(1))], None).unwrap())
        })
    };
    let seller = {
        let world = world.clone();
        thread::spawn(move || {
            let sold = done(&world.ask("N", sell(1), None).unwrap());
            world.ask("A", sell(1), None).unwrap();
            sold
        })
    };
    let (single, batch) = (single.join().unwrap(), batch.join().unwrap());
    let seller = seller.join().unwrap();
    assert!(single != batch[0], "created once");
    let stock = if single { 3 } else { 5 } - u64::from(seller);
    assert_eq!(world.stock_and_sold("N"), (stock, u64::from(seller)));
    world.audit();
}

fn done(executed: &Executed) -> bool {
    executed.outcome.is_ok()
}

/// Which lines changed something.
fn sold(batch: &ExecutedBatch) -> Vec<bool> {
    use store_node::ledger::BatchOutcome::{Changed, Invalid, NotApplied, Refused, Unchanged};
    let changed = |line: &_| match line {
        Changed { .. } => true,
        Unchanged(_) | Refused(_) | NotApplied { .. } | Invalid => false,
    };
    batch.lines.iter().map(changed).collect()
}
