//! The container alone: it survives its file, and nothing else passes for it.

use super::*;
use crate::storage::sim::{Fault, SimStorage};
use crate::storage::{OpenMode, Storage, StorageFile, list_if_there, read_small_file};

fn header() -> SnapshotHeader {
    SnapshotHeader {
        log_id: LogId::new([1; 16]),
        owner: b"store".to_vec(),
        lo: Seq::new(5),
        chain: Chain::new([2; 32]),
        state_digest: 3,
        logged_at_us: -4,
        created_at_us: 5,
    }
}

fn sections() -> Vec<Section> {
    let section = |kind, id, bytes: &[u8]| Section { kind, id, bytes: bytes.to_vec() };
    vec![section(1, 0, b"first"), section(1, 1, b""), section(2, 9, &[7; 600])]
}

fn write(storage: &SimStorage) -> Result<SnapshotInfo, SnapshotWriteError> {
    let mut file = SnapshotFile::create(storage.clone(), "a.tmp", header())?;
    for section in sections() {
        file.section(section.kind, section.id, &section.bytes)?;
    }
    file.finish("a.snap", Seq::new(8), 77)
}

fn read(bytes: &[u8]) -> Result<(SnapshotHeader, Vec<Section>, SnapshotFooter), SnapshotReadError> {
    let mut stream = SnapshotStream::new(bytes, "stream")?;
    let mut sections = Vec::new();
    while let Some(section) = stream.next_section()? {
        sections.push(section);
    }
    Ok((stream.header().clone(), sections, *stream.footer().expect("the end was reached")))
}

#[test]
fn what_was_written_is_what_is_read() {
    let storage = SimStorage::new(1);
    let info = write(&storage).unwrap();
    let bytes = read_small_file(&storage, "a.snap", 1 << 20).unwrap();
    let (read_header, read_sections, footer) = read(&bytes).unwrap();
    assert_eq!((read_header, read_sections), (header(), sections()));
    assert_eq!((footer, footer.file_bytes), (info.footer, bytes.len() as u64));
    assert_eq!((footer.hi, footer.items_digest, footer.section_count), (Seq::new(8), 77, 3));
    assert_eq!(peek(&storage, "a.snap").unwrap(), info);
}

/// Verifies these bytes as a file, which keeps none of them.
fn verify(bytes: &[u8]) -> Result<SnapshotInfo, SnapshotReadError> {
    let storage = SimStorage::new(1);
    storage.open("b.snap", OpenMode::CreateNew).unwrap().write_at(bytes, 0).unwrap();
    verify_snapshot(&storage, "b.snap")
}

#[test]
fn verifying_notices_what_reading_does_in_sections_of_any_length() {
    let storage = SimStorage::new(1);
    let mut file = SnapshotFile::create(storage.clone(), "a.tmp", header()).unwrap();
    for (id, length) in [(0, 0), (1, 1), (2, 200 << 10), (3, 64 << 10), (4, 5)] {
        file.section(1, id, &vec![7; length]).unwrap();
    }
    file.finish("a.snap", Seq::new(8), 77).unwrap();
    let bytes = read_small_file(&storage, "a.snap", 1 << 20).unwrap();
    assert_eq!(read(&bytes).unwrap().1.len(), 5);
    assert_eq!(verify(&bytes).unwrap().footer.section_count, 5);
    for at in (0..bytes.len()).step_by(997) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let error = verify(&damaged).expect_err("a flipped bit must be noticed");
        assert!(error.is_damage(), "byte {at}: {error}");
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let storage = SimStorage::new(1);
    write(&storage).unwrap();
    let bytes = read_small_file(&storage, "a.snap", 1 << 20).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        for error in [read(&damaged).err(), verify(&damaged).err()] {
            let error = error.expect("a flipped bit must be noticed");
            assert!(error.is_damage(), "bit {bit}: {error}");
        }
    }
    for length in 0..bytes.len() {
        let cut = &bytes[..length];
        assert!(read(cut).is_err() && verify(cut).is_err(), "cut at {length}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(read(&longer).is_err() && verify(&longer).is_err(), "a byte behind the footer");
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let mut bytes = header().encode();
    bytes[8] = 2;
    let end = bytes.len() - CRC_BYTES;
    let crc = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(read(&bytes), Err(SnapshotReadError::UnsupportedVersion { found: 2, .. })));
}

#[test]
fn whatever_fails_there_is_no_file_of_the_final_name_that_is_not_whole() {
    let operations = {
        let storage = SimStorage::new(1);
        write(&storage).unwrap();
        storage.op_count()
    };
    for index in 0..operations {
        for fault in [Fault::Eio, Fault::Enospc, Fault::Crash] {
            let storage = SimStorage::new(1);
            storage.fail_at(index, fault);
            assert!(write(&storage).is_err(), "{fault:?} at {:?}", storage.operation(index));
            for seed in 0..20 {
                let after = storage.crashed(seed);
                if after.list("").unwrap().contains(&"a.snap".to_owned()) {
                    verify_snapshot(&after, "a.snap").unwrap();
                }
            }
            if fault != Fault::Crash {
                assert_eq!(
                    list_if_there(&storage, "").unwrap(),
                    [""; 0],
                    "{fault:?} at {index} leaves nothing"
                );
            }
        }
    }
}

#[test]
fn names_sort_by_lo() {
    let name = snapshot_file_name(Seq::new(5), Seq::new(8));
    assert_eq!(name, "00000000000000000005-00000000000000000008.snap");
    assert_eq!(parse_snapshot_file_name(&name), Some((Seq::new(5), Seq::new(8))));
    for name in ["5-8.snap", "00000000000000000005-00000000000000000008.snap.tmp", "x.snap"] {
        assert_eq!(parse_snapshot_file_name(name), None);
    }
}

#[test]
fn a_long_one_is_never_far_ahead_of_the_disk() {
    use crate::storage::gradual::{AHEAD_BYTES_MAX, most_ahead_bytes};

    let storage = SimStorage::new(1);
    let mut file = SnapshotFile::create(storage.clone(), "a.tmp", header()).unwrap();
    let bytes = vec![7; 300 << 10];
    for id in 0..40 {
        file.section(1, id, &bytes).unwrap();
    }
    file.finish("a.snap", Seq::new(8), 77).unwrap();
    let most = most_ahead_bytes(&storage, "a.tmp");
    assert!((1..=2 * AHEAD_BYTES_MAX).contains(&most), "writers would wait for {most} bytes");
}
