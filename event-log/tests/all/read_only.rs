//! Opening to look: any directory, damaged, held by another process or write-protected; nothing is
//! written, and what is shown is a prefix that can be proven.

use std::sync::Arc;

use event_log::storage::Storage;
use event_log::storage::sim::SimStorage;
use event_log::{
    AcknowledgeError, AppendError, Chain, CompactionError, Cursor, Log, LogState, OpenError,
    ReadOnlyOpening, RecordBuffer, Seq, SnapshotError,
};

use crate::damage::{disk, segments};
use crate::world::{Op, SEGMENT_BYTES, World, options, read_all, retention};

/// Opens for reading only and asserts that nothing was written, then or by any call after it.
fn look(storage: &SimStorage) -> Result<Arc<Log<SimStorage>>, OpenError> {
    let (before, operations) = (storage.contents(), storage.op_count());
    let log = Log::open_read_only(storage.clone(), options(SEGMENT_BYTES))?;
    log.start().unwrap();
    refuses_everything(&log);
    assert_eq!(storage.op_count(), operations, "{:?}", storage.operation(operations));
    assert!(storage.contents() == before, "looking changed something");
    Ok(log)
}

fn refuses_everything(log: &Arc<Log<SimStorage>>) {
    let mut records = RecordBuffer::new();
    records.push(b"no");
    assert!(matches!(log.append(&records, 5, 5), Err(AppendError::ReadOnly { .. })));
    log.commit_once().unwrap();
    log.checkpoint_once().unwrap();
    assert_eq!(log.preallocate_once(), Ok(false));
    assert!(matches!(log.begin_snapshot(5), Err(SnapshotError::ReadOnly)));
    let compacted = log.compact(&retention(true), 5, &mut event_log::go_on);
    assert!(matches!(compacted, Err(CompactionError::Refused { .. })));
    let tip = log.tip();
    let acknowledged = log.acknowledge("new", tip.seq, tip.chain, 5);
    assert!(matches!(acknowledged, Err(AcknowledgeError::ReadOnly)), "{acknowledged:?}");
    assert!(matches!(log.deregister("tail"), Err(AcknowledgeError::ReadOnly)));
    assert!(matches!(log.state(), LogState::LookOnly { .. }));
}

fn found(log: &Log<SimStorage>) -> &ReadOnlyOpening {
    log.read_only().expect("it was opened for reading only")
}

/// The seqs that are read from a place, and whether the reading ends well.
fn read_from(log: &Log<SimStorage>, cursor: Cursor) -> (u64, bool) {
    let mut reader = log.reader(cursor).unwrap();
    let mut last = cursor.seq.get();
    loop {
        match reader.next() {
            Ok(Some(frame)) => last = frame.header.last_seq().get(),
            Ok(None) => return (last, true),
            Err(_) => return (last, false),
        }
    }
}

#[test]
fn a_sound_directory_is_shown_whole_and_left_as_it_is() {
    for closed in [true, false] {
        let world = disk(closed);
        let log = look(&world.storage).unwrap();
        let (first, records, chain) = read_all(&log).unwrap();
        assert_eq!((first, records.as_slice()), (1, &world.model.records[..]));
        assert_eq!((chain, log.durable()), (log.tip().chain, log.last()));
        let opening = found(&log);
        assert!(opening.is_exact && opening.damages.is_empty(), "{opening:?}");
        assert_eq!(opening.holder, None);
        log.close().unwrap();
        assert!(matches!(log.state(), LogState::Closed));
        drop(log);
        let mut again = world;
        again.open().unwrap();
    }
}

#[test]
fn beside_a_writer_it_shows_what_a_later_frame_proves() {
    let mut world = World::new(1);
    world.open().unwrap();
    for expected in [0, 1, 2, 3] {
        let log = look(&world.storage).unwrap();
        assert_eq!(log.durable().get(), u64::saturating_sub(expected, 1));
        assert_eq!(found(&log).holder.as_deref(), Some("process 42"));
        assert_eq!(read_from(&log, Cursor::START), (log.durable().get(), true));
        world.run(&[Op::Append(vec![9]), Op::Commit]).unwrap();
    }
    world.run(&[Op::Checkpoint]).unwrap();
    assert_eq!(look(&world.storage).unwrap().durable(), world.log().durable());
    world.run(&[Op::Append(vec![9]), Op::Commit]).unwrap();
}

#[test]
fn a_log_without_a_snapshot_is_shown_up_to_the_damage() {
    let world = disk(true);
    for (file, bytes) in segments(&world.storage) {
        let begins = |at: &usize| bytes[*at..].starts_with(b"OHFR");
        let frames: Vec<usize> = (4096..bytes.len()).step_by(512).filter(begins).collect();
        for offset in &frames[..frames.len() - 1] {
            let storage = world.storage.fork();
            storage.flip_bit(&file, *offset as u64 + 40, 2).unwrap();
            let log = look(&storage).unwrap();
            let opening = found(&log);
            let damage = opening.damages.first().unwrap_or_else(|| panic!("{opening:?}"));
            assert_eq!((&damage.file, damage.offset), (&file, *offset as u64), "{damage}");
            assert_eq!(damage.first_seq, log.durable().next(), "{damage}");
            assert_eq!(read_from(&log, Cursor::START), (log.durable().get(), true));
            let count = log.durable().get() as usize;
            assert_eq!(read_all(&log).unwrap().1, world.model.records[..count]);
        }
    }
}

/// Segments, a snapshot, more segments, a second snapshot, a tail.
fn with_snapshots() -> World {
    let mut world = World::new(5);
    world.open().unwrap();
    for _ in 0..2 {
        for _ in 0..8 {
            world.run(&[Op::Append(vec![2900]), Op::Commit, Op::Preallocate]).unwrap();
        }
        world.run(&[Op::Snapshot]).unwrap();
    }
    for _ in 0..6 {
        world.run(&[Op::Append(vec![2900]), Op::Commit, Op::Preallocate]).unwrap();
    }
    world.log().close().unwrap();
    world.log = None;
    world
}

#[test]
fn damage_before_the_newest_snapshot_hides_nothing_behind_it() {
    let world = with_snapshots();
    let end = world.model.records.len() as u64;
    let files = segments(&world.storage);
    let whole = look(&world.storage).unwrap();
    let base = found(&whole).snapshot.clone().unwrap();
    assert_eq!(whole.durable().get(), end);
    let holds_base = files.iter().rposition(|(file, _)| first_of(file) <= base.lo()).unwrap();
    for (file, _) in &files[..=holds_base] {
        // The first frame of the segment, which may be that of the snapshot's `lo`.
        let storage = world.storage.fork();
        storage.flip_bit(file, 4096 + 200, 1).unwrap();
        let log = look(&storage).unwrap();
        assert_eq!(log.durable().get(), end, "{file}");
        assert_eq!(log.latest_snapshot().unwrap().as_ref(), Some(&base));
        let cursor = Cursor { seq: base.lo(), chain: Some(base.header.chain) };
        assert_eq!(read_from(&log, cursor), (end, true), "{file}");
        assert!(!read_from(&log, Cursor::START).1, "{file}: read over the damage");
    }
    let older = world.storage.list("snapshots").unwrap().swap_remove(0);
    let (older, _) = event_log::snapshot::parse_snapshot_file_name(&older).unwrap();
    let (mut damaged, mut left_over) = (0, 0);
    for (index, (file, _)) in files[..holds_base].iter().enumerate() {
        let storage = world.storage.fork();
        assert!(storage.take(file));
        let log = look(&storage).unwrap();
        assert_eq!(log.durable().get(), end, "without {file}");
        let opening = found(&log);
        if index == 0 {
            continue;
        }
        // Nothing needs what both snapshots stand for; what only the newest does is missing.
        if first_of(&files[index + 1].0).previous() <= older {
            left_over += 1;
            let told: Vec<&String> = opening.leftovers.iter().map(|left| &left.file).collect();
            assert_eq!(told, files[..index].iter().map(|(file, _)| file).collect::<Vec<_>>());
            assert!(opening.damages.is_empty(), "{opening:?}");
        } else {
            damaged += 1;
            assert_eq!(opening.damages[0].file, *file);
            assert!(opening.leftovers.is_empty(), "{opening:?}");
        }
    }
    assert!(damaged > 0 && left_over > 0, "{damaged} {left_over}");
}

#[test]
fn damage_behind_the_snapshot_ends_what_is_shown() {
    let world = with_snapshots();
    let files = segments(&world.storage);
    let base = found(&look(&world.storage).unwrap()).snapshot.clone().unwrap();
    let behind = files.iter().position(|(file, _)| first_of(file) > base.lo()).unwrap();
    assert!(behind + 1 < files.len(), "a sealed segment follows the snapshot");
    let before = first_of(&files[behind].0).previous();

    let storage = world.storage.fork();
    assert!(storage.take(&files[behind].0));
    let log = look(&storage).unwrap();
    let opening = found(&log);
    assert!(opening.is_exact, "{opening:?}");
    assert_eq!((opening.last, log.durable()), (before, before));
    let damage = &opening.damages[0];
    assert_eq!((&damage.file, damage.first_seq), (&files[behind].0, before.next()), "{damage}");

    let storage = world.storage.fork();
    storage.flip_bit(&files[behind].0, 20, 1).unwrap();
    let log = look(&storage).unwrap();
    assert_eq!(log.durable(), before);
    let damage = &found(&log).damages[0];
    assert_eq!((&damage.file, damage.offset), (&files[behind].0, 0), "{damage}");
    assert_eq!(damage.last_seq, first_of(&files[behind + 1].0).previous(), "{damage}");
}

#[test]
fn a_snapshot_alone_is_shown_as_it_is() {
    let world = with_snapshots();
    let base = found(&look(&world.storage).unwrap()).snapshot.clone().unwrap();
    let storage = world.storage.fork();
    for (file, _) in segments(&storage) {
        if first_of(&file) > base.lo() || file == segments(&storage)[0].0 {
            continue;
        }
        storage.flip_bit(&file, 20, 1).unwrap();
    }
    let log = look(&storage).unwrap();
    assert_eq!(log.tip().chain, base.header.chain);
    assert_eq!(log.durable(), base.hi(), "its end proves that it was durable");
    assert_eq!(found(&log).is_exact, base.hi() == base.lo());
    assert_eq!(log.latest_snapshot().unwrap(), Some(base.clone()));
    log.wait_blocking(base.hi()).unwrap();
    // All header pages, too.
    for (file, bytes) in segments(&world.storage) {
        storage.put(&file, &vec![0; bytes.len()]);
    }
    let log = look(&storage).unwrap();
    assert_eq!((log.durable(), log.log_id()), (base.hi(), base.header.log_id));
    assert_eq!(log.owner(), b"store-1");
    assert!(log.status().segments.is_empty());
    // A damaged snapshot gives way to an older one, and is named.
    storage.flip_bit(&base.file, 300, 1).unwrap();
    let log = look(&storage).unwrap();
    assert!(found(&log).snapshot.as_ref().unwrap().lo() < base.lo());
    assert!(found(&log).damages.iter().any(|damage| damage.file == base.file));
}

#[test]
fn a_lost_tail_that_a_witness_proves_is_named() {
    let mut world = disk(true);
    world.open().unwrap();
    world.run(&[Op::Append(vec![5]), Op::Commit, Op::Acknowledge("tail"), Op::Kill]).unwrap();
    world.log = None;
    let (file, bytes) = segments(&world.storage).pop().unwrap();
    let last = bytes.chunks(512).rposition(|block| block.starts_with(b"OHFR")).unwrap();
    let mut cut = bytes.clone();
    cut[last * 512..].fill(0);
    world.storage.put(&file, &cut);
    let log = look(&world.storage).unwrap();
    let opening = found(&log);
    assert_eq!(opening.damages[0].first_seq, log.durable().next(), "{opening:?}");
    assert!(opening.to_string().contains("CONSUMERS (tail)"), "{opening}");
}

#[test]
fn no_flipped_bit_makes_it_show_what_was_never_written() {
    let world = with_snapshots();
    let files = world.storage.contents();
    let mut seed = 1_u64;
    for _ in 0..400 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (file, bytes) = &files[(seed >> 33) as usize % files.len()];
        if bytes.is_empty() {
            continue;
        }
        let storage = world.storage.fork();
        storage.flip_bit(file, (seed >> 11) % bytes.len() as u64, (seed % 8) as u8).unwrap();
        let log = look(&storage).unwrap_or_else(|error| panic!("{file}: {error}"));
        let base = found(&log).snapshot.clone().unwrap();
        let cursor = Cursor { seq: base.lo(), chain: Some(base.header.chain) };
        // With a header page gone, the snapshot may be all there is.
        if log.tip().chain == base.header.chain {
            continue;
        }
        let mut reader = log.reader(cursor).unwrap();
        while let Some(frame) = reader.next().unwrap() {
            for (seq, record) in frame.records() {
                assert_eq!(record, world.model.records[seq.get() as usize - 1], "{file} {seq}");
            }
        }
    }
}

#[test]
fn what_is_no_log_or_anothers_is_refused() {
    let empty = SimStorage::new(1);
    assert!(matches!(look(&empty), Err(OpenError::NotALog { .. })));
    let world = disk(true);
    let other = event_log::LogOptions { owner: b"store-2".to_vec(), ..options(SEGMENT_BYTES) };
    let opened = Log::open_read_only(world.storage.clone(), other);
    assert!(matches!(opened.err(), Some(OpenError::WrongOwner { .. })));
    let log = look(&world.storage).unwrap();
    assert!(log.reader(Cursor { seq: Seq::new(2), chain: Some(Chain::new([1; 32])) }).is_err());
}

fn first_of(file: &str) -> Seq {
    event_log::parse_segment_file_name(file).unwrap()
}
