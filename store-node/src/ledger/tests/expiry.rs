//! Reservations that end by themselves, and what is remembered of closed ones.

use shared::{Action, Rejection};

use super::world::*;
use crate::ledger::LedgerOptions;

#[test]
fn whatever_touches_an_item_expires_what_is_overdue_first() {
    type Touch = fn(&World);
    let touches: [(&str, Touch); 4] = [
        ("read", |world| {
            drop(world.ledger.read(&sku("A"), world.now));
        }),
        ("availability", |world| {
            drop(world.ledger.availability(&[sku("A")], world.now));
        }),
        ("list", |world| {
            drop(world.ledger.list(&crate::ledger::ListQuery::default(), world.now));
        }),
        ("sweep", |world| {
            assert_eq!(world.ledger.sweep_expired(world.now), 1);
        }),
    ];
    for (name, touch) in touches {
        let mut world = World::new();
        world.execute("A", create(10));
        world.execute("A", reserve_for("o1", 4, 5));
        world.execute("A", reserve_for("o2", 5, 50));
        world.pass(4);
        touch_before(&world);
        world.pass(1);
        touch(&world);
        assert_eq!(last(&world).get(), 4, "{name}");
        assert_eq!(world.state("A"), (10, 5, 0, 4), "{name}");
        assert_eq!(world.ledger.stats().reservations_live, 1);
        world.commit();
        assert_eq!(world.reopen().state("A"), (10, 5, 0, 4), "{name}");
    }
}

fn touch_before(world: &World) {
    assert_eq!(world.ledger.sweep_expired(world.now), 0);
    assert_eq!(world.state("A"), (10, 9, 0, 3));
}

#[test]
fn a_command_sees_the_units_that_expired() {
    let mut world = World::new();
    world.execute("A", create(10));
    world.execute("A", reserve_for("o1", 10, 5));
    assert!(rejection(&world.execute("A", sell(1))).is_some());
    world.pass(5);
    let sold = world.execute("A", sell(10));
    assert_eq!(changed_version(&sold).map(shared::Version::get), Some(4));
    assert_eq!(last(&world), sold.settle, "one append with the expiration before it");
    let late = world.execute("A", deduct("o1"));
    assert!(matches!(rejection(&late), Some(Rejection::ReservationExpired { .. })));
}

#[test]
fn an_atomic_batch_that_fails_still_lets_time_pass() {
    let mut world = World::new();
    world.execute("A", create(10));
    world.execute("A", reserve_for("o1", 10, 5));
    world.pass(5);
    let batch = world.batch(true, vec![("A", sell(4)), ("A", sell(7))]);
    assert!(!batch.is_success());
    assert_eq!(world.state("A"), (10, 0, 0, 3), "expired, and nothing sold");
    world.commit();
    assert_eq!(world.reopen().state("A"), (10, 0, 0, 3));
}

#[test]
fn extending_moves_the_end_and_the_sweeper_follows() {
    let mut world = World::new();
    world.execute("A", create(10));
    world.execute("A", reserve_for("o1", 1, 5));
    world.execute("A", Action::Extend { order_id: order("o1"), expires_in_seconds: Some(20) });
    world.pass(6);
    assert_eq!(world.ledger.sweep_expired(world.now), 0);
    assert_eq!(world.ledger.stats().skus_expiring, 1);
    world.pass(14);
    assert_eq!(world.ledger.sweep_expired(world.now), 1);
    assert_eq!(world.ledger.stats().skus_expiring, 0);
    world.execute("A", reserve("o2", 1));
    world.execute("A", Action::Extend { order_id: order("o2"), expires_in_seconds: Some(1) });
    world.commit();
    let mut world = world.reopen();
    assert_eq!(world.ledger.stats().skus_expiring, 1, "the queue is rebuilt");
    world.pass(1);
    assert_eq!(world.ledger.sweep_expired(world.now), 1);
}

#[test]
fn crowded_items_expire_all_the_same() {
    let mut world = World::new();
    world.execute("A", create(10_000));
    for number in 0..600 {
        world.execute("A", reserve_for(&format!("o{number}"), 1, 1 + number % 3));
        if number % 100 == 0 {
            world.commit();
        }
    }
    world.pass(1);
    world.execute("A", sell(1));
    assert_eq!(world.state("A").1, 400);
    world.pass(1);
    world.batch(true, vec![("A", sell(1)), ("A", sell(1))]);
    assert_eq!(world.state("A"), (9_997, 200, 3, 1 + 600 + 400 + 3));
}

#[test]
fn closed_reservations_are_forgotten_after_the_life_of_keys() {
    let options =
        LedgerOptions { keys_max: 100, key_life_us: 100 * SECOND_US, ..LedgerOptions::default() };
    let storage = event_log::storage::sim::SimStorage::new(3);
    let mut world = World::open_with(&storage, at(0), options).unwrap();
    world.execute("A", create(10));
    world.execute("A", reserve("o1", 1));
    world.execute("A", release("o1"));
    world.pass(60);
    world.execute("A", reserve("o2", 1));
    world.execute("A", deduct("o2"));
    assert!(world.execute("A", release("o1")).outcome.is_ok(), "done already");
    world.pass(40);
    assert_eq!(world.ledger.forget_expired_keys(world.now), 1);
    let late = world.execute("A", release("o1"));
    assert!(matches!(rejection(&late), Some(Rejection::UnknownReservation { .. })));
    assert!(world.execute("A", deduct("o2")).outcome.is_ok());
    assert_eq!(world.ledger.stats().reservations_closed, 1);
}
