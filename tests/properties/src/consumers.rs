//! The file of consumers' cursors: what may be deleted hangs on it, so a file that isn't wholly
//! right must be refused as a whole. The input is the file.

use event_log::storage::sim::SimStorage;
use event_log::{Consumer, LogId, read_consumers};

use crate::bound::Bound;
use crate::{seal, with_flipped_bit};

/// The file read into memory, its entries (each at least 51 bytes on disk), words of an error.
const BOUND: Bound = Bound { fixed_bytes: 1024, per_byte: 8 };
const FILE: &str = "CONSUMERS";

/// Checks the bytes as they are, then with a right crc.
pub fn check(bytes: &[u8]) {
    seal::as_is_and_sealed(bytes, seal::crc_at_end, examine);
}

fn examine(bytes: &[u8]) {
    let storage = SimStorage::new(1);
    storage.put(FILE, bytes);
    let read = BOUND.hold("consumers", bytes.len(), || read_consumers(&storage, None).ok());
    let Some(consumers) = read else { return };
    let mut log_id = [0; 16];
    log_id.copy_from_slice(&bytes[16..32]);
    assert_eq!(encode(&consumers, log_id), bytes, "written again it is something else");
    let mut ids: Vec<&str> = consumers.iter().map(|consumer| consumer.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), consumers.len(), "one consumer has two cursors");
    let other = LogId::new(log_id.map(|byte| !byte));
    assert!(read_consumers(&storage, Some(other)).is_err(), "cursors of another log passed");
    storage.put(FILE, &with_flipped_bit(bytes));
    assert!(read_consumers(&storage, None).is_err(), "a flipped bit passed");
}

fn encode(consumers: &[Consumer], log_id: [u8; 16]) -> Vec<u8> {
    let mut bytes = b"OHCONSM1".to_vec();
    bytes.extend([1, 0, 0, 0]);
    bytes.extend((consumers.len() as u32).to_le_bytes());
    bytes.extend(log_id);
    for consumer in consumers {
        bytes.extend(consumer.seq.get().to_le_bytes());
        bytes.extend(consumer.chain.as_bytes());
        bytes.extend(consumer.acknowledged_at_us.to_le_bytes());
        bytes.extend((consumer.id.len() as u16).to_le_bytes());
        bytes.extend(consumer.id.as_bytes());
    }
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}
