//! Archived segments: zstd around the bytes of a segment. The input is the file of the archive.
//!
//! An archive and the segment that it was are two readers of one thing: what a verification calls
//! sound is sound as a segment too, and both give the same records. What it decompresses to is
//! bounded by what its segment had room for, never by what zstd can be made to say.

use std::io::Read;

use event_log::storage::sim::SimStorage;
use event_log::{
    Chain, Cursor, DirectoryReader, Log, LogOptions, SegmentHeader, Seq, VerifyReport,
    segment_file_name, verify,
};

use crate::bound::Bound;
use crate::{seal, with_flipped_bit};

/// The archive's bytes, those of the segment as they grow, its frames, what is listed as damage.
const VERIFY_BOUND: Bound = Bound { fixed_bytes: 320 << 10, per_byte: 8 };
/// The reader's window of 256 KiB and the decoder's, frames that wait to be proven durable.
const READ_BOUND: Bound = Bound { fixed_bytes: 640 << 10, per_byte: 8 };
const PAGE_BYTES: usize = 4096;
/// Segments that are looked at have at most so many bytes; larger ones cost time and tell nothing.
const SEGMENT_BYTES_MAX: usize = 1 << 20;
/// Where the first seq is, the capacity, and the page's crc.
const FIRST_SEQ: usize = 48;
const CAPACITY: usize = PAGE_BYTES - 12;
const PAGE_CRC: usize = PAGE_BYTES - 4;
const COMPRESSION_LEVEL: i32 = 3;

/// Checks the bytes as they are, then the segment in them (or the bytes taken for one) with right
/// crcs and chains, compressed again.
pub fn check(bytes: &[u8]) {
    examine(bytes);
    let mut segment = decompressed(bytes, SEGMENT_BYTES_MAX).unwrap_or_else(|| bytes.to_vec());
    segment.truncate(SEGMENT_BYTES_MAX);
    seal::segment(&mut segment);
    examine(&compressed(&segment));
}

/// The bytes of a segment as an archive of it.
#[must_use]
pub fn compressed(segment: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::read::Encoder::new(segment, COMPRESSION_LEVEL)
        .expect("memory for an encoder");
    encoder.include_checksum(true).expect("an encoder that hasn't begun takes options");
    let mut bytes = Vec::new();
    encoder.read_to_end(&mut bytes).expect("memory encodes");
    bytes
}

/// What the archive holds, as far as it decompresses; none where it doesn't begin to or where it is
/// more than `most` bytes.
fn decompressed(bytes: &[u8], most: usize) -> Option<Vec<u8>> {
    let decoder = zstd::stream::read::Decoder::new(bytes).ok()?;
    let mut segment = Vec::new();
    // An archive that breaks off still holds what comes before.
    let _ = decoder.take(most as u64 + 1).read_to_end(&mut segment);
    (!segment.is_empty() && segment.len() <= most).then_some(segment)
}

fn examine(bytes: &[u8]) {
    let segment = decompressed(bytes, SEGMENT_BYTES_MAX).unwrap_or_default();
    let first = Seq::new(seal::number(&segment, FIRST_SEQ, 8).max(1) as u64);
    let storage = SimStorage::new(1);
    storage.put(&name_of(first), bytes);
    let room = bytes.len() + room_of(&segment);
    let verified = VERIFY_BOUND.hold("verifying an archive", room, || verified(&storage));
    let Some(next) = verified.is_sound().then(|| segment_after(&segment)).flatten() else {
        return;
    };
    assert_eq!(verified.archived, 1);

    // Beside the segment that comes after it the archive is read like the segment it was.
    storage.put(&next.0, &next.1);
    let twin = SimStorage::new(1);
    let mut whole = segment.clone();
    whole.resize(segment.len().max(seal::number(&segment, CAPACITY, 8)), 0);
    twin.put(&segment_file_name(first), &whole);
    twin.put(&next.0, &next.1);
    let report = self::verified(&twin);
    assert!(report.is_sound(), "sound as an archive only: {:?}", report.damages);
    assert_eq!(report.records, verified.records);
    let after = Cursor { seq: first.previous(), chain: None };
    let read = READ_BOUND.hold("reading an archive", room, || records(&storage, after));
    assert_eq!(read.len() as u64, verified.records);
    assert_eq!(read, records(&twin, after), "the archive reads otherwise than the segment");
    opens(&storage, &segment, &read, after);

    let flipped = SimStorage::new(1);
    flipped.put(&name_of(first), &with_flipped_bit(bytes));
    if self::verified(&flipped).is_sound() {
        flipped.put(&next.0, &next.1);
        assert_eq!(records(&flipped, after), read, "a flipped bit passed");
    }
}

/// Opens the log of an archive and the segment after it, twice: what is sound opens and stays.
fn opens(storage: &SimStorage, segment: &[u8], read: &[Vec<u8>], after: Cursor) {
    let owner = SegmentHeader::decode(segment).map(|header| header.owner).unwrap_or_default();
    for _ in 0..2 {
        let options =
            LogOptions { owner: owner.clone(), segment_bytes: 8 << 10, ..LogOptions::default() };
        let log = Log::open(storage.clone(), options).expect("what is sound opens");
        let mut records = Vec::new();
        let mut reader = log.reader(after).expect("the archive's beginning is there");
        while let Some(frame) = reader.next().expect("what was opened is readable") {
            records.extend(frame.records().map(|(_, record)| record.to_vec()));
        }
        assert_eq!(records, read, "the log reads otherwise than its directory");
        log.close().expect("the disk works");
    }
}

fn name_of(first: Seq) -> String {
    format!("archive/{:020}.log.zst", first.get())
}

/// What the segment had room for, if its page's crc says that it is so.
fn room_of(segment: &[u8]) -> usize {
    let Some(page) = segment.get(..PAGE_BYTES) else { return 0 };
    let is_right = crc32fast::hash(&page[..PAGE_CRC]) as usize == seal::number(page, PAGE_CRC, 4);
    if is_right { seal::number(page, CAPACITY, 8) } else { 0 }
}

fn verified(storage: &SimStorage) -> VerifyReport {
    verify(storage, &mut |_, _| {}).expect("the disk works")
}

/// Every record from there on that is proven durable.
fn records(storage: &SimStorage, after: Cursor) -> Vec<Vec<u8>> {
    let mut reader = DirectoryReader::open(storage.clone(), after).expect("a sound directory");
    let mut records = Vec::new();
    while let Some(frame) = reader.next().expect("a sound directory is readable") {
        records.extend(frame.records().map(|(_, record)| record.to_vec()));
    }
    records
}

/// The name and the header page of the segment that comes after this one, with no frame in it; none
/// where no frame tells how this one ends.
fn segment_after(segment: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut header = SegmentHeader::decode(segment).ok()?;
    let mut offset = usize::from(header.header_len);
    let mut end = None;
    while segment.get(offset..).is_some_and(|rest| rest.starts_with(b"OHFR")) {
        let frame = &segment[offset..];
        // The first seq of a frame without records is the next one.
        let next = seal::number(frame, 16, 8) + seal::number(frame, 12, 4);
        let mut chain = [0; 32];
        chain.copy_from_slice(&frame[72..104]);
        let mut digest = [0; 16];
        digest.copy_from_slice(&frame[56..72]);
        let logged_at_us = seal::number(frame, 48, 8) as i64;
        end = Some((next as u64, chain, u128::from_le_bytes(digest), logged_at_us));
        let used = seal::FRAME_HEADER_BYTES + seal::number(frame, 8, 4);
        offset = (offset + used).next_multiple_of(header.alignment as usize);
    }
    let (next, chain, digest, logged_at_us) = end?;
    header.first_seq = Seq::new(next);
    header.previous_chain = Chain::new(chain);
    header.previous_digest = digest;
    header.previous_logged_at_us = logged_at_us;
    // Room for a few frames of its alignment, and a checkpoint and a close frame behind them.
    let room = usize::from(header.header_len) + 8 * header.alignment as usize;
    header.capacity_bytes = room as u64;
    let mut bytes = header.encode().to_vec();
    bytes.resize(room, 0);
    Some((segment_file_name(header.first_seq), bytes))
}
