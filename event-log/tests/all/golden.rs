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
    assert!(report.archived >= 1 && report.segments >= 2 && report.snapshots == 2 && report.consumers == 2, "{report:?}");
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
        assert_eq!((section.kind, section.id, section.bytes), (1, id, golden_life::record(u64::from(id) + 2)));
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
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
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
        assert!(name.ends_with(".tmp") || name.ends_with(".zst") || found.is_some_and(|(_, known)| *known == bytes), "{name}");
    }
}

/// What is wrong with each damaged variant, as `verify` and opening must tell it.
#[test]
fn damaged_variants_are_named() {
    struct Variant {
        name: &'static str,
        file: &'static str,
        first_seq: u64,
        last_seq: u64,
        opens: bool,
    }
    let variants = [
        Variant { name: "flipped-payload", file: "00000000000000000033.log", first_seq: 33, last_seq: 40, opens: false },
        Variant { name: "flipped-header-page", file: "00000000000000000033.log", first_seq: 33, last_seq: u64::MAX, opens: false },
        Variant { name: "missing-segment", file: "", first_seq: 0, last_seq: 0, opens: false },
        Variant { name: "torn-tail", file: "00000000000000000033.log", first_seq: 33, last_seq: u64::MAX, opens: true },
    ];
    for variant in variants {
        let (dir, storage) = copied(&format!("event-log-damaged/{}", variant.name));
        let before = files(dir.path(), "");
        let report = verify(&storage, &mut |_, _| {}).unwrap();
        println!("{}: {:?} {:?}", variant.name, report.damages, report.torn_tail);
        let opened = Log::open(storage, golden_life::options());
        if variant.opens {
            assert!(report.is_sound(), "{}: {report:?}", variant.name);
            let torn = report.torn_tail.expect("a torn tail is told");
            assert_eq!((torn.file.as_str(), torn.first_seq), (variant.file, Seq::new(variant.first_seq)));
            assert_eq!(opened.unwrap().last(), Seq::new(variant.first_seq - 1));
            continue;
        }
        assert!(!report.is_sound(), "{}", variant.name);
        if !variant.file.is_empty() {
            let damage = &report.damages[0];
            assert_eq!((damage.file.as_str(), damage.first_seq.get()), (variant.file, variant.first_seq), "{damage}");
            assert!(damage.last_seq.get() <= variant.last_seq, "{damage}");
        }
        match opened {
            Err(OpenError::Corrupt(damage)) if !variant.file.is_empty() => assert_eq!(damage.file, variant.file),
            Err(OpenError::Corrupt(_)) => {}
            other => panic!("{}: {:?}", variant.name, other.err()),
        }
        assert!(files(dir.path(), "") == before, "{}: a refused opening changed something", variant.name);
    }
}
