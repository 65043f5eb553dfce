//! Rot beside the segments: in snapshots, in the consumers, in the archive. It is named, what is older
//! is used instead, and nothing is deleted while it is there.

use event_log::Cursor;

use crate::damage::{disk, open, open_unchanged, segments, verified};
use crate::world::Op;

#[test]
fn a_damaged_snapshot_is_skipped_named_and_stops_compaction() {
    let mut world = disk(true);
    world.open().unwrap();
    world
        .run(&[Op::Snapshot, Op::Append(vec![3000]), Op::Commit, Op::Snapshot, Op::Close])
        .unwrap();
    let snapshots = world.log().snapshots().unwrap();
    world.log = None;
    let newest = &snapshots[1];
    for at in (0..newest.footer.file_bytes).step_by(11) {
        let storage = world.storage.fork();
        storage.flip_bit(&newest.file, at, 3).unwrap();
        let log = open(&storage).unwrap_or_else(|error| panic!("byte {at}: {error}"));
        assert_eq!(log.latest_snapshot().unwrap().as_ref(), Some(&snapshots[0]), "byte {at}");
        let list = log.list_snapshots().unwrap();
        assert_eq!(list.damaged.len(), 1);
        assert_eq!(list.damaged[0].0, newest.file);
        let refused = log
            .compact(&crate::world::retention(false), 0, &mut event_log::go_on)
            .unwrap_err()
            .to_string();
        assert!(refused.contains(&newest.file), "{refused}");
        let report = verified(&storage);
        let hit = report.damages.iter().find(|damage| damage.file == newest.file).unwrap();
        assert!(hit.offset <= at && at < hit.offset + hit.length, "{hit} doesn't name byte {at}");
    }
}

#[test]
fn unreadable_consumers_never_lead_to_deleting() {
    let mut world = disk(true);
    world.open().unwrap();
    world
        .run(&[
            Op::Snapshot,
            Op::Acknowledge("tail"),
            Op::Append(vec![3000]),
            Op::Commit,
            Op::Snapshot,
            Op::Close,
        ])
        .unwrap();
    world.log = None;
    let length =
        world.storage.contents().iter().find(|(path, _)| path == "CONSUMERS").unwrap().1.len()
            as u64;
    for at in (0..length).map(Some).chain([None]) {
        let storage = world.storage.fork();
        match at {
            Some(at) => storage.flip_bit("CONSUMERS", at, 5).unwrap(),
            None => storage.set_unreadable("CONSUMERS", true),
        }
        let before = segments(&storage);
        let log = open(&storage).unwrap();
        assert!(log.consumers_problem().is_some_and(|problem| problem.contains("CONSUMERS")));
        assert!(log.compact(&crate::world::retention(false), 0, &mut event_log::go_on).is_err());
        let tip = log.tip();
        assert!(
            log.acknowledge("tail", tip.seq, tip.chain, 0).is_err(),
            "it must not be overwritten"
        );
        assert!(log.deregister("tail").is_err(), "it must not be overwritten");
        assert_eq!(segments(&storage).len(), before.len());
        if at.is_some() {
            assert!(verified(&storage).damages.iter().any(|damage| damage.file == "CONSUMERS"));
        }
    }
}

#[test]
fn an_archived_segment_that_rots_is_named() {
    let mut world = disk(true);
    world.open().unwrap();
    world
        .run(&[
            Op::Snapshot,
            Op::Append(vec![3000]),
            Op::Commit,
            Op::Snapshot,
            Op::Compact { archive: true },
        ])
        .unwrap();
    world.log = None;
    let contents = world.storage.contents();
    let (file, bytes) = contents
        .iter()
        .find(|(path, _)| path.starts_with("archive/"))
        .expect("something was archived");
    assert!(verified(&world.storage).is_sound());
    for at in (0..bytes.len() as u64).step_by(13) {
        let storage = world.storage.fork();
        storage.flip_bit(file, at, 2).unwrap();
        let report = verified(&storage);
        assert!(
            report.damages.iter().any(|damage| damage.file == *file),
            "byte {at}: {:?}",
            report.damages
        );
        let read = match open_unchanged(&storage) {
            Err(error) => Err(error.to_string()),
            Ok(log) => log.reader(Cursor::START).map_err(|error| error.to_string()).and_then(
                |mut reader| {
                    while reader.next().map_err(|error| error.to_string())?.is_some() {}
                    Ok(())
                },
            ),
        };
        assert!(read.unwrap_err().contains(file), "byte {at}");
    }
}
