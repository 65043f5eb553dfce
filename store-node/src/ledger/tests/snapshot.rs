//! Snapshots and what recovery makes of them, and the logs that recovery refuses.

use std::ops::ControlFlow;

use event_log::storage::sim::SimStorage;
use event_log::{Log, RecordBuffer, Seq};
use shared::codec::encode_event;
use shared::{Event, Item, rules};

use super::world::*;
use crate::ledger::{Answer, LedgerOpenError, LedgerSnapshotError, ReplayError};

/// A shop with items, keys, live and closed reservations.
fn shop(world: &mut World) {
    for number in 0..300_u64 {
        let name = format!("S{number}");
        world.keyed(&name, create(100), number);
        world.execute(&name, reserve_for("live", 3, 1000 + number));
        if number % 3 == 0 {
            world.execute(&name, reserve("gone", 2));
            world.execute(&name, deduct("gone"));
        }
        world.pass(1);
        world.commit();
    }
}

fn digest(world: &World) -> u128 {
    world.commit();
    world.ledger.log().tip().digest
}

#[test]
fn recovery_from_a_snapshot_is_recovery_from_the_log() {
    let mut world = World::new();
    shop(&mut world);
    let pending = world.ledger.draw_snapshot(world.now, &mut event_log::go_on).unwrap();
    world.keyed("S7", sell(1), 1000);
    world.execute("S0", release("live"));
    world.commit();
    let info = pending.finish().unwrap();
    assert_eq!((info.lo(), info.hi()), (Seq::new(800), Seq::new(800)));
    world.keyed("S8", sell(2), 1001);
    let (digest, stats) = (digest(&world), world.ledger.stats());
    let world = world.reopen();
    assert_eq!(world.report.snapshot.as_ref(), Some(&info));
    assert_eq!((world.report.snapshot_items, world.report.snapshot_keys), (300, 300));
    assert_eq!(world.report.replay.records, 3);
    assert_eq!(world.report.digest, digest);
    let after = world.ledger.stats();
    assert_eq!((after.items, after.keys), (stats.items, stats.keys));
    assert_eq!(after.reservations_live, stats.reservations_live);
    assert_eq!(after.reservations_closed, stats.reservations_closed);
    for key in (0..300).chain([1000, 1001]) {
        assert!(world.keyed("S0", sell(1), key).replayed, "key {key}");
    }
    assert_eq!(world.state("S7"), (99, 3, 1, 3));
    assert!(world.execute("S9", release("gone")).outcome.is_err(), "closed ones are remembered");
    assert!(matches!(world.execute("S9", deduct("gone")).outcome, Ok(Answer::Unchanged { .. })));
}

#[test]
fn a_snapshot_counts_only_once_it_is_durable() {
    let mut world = World::new();
    shop(&mut world);
    world.execute("S1", sell(1));
    let pending = world.ledger.draw_snapshot(world.now, &mut event_log::go_on).unwrap();
    assert!(pending.hi() > world.ledger.log().durable());
    assert!(pending.finish().is_err());
    world.commit();
    let world = world.reopen();
    assert!(world.report.snapshot.is_none());
    assert_eq!(world.state("S1").2, 1);
}

#[test]
fn a_damaged_snapshot_is_passed_over_for_the_one_before() {
    let mut world = World::new();
    shop(&mut world);
    let first =
        world.ledger.draw_snapshot(world.now, &mut event_log::go_on).unwrap().finish().unwrap();
    world.execute("S1", sell(1));
    world.commit();
    let second =
        world.ledger.draw_snapshot(world.now, &mut event_log::go_on).unwrap().finish().unwrap();
    world.storage.flip_bit(&second.file, 5000, 3).unwrap();
    let world = world.reopen();
    assert_eq!(world.report.snapshot, Some(first));
    assert_eq!(world.state("S1").2, 1);
}

/// A log into which `write` puts what no ledger would.
fn crooked(write: impl Fn(&mut Item, &Log<SimStorage>)) -> LedgerOpenError {
    let storage = SimStorage::new(5);
    let log = Log::open(storage.clone(), log_options()).unwrap();
    let mut item = Item::default();
    let created = next(&item, create(5));
    append(&log, &mut item, &created, 0);
    write(&mut item, &log);
    while log.commit_once().unwrap() != event_log::Committed::Nothing {}
    log.close().unwrap();
    drop(log);
    match World::open(&storage, at(0)) {
        Err(WorldError::Ledger(error)) => error,
        Err(WorldError::Log(error)) => panic!("{error}"),
        Ok(_) => panic!("opened"),
    }
}

fn next(item: &Item, action: shared::Action) -> Event {
    rules::decide(item, &command("A", action), at(0)).unwrap().unwrap()
}

fn append(log: &Log<SimStorage>, item: &mut Item, event: &Event, off_by: u128) {
    let before = *item.cell();
    let mut after = before;
    after.apply(event);
    if item.check(event).is_ok() {
        item.apply(event);
    }
    let delta = shared::digest::delta(&event.sku, &before, &after).wrapping_add(off_by);
    let mut records = RecordBuffer::new();
    records.push_with(|out| encode_event(out, event));
    log.append(&records, at(0).as_micros(), delta).unwrap();
}

#[test]
fn recovery_refuses_what_does_not_follow() {
    let gap = crooked(|item, log| {
        let event = Event { version: shared::Version::new(5), ..next(item, sell(1)) };
        append(log, item, &event, 0);
    });
    let LedgerOpenError::Replay { file, source } = &gap else { panic!("{gap}") };
    assert!(matches!(**source, ReplayError::Check { seq, .. } if seq == Seq::new(2)));
    assert_eq!(file, "00000000000000000001.log");
    let wrong = crooked(|item, log| {
        let mut event = next(item, sell(1));
        event.after.stock = units(5);
        append(log, item, &event, 0);
    });
    assert!(wrong.to_string().contains("record 2 of \"A\" doesn't fit"), "{wrong}");
    let digest = crooked(|item, log| {
        let event = next(item, sell(1));
        append(log, item, &event, 1);
    });
    assert!(digest.to_string().contains("the state digest at 2 is"), "{digest}");
    let garbage = crooked(|_, log| {
        let mut records = RecordBuffer::new();
        records.push(&[99, 1, 0, 1, b'A', 0, 0, 0]);
        log.append(&records, at(0).as_micros(), 0).unwrap();
    });
    assert!(garbage.to_string().contains("record 2 can't be decoded"), "{garbage}");
}

#[test]
fn a_cancelled_snapshot_leaves_nothing_behind() {
    let world = World::new();
    for number in 0..20 {
        world.execute(&format!("SKU-{number}"), create(number));
    }
    world.commit();
    let before = world.storage.contents();
    for stop_at in 0..4 {
        let mut told = 0;
        let progress: event_log::Progress<'_> = &mut |_, _| {
            told += 1;
            if told > stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let cancelled = world.ledger.snapshot(world.now, progress);
        assert!(matches!(cancelled, Err(LedgerSnapshotError::Cancelled)), "{cancelled:?}");
        assert!(world.storage.contents() == before, "stopped at {stop_at}: something is left");
        assert_eq!(world.ledger.log().snapshots().unwrap(), []);
    }
    let info = world.ledger.snapshot(world.now, &mut event_log::go_on).unwrap();
    assert_eq!(world.ledger.log().snapshots().unwrap(), [info]);
}
