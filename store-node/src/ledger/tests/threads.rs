//! Many threads at once over the real threads of the log: no oversell, one effect for each key,
//! snapshots beside writers.

use std::sync::atomic::{AtomicU64, Ordering};

use event_log::storage::sim::SimStorage;
use event_log::{AppendError, Cursor, Seq};
use shared::Action;

use super::world::*;
use crate::idempotency::KeyTable;
use crate::ledger::replay::{Replay, ReplayOptions};
use crate::ledger::{Executed, LedgerError, LedgerOptions};

/// Asks until there is an answer, as a patient till would.
fn insist(world: &World, name: &str, action: impl Fn() -> Action, key: u64) -> Executed {
    for _ in 0..1_000_000 {
        match world.try_execute(name, action(), Some(request_key(key))) {
            Err(LedgerError::Append(AppendError::Busy)) => std::thread::yield_now(),
            Err(LedgerError::Unsettled { settle }) => {
                world.ledger.log().wait_blocking(settle).unwrap();
            }
            executed => return executed.unwrap(),
        }
    }
    panic!("no answer");
}

#[test]
fn a_hot_sku_is_never_oversold_and_each_key_counts_once() {
    let storage = SimStorage::new(4);
    let world = World::open(&storage, at(0)).unwrap();
    world.ledger.log().start().unwrap();
    world.execute("A", create(500));
    let (sold, told) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (world, sold, told) = (&world, &sold, &told);
            scope.spawn(move || {
                for number in 0..250 {
                    // Two threads send each key; one of them does it, the other is told.
                    let key = thread / 2 * 1000 + number;
                    let executed = insist(world, "A", || sell(2), key);
                    let counter = if executed.replayed { told } else { sold };
                    counter.fetch_add(u64::from(executed.outcome.is_ok()), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!((sold.into_inner(), told.into_inner()), (250, 250));
    assert_eq!(world.state("A"), (0, 0, 500, 251));
    assert_eq!(world.ledger.stats().keys, 500);
    let world = world.reopen();
    assert_eq!(world.state("A"), (0, 0, 500, 251));
}

#[test]
fn snapshots_beside_writers_lose_neither_items_nor_keys() {
    let storage = SimStorage::new(6);
    let mut world = World::open(&storage, at(0)).unwrap();
    for round in 0..3_u64 {
        world.ledger.log().start().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3_u64 {
                let world = &world;
                scope.spawn(move || {
                    for number in 0..200 {
                        let key = round * 1000 + thread * 300 + number;
                        insist(world, &format!("S{key}"), || create(1), key);
                        insist(world, "hot", || receive(1), 100_000 + key);
                    }
                });
            }
            for _ in 0..4 {
                let taken = world.ledger.snapshot(world.now, &mut event_log::go_on);
                assert!(taken.unwrap().hi() >= event_log::Seq::ZERO);
            }
        });
        world = world.reopen();
        assert!(world.report.snapshot.is_some());
        assert_eq!(world.report.keys, (round + 1) * 1200);
        assert_eq!(world.report.items, (round + 1) * 600);
        for key in (0..=round).flat_map(|r| (0..3).map(move |t| r * 1000 + t * 300 + 199)) {
            assert!(insist(&world, &format!("S{key}"), || create(1), key).replayed);
        }
    }
}

#[test]
fn batches_over_the_same_skus_in_any_order_do_not_deadlock() {
    let world = World::new();
    world.ledger.log().start().unwrap();
    let names = ["A", "B", "C", "D", "E"];
    for name in names {
        world.execute(name, create(1_000_000));
    }
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let world = &world;
            scope.spawn(move || {
                for number in 0..300_usize {
                    let line = |place: usize| (names[(place * (thread + 1) + number) % 5], sell(1));
                    let asked = || (0..5).map(line).collect();
                    while world.try_batch(thread % 2 == 0, asked(), None).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    let sold: u64 = names.iter().map(|name| world.state(name).2).sum();
    assert_eq!(sold, 4 * 300 * 5);
    let world = world.reopen();
    assert_eq!(names.iter().map(|name| world.state(name).2).sum::<u64>(), sold);
}

/// A log that is several of a replay's batches long, all of them about every shard.
#[test]
fn a_long_log_replays_into_the_same_state_with_any_number_of_threads() {
    let world = World::new();
    let names: Vec<String> = (0..300).map(|number| format!("S-{number}")).collect();
    world.batch(true, names.iter().map(|name| (name.as_str(), create(1))).collect());
    for round in 0..1000 {
        let lines = names.iter().map(|name| (name.as_str(), receive(1)));
        world.try_batch(false, lines.collect(), Some(round)).unwrap();
        world.commit();
    }
    let log = world.ledger.log();
    let (records, digest) = (log.durable().get(), log.tip().digest);
    for workers in [1, 2, 3, 8] {
        let LedgerOptions { keys_max, key_life_us, .. } = LedgerOptions::default();
        let mut keys = KeyTable::new(keys_max, key_life_us);
        let options = ReplayOptions { workers, ..ReplayOptions::opening(world.now) };
        let mut reached = Vec::new();
        let replay = Replay::new(&mut keys, options);
        let mut source = log.reader(Cursor::START).unwrap();
        let report = replay.run(&mut source, &mut |seq: Seq| reached.push(seq)).unwrap().report;
        assert!(reached.len() >= 3, "one batch tells little: {reached:?}");
        let done = report.applied + report.receipts;
        assert_eq!((report.records, done, report.digest), (records, records, digest));
        assert_eq!((report.keys, keys.len()), (1000, 1000));
    }
}
