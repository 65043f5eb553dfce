//! A segment that is missing between two others is found at opening and named by its file and its
//! seqs; the beginning may be gone, as far as the archive or a snapshot stands for it.

use event_log::storage::Storage;
use event_log::storage::disk::DiskStorage;
use event_log::storage::sim::SimStorage;
use event_log::{Damage, Log, LogOptions, OpenError, RecordBuffer, Seq, verify};

use crate::damage::{open_unchanged, segments};
use crate::world::{Op, SEGMENT_BYTES, World, options, retention};

/// Six segments or more, each of a few frames; no snapshot.
fn world() -> World {
    let mut world = World::new(3);
    world.open().unwrap();
    for _ in 0..20 {
        world.run(&[Op::Append(vec![2900]), Op::Commit, Op::Preallocate]).unwrap();
    }
    world.run(&[Op::Checkpoint]).unwrap();
    assert!(segments(&world.storage).len() >= 6, "{}", segments(&world.storage).len());
    world
}

fn first_of(file: &str) -> Seq {
    event_log::parse_segment_file_name(file).unwrap()
}

fn refused(storage: &SimStorage, what: &str) -> Damage {
    match open_unchanged(storage) {
        Err(OpenError::Corrupt(damage)) => damage,
        other => panic!("{what}: {:?}", other.err()),
    }
}

#[test]
fn each_missing_segment_between_two_others_is_named() {
    let mut world = world();
    world.log = None;
    let files = segments(&world.storage);
    for (index, gone) in files.iter().enumerate().skip(1).take(files.len() - 2) {
        let storage = world.storage.fork();
        assert!(storage.take(&gone.0));
        let damage = refused(&storage, &gone.0);
        let (first, last) = (first_of(&gone.0), first_of(&files[index + 1].0).previous());
        assert_eq!(damage.file, gone.0);
        assert_eq!((damage.first_seq, damage.last_seq), (first, last), "{damage}");
        let report = verify(&storage, &mut |_, _| {}).unwrap();
        let told = &report.damages[0];
        assert_eq!((told.file.as_str(), told.first_seq, told.last_seq), (&*gone.0, first, last));
        // Two in a row are one gap.
        if index + 2 < files.len() {
            assert!(storage.take(&files[index + 1].0));
            let last = first_of(&files[index + 2].0).previous();
            let damage = refused(&storage, "two in a row");
            assert_eq!((damage.first_seq, damage.last_seq), (first, last), "{damage}");
        }
    }
}

/// What stands for the oldest segments: the archive, or a snapshot.
#[test]
fn the_beginning_may_be_gone_but_not_more_than_a_snapshot_stands_for() {
    for archive in [true, false] {
        let mut world = world();
        world.run(&[Op::Snapshot, Op::Append(vec![5]), Op::Commit, Op::Snapshot]).unwrap();
        for _ in 0..8 {
            world.run(&[Op::Append(vec![2900]), Op::Commit, Op::Preallocate]).unwrap();
        }
        world.log().compact(&retention(archive), 0, &mut event_log::go_on).unwrap();
        world.log().close().unwrap();
        world.log = None;
        let files = segments(&world.storage);
        let archived = world.storage.list("archive").unwrap_or_default().len();
        assert!(files.len() >= 3 && (archived >= 4) == archive, "{} {archived}", files.len());
        drop(open_unchanged(&world.storage.fork()).unwrap());
        // The oldest live segment holds what follows the snapshots.
        let storage = world.storage.fork();
        assert!(storage.take(&files[0].0));
        let damage = refused(&storage, "the oldest live segment");
        let last = first_of(&files[1].0).previous();
        assert_eq!(damage.last_seq, last, "{damage}");
        if archive {
            assert_eq!((&damage.file, damage.first_seq), (&files[0].0, first_of(&files[0].0)));
            // A copy in the archive is as good: a crash leaves both, and loses neither.
            let storage = world.storage.fork();
            for name in storage.list("archive").unwrap().into_iter().take(2) {
                assert!(storage.take(&format!("archive/{name}")));
            }
            drop(open_unchanged(&storage).unwrap());
        }
    }
}

#[test]
fn a_damaged_end_of_a_sealed_segment_is_named_as_such() {
    let mut world = world();
    world.log = None;
    let files = segments(&world.storage);
    let (file, bytes) = &files[1];
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let last_frame = (0..used / 512).rev().map(|block| block * 512);
    let offset = last_frame.into_iter().find(|at| bytes[*at..].starts_with(b"OHFR")).unwrap();
    world.storage.flip_bit(file, offset as u64 + 20, 3).unwrap();
    let damage = refused(&world.storage, "a flipped bit");
    assert_eq!((&damage.file, damage.offset), (file, offset as u64), "{damage}");
    assert_eq!(damage.last_seq, first_of(&files[2].0).previous(), "{damage}");
}

#[test]
fn a_missing_segment_is_named_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DiskStorage::new(dir.path().to_owned());
    let options = LogOptions { segment_bytes: 4 * SEGMENT_BYTES, ..options(SEGMENT_BYTES) };
    let log = Log::open(storage.clone(), options.clone()).unwrap();
    let mut records = RecordBuffer::new();
    records.push(&vec![7; 20_000]);
    for _ in 0..9 {
        while log.preallocate_once().unwrap() {}
        log.append(&records, 5, 5).unwrap();
        log.commit_once().unwrap();
    }
    log.close().unwrap();
    drop(log);
    let mut names = storage.list("").unwrap();
    names.retain(|name| event_log::parse_segment_file_name(name).is_some());
    assert!(names.len() >= 3, "{names:?}");
    std::fs::remove_file(dir.path().join(&names[1])).unwrap();
    match Log::open(storage, options) {
        Err(OpenError::Corrupt(damage)) => {
            assert_eq!(damage.file, names[1]);
            assert_eq!(damage.last_seq, first_of(&names[2]).previous());
        }
        other => panic!("{:?}", other.err()),
    }
}
