//! A disk that fails without a power cut: I/O errors and full disks at every operation, and a disk
//! of limited size.

use std::sync::Arc;

use event_log::storage::sim::{Fault, Operation};
use event_log::{AppendError, Log, LogState, RecordBuffer, Seq};

use crate::crash::script;
use crate::world::{Op, Outcome, World, ensure, options};

/// How many power cuts are tried right after a fault, one after each operation.
const LOOKS_AFTER_FAULT: u32 = 8;

/// Goes through the script with one fault; whatever happens, what was acknowledged is there after a
/// restart, with and without a power cut.
fn fail_at(index: u64, fault: Fault) -> Result<bool, String> {
    let mut world = World::new(1);
    world.storage.fail_at(index, fault);
    let mut died = false;
    // A failed opening is tried again, as an operator would.
    if let Err(error) = world.try_open() {
        ensure!(world.storage.op_count() > index, "opening failed on its own: {error}");
        world.open()?;
    }
    let mut looks = 0;
    for op in script() {
        if let Outcome::Dead(_) = world.apply(&op)? {
            died = true;
            world.open()?;
        }
        // A power cut soon after the fault: whatever went on since must not lean on what was lost.
        if world.storage.op_count() > index && looks < LOOKS_AFTER_FAULT {
            looks += 1;
            let mut after = world.crashed(index);
            after
                .open()
                .map_err(|what| format!("cut {looks} after the fault, at {op:?}: {what}"))?;
        }
    }
    for seed in 0..3 {
        let mut after = world.crashed(seed);
        after.open().map_err(|what| format!("after a power cut, seed {seed}: {what}"))?;
        ensure!(
            after.run(&[Op::Append(vec![8]), Op::Commit])? == Outcome::Done,
            "it doesn't go on after a cut"
        );
    }
    world.apply(&Op::Kill)?;
    if world.log.is_none() {
        world.open()?;
    }
    let _ = world.log().preallocate_once();
    ensure!(
        world.run(&[Op::Append(vec![8]), Op::Commit])? == Outcome::Done,
        "it doesn't go on after a restart"
    );
    Ok(died)
}

fn operations() -> (u64, World) {
    let mut world = World::new(1);
    world.open().expect("an empty disk");
    world.run(&script()).expect("nothing goes wrong without faults");
    (world.storage.op_count(), world)
}

#[test]
fn an_io_error_at_every_operation_loses_nothing() {
    let (count, world) = operations();
    for index in 0..count {
        if let Err(what) = fail_at(index, Fault::Eio) {
            panic!("EIO at {index} ({:?}): {what}", world.storage.operation(index));
        }
    }
}

#[test]
fn a_full_disk_at_every_operation_loses_nothing() {
    let (count, world) = operations();
    for index in 0..count {
        if let Err(what) = fail_at(index, Fault::Enospc) {
            panic!("ENOSPC at {index} ({:?}): {what}", world.storage.operation(index));
        }
    }
}

fn one(length: usize) -> RecordBuffer {
    let mut buffer = RecordBuffer::new();
    buffer.push(&vec![1; length]);
    buffer
}

/// Makes the next sync or write of a segment fail and commits.
fn poison(world: &World, skip: u64) -> Result<Seq, String> {
    let log = Arc::clone(world.log());
    let range = log.append(&one(50), 1, 1).map_err(|error| error.to_string())?;
    let index = world.storage.op_count() + skip;
    world.storage.fail_at(index, Fault::Eio);
    ensure!(
        log.commit_once().is_err(),
        "{:?} failed and nobody noticed",
        world.storage.operation(index)
    );
    Ok(range.last)
}

#[test]
fn poison_latches_and_settled_records_stay_readable() {
    for skip in [0, 1] {
        let mut world = World::new(3);
        world.open().unwrap();
        world.run(&[Op::Append(vec![10]), Op::Commit, Op::Append(vec![20]), Op::Commit]).unwrap();
        poison(&world, skip).unwrap();
        let log = Arc::clone(world.log());
        assert!(matches!(log.append(&one(5), 2, 2), Err(AppendError::Poisoned { .. })));
        assert!(log.commit_once().is_err(), "no retry, ever");
        assert!(matches!(log.status().state, LogState::Poisoned { .. }));
        assert_eq!(log.durable(), Seq::new(2));
        assert_eq!(log.read_records(Seq::new(1), 2).unwrap().len(), 2);
        assert!(log.checkpoint_once().is_err());
        assert!(log.close().is_err());
        // A restart looks at what is really there: the outcome is one of two, and then it is settled.
        drop(log);
        world.log = None;
        world.log = Some(Log::open(world.storage.clone(), options(world.segment_bytes)).unwrap());
        assert!((2..=3).contains(&world.log().last().get()));
        let settled = world.log().last();
        let after = Log::open(world.storage.crashed(9), options(world.segment_bytes)).unwrap();
        assert_eq!(after.last(), settled, "what a restart called durable is durable");
    }
}

/// A close frame whose sync failed reads well and isn't durable either: what comes behind it must
/// not make a hole of it.
#[test]
fn a_close_frame_that_was_not_synced_is_no_hole_later() {
    for cut in 0..20 {
        let mut world = World::new(cut);
        world.open().unwrap();
        world.run(&[Op::Append(vec![10]), Op::Commit]).unwrap();
        world.storage.fail_at(world.storage.op_count() + 1, Fault::Eio);
        assert!(world.log().close().is_err());
        world.open().unwrap();
        world.run(&[Op::Append(vec![20]), Op::Commit]).unwrap();
        let mut after = world.crashed(cut);
        after.open().unwrap();
    }
}

/// After an I/O error the pages read well and aren't durable: a restart must write them again
/// before it calls them durable.
#[test]
fn readable_pages_of_a_failed_sync_are_not_trusted() {
    let mut kept = 0;
    for seed in 0..40 {
        let mut world = World::new(seed);
        world.open().unwrap();
        world.run(&[Op::Append(vec![10]), Op::Commit]).unwrap();
        poison(&world, 1).unwrap();
        world.log = None;
        let log = Log::open(world.storage.clone(), options(world.segment_bytes)).unwrap();
        kept += u64::from(log.last() == Seq::new(2));
        for cut in 0..10 {
            let after =
                Log::open(world.storage.crashed(cut), options(world.segment_bytes)).unwrap();
            assert_eq!(after.last(), log.last(), "seed {seed}, cut {cut}");
        }
    }
    assert!(kept > 0, "the failed sync's record was readable at least once");
}

#[test]
fn a_spare_that_cannot_be_made_is_told_before_anyone_needs_it() {
    let mut world = World::new(5);
    world.open().unwrap();
    assert_eq!(world.log().shortage(), None);
    world.storage.fail_at(world.storage.op_count(), Fault::Eio);
    assert!(world.log().preallocate_once().is_err());
    let status = world.log().status();
    assert!(matches!(status.state, LogState::Writable), "{:?}", status.state);
    assert!(status.shortage.is_some());
    assert_eq!(world.log().shortage(), status.shortage);
    world.log().preallocate_once().unwrap();
    assert_eq!(world.log().shortage(), None, "it went by");
    world.apply(&Op::Kill).unwrap();
}

#[test]
fn a_full_disk_makes_it_read_only_and_room_makes_it_go_on() {
    let mut world = World::new(5);
    world.open().unwrap();
    world.run(&[Op::Append(vec![10]), Op::Commit, Op::Preallocate]).unwrap();
    let used: u64 = world.storage.contents().iter().map(|(_, bytes)| bytes.len() as u64).sum();
    world.storage.set_capacity(Some(used + 3000));
    let mut refused = None;
    for _ in 0..100 {
        let before = world.model.records.len();
        world.run(&[Op::Append(vec![3000]), Op::Commit]).unwrap();
        if world.model.records.len() == before {
            refused = Some(world.log().append(&one(3000), 1, 1).unwrap_err());
            break;
        }
    }
    assert_eq!(refused, Some(AppendError::NoSpace));
    assert!(
        matches!(world.log().status().state, LogState::ReadOnly { .. }),
        "{:?}",
        world.log().status().state
    );
    world.check().unwrap();
    let partial = (0..world.storage.op_count()).filter_map(|index| world.storage.operation(index));
    assert!(partial.into_iter().any(|operation| matches!(operation, Operation::SyncData(_))));
    world.storage.set_capacity(None);
    world.log().preallocate_once().unwrap();
    assert_eq!(world.run(&[Op::Append(vec![3000]), Op::Commit]).unwrap(), Outcome::Done);
    assert!(matches!(world.log().status().state, LogState::Writable));
    world.apply(&Op::Kill).unwrap();
}

/// A whole life on a disk that is always nearly full: nothing acknowledged is lost, the log never
/// gets poisoned by it, and room makes it go on.
#[test]
fn a_life_on_a_small_disk() {
    for capacity in (40..200).step_by(8) {
        let mut world = World::new(capacity);
        world.storage.set_capacity(Some(capacity * 1024));
        if world.try_open().is_err() {
            world.storage.set_capacity(None);
            world.open().unwrap();
            continue;
        }
        for op in script() {
            if let Outcome::Dead(what) = world.apply(&op).unwrap() {
                assert!(what.contains("space"), "{what}");
                world.storage.set_capacity(None);
                world.open().unwrap();
                world.storage.set_capacity(Some(capacity * 1024));
            }
            let state = world.log().status().state;
            assert!(
                !matches!(state, LogState::Poisoned { .. }),
                "{capacity} KiB, {op:?}: {state:?}"
            );
        }
        world.storage.set_capacity(None);
        let _ = world.log().preallocate_once();
        assert_eq!(
            world.run(&[Op::Append(vec![3000]), Op::Commit, Op::Kill]).unwrap(),
            Outcome::Done
        );
    }
}
