//! The file of consumers, coded by hand; see [`super`] for its layout.
//!
//! A decoder here must never panic or guess: a file that isn't wholly right is unreadable.

use std::io;

use super::{CONSUMER_ID_BYTES_MAX, CONSUMERS_MAX, Consumer};
use crate::format::{CONSUMERS_FILE, read_array, read_u16, read_u32, read_u64};
use crate::seq::{Chain, LogId, Seq};
use crate::storage::{Storage, read_small_file};

const MAGIC: [u8; 8] = *b"OHCONSM1";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 32;
const ENTRY_FIXED_BYTES: usize = 50;
const CRC_BYTES: usize = 4;
const FILE_BYTES_MAX: u64 =
    (HEADER_BYTES + CONSUMERS_MAX * (ENTRY_FIXED_BYTES + CONSUMER_ID_BYTES_MAX) + CRC_BYTES) as u64;

/// Why the file of consumers can't be used. Nothing may be deleted while it is so.
#[derive(Debug, thiserror::Error)]
pub enum ConsumersError {
    /// The bytes aren't what was written: restore the file, or remove it and let every consumer
    /// register again.
    #[error("{CONSUMERS_FILE} is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// Written by a newer build: use that one.
    #[error("{CONSUMERS_FILE} has format version {found}, which this build doesn't support")]
    UnsupportedVersion {
        /// The version found.
        found: u16,
    },
    /// The disk failed.
    #[error("reading {CONSUMERS_FILE} failed: {0}")]
    Io(#[source] io::Error),
}

/// Reads the consumers of a directory; none when there is no file. Needs no lock.
pub fn read_consumers<S: Storage>(
    storage: &S,
    log_id: Option<LogId>,
) -> Result<Vec<Consumer>, ConsumersError> {
    match read_small_file(storage, CONSUMERS_FILE, FILE_BYTES_MAX) {
        Ok(bytes) => decode(&bytes, log_id),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(ConsumersError::Damaged { what: "longer than it can be" })
        }
        Err(error) => Err(ConsumersError::Io(error)),
    }
}

pub(super) fn encode<'consumer>(
    consumers: impl ExactSizeIterator<Item = &'consumer Consumer>,
    log_id: LogId,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&(consumers.len() as u32).to_le_bytes());
    bytes.extend_from_slice(log_id.as_bytes());
    for consumer in consumers {
        bytes.extend_from_slice(&consumer.seq.get().to_le_bytes());
        bytes.extend_from_slice(consumer.chain.as_bytes());
        bytes.extend_from_slice(&consumer.acknowledged_at_us.to_le_bytes());
        bytes.extend_from_slice(&(consumer.id.len() as u16).to_le_bytes());
        bytes.extend_from_slice(consumer.id.as_bytes());
    }
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8], log_id: Option<LogId>) -> Result<Vec<Consumer>, ConsumersError> {
    let damaged = |what| Err(ConsumersError::Damaged { what });
    if bytes.len() < HEADER_BYTES + CRC_BYTES {
        return damaged("too short");
    }
    let (body, crc) = bytes.split_at(bytes.len() - CRC_BYTES);
    if body[..8] != MAGIC {
        return damaged("wrong magic");
    }
    if crc32fast::hash(body) != read_u32(crc, 0) {
        return damaged("the crc doesn't match");
    }
    let found = read_u16(body, 8);
    if found != VERSION {
        return Err(ConsumersError::UnsupportedVersion { found });
    }
    if log_id.is_some_and(|id| *id.as_bytes() != read_array::<16>(body, 16)) {
        return damaged("it belongs to another log");
    }
    let count = read_u32(body, 12) as usize;
    let mut rest = &body[HEADER_BYTES..];
    let mut consumers: Vec<Consumer> = Vec::new();
    while !rest.is_empty() {
        let Some((consumer, after)) = decode_entry(rest) else {
            return damaged("an impossible entry");
        };
        // Of two cursors of one consumer nobody could tell which one holds.
        if consumers.last().is_some_and(|before| before.id >= consumer.id) {
            return damaged("its entries aren't in order");
        }
        consumers.push(consumer);
        rest = after;
    }
    if consumers.len() != count || count > CONSUMERS_MAX || body[10..12] != [0; 2] {
        return damaged("it counts other entries than it holds");
    }
    Ok(consumers)
}

fn decode_entry(bytes: &[u8]) -> Option<(Consumer, &[u8])> {
    let (fixed, rest) = bytes.split_at_checked(ENTRY_FIXED_BYTES)?;
    let id_len = usize::from(read_u16(fixed, 48));
    if id_len == 0 || id_len > CONSUMER_ID_BYTES_MAX {
        return None;
    }
    let (id, rest) = rest.split_at_checked(id_len)?;
    let consumer = Consumer {
        id: std::str::from_utf8(id).ok()?.to_owned(),
        seq: Seq::new(read_u64(fixed, 0)),
        chain: Chain::new(read_array(fixed, 8)),
        acknowledged_at_us: i64::from_le_bytes(read_array(fixed, 40)),
    };
    Some((consumer, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Consumer> {
        let consumer = |id: &str, seq| Consumer {
            id: id.to_owned(),
            seq: Seq::new(seq),
            chain: Chain::new([seq as u8; 32]),
            acknowledged_at_us: -5,
        };
        vec![consumer("aggregator", 7), consumer("b", 0)]
    }

    #[test]
    fn consumers_survive_their_file_and_no_flipped_bit_does() {
        let log_id = LogId::new([1; 16]);
        for consumers in [Vec::new(), sample()] {
            let bytes = encode(consumers.iter(), log_id);
            assert_eq!(decode(&bytes, Some(log_id)).unwrap(), consumers);
            assert!(decode(&bytes, Some(LogId::new([2; 16]))).is_err());
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&damaged, Some(log_id)).is_err(), "bit {bit}");
            }
            for length in 0..bytes.len() {
                assert!(decode(&bytes[..length], None).is_err(), "{length} bytes");
            }
        }
    }

    #[test]
    fn a_newer_file_is_told_from_a_damaged_one() {
        let mut bytes = encode(sample().iter(), LogId::new([1; 16]));
        bytes[8] = 9;
        let end = bytes.len() - CRC_BYTES;
        let crc = crc32fast::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(
            decode(&bytes, None),
            Err(ConsumersError::UnsupportedVersion { found: 9 })
        ));
    }
}
