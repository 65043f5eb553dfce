//! Segment files: the header page alone, then a directory with this one segment, verified, read
//! beside a writer and opened. The input is the file; its name is what the header page says.
//!
//! What a verification calls sound must open, what opens must read the same twice, and an opening
//! that is refused must leave every byte as it was.

use event_log::storage::sim::SimStorage;
use event_log::{
    Cursor, DirectoryReader, Log, LogOptions, SegmentHeader, Seq, segment_file_name, verify,
};

use crate::bound::Bound;
use crate::{seal, with_flipped_bit};

/// The owner and a page.
const HEADER_BOUND: Bound = Bound { fixed_bytes: 512, per_byte: 0 };
/// The file, its frames, what is listed as damage (a frame takes 512 bytes on disk at least).
const VERIFY_BOUND: Bound = Bound { fixed_bytes: 16 << 10, per_byte: 8 };
/// The reader's window of 256 KiB, frames that wait to be proven durable.
const READ_BOUND: Bound = Bound { fixed_bytes: 288 << 10, per_byte: 8 };
const PAGE_BYTES: usize = 4096;
/// Where the first seq is.
const FIRST_SEQ: usize = 48;

/// Checks the bytes as they are, then with right crcs and chains.
pub fn check(bytes: &[u8]) {
    seal::as_is_and_sealed(bytes, seal::segment, |bytes| {
        check_header(bytes);
        check_directory(bytes);
    });
}

fn check_header(bytes: &[u8]) {
    let decode = || SegmentHeader::decode(bytes);
    let Ok(header) = HEADER_BOUND.hold("a segment's header", bytes.len(), decode) else { return };
    let encoded = header.encode();
    assert_eq!(SegmentHeader::decode(&encoded[..]), Ok(header));
    let flipped = with_flipped_bit(&bytes[..PAGE_BYTES]);
    assert!(SegmentHeader::decode(&flipped).is_err(), "a flipped bit passed");
    // The owner's end to the capacity is zeros in what is written; all before it is the same.
    let end = 130 + seal::number(bytes, 128, 2);
    assert_eq!(encoded[..end], bytes[..end], "written again it is something else");
}

fn check_directory(bytes: &[u8]) {
    let first = seal::number(bytes, FIRST_SEQ, 8).max(1) as u64;
    let after = Cursor { seq: Seq::new(first - 1), chain: None };
    let storage = SimStorage::new(1);
    storage.put(&segment_file_name(Seq::new(first)), bytes);
    let verified = VERIFY_BOUND
        .hold("verifying", bytes.len(), || verify(&storage, &mut |_, _| {}))
        .expect("the disk works");
    let read = READ_BOUND.hold("reading a directory", bytes.len(), || read(&storage, after));

    let before = storage.contents();
    let owner = SegmentHeader::decode(bytes).map(|header| header.owner).unwrap_or_default();
    let options = LogOptions { owner, segment_bytes: 8 << 10, ..LogOptions::default() };
    match Log::open(storage.clone(), options.clone()) {
        Err(error) => {
            assert!(!verified.is_sound(), "a sound log is refused: {error}");
            let after = storage.contents().into_iter().filter(|(name, _)| name != "LOCK");
            assert_eq!(after.collect::<Vec<_>>(), before, "a refused opening changed something");
        }
        Ok(log) => {
            assert!(verified.is_sound(), "damage was opened: {:?}", verified.damages);
            let records = records(&log, after);
            assert_eq!(records.len() as u64, verified.records);
            if let Some(read) = read {
                assert!(read <= verified.records, "more is read than there is");
            }
            let tip = log.tip();
            log.close().expect("the disk works");
            drop(log);
            let again = Log::open(storage, options).expect("what was opened opens again");
            assert_eq!(again.tip().digest, tip.digest);
            assert_eq!(self::records(&again, after), records, "it reads otherwise the second time");
        }
    }
}

/// How many records are proven durable; none where the directory can't be read to its end.
fn read(storage: &SimStorage, after: Cursor) -> Option<u64> {
    let mut reader = DirectoryReader::open(storage.clone(), after).ok()?;
    let mut count = 0;
    while let Some(frame) = reader.next().ok()? {
        count += u64::from(frame.header.record_count);
    }
    Some(count)
}

fn records(log: &Log<SimStorage>, after: Cursor) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut reader = log.reader(after).expect("the beginning is there");
    while let Some(frame) = reader.next().expect("what was opened is readable") {
        records.extend(frame.records().map(|(_, record)| record.to_vec()));
    }
    records
}
