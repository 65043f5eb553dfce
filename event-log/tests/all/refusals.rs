//! What a log refuses to open, and the lock, on the real disk where it matters.

use std::path::Path;

use event_log::storage::Storage;
use event_log::storage::disk::DiskStorage;
use event_log::storage::sim::SimStorage;
use event_log::{Log, LogOptions, OpenError, RecordBuffer, SEGMENT_BYTES_MAX, Seq};

use crate::world::{Op, SEGMENT_BYTES, World, options};

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(contents(&entry.path()));
        } else {
            files.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
        }
    }
    files.sort();
    files
}

fn records(count: usize) -> RecordBuffer {
    let mut buffer = RecordBuffer::new();
    for index in 0..count {
        buffer.push(format!("record {index}").as_bytes());
    }
    buffer
}

#[test]
fn a_second_opener_is_told_who_holds_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DiskStorage::new(dir.path().join("a/log"));
    storage.create_dir("").unwrap();
    let first = Log::open(storage.clone(), options(SEGMENT_BYTES)).unwrap();
    first.append(&records(2), 5, 5).unwrap();
    first.commit_once().unwrap();
    let before = contents(dir.path());
    let second = LogOptions { holder: "process 43".to_owned(), ..options(SEGMENT_BYTES) };
    match Log::open(storage.clone(), second.clone()) {
        Err(OpenError::Locked { holder }) => assert_eq!(holder, "process 42"),
        other => panic!("{:?}", other.err()),
    }
    assert!(contents(dir.path()) == before, "a refused opening changed something");
    drop(first);
    let log = Log::open(storage, second).unwrap();
    assert_eq!(log.last(), Seq::new(2));
}

#[test]
fn a_life_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DiskStorage::new(dir.path().to_owned());
    for life in 0..3_u64 {
        let log = Log::open(storage.clone(), options(SEGMENT_BYTES)).unwrap();
        log.start().unwrap();
        assert_eq!(log.last().get(), life * 40);
        for _ in 0..20 {
            let range = loop {
                match log.append(&records(2), 5, 5) {
                    Ok(range) => break range,
                    Err(event_log::AppendError::Busy) => std::thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            };
            log.wait_blocking(range.last).unwrap();
        }
        let mut writer = log.begin_snapshot(1).unwrap();
        writer.section(1, 1, b"state").unwrap();
        writer.seal();
        writer.finish(9).unwrap();
        let tip = log.tip();
        log.acknowledge("tail", tip.seq, tip.chain, 5).unwrap();
        log.compact(&crate::world::retention(true), 5, &mut event_log::go_on).unwrap();
        log.close().unwrap();
        assert!(event_log::verify(&storage, &mut |_, _| {}).unwrap().is_sound());
    }
    let log = Log::open(storage, options(SEGMENT_BYTES)).unwrap();
    let (first, records, _) = crate::world::read_all(&log).unwrap();
    assert_eq!((first, records.len()), (1, 120));
}

/// What is longer could be written and then be read by nobody.
#[test]
fn segments_longer_than_readers_take_are_refused() {
    let storage = SimStorage::new(1);
    let open = |segment_bytes| Log::open(storage.clone(), options(segment_bytes));
    for bytes in [SEGMENT_BYTES_MAX + 1, u64::MAX] {
        match open(bytes) {
            Err(OpenError::Options { what }) => assert!(what.contains("at most 1 GiB"), "{what}"),
            other => panic!("{:?}", other.err()),
        }
    }
    assert_eq!(storage.op_count(), 0, "a refusal changes nothing");
    // The longest one is no wrong option: what an empty disk can't be is looked at.
    let looked = Log::open_read_only(storage, options(SEGMENT_BYTES_MAX));
    assert!(matches!(looked.err(), Some(OpenError::NotALog { .. })));
}

#[test]
fn another_owner_is_refused() {
    let mut world = World::new(1);
    world.open().unwrap();
    world.log = None;
    let before = world.storage.contents();
    let other = LogOptions { owner: b"store-2".to_vec(), ..options(SEGMENT_BYTES) };
    match Log::open(world.storage.clone(), other) {
        Err(OpenError::WrongOwner { found, expected }) => {
            assert_eq!((found.as_slice(), expected.as_slice()), (&b"store-1"[..], &b"store-2"[..]));
        }
        other => panic!("{:?}", other.err()),
    }
    assert!(world.storage.contents() == before);
    world.open().unwrap();
}

#[test]
fn a_newer_version_is_refused_as_such() {
    let mut world = World::new(1);
    world.open().unwrap();
    world.log = None;
    let (file, mut page) =
        world.storage.contents().into_iter().find(|(path, _)| path.ends_with("1.log")).unwrap();
    page[8] = 77;
    let crc = crc32fast::hash(&page[..4092]);
    page[4092..4096].copy_from_slice(&crc.to_le_bytes());
    world.storage.put(&file, &page);
    let before = world.storage.contents();
    match Log::open(world.storage.clone(), options(SEGMENT_BYTES)) {
        Err(OpenError::UnsupportedVersion { file: named, found }) => {
            assert_eq!((named, found), (file, 77));
        }
        other => panic!("{:?}", other.err()),
    }
    assert!(world.storage.contents() == before);
}

#[test]
fn garbage_is_not_a_log() {
    let garbage: Vec<u8> = (0..20_000_u32).map(|index| (index * 31 % 251) as u8).collect();
    let zeros = vec![0; 16 * 1024];
    for bytes in [&garbage[..], &zeros[..], &garbage[..10], &[]] {
        let storage = SimStorage::new(1);
        storage.put("00000000000000000001.log", bytes);
        storage.put("notes.txt", b"mine");
        let before = storage.contents();
        match Log::open(storage.clone(), options(SEGMENT_BYTES)) {
            Err(OpenError::NotALog { .. } | OpenError::Corrupt(_)) => {}
            other => panic!("{} bytes: {:?}", bytes.len(), other.err()),
        }
        assert!(storage.contents() == before, "a refused opening changed something");
    }
}

#[test]
fn unknown_files_are_kept() {
    let mut world = World::new(1);
    world.open().unwrap();
    world.storage.put("notes.txt", b"mine");
    world.storage.put("snapshots/readme", b"mine");
    world.run(&crate::crash::script()).unwrap();
    let contents = world.storage.contents();
    for path in ["notes.txt", "snapshots/readme"] {
        assert!(contents.iter().any(|(found, bytes)| found == path && bytes == b"mine"), "{path}");
    }
}

/// Only a spare and the lock are left: a new log here would sell what the old one had sold.
#[test]
fn a_directory_that_lost_all_segments_is_no_new_log() {
    let mut world = World::new(1);
    world.open().unwrap();
    world.run(&[Op::Append(vec![10]), Op::Commit, Op::Preallocate]).unwrap();
    world.log = None;
    for name in world.storage.list("").unwrap() {
        if event_log::parse_segment_file_name(&name).is_some() {
            assert!(world.storage.take(&name));
        }
    }
    match Log::open(world.storage.clone(), options(SEGMENT_BYTES)) {
        Err(OpenError::NotALog { what }) => assert!(what.contains("spare"), "{what}"),
        other => panic!("{:?}", other.map(|_| "opened")),
    }
}
