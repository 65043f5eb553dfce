//! Every on-disk format version ever released opens, and the damaged variants are told by name.

use std::path::{Path, PathBuf};

use event_log::storage::disk::DiskStorage;
use event_log::storage::sim::SimStorage;
use event_log::{Log, OpenError, RecordBuffer, Seq, verify};

use crate::golden_life;
use crate::world::read_all;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn copied(fixture: &str) -> (tempfile::TempDir, DiskStorage) {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixtures().join(fixture), dir.path());
    let storage = DiskStorage::new(dir.path().to_owned());
    (dir, storage)
}

/// The files of a directory by relative path, without the lock and what isn't finished.
fn files(dir: &Path, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            files.extend(self::files(&entry.path(), &format!("{name}/")));
        } else if name != "LOCK" && !name.ends_with(".tmp") {
            files.push((name, std::fs::read(entry.path()).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn version_1_opens() {
    let (_dir, storage) = copied("event-log-v1");
    let report = verify(&storage, &mut |_, _| {}).unwrap();
    assert!(report.is_sound() && report.torn_tail.is_none(), "{report:?}");
    assert!(
        report.archived >= 1
            && report.segments >= 2
            && report.snapshots == 2
            && report.consumers == 2,
        "{report:?}"
    );
    let log = Log::open(storage, golden_life::options()).unwrap();
    let (first, records, _) = read_all(&log).unwrap();
    let expected: Vec<Vec<u8>> = (1..=golden_life::RECORDS).map(golden_life::record).collect();
    assert_eq!((first, records), (1, expected));
    assert_eq!(log.tip().digest, (1..=golden_life::RECORDS).map(golden_life::digest).sum::<u128>());
    let consumers: Vec<(String, u64)> =
        log.consumers().into_iter().map(|consumer| (consumer.id, consumer.seq.get())).collect();
    assert_eq!(consumers, [("aggregator".to_owned(), 18), ("till-2".to_owned(), 32)]);
    let snapshots = log.snapshots().unwrap();
    assert_eq!(snapshots.iter().map(|info| info.lo().get()).collect::<Vec<_>>(), [18, 22]);
    let mut reader = log.open_snapshot(&snapshots[0]).unwrap();
    for id in 0..3 {
        let section = reader.next_section().unwrap().unwrap();
        assert_eq!(
            (section.kind, section.id, section.bytes),
            (1, id, golden_life::record(u64::from(id) + 2))
        );
    }
    assert!(reader.next_section().unwrap().is_none());
    let mut more = RecordBuffer::new();
    more.push(b"and on it goes");
    let range = log.append(&more, 1, 1).unwrap();
    log.commit_once().unwrap();
    assert_eq!(log.durable(), range.last);
}

/// When this fails the format has changed: raise the version, keep the old fixture, add a new one.
#[test]
fn version_1_is_still_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    golden_life::live(&DiskStorage::new(dir.path().to_owned()));
    let (written, golden) = (files(dir.path(), ""), files(&fixtures().join("event-log-v1"), ""));
    let names = |files: &[(String, Vec<u8>)]| {
        files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&written), names(&golden));
    for ((name, written), (_, golden)) in written.iter().zip(&golden) {
        // Another zstd may compress better; what comes out is checked by the test above.
        assert!(name.ends_with(".zst") || written == golden, "{name} is written otherwise now");
    }
}

#[test]
fn the_golden_life_is_the_same_on_any_disk() {
    let storage = SimStorage::new(1);
    golden_life::live(&storage);
    let golden = files(&fixtures().join("event-log-v1"), "");
    for (name, bytes) in storage.contents() {
        let found = golden.iter().find(|(known, _)| *known == name);
        assert!(
            name.ends_with(".tmp")
                || name.ends_with(".zst")
                || found.is_some_and(|(_, known)| *known == bytes),
            "{name}"
        );
    }
}

/// Where a damaged variant shows.
enum Shows {
    /// Opening is refused and names the file.
    Opening,
    /// It is no damage: a write that was cut short, of what was never acknowledged.
    TornTail,
}

fn check_variant(name: &str, file: &str, first_seq: u64, last_seq: u64, shows: &Shows) {
    let (dir, storage) = copied(&format!("event-log-damaged/{name}"));
    let before = files(dir.path(), "");
    let report = verify(&storage, &mut |_, _| {}).unwrap();
    let told = match shows {
        Shows::TornTail => report.torn_tail.as_ref(),
        Shows::Opening => report.damages.first(),
    };
    let told = told.unwrap_or_else(|| panic!("{name}: {report:?}"));
    let place = (told.file.as_str(), told.first_seq.get(), told.last_seq.get());
    assert_eq!(place, (file, first_seq, last_seq), "{name}: {told}");
    let opened = Log::open(storage, golden_life::options());
    match shows {
        Shows::Opening => {
            let Err(OpenError::Corrupt(damage)) = opened else {
                panic!("{name}: {:?}", opened.err())
            };
            assert_eq!(
                (damage.file.as_str(), damage.first_seq.get()),
                (file, first_seq),
                "{name}: {damage}"
            );
            assert!(files(dir.path(), "") == before, "{name}: a refused opening changed something");
        }
        Shows::TornTail => {
            assert!(report.is_sound(), "{name}: {report:?}");
            assert_eq!(opened.unwrap().last(), Seq::new(first_seq - 1), "{name}");
        }
    }
}

#[test]
fn damaged_variants_are_named() {
    let last = "00000000000000000033.log";
    check_variant("flipped-payload", last, 33, 40, &Shows::Opening);
    check_variant("flipped-header-page", last, 33, u64::MAX, &Shows::Opening);
    check_variant("missing-segment", "00000000000000000023.log", 23, 32, &Shows::Opening);
    check_variant("torn-tail", last, 33, 40, &Shows::TornTail);
}
