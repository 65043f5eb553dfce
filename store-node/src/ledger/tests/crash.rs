//! The power goes at every operation of the disk: nothing acknowledged is lost, every keyed request
//! has exactly one effect, and the end is the same as without the crash.

use event_log::storage::sim::{Fault, SimStorage};
use shared::Action;

use super::world::*;
use crate::ledger::{ExecutedBatch, LedgerError};

/// How many requests a run makes.
const REQUESTS: u64 = 60;
/// After so many requests they are committed together.
const GROUP: u64 = 3;
/// How often an unsettled answer is asked for again.
const ASKS_MAX: usize = 3;

/// The answer to a request as far as it may not differ between runs.
type Told = String;

fn lines(number: u64) -> Vec<(&'static str, Action)> {
    let order = format!("o{}", number / 4);
    match number % 6 {
        0 => vec![("A", create(40)), ("B", create(7))],
        1 => vec![("A", sell(1 + number % 5))],
        2 => vec![("B", reserve(&order, 2)), ("A", reserve(&order, 1))],
        3 => vec![("A", sell(30)), ("B", receive(1)), ("C", create(number))],
        4 => vec![("B", if number.is_multiple_of(4) { release(&order) } else { deduct(&order) })],
        _ => vec![("A", receive(2)), ("A", sell(1)), ("A", reserve(&order, 1))],
    }
}

fn ask(world: &World, number: u64) -> Result<(Told, ExecutedBatch), LedgerError> {
    for _ in 0..ASKS_MAX {
        match world.try_batch(number.is_multiple_of(2), lines(number), Some(number)) {
            Err(LedgerError::Unsettled { .. }) => {
                if world.try_commit().is_err() {
                    break;
                }
            }
            executed => return executed.map(|batch| (format!("{:?}", batch.lines), batch)),
        }
    }
    Err(LedgerError::KeyReused)
}

/// Runs the requests until something fails; returns what was acknowledged: what is durable, or, of
/// a store in a haste, everything.
fn run(world: &mut World, hasty: bool) -> Vec<(u64, Told)> {
    let mut acknowledged = Vec::new();
    let mut waiting = Vec::new();
    for number in 0..REQUESTS {
        world.now = at(number as i64);
        let Ok((told, batch)) = ask(world, number) else {
            break;
        };
        waiting.push((number, told, batch.settle));
        if number % GROUP == 0 && world.try_commit().is_err() {
            break;
        }
        if number % 25 == 10 {
            let drawn = world.ledger.draw_snapshot(world.now, &mut event_log::go_on);
            let _either = world.try_commit();
            let _either = drawn.and_then(crate::ledger::PendingSnapshot::finish);
        }
    }
    let _either = world.try_commit();
    let durable = world.ledger.log().durable();
    for (number, told, settle) in waiting {
        if settle <= durable || hasty {
            acknowledged.push((number, told));
        }
    }
    acknowledged
}

/// Asks for everything again, in order; returns the answers, whether each was a replay, and the
/// digest.
fn run_again(world: &mut World) -> (Vec<(Told, bool)>, u128) {
    let mut answers = Vec::new();
    for number in 0..REQUESTS {
        world.now = at(number as i64);
        let (told, batch) = ask(world, number).unwrap();
        answers.push((told, batch.replayed));
        world.commit();
    }
    (answers, world.ledger.log().tip().digest)
}

fn reference() -> (Vec<Told>, u128, u64) {
    let storage = SimStorage::new(9);
    let mut world = World::open(&storage, at(0)).unwrap();
    let acknowledged = run(&mut world, false);
    assert_eq!(acknowledged.len() as u64, REQUESTS);
    let digest = world.ledger.log().tip().digest;
    let told = acknowledged.into_iter().map(|(_, told)| told).collect();
    (told, digest, storage.op_count())
}

/// Lets `fault` happen at operation `index`, cuts the power, opens again and checks.
fn check(index: u64, fault: Fault, seed: u64, expected: (&[Told], u128)) {
    check_run(index, fault, seed, expected, false);
}

fn check_run(index: u64, fault: Fault, seed: u64, (told, digest): (&[Told], u128), hasty: bool) {
    let storage = SimStorage::new(9);
    storage.fail_at(index, fault);
    let acknowledged = match World::open(&storage, at(0)) {
        Ok(mut world) => run(&mut world, hasty),
        Err(_) => Vec::new(),
    };
    let mut disk = storage.crashed(seed);
    // Every few runs the power goes again while the log is being opened.
    if index % 5 == 1 {
        disk.fail_at(disk.op_count() + seed % 7, Fault::Crash);
        let _either = World::open(&disk, at(0));
        disk = disk.crashed(seed + 1);
    }
    let case = format!("{fault:?} at {index}, seed {seed}");
    let mut world = match World::open(&disk, at(0)) {
        Ok(world) => world,
        Err(error) => panic!("{case}: {error:?}"),
    };
    let (again, digest_again) = run_again(&mut world);
    for (number, answer) in acknowledged {
        assert_eq!(
            again[number as usize],
            (answer, true),
            "{case}: request {number} was acknowledged"
        );
    }
    let first_lost = again.iter().position(|(_, replayed)| !replayed).unwrap_or(again.len());
    assert!(again[first_lost..].iter().all(|(_, replayed)| !replayed), "{case}: a hole");
    for (number, (answer, _)) in again.iter().enumerate() {
        assert_eq!(answer, &told[number], "{case}: request {number}");
    }
    assert_eq!(digest_again, digest, "{case}");
    let world = world.reopen();
    assert_eq!(world.report.digest, digest, "{case}");
}

#[test]
fn every_crash_leaves_each_request_done_once_or_not_at_all() {
    let (told, digest, operations) = reference();
    for index in 0..operations {
        for seed in 0..4 {
            check(index, Fault::Crash, index * 31 + seed, (&told, digest));
        }
    }
}

#[test]
fn every_failed_operation_leaves_each_request_done_once_or_not_at_all() {
    let (told, digest, operations) = reference();
    for index in 0..operations {
        check(index, Fault::Eio, index * 17, (&told, digest));
    }
}

/// The checker sees a planted defect: answers that don't wait for the disk.
#[test]
#[should_panic(expected = "was acknowledged")]
fn a_lost_acknowledgement_is_seen() {
    let (told, digest, operations) = reference();
    for index in operations / 2..operations {
        check_run(index, Fault::Crash, index, (&told, digest), true);
    }
}
