//! Rot, holes and swapped files: what was acknowledged and is damaged is found and named, opening is
//! refused, and a refused opening changes nothing.

use std::sync::Arc;

use event_log::frame::FRAME_HEADER_BYTES;
use event_log::storage::sim::SimStorage;
use event_log::{
    Cursor, Damage, FrameHeader, Log, LogId, OpenError, ReadError, SEGMENT_HEADER_BYTES,
    SegmentHeader, Seq, VerifyReport, verify,
};

use crate::world::{Op, World, options};

/// A frame's place in its file.
struct Place {
    file: String,
    offset: u64,
    header: FrameHeader,
    in_last_segment: bool,
    is_last: bool,
}

/// Three segments, some frames in each; the last ends with a close frame, or without one.
pub(crate) fn disk(closed: bool) -> World {
    let mut world = World::new(1);
    world.open().unwrap();
    let mut ops = vec![Op::Append(vec![30, 40]), Op::Commit];
    for _ in 0..8 {
        ops.extend([Op::Append(vec![2500, 10]), Op::Commit, Op::Append(vec![70]), Op::Commit]);
    }
    ops.push(Op::Checkpoint);
    ops.extend([Op::Append(vec![100]), Op::Commit, Op::Append(vec![101]), Op::Commit]);
    world.run(&ops).unwrap();
    if closed {
        world.log().close().unwrap();
    }
    world.log = None;
    world
}

pub(crate) fn segments(storage: &SimStorage) -> Vec<(String, Vec<u8>)> {
    let is_segment = |path: &str| path.len() == 24 && path.ends_with(".log");
    storage.contents().into_iter().filter(|(path, _)| is_segment(path)).collect()
}

fn frames(storage: &SimStorage) -> Vec<Place> {
    let mut places = Vec::new();
    let segments = segments(storage);
    let last_file = segments.last().expect("there are segments").0.clone();
    for (file, bytes) in segments {
        let segment = SegmentHeader::decode(&bytes).unwrap();
        let mut offset = usize::from(segment.header_len);
        while let Some(Ok(Some(header))) =
            bytes.get(offset..).map(|rest| FrameHeader::decode(rest, segment.log_id))
        {
            let length = header.stored_len().next_multiple_of(segment.alignment as usize);
            let in_last_segment = file == last_file;
            places.push(Place {
                file: file.clone(),
                offset: offset as u64,
                header,
                in_last_segment,
                is_last: false,
            });
            offset += length;
        }
    }
    places.last_mut().expect("there are frames").is_last = true;
    places
}

pub(crate) fn open(storage: &SimStorage) -> Result<Arc<Log<SimStorage>>, OpenError> {
    Log::open(storage.clone(), options(crate::world::SEGMENT_BYTES))
}

/// Opens, and if that is refused, asserts that nothing has been changed.
pub(crate) fn open_unchanged(storage: &SimStorage) -> Result<Arc<Log<SimStorage>>, OpenError> {
    let before = storage.contents();
    let operations = storage.op_count();
    let opened = open(storage);
    if opened.is_err() {
        assert!(storage.contents() == before, "a refused opening changed something");
        assert_eq!(storage.op_count(), operations, "{:?}", storage.operation(operations));
    }
    opened
}

fn named(damage: &Damage, place: &Place, at: u64) {
    let text = damage.to_string();
    assert_eq!(damage.file, place.file, "{text}");
    assert!(
        damage.offset <= at && at < damage.offset + damage.length.max(1),
        "{text} doesn't name byte {at}"
    );
    assert_eq!(damage.first_seq, place.header.first_seq, "{text}");
}

pub(crate) fn verified(storage: &SimStorage) -> VerifyReport {
    verify(storage, &mut |_, _| {}).unwrap()
}

/// Reads everything; the damage it stops at.
fn read_until_damage(log: &Log<SimStorage>) -> Option<Damage> {
    let mut reader = log.reader(Cursor::START).expect("the beginning is there");
    loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(ReadError::Corrupt(damage)) => return Some(damage),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Flips one bit at `at` of a frame and asserts that it is found and named wherever it is looked at.
fn check_flip(world: &World, place: &Place, at: u64, bit: u8) {
    let storage = world.storage.fork();
    storage.flip_bit(&place.file, at, bit).unwrap();
    let report = verified(&storage);
    let context = format!("{} byte {at} bit {bit}", place.file);
    if place.is_last {
        let torn = report.torn_tail.as_ref().unwrap_or_else(|| panic!("{context}: {report:?}"));
        named(torn, place, at);
        let log = open(&storage).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(log.last(), place.header.first_seq.previous(), "{context}");
        return;
    }
    let hits: Vec<&Damage> =
        report.damages.iter().filter(|damage| damage.file == place.file).collect();
    assert!(!hits.is_empty(), "{context}: verify found {report:?}");
    named(hits[0], place, at);
    match open_unchanged(&storage) {
        Err(OpenError::Corrupt(damage)) => named(&damage, place, at),
        Err(OpenError::UnsupportedVersion { file, .. }) => {
            assert_eq!(file, place.file, "{context}");
        }
        Err(error) => panic!("{context}: {error}"),
        Ok(log) => {
            assert!(!place.in_last_segment, "{context}: opened");
            let damage =
                read_until_damage(&log).unwrap_or_else(|| panic!("{context}: read all of it"));
            named(&damage, place, at);
        }
    }
}

#[test]
fn a_flipped_bit_in_any_frame_is_named() {
    for closed in [true, false] {
        let world = disk(closed);
        let places = frames(&world.storage);
        assert!(places.len() > 15 && segments(&world.storage).len() >= 3);
        for (index, place) in places.iter().enumerate() {
            let stored = place.header.stored_len() as u64;
            for step in 0..FRAME_HEADER_BYTES as u64 / 4 {
                check_flip(
                    &world,
                    place,
                    place.offset + step * 4 + index as u64 % 4,
                    step as u8 % 8,
                );
            }
            let payload = stored - FRAME_HEADER_BYTES as u64;
            for at in (0..payload).step_by(97).chain(payload.checked_sub(1)) {
                check_flip(
                    &world,
                    place,
                    place.offset + FRAME_HEADER_BYTES as u64 + at,
                    at as u8 % 8,
                );
            }
        }
    }
}

/// The documented limit ends where a witness is: then the last frame is no torn tail.
#[test]
fn the_last_frame_is_protected_by_a_witness() {
    for witness in [Op::Acknowledge("tail"), Op::Snapshot] {
        let mut world = disk(false);
        world.open().unwrap();
        world.run(&[Op::Append(vec![60]), Op::Commit, witness]).unwrap();
        world.log = None;
        let places = frames(&world.storage);
        let last = places.last().unwrap();
        let storage = world.storage.fork();
        storage.flip_bit(&last.file, last.offset + 130, 1).unwrap();
        match open_unchanged(&storage) {
            Err(OpenError::Corrupt(damage)) => named(&damage, last, last.offset + 130),
            other => panic!("{:?}", other.err()),
        }
        let report = verified(&storage);
        assert!(!report.is_sound() && report.torn_tail.is_none(), "{report:?}");
        named(&report.damages[0], last, last.offset + 130);
    }
}

#[test]
fn a_flipped_bit_in_a_header_page_is_named() {
    let world = disk(true);
    for (file, _) in segments(&world.storage) {
        for at in (0..200).chain((200..SEGMENT_HEADER_BYTES as u64).step_by(53)) {
            let storage = world.storage.fork();
            storage.flip_bit(&file, at, (at % 8) as u8).unwrap();
            let text = match open_unchanged(&storage) {
                Err(error) => error.to_string(),
                Ok(_) => panic!("{file} byte {at}: opened"),
            };
            assert!(text.contains(&file), "{text}");
            let report = verified(&storage);
            assert!(
                report.damages.iter().any(|damage| damage.file == file && damage.offset <= at),
                "{report:?}"
            );
        }
    }
}

/// Changes files as a whole: `verify` and opening find it.
fn check_files(what: &str, change: impl Fn(&SimStorage, &[(String, Vec<u8>)])) {
    let mut world = disk(true);
    world.open().unwrap();
    world.run(&[Op::Acknowledge("tail"), Op::Kill]).unwrap();
    world.log = None;
    change(&world.storage, &segments(&world.storage));
    let report = verified(&world.storage);
    assert!(!report.is_sound(), "{what}: verify found nothing");
    match open_unchanged(&world.storage) {
        Err(OpenError::Corrupt(_) | OpenError::NotALog { .. }) => {}
        Err(error) => panic!("{what}: {error}"),
        Ok(_) => panic!("{what}: opened"),
    }
}

#[test]
fn holes_swaps_and_old_copies_are_refused() {
    check_files("the middle segment is gone", |storage, segments| {
        assert!(storage.take(&segments[1].0));
    });
    for (which, at) in [("first", 0), ("last", usize::MAX)] {
        let what = format!("the {which} segment is cut off behind its first frames");
        check_files(&what, |storage, segments| {
            let (file, bytes) = &segments[at.min(segments.len() - 1)];
            storage.put(file, &bytes[..4096 + 1024]);
        });
    }
    check_files("the last segment is gone", |storage, segments| {
        assert!(storage.take(&segments[segments.len() - 1].0));
    });
    check_files("two segments are swapped", |storage, segments| {
        storage.put(&segments[0].0, &segments[1].1);
        storage.put(&segments[1].0, &segments[0].1);
    });
    check_files("the last segment's frames are zeros", |storage, segments| {
        let (file, bytes) = &segments[segments.len() - 1];
        storage.put(
            file,
            &[&bytes[..SEGMENT_HEADER_BYTES], &vec![0; bytes.len() - SEGMENT_HEADER_BYTES][..]]
                .concat(),
        );
    });
    check_files("the last segment is cut short", |storage, segments| {
        let (file, bytes) = &segments[segments.len() - 1];
        storage.put(file, &bytes[..SEGMENT_HEADER_BYTES + 512]);
    });
    check_files("a frame was copied over another", |storage, segments| {
        let place = |index: usize| {
            frames(storage).into_iter().filter(|place| place.in_last_segment).nth(index)
        };
        let (from, to) = (place(1).unwrap(), place(0).unwrap());
        let (file, mut bytes) = segments[segments.len() - 1].clone();
        let stored = bytes[from.offset as usize..from.offset as usize + 512].to_vec();
        bytes[to.offset as usize..to.offset as usize + 512].copy_from_slice(&stored);
        storage.put(&file, &bytes);
    });
}

#[test]
fn another_logs_files_are_not_taken_for_this_ones() {
    let world = disk(true);
    let stranger = SimStorage::new(2);
    let log = Log::open(
        stranger.clone(),
        event_log::LogOptions {
            new_log_id: LogId::new([1; 16]),
            ..options(crate::world::SEGMENT_BYTES)
        },
    )
    .unwrap();
    log.close().unwrap();
    drop(log);
    let (file, bytes) = segments(&stranger).remove(0);
    assert_eq!(event_log::parse_segment_file_name(&file), Some(Seq::new(1)));
    world.storage.put(&file, &bytes);
    assert!(matches!(
        open_unchanged(&world.storage),
        Err(OpenError::Corrupt(_) | OpenError::NotALog { .. })
    ));
}
