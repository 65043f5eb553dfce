//! The simulated disk keeps the promises of a disk, and breaks whatever it didn't promise.

use super::super::{OpenMode, Storage, StorageFile, read_small_file, replace_file};
use super::{Fault, Lies, SimStorage};

fn seeds() -> std::ops::Range<u64> {
    0..200
}

fn disk_with(path: &str, bytes: &[u8]) -> SimStorage {
    let disk = SimStorage::new(1);
    disk.put(path, bytes);
    disk
}

#[test]
fn synced_bytes_survive_every_crash_and_unsynced_ones_only_some() {
    let disk = disk_with("a", &[1; 8192]);
    let file = disk.open("a", OpenMode::ReadWrite).unwrap();
    file.write_at(&[2; 1024], 1024).unwrap();
    file.sync_data().unwrap();
    file.write_at(&[3; 2048], 2048).unwrap();
    let (mut kept, mut lost, mut mixed) = (0, 0, 0);
    for seed in seeds() {
        let bytes = read_small_file(&disk.crashed(seed), "a", 1 << 20).unwrap();
        assert_eq!(bytes.len(), 8192);
        assert_eq!(bytes[..1024], [1; 1024]);
        assert_eq!(bytes[1024..2048], [2; 1024]);
        assert_eq!(bytes[4096..], [1; 4096]);
        match bytes[2048..4096].iter().map(|byte| usize::from(*byte == 3)).sum() {
            2048 => kept += 1,
            0 => lost += 1,
            _ => mixed += 1,
        }
    }
    assert!(kept > 0 && lost > 0 && mixed > 0, "{kept} {lost} {mixed}");
}

#[test]
fn a_name_counts_once_its_directory_is_synced() {
    let disk = SimStorage::new(1);
    let file = disk.open("a", OpenMode::CreateNew).unwrap();
    file.write_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    let there = seeds().filter(|seed| disk.crashed(*seed).list("").unwrap() == ["a"]).count();
    assert!(there > 0 && there < 200, "{there}");
    disk.sync_dir("").unwrap();
    assert!(seeds().all(|seed| disk.crashed(seed).list("").unwrap() == ["a"]));
}

#[test]
fn replacing_a_file_leaves_the_old_or_the_new_at_every_crash() {
    let count = {
        let disk = disk_with("a", b"old");
        replace_file(&disk, "", "a", b"newer").unwrap();
        disk.op_count()
    };
    for index in 0..=count {
        let disk = disk_with("a", b"old");
        disk.fail_at(index, Fault::Crash);
        let done = replace_file(&disk, "", "a", b"newer").is_ok();
        for seed in seeds() {
            let bytes = read_small_file(&disk.crashed(seed), "a", 100).unwrap();
            assert!(bytes == b"newer" || (!done && bytes == b"old"), "{index} {seed} {bytes:?}");
        }
    }
}

#[test]
fn a_failed_sync_leaves_bytes_that_read_well_and_are_not_durable() {
    let disk = disk_with("a", &[0; 4096]);
    let file = disk.open("a", OpenMode::ReadWrite).unwrap();
    file.write_at(&[7; 4096], 0).unwrap();
    disk.fail_at(disk.op_count(), Fault::Eio);
    assert!(file.sync_data().is_err());
    // The next sync says "fine" and means nothing.
    file.sync_data().unwrap();
    assert_eq!(read_small_file(&disk, "a", 4096).unwrap(), [7; 4096]);
    assert_ne!(read_small_file(&disk.crashed(5), "a", 4096).unwrap(), [7; 4096]);
    // Writing them again and syncing is what helps.
    file.write_at(&[7; 4096], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(read_small_file(&disk.crashed(5), "a", 4096).unwrap(), [7; 4096]);
}

#[test]
fn lies_are_lies() {
    let disk = disk_with("a", &[0; 512]);
    disk.set_lies(Lies { sync_data: true, sync_dir: true });
    let file = disk.open("a", OpenMode::ReadWrite).unwrap();
    file.write_at(&[7; 512], 0).unwrap();
    file.sync_data().unwrap();
    assert!(
        seeds().any(|seed| read_small_file(&disk.crashed(seed), "a", 512).unwrap() == [0; 512])
    );
}

#[test]
fn capacity_locks_and_power() {
    let disk = disk_with("a", &[0; 1000]);
    disk.set_capacity(Some(1500));
    assert_eq!(disk.available_bytes().unwrap(), 500);
    let file = disk.open("a", OpenMode::ReadWrite).unwrap();
    assert!(super::super::is_no_space(&file.allocate(1501).unwrap_err()));
    assert!(super::super::is_no_space(&file.write_at(&[1; 10], 1495).unwrap_err()));
    file.write_at(&[1; 10], 1490).unwrap();
    let lock = disk.try_lock("LOCK", "pid 1").unwrap().unwrap();
    assert_eq!(disk.try_lock("LOCK", "pid 2").unwrap().unwrap_err(), "pid 1");
    assert_eq!(disk.lock_holder("LOCK").unwrap().as_deref(), Some("pid 1"));
    drop(lock);
    assert!(disk.try_lock("LOCK", "pid 2").unwrap().is_ok());
    let after = disk.crash(3);
    assert!(file.len().is_err() && disk.list("").is_err());
    assert_eq!(after.list("").unwrap(), ["a"]);
}
