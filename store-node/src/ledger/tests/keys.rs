//! Idempotency keys: one effect, one answer, across restarts.

use event_log::Seq;
use shared::Action;

use super::world::*;
use crate::ledger::{Answer, BatchOutcome, Executed, LedgerError, LedgerOptions, Refused};

/// The same answer as before, only marked as replayed.
fn same(first: &Executed, again: &Executed) {
    assert!(!first.replayed && again.replayed);
    assert_eq!(without_item(first), without_item(again));
    assert_eq!(first.settle, again.settle);
}

/// The outcome without what isn't stored.
fn without_item(executed: &Executed) -> Result<Answer, Refused> {
    let mut outcome = executed.outcome.clone();
    if let Ok(Answer::Unchanged { item, .. }) = &mut outcome {
        *item = None;
    }
    outcome
}

#[test]
fn a_repeated_request_gets_the_first_answer() {
    type Ask = fn() -> Action;
    let requests: [(&str, Ask); 6] = [
        ("A", || sell(3)),
        ("A", || sell(3000)),
        ("A", || reserve("o", 1)),
        ("A", || reserve("o", 1)),
        ("ghost", || sell(1)),
        ("B", || create(5)),
    ];
    let world = World::new();
    world.execute("A", create(10));
    let mut first = Vec::new();
    for (number, (text, action)) in requests.iter().enumerate() {
        first.push(world.keyed(text, action(), number as u64));
    }
    let unsettled = world.try_execute("A", sell(3), Some(request_key(0)));
    let Err(LedgerError::Unsettled { settle }) = unsettled else { panic!("not durable yet") };
    assert_eq!(settle, first[0].settle);
    world.commit();
    let before = last(&world);
    let again = |world: &World| {
        for (number, (text, action)) in requests.iter().enumerate() {
            same(&first[number], &world.keyed(text, action(), number as u64));
        }
        assert_eq!(last(world), before, "nothing more is appended");
        assert_eq!(world.state("A"), (7, 1, 3, 3));
    };
    again(&world);
    let world = world.reopen();
    assert_eq!(world.report.keys, 6);
    again(&world);
}

#[test]
fn another_request_with_the_key_is_refused() {
    let world = World::new();
    world.keyed("A", create(10), 1);
    let other = crate::ledger::RequestKey { fingerprint: 99, ..request_key(1) };
    assert!(matches!(world.try_execute("A", sell(1), Some(other)), Err(LedgerError::KeyReused)));
    assert_eq!(world.state("A").1, 0);
}

#[test]
fn a_request_that_could_not_be_appended_frees_its_key() {
    let world = World::new();
    world.execute("A", create(1_000_000));
    while world.try_execute("A", sell(1), None).is_ok() {}
    assert!(world.try_execute("A", sell(1), Some(request_key(1))).is_err());
    world.commit();
    let executed = world.keyed("A", sell(1), 1);
    assert!(!executed.replayed && executed.outcome.is_ok());
}

#[test]
fn batches_are_told_again_line_by_line() {
    let world = World::new();
    world.execute("A", create(10));
    let lines = || {
        vec![
            ("A", sell(3)),
            ("A", reserve("o", 1)),
            ("A", reserve("o", 1)),
            ("A", sell(30)),
            ("ghost", sell(1)),
            ("B", create(1)),
        ]
    };
    for (number, atomic) in [(1, false), (2, true)] {
        let first = world.try_batch(atomic, lines(), Some(number)).unwrap();
        world.commit();
        let before = last(&world);
        let again = world.try_batch(atomic, lines(), Some(number)).unwrap();
        assert!(again.replayed && !first.replayed);
        assert_eq!(again.lines, first.lines);
        assert_eq!((again.atomic, last(&world)), (atomic, before));
    }
    let world = world.reopen();
    let again = world.try_batch(false, lines(), Some(1)).unwrap();
    assert!(again.replayed);
    let BatchOutcome::Changed { seq, quantities, .. } = &again.lines[0] else { panic!("a sale") };
    assert_eq!((seq.get(), quantities.stock.get()), (3, 7), "behind its receipt");
    assert_eq!(world.state("A"), (7, 1, 3, 3));
}

#[test]
fn expirations_before_a_keyed_request_do_not_confuse_its_answer() {
    let mut world = World::new();
    world.execute("A", create(10));
    for (number, order) in ["o1", "o2", "o3"].iter().enumerate() {
        world.execute("A", reserve_for(order, 3, 10 + number as u64));
    }
    world.pass(11);
    let sold = world.keyed("A", sell(4), 1);
    assert_eq!(changed_version(&sold).map(shared::Version::get), Some(7), "two expired first");
    world.pass(10);
    let refused = world.keyed("A", sell(1000), 2);
    assert!(rejection(&refused).is_some());
    world.commit();
    let world = world.reopen();
    same(&sold, &world.keyed("A", sell(4), 1));
    same(&refused, &world.keyed("A", sell(1000), 2));
    assert_eq!(world.state("A"), (6, 0, 4, 8));
}

#[test]
fn a_key_is_forgotten_after_its_life() {
    let options =
        LedgerOptions { keys_max: 1000, key_life_us: 100 * SECOND_US, ..LedgerOptions::default() };
    let storage = event_log::storage::sim::SimStorage::new(3);
    let mut world = World::open_with(&storage, at(0), options).unwrap();
    world.keyed("A", create(1000), 0);
    for number in 1..50 {
        world.pass(1);
        world.keyed("A", sell(1), number);
    }
    world.commit();
    assert_eq!(world.ledger.stats().keys, 50);
    world.pass(61);
    assert_eq!(world.ledger.forget_expired_keys(world.now), 11);
    assert!(world.keyed("A", sell(1), 20).replayed);
    assert!(!world.keyed("A", sell(1), 5).replayed, "it is a new request now");
    world.commit();
    world.ledger.log().close().unwrap();
    let now = world.now;
    drop(world);
    let world = World::open_with(&storage, now, options).unwrap();
    assert_eq!(world.report.keys, 40, "recovery forgets the same");
    assert!(world.keyed("A", sell(1), 5).replayed);
    assert_eq!(world.ledger.log().durable(), Seq::new(51));
}
