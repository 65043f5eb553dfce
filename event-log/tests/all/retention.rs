//! The floor, the archive and the budget: what may go, who keeps it, and by which name.

use std::ops::ControlFlow;

use event_log::storage::sim::SimStorage;
use event_log::{
    CompactionError, CompactionReport, Cursor, CursorError, Retention, Seq, SnapshotError,
};

use crate::world::{Op, Outcome, World, read_all, retention};

const NOW_US: i64 = 1_700_000_100_000_000;

/// Several sealed segments and two snapshots near the end.
fn world() -> World {
    let mut world = World::new(1);
    world.open().unwrap();
    for _ in 0..12 {
        world.run(&[Op::Append(vec![2900]), Op::Commit, Op::Preallocate]).unwrap();
    }
    world.run(&[Op::Snapshot, Op::Append(vec![5]), Op::Commit, Op::Snapshot]).unwrap();
    world
}

fn compact(world: &World, retention: &Retention) -> CompactionReport {
    world.log().compact(retention, NOW_US, &mut event_log::go_on).unwrap()
}

fn archived(storage: &SimStorage) -> usize {
    storage.contents().iter().filter(|(path, _)| path.starts_with("archive/")).count()
}

#[test]
fn history_stays_readable_from_the_archive() {
    let mut world = world();
    let report = compact(&world, &retention(true));
    assert!(report.archived.len() >= 2, "{report:?}");
    assert_eq!(report.archived.len(), archived(&world.storage));
    assert!(report.bytes_after < report.bytes_before, "{report:?}");
    assert!(report.floor_held_by.starts_with("snapshots/"), "{report:?}");
    world.check().unwrap();
    let (first, records, _) = read_all(world.log()).unwrap();
    assert_eq!((first, records.len()), (1, world.model.records.len()));
    assert_eq!(world.log().read_records(Seq::new(2), 1).unwrap(), world.model.records[1..2]);
    assert_eq!(compact(&world, &retention(true)).archived, [], "a second one has nothing to do");
    assert_eq!(world.run(&[Op::Kill, Op::Append(vec![3]), Op::Commit]).unwrap(), Outcome::Done);
}

#[test]
fn deleting_says_where_to_resume() {
    let mut world = world();
    let archived_first = compact(&world, &retention(true));
    for _ in 0..8 {
        world.run(&[Op::Append(vec![2900]), Op::Commit, Op::Preallocate]).unwrap();
    }
    world.run(&[Op::Snapshot, Op::Append(vec![5]), Op::Commit, Op::Snapshot]).unwrap();
    world.model.deleted_to = u64::MAX - 1;
    let report = compact(&world, &retention(false));
    assert!(!report.deleted.is_empty());
    assert_eq!(report.archives_deleted, archived_first.archived, "history never has a hole");
    world.model.snapshots.clear();
    let Err(CursorError::Compacted { resume_from }) = world.log().reader(Cursor::START) else {
        panic!("read what was deleted")
    };
    assert!(resume_from.previous() <= report.floor);
    world.check().unwrap();
    // The end of what was deleted is still a place to go on from, with its chain.
    let chain = world.log().chain_at(resume_from.previous()).unwrap();
    world.log().reader(Cursor { seq: resume_from.previous(), chain: Some(chain) }).unwrap();
    world.log().acknowledge("late", resume_from.previous(), chain, NOW_US).unwrap();
    world.run(&[Op::Kill]).unwrap();
    world.check().unwrap();
}

#[test]
fn fewer_than_two_snapshots_keep_everything() {
    let mut world = World::new(1);
    world.open().unwrap();
    for _ in 0..12 {
        world.run(&[Op::Append(vec![2900]), Op::Commit, Op::Preallocate]).unwrap();
    }
    for expected in [0, 0, 1] {
        let report = compact(&world, &retention(false));
        assert_eq!(report.deleted.len().min(1), expected, "{report:?}");
        world.model.deleted_to = report.floor.get();
        world.run(&[Op::Snapshot, Op::Append(vec![9]), Op::Commit]).unwrap();
        world.model.snapshots.clear();
    }
}

#[test]
fn at_least_two_snapshots_stay() {
    let mut world = world();
    world
        .run(&[
            Op::Append(vec![5]),
            Op::Commit,
            Op::Snapshot,
            Op::Append(vec![5]),
            Op::Commit,
            Op::Snapshot,
        ])
        .unwrap();
    let all = world.log().snapshots().unwrap();
    assert_eq!(all.len(), 4);
    let report = compact(&world, &Retention { snapshots_keep: 0, ..retention(true) });
    assert_eq!(report.snapshots_deleted, [all[0].file.clone(), all[1].file.clone()]);
    assert_eq!(world.log().snapshots().unwrap(), all[2..]);
}

#[test]
fn consumers_and_pins_hold_the_floor() {
    let mut world = World::new(1);
    world.open().unwrap();
    world.run(&[Op::Append(vec![10]), Op::Commit, Op::Acknowledge("slow")]).unwrap();
    for _ in 0..12 {
        world.run(&[Op::Append(vec![2900]), Op::Commit, Op::Preallocate]).unwrap();
    }
    world
        .run(&[
            Op::Snapshot,
            Op::Append(vec![5]),
            Op::Commit,
            Op::Snapshot,
            Op::Acknowledge("fast"),
        ])
        .unwrap();
    let report = compact(&world, &retention(true));
    assert_eq!((report.floor, report.floor_held_by.as_str()), (Seq::new(1), "consumer slow"));
    world.run(&[Op::Acknowledge("slow")]).unwrap();
    world.log().pin("download", Seq::new(2), NOW_US + 1).unwrap();
    let report = compact(&world, &retention(true));
    assert_eq!((report.floor, report.floor_held_by.as_str()), (Seq::new(2), "pin download"));
    world.log().pin("download", Seq::new(2), NOW_US).unwrap();
    let report = compact(&world, &retention(true));
    assert!(!report.archived.is_empty(), "a pin that is over holds nothing: {report:?}");
}

#[test]
fn over_the_budget_the_slowest_consumer_is_dropped_by_name() {
    let mut world = World::new(1);
    world.open().unwrap();
    world.run(&[Op::Append(vec![10]), Op::Commit, Op::Acknowledge("slow")]).unwrap();
    for _ in 0..12 {
        world.run(&[Op::Append(vec![2900]), Op::Commit, Op::Preallocate]).unwrap();
    }
    world
        .run(&[
            Op::Snapshot,
            Op::Append(vec![5]),
            Op::Commit,
            Op::Snapshot,
            Op::Acknowledge("fast"),
        ])
        .unwrap();
    let roomy = Retention { disk_budget_bytes: Some(10 << 20), ..retention(false) };
    assert_eq!(compact(&world, &roomy).consumers_dropped, []);
    let tight = Retention { disk_budget_bytes: Some(1), ..retention(false) };
    let report = compact(&world, &tight);
    let dropped: Vec<&str> =
        report.consumers_dropped.iter().map(|consumer| consumer.id.as_str()).collect();
    assert_eq!(dropped, ["slow"], "fast isn't what holds anything");
    assert!(!report.deleted.is_empty() && report.over_budget_bytes > 0, "{report:?}");
    let left: Vec<String> =
        world.log().consumers().into_iter().map(|consumer| consumer.id).collect();
    assert_eq!(left, ["fast"]);
    let gone = report.consumers_dropped[0].clone();
    let cursor = Cursor { seq: gone.seq, chain: Some(gone.chain) };
    assert!(matches!(world.log().reader(cursor), Err(CursorError::Compacted { .. })));
    let again = world.log().acknowledge("slow", gone.seq, gone.chain, NOW_US).unwrap_err();
    assert!(again.to_string().contains("compacted"), "{again}");
    world.model.cursors.retain(|(id, _)| *id == "fast");
    world.model.deleted_to = report.floor.get();
    world.run(&[Op::Kill]).unwrap();
}

#[test]
fn archives_go_by_age_oldest_first() {
    let mut world = world();
    let report = compact(&world, &retention(true));
    let count = report.archived.len();
    let young = Retention { archive_keep_us: i64::MAX, ..retention(true) };
    assert_eq!(compact(&world, &young).archives_deleted, []);
    let old = Retention { archive_keep_us: 0, ..retention(true) };
    world.model.deleted_to = report.floor.get();
    assert_eq!(compact(&world, &old).archives_deleted.len(), count);
    assert_eq!(archived(&world.storage), 0);
    world.check().unwrap();
    world.run(&[Op::Kill]).unwrap();
}

#[test]
fn a_damaged_segment_is_never_archived_away() {
    let world = world();
    world.storage.flip_bit("00000000000000000001.log", 4096 + 200, 1).unwrap();
    match world.log().compact(&retention(true), NOW_US, &mut event_log::go_on) {
        Err(CompactionError::Damaged(damage)) => {
            assert_eq!((damage.file.as_str(), damage.offset), ("00000000000000000001.log", 4096));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(archived(&world.storage), 0);
    assert!(world.storage.contents().iter().any(|(path, _)| path == "00000000000000000001.log"));
}

#[test]
fn one_snapshot_at_a_time_and_an_unfinished_one_leaves_nothing() {
    let world = world();
    let before = world.storage.contents();
    let mut writer = world.log().begin_snapshot(1).unwrap();
    assert!(matches!(world.log().begin_snapshot(1), Err(SnapshotError::Running)));
    assert!(matches!(writer.finish(0), Err(SnapshotError::Order { .. })), "not sealed yet");
    writer.section(1, 1, &[1; 100]).unwrap();
    writer.seal();
    assert!(matches!(writer.section(1, 2, b"late"), Err(SnapshotError::Order { .. })));
    drop(writer);
    assert!(world.storage.contents() == before);
    assert!(world.log().begin_snapshot(1).is_ok());
}

#[test]
fn a_downloaded_snapshot_is_read_as_a_stream() {
    let world = world();
    let info = world.log().latest_snapshot().unwrap().unwrap();
    let reader = world.log().open_snapshot_file(&info).unwrap();
    let mut stream = event_log::snapshot::SnapshotStream::new(reader, "download").unwrap();
    let mut sections = 0;
    while stream.next_section().unwrap().is_some() {
        sections += 1;
    }
    assert_eq!(sections, info.footer.section_count);
    assert_eq!(stream.footer(), Some(&info.footer));
    assert_eq!(stream.header(), &info.header);
}

/// One spare segment is kept so that making room never needs room that isn't there.
#[test]
fn a_full_disk_can_still_be_compacted() {
    let mut world = world();
    world.run(&[Op::Preallocate, Op::Preallocate]).unwrap();
    let used: u64 = world.storage.contents().iter().map(|(_, bytes)| bytes.len() as u64).sum();
    world.storage.set_capacity(Some(used));
    let spares = world.log().status().spares;
    assert_eq!(world.apply(&Op::Acknowledge("tail")).unwrap(), Outcome::Done);
    assert_eq!(world.log().status().spares, spares - 1, "it took the place of a spare");
    let used: u64 = world.storage.contents().iter().map(|(_, bytes)| bytes.len() as u64).sum();
    world.storage.set_capacity(Some(used));
    let report = compact(&world, &retention(true));
    assert!(report.archived.len() >= 2 && report.bytes_after < report.bytes_before, "{report:?}");
    world.log().preallocate_once().unwrap();
    world.check().unwrap();
}

#[test]
fn a_cancelled_compaction_keeps_what_it_had_done() {
    let mut world = world();
    let count = world.log().status().segments.len();
    let mut told = 0;
    let progress: event_log::Progress<'_> = &mut |_, _| {
        told += 1;
        if told > 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let cancelled = world.log().compact(&retention(true), NOW_US, progress);
    assert!(matches!(cancelled, Err(CompactionError::Cancelled)), "{cancelled:?}");
    assert_eq!(archived(&world.storage), 2, "two of {count} were done before it was told to stop");
    world.check().unwrap();
    assert_eq!(world.run(&[Op::Kill]).unwrap(), Outcome::Done);
    assert!(!compact(&world, &retention(true)).archived.is_empty(), "and goes on later");
}

#[test]
fn the_bytes_behind_a_cursor_are_those_on_disk() {
    let mut world = world();
    let frames: u64 = {
        let mut reader = world.log().reader(Cursor::START).unwrap();
        std::iter::from_fn(|| {
            let frame = reader.next().unwrap()?;
            Some((frame.stored.len() as u64).next_multiple_of(512))
        })
        .sum()
    };
    assert_eq!(world.log().lag_bytes(Seq::ZERO), frames, "every frame, and no slack");
    assert_eq!(world.log().lag_bytes(world.log().durable()), 0);
    let tip = world.log().tip();
    world.log().pin("tail", tip.seq, 50).unwrap();
    assert_eq!(world.log().pinned_until("tail", 49), Some(50));
    assert_eq!(world.log().pinned_until("tail", 50), None, "it is over");
    assert_eq!(world.log().pinned_until("other", 5), None);
    world.run(&[Op::Append(vec![700]), Op::Commit]).unwrap();
    let behind = world.log().lag_bytes(tip.seq);
    assert!((1024..64 << 10).contains(&behind), "{behind}");
}
