//! A removal of compaction that comes undone: an old segment before a gap is left out when nothing
//! needs it, and is damage when one of the rules of compaction doesn't hold.

use event_log::storage::Storage;
use event_log::storage::sim::{Fault, Lies, Operation, SimStorage};
use event_log::{
    CompactionError, CompactionReport, Cursor, CursorError, DirectoryReader, Log, OpenError,
    Retention, Seq, verify,
};

use crate::damage::{open_unchanged, segments};
use crate::world::{Op, Outcome, SEGMENT_BYTES, World, options, read_all, retention};

const NOW_US: i64 = 1_700_000_100_000_000;

/// Several segments that may go, two snapshots, a segment or more behind them.
fn world() -> World {
    let mut world = World::new(1);
    world.open().unwrap();
    fill(&mut world, 20);
    world.run(&[Op::Snapshot, Op::Append(vec![5]), Op::Commit, Op::Snapshot]).unwrap();
    fill(&mut world, 8);
    world
}

fn fill(world: &mut World, count: usize) {
    for _ in 0..count {
        world.run(&[Op::Append(vec![2900]), Op::Commit, Op::Preallocate]).unwrap();
    }
}

/// A directory that was compacted, and the oldest segment of which is back.
struct Undone {
    world: World,
    /// The segment that is back.
    file: String,
    /// Where the log begins.
    resume_from: Seq,
}

fn undone(mut world: World, archive: bool) -> Undone {
    let (file, bytes) = segments(&world.storage).swap_remove(0);
    assert_eq!(world.apply(&Op::Compact { archive }).unwrap(), Outcome::Done);
    world.log = None;
    let resume_from = first_of(&segments(&world.storage)[0].0);
    assert!(resume_from > Seq::new(8), "more than the oldest one went: {resume_from}");
    world.storage.put(&file, &bytes);
    Undone { world, file, resume_from }
}

fn first_of(file: &str) -> Seq {
    event_log::parse_segment_file_name(file).unwrap()
}

fn compact(world: &World, retention: &Retention) -> CompactionReport {
    world.log().compact(retention, NOW_US, &mut event_log::go_on).unwrap()
}

fn left_over(world: &World) -> Vec<String> {
    world.log().leftovers().into_iter().map(|leftover| leftover.file).collect()
}

/// Something that is done to a disk.
type Change<'a> = &'a dyn Fn(&SimStorage);

/// What follows holds for a directory with these leftovers, however it is looked at.
fn looks_the_same_to_all(storage: &SimStorage, files: &[String], resume_from: Seq) {
    let report = verify(storage, &mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{:?}", report.damages);
    let told: Vec<&String> = report.leftovers.iter().map(|leftover| &leftover.file).collect();
    assert_eq!((told, report.first), (files.iter().collect(), resume_from));
    let log = Log::open_read_only(storage.clone(), options(SEGMENT_BYTES)).unwrap();
    let opening = log.read_only().unwrap();
    assert!(opening.damages.is_empty() && opening.is_exact, "{opening:?}");
    assert_eq!(log.leftovers().len(), files.len(), "{opening:?}");
    assert_eq!(read_all(&log).unwrap().0, resume_from.get());
    for cursor in [Cursor::START, Cursor { seq: resume_from.previous().previous(), chain: None }] {
        match DirectoryReader::open(storage.clone(), cursor).err() {
            Some(CursorError::Compacted { resume_from: told }) => assert_eq!(told, resume_from),
            other => panic!("{other:?}"),
        }
    }
    let cursor = Cursor { seq: resume_from.previous(), chain: None };
    let mut reader = DirectoryReader::open(storage.clone(), cursor).unwrap();
    let first = reader.next().unwrap().unwrap();
    assert_eq!(first.header.first_seq, resume_from);
}

/// The story that the simulation found: the directory sync after the oldest segment's removal
/// fails, a later compaction goes on, and the power goes at any of its operations.
#[test]
fn a_removal_that_failed_and_a_power_cut_later_lose_nothing_and_refuse_nothing() {
    for (failing, crash_at) in (0..2).flat_map(|failing| (0..12).map(move |at| (failing, at))) {
        let mut world = world();
        let begin = world.storage.op_count();
        world.storage.fail_at(begin + failing, Fault::Eio);
        let failed = world.apply(&Op::Compact { archive: false }).unwrap();
        assert!(matches!(failed, Outcome::Refused(_)), "{failed:?}");
        world.storage.fail_at(world.storage.op_count() + crash_at, Fault::Crash);
        world.apply(&Op::Compact { archive: false }).unwrap();
        for seed in 0..24 {
            let mut after = world.crashed(seed);
            after.open().unwrap_or_else(|what| panic!("{failing} {crash_at} {seed}: {what}"));
            after.run(&[Op::Append(vec![8]), Op::Commit]).unwrap();
            assert_eq!(after.apply(&Op::Compact { archive: false }).unwrap(), Outcome::Done);
            assert!(left_over(&after).is_empty());
            assert_eq!(after.run(&[Op::Kill]).unwrap(), Outcome::Done);
        }
    }
}

#[test]
fn nothing_is_removed_before_the_removal_that_failed() {
    let world = world();
    let files = segments(&world.storage);
    let removals_since = |begin: u64| -> Vec<Operation> {
        let operations =
            (begin..world.storage.op_count()).filter_map(|at| world.storage.operation(at));
        operations.filter(|operation| matches!(operation, Operation::Remove(_))).collect()
    };
    let fails = || match world.log().compact(&retention(false), NOW_US, &mut event_log::go_on) {
        Err(CompactionError::Io { operation, .. }) => operation,
        other => panic!("{other:?}"),
    };
    let first = Operation::Remove(files[0].0.clone());
    // The removal fails, then its directory sync, then the sync again.
    for (failing, said) in [(0, "removing"), (1, "syncing the directory"), (1, "syncing")] {
        let begin = world.storage.op_count();
        world.storage.fail_at(begin + failing, Fault::Eio);
        let operation = fails();
        assert!(operation.contains(said) && operation.contains(&files[0].0), "{operation}");
        assert_eq!(removals_since(begin), std::slice::from_ref(&first));
    }
    let begin = world.storage.op_count();
    let report = compact(&world, &retention(false));
    assert_eq!(report.leftovers_removed, [files[0].0.clone()]);
    assert_eq!(world.storage.operation(begin), Some(first));
    assert_eq!(world.storage.operation(begin + 1), Some(Operation::SyncDir(String::new())));
    assert!(report.deleted.len() >= 3 && !report.deleted.contains(&Seq::new(1)), "{report:?}");
}

/// A disk that forgets what it said it had synced: any of the removed segments may be back.
#[test]
fn whichever_removals_a_disk_forgot_the_log_opens_and_they_are_told() {
    let mut world = world();
    world.storage.set_lies(Lies { sync_dir: true, ..Lies::default() });
    assert_eq!(world.apply(&Op::Compact { archive: false }).unwrap(), Outcome::Done);
    let (mut told, mut several_gaps) = (0, 0);
    for seed in 0..60 {
        let mut after = world.crashed(seed);
        let names: Vec<Seq> =
            segments(&after.storage).iter().map(|(file, _)| first_of(file)).collect();
        after.open().unwrap_or_else(|what| panic!("seed {seed}, {names:?}: {what}"));
        let files = left_over(&after);
        if files.is_empty() {
            continue;
        }
        told += 1;
        several_gaps += u32::from(files.len() > 1);
        let resume_from = after.log().leftovers()[0].resume_from;
        looks_the_same_to_all(&after.storage.fork(), &files, resume_from);
        let report = compact(&after, &retention(false));
        assert_eq!(report.leftovers_removed, files);
        assert!(left_over(&after).is_empty());
        after.log = None;
        after.open().unwrap();
        assert!(left_over(&after).is_empty());
    }
    assert!(told >= 10 && several_gaps >= 3, "{told} {several_gaps}");
}

#[test]
fn a_gap_that_a_rule_of_compaction_speaks_against_is_damage() {
    let before = world();
    let tip = before.log().chain_at(Seq::new(1)).unwrap();
    before.log().acknowledge("slow", Seq::new(1), tip, NOW_US).unwrap();
    let slow = before.storage.contents().into_iter().find(|(path, _)| path == "CONSUMERS").unwrap();
    before.log().deregister("slow").unwrap();
    let Undone { mut world, file, resume_from } = undone(before, false);
    looks_the_same_to_all(&world.storage.fork(), std::slice::from_ref(&file), resume_from);
    let snapshots = world.storage.list("snapshots").unwrap();
    let snapshot = |index: usize| format!("snapshots/{}", snapshots[index]);
    let cases: [(&str, Change<'_>); 5] = [
        ("only one snapshot", &|storage| assert!(storage.take(&snapshot(0)))),
        ("a snapshot is damaged", &|storage| storage.flip_bit(&snapshot(0), 300, 1).unwrap()),
        ("a consumer is behind", &|storage| storage.put("CONSUMERS", &slow.1)),
        ("nobody knows who needs what", &|storage| storage.put("CONSUMERS", b"gibberish")),
        ("a snapshot under another name", &|storage| {
            let bytes = storage.contents().into_iter().find(|(path, _)| *path == snapshot(0));
            assert!(storage.take(&snapshot(0)));
            let name = format!("{:020}-{:020}.snap", resume_from.get(), resume_from.get());
            storage.put(&format!("snapshots/{name}"), &bytes.unwrap().1);
        }),
    ];
    for (what, change) in cases {
        let storage = world.storage.fork();
        change(&storage);
        let damage = match open_unchanged(&storage) {
            Err(OpenError::Corrupt(damage)) => damage,
            other => panic!("{what}: {:?}", other.err()),
        };
        assert!(damage.what.contains("segments are missing"), "{what}: {damage}");
        assert!(damage.first_seq < resume_from && damage.last_seq == resume_from.previous());
        let report = verify(&storage, &mut |_, _| {}).unwrap();
        assert!(report.leftovers.is_empty(), "{what}");
        let named = |found: &event_log::Damage| {
            (&found.file, found.first_seq, found.last_seq)
                == (&damage.file, damage.first_seq, damage.last_seq)
        };
        assert!(report.damages.iter().any(named), "{what}: {:?}", report.damages);
        let log = Log::open_read_only(storage, options(SEGMENT_BYTES)).unwrap();
        assert!(log.read_only().unwrap().damages.iter().any(named), "{what}");
    }
    // Who stands right before the segment behind the gap needs nothing before it.
    world.open().unwrap();
    let end = resume_from.previous();
    let chain = world.log().chain_at(end).unwrap();
    world.log().acknowledge("late", end, chain, NOW_US).unwrap();
    assert_eq!(world.apply(&Op::Kill).unwrap(), Outcome::Done);
    assert_eq!(left_over(&world), [file]);
}

#[test]
fn a_gap_above_the_floor_is_damage_whatever_is_left_over_before_it() {
    let Undone { world, file, resume_from } = undone(world(), false);
    let files = segments(&world.storage);
    let above = files.len() - 2;
    assert!(first_of(&files[above].0) > resume_from);
    assert!(world.storage.take(&files[above].0));
    let Err(OpenError::Corrupt(damage)) = open_unchanged(&world.storage) else {
        panic!("opened with a hole");
    };
    assert_eq!(damage.file, files[above].0, "{damage}");
    let report = verify(&world.storage, &mut |_, _| {}).unwrap();
    assert_eq!(report.damages[0].file, files[above].0);
    assert_eq!(report.leftovers[0].file, file, "the other gap is one that nothing needs");
    let log = Log::open_read_only(world.storage.clone(), options(SEGMENT_BYTES)).unwrap();
    assert_eq!(log.read_only().unwrap().damages[0].file, files[above].0);
    assert_eq!(log.durable(), first_of(&files[above].0).previous(), "shown up to the hole");
}

/// Where segments are archived, what is back lies before archived ones, and nothing is missing.
#[test]
fn a_segment_that_is_back_before_archived_ones_is_read_and_goes_again() {
    for archive in [true, false] {
        let Undone { world: before, file, .. } = undone(world(), true);
        looks_whole(&before.storage.fork());
        let mut world = before.crashed(1);
        world.open().unwrap();
        assert!(left_over(&world).is_empty());
        assert_eq!(read_all(world.log()).unwrap().0, 1, "all of it can be read");
        let begin = world.storage.op_count();
        assert_eq!(world.apply(&Op::Compact { archive }).unwrap(), Outcome::Done);
        assert!(segments(&world.storage).iter().all(|(name, _)| *name != file));
        // The same once more, with the power going at each of its operations.
        for at in 0..world.storage.op_count() - begin {
            let mut again = before.crashed(1);
            again.open().unwrap();
            again.storage.fail_at(again.storage.op_count() + at, Fault::Crash);
            again.apply(&Op::Compact { archive }).unwrap();
            for seed in 0..4 {
                let mut after = again.crashed(seed);
                after.open().unwrap_or_else(|what| panic!("{archive} {at} {seed}: {what}"));
                assert!(left_over(&after).is_empty(), "{archive} {at} {seed}");
            }
        }
    }
}

fn looks_whole(storage: &SimStorage) {
    let report = verify(storage, &mut |_, _| {}).unwrap();
    assert!(report.is_sound() && report.leftovers.is_empty(), "{report:?}");
    let log = Log::open_read_only(storage.clone(), options(SEGMENT_BYTES)).unwrap();
    assert!(log.read_only().unwrap().damages.is_empty());
    let mut reader = DirectoryReader::open(storage.clone(), Cursor::START).unwrap();
    while reader.next().unwrap().is_some() {}
    assert_eq!(reader.tip().seq, log.durable());
}

/// A gap that the archive doesn't fill: what is before it stays as long as archives are kept.
#[test]
fn what_is_left_over_stays_as_long_as_archives_are_kept() {
    let Undone { mut world, file, resume_from } = undone(world(), false);
    world.open().unwrap();
    let leftover = world.log().leftovers().swap_remove(0);
    assert_eq!((&leftover.file, leftover.resume_from), (&file, resume_from));
    assert!(leftover.to_string().contains(&file), "{leftover}");
    let keep = |archive_keep_us| Retention { archive_keep_us, ..retention(true) };
    let age_us = NOW_US - leftover.logged_at_us;
    assert_eq!(compact(&world, &keep(age_us)).leftovers_removed, <[String; 0]>::default());
    assert_eq!(left_over(&world), std::slice::from_ref(&file));
    // A pin holds what is before it, as it holds everything else.
    world.log().pin("download", resume_from.previous().previous(), i64::MAX).unwrap();
    assert!(compact(&world, &keep(age_us - 1)).leftovers_removed.is_empty());
    world.log().unpin("download");
    assert_eq!(compact(&world, &keep(age_us - 1)).leftovers_removed, [file]);
}
