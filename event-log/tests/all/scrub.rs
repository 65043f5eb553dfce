//! Verifying beside a writer and a compaction, read by read: what they do meanwhile is never called
//! damage, and what is damage is still found; every byte read is told to the pace.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use event_log::storage::paced::{Pace, PacedStorage};
use event_log::storage::{OpenMode, Storage};
use event_log::{Log, RecordBuffer, verify};

use crate::damage::{disk, segments};
use crate::world::{Op, SEGMENT_BYTES, World, options, retention};

/// Counts reads and does something at each.
#[derive(Clone)]
struct Hook {
    reads: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    at: Arc<dyn Fn(u64) -> io::Result<()> + Send + Sync>,
}

impl Hook {
    fn new(at: impl Fn(u64) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self { reads: Arc::default(), bytes: Arc::default(), at: Arc::new(at) }
    }
}

impl Pace for Hook {
    fn pass(&self, bytes: u64) -> io::Result<()> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        (self.at)(self.reads.fetch_add(1, Ordering::Relaxed))
    }
}

fn life() -> World {
    let mut world = World::new(9);
    world.open().unwrap();
    for _ in 0..2 {
        for _ in 0..8 {
            world.run(&[Op::Append(vec![2900]), Op::Commit, Op::Preallocate]).unwrap();
        }
        world.run(&[Op::Snapshot, Op::Acknowledge("tail")]).unwrap();
    }
    world
}

/// Appends over several segments, says that a consumer has it, takes snapshots.
fn write_on(log: &Arc<Log<impl Storage>>) {
    let mut records = RecordBuffer::new();
    records.push(&[8; 2900]);
    for _ in 0..9 {
        while log.preallocate_once().unwrap() {}
        let range = log.append(&records, 5, 5).unwrap();
        log.commit_once().unwrap();
        log.wait_blocking(range.last).unwrap();
    }
    let tip = log.tip();
    log.acknowledge("tail", tip.seq, tip.chain, 5).unwrap();
    let mut writer = log.begin_snapshot(5).unwrap();
    writer.seal();
    writer.finish(0).unwrap();
}

#[test]
fn what_others_do_meanwhile_is_never_damage() {
    let counting = Hook::new(|_| Ok(()));
    let world = life();
    let paced = PacedStorage::new(world.storage.clone(), counting.clone());
    assert!(verify(&paced, &mut |_, _| {}).unwrap().is_sound());
    let reads = counting.reads.load(Ordering::Relaxed);
    assert!(reads > 20, "{reads} reads");
    for archive in [true, false] {
        for moment in 0..reads {
            let world = life();
            let (storage, log) = (world.storage.clone(), Arc::clone(world.log()));
            let hook = Hook::new(move |read| {
                if read == moment {
                    write_on(&log);
                    log.compact(&retention(archive), 5, &mut event_log::go_on).unwrap();
                }
                Ok(())
            });
            let report = verify(&PacedStorage::new(storage, hook), &mut |_, _| {}).unwrap();
            assert!(report.is_sound(), "archive {archive}, read {moment}: {report:#?}");
        }
    }
}

#[test]
fn damage_is_found_whatever_others_do_meanwhile() {
    let world = life();
    let (file, _) = segments(&world.storage).remove(1);
    world.storage.flip_bit(&file, 4096 + 300, 1).unwrap();
    let (storage, log) = (world.storage.clone(), Arc::clone(world.log()));
    let hook = Hook::new(move |read| {
        if read == 9 {
            write_on(&log);
        }
        Ok(())
    });
    let report = verify(&PacedStorage::new(storage, hook), &mut |_, _| {}).unwrap();
    assert_eq!(report.damages[0].file, file, "{report:#?}");
}

#[test]
fn a_pace_is_told_every_byte_can_stop_and_lets_nothing_be_written() {
    let world = disk(true);
    let held: u64 = segments(&world.storage).iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let counting = Hook::new(|_| Ok(()));
    let paced = PacedStorage::new(world.storage.clone(), counting.clone());
    assert!(verify(&paced, &mut |_, _| {}).unwrap().is_sound());
    assert!(counting.bytes.load(Ordering::Relaxed) >= held);
    let stopping = Hook::new(|read| if read < 2 { Ok(()) } else { Err(io::Error::other("stop")) });
    let stopped = PacedStorage::new(world.storage.clone(), stopping.clone());
    assert!(!verify(&stopped, &mut |_, _| {}).unwrap().is_sound());
    let before = world.storage.op_count();
    assert!(paced.open("LOCK", OpenMode::ReadWrite).is_err());
    assert!(paced.open("new", OpenMode::CreateNew).is_err());
    assert!(Log::open(paced, options(SEGMENT_BYTES)).is_err());
    assert_eq!(world.storage.op_count(), before);
}
