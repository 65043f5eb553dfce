//! The sections of a node's snapshot: items in SKU order, idempotency keys, and the counts that let
//! a reader make room first. A decoder here must never trust a count or a length.
//!
//! ```text
//! section kind 1, items (id = running number): items one after the other (codec::encode_item)
//! section kind 2, keys (id = running number): entries of 48 bytes, little-endian:
//!      0  key hash             u128
//!     16  fingerprint          u128
//!     32  first seq            u64
//!     40  records              u32
//!     44  claimed at, seconds  u32
//! section kind 3, counts (id 0, the first section): items u64, keys u64; hints only
//! ```

use shared::Sku;
use shared::codec::{DecodeError, PackedItem, VarintReader, encode_item};
use thiserror::Error;

use crate::idempotency::KeyEntry;

/// The section kind of items.
pub(super) const SECTION_ITEMS: u16 = 1;
/// The section kind of idempotency keys.
pub(super) const SECTION_KEYS: u16 = 2;
/// The section kind of the counts.
pub(super) const SECTION_COUNTS: u16 = 3;
/// A section is closed once it holds so many bytes (an item is never split).
pub(super) const SECTION_BYTES_SOFT_MAX: usize = 4 << 20;
/// No hint makes a reader reserve room for more than this.
const COUNT_HINT_MAX: u64 = 1 << 28;
const KEY_BYTES: usize = 48;

/// Why a section can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TableError {
    /// An item isn't valid.
    #[error("item: {0}")]
    Item(#[from] DecodeError),
    /// The keys section isn't a whole number of entries.
    #[error("{0} bytes are not a whole number of keys")]
    Keys(usize),
    /// A kind that this version doesn't know.
    #[error("section kind {0} is not known to this version")]
    Kind(u16),
}

/// Appends one item to a section.
pub(super) fn put_item(out: &mut Vec<u8>, sku: &Sku, item: &shared::Item, last_seq: u64) {
    encode_item(out, sku, item, last_seq);
}

/// Calls `each` for every item of a section, in order.
pub(super) fn read_items<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(PackedItem<'a>),
) -> Result<(), TableError> {
    let mut reader = VarintReader::new(bytes);
    while !reader.rest().is_empty() {
        each(PackedItem::read(&mut reader)?);
    }
    Ok(())
}

/// Appends one key to a section.
pub(super) fn put_key(out: &mut Vec<u8>, entry: &KeyEntry) {
    out.extend_from_slice(&entry.key_hash.to_le_bytes());
    out.extend_from_slice(&entry.fingerprint.to_le_bytes());
    out.extend_from_slice(&entry.first_seq.to_le_bytes());
    out.extend_from_slice(&entry.records.to_le_bytes());
    out.extend_from_slice(&entry.claimed_at_s.to_le_bytes());
}

/// Calls `each` for every key of a section, in order.
pub(super) fn read_keys(bytes: &[u8], mut each: impl FnMut(KeyEntry)) -> Result<(), TableError> {
    let (entries, rest) = bytes.as_chunks::<KEY_BYTES>();
    if !rest.is_empty() {
        return Err(TableError::Keys(bytes.len()));
    }
    for entry in entries {
        each(KeyEntry {
            key_hash: u128::from_le_bytes(array(&entry[0..16])),
            fingerprint: u128::from_le_bytes(array(&entry[16..32])),
            first_seq: u64::from_le_bytes(array(&entry[32..40])),
            records: u32::from_le_bytes(array(&entry[40..44])),
            claimed_at_s: u32::from_le_bytes(array(&entry[44..48])),
        });
    }
    Ok(())
}

/// The bytes of the counts section.
pub(super) fn counts_bytes(items: usize, keys: usize) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(items as u64).to_le_bytes());
    bytes[8..].copy_from_slice(&(keys as u64).to_le_bytes());
    bytes
}

/// Items and keys to make room for; zero where the section can't be read.
pub(super) fn read_counts(bytes: &[u8]) -> (usize, usize) {
    let Some((items, keys)) = bytes.split_at_checked(8).filter(|(_, keys)| keys.len() == 8) else {
        return (0, 0);
    };
    let count = |bytes| u64::from_le_bytes(array(bytes)).min(COUNT_HINT_MAX) as usize;
    (count(items), count(keys))
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_torn_sections_are_refused() {
        let entry = KeyEntry {
            key_hash: u128::MAX - 7,
            fingerprint: 1 << 100,
            first_seq: 1 << 40,
            records: 10_001,
            claimed_at_s: 1_800_000_000,
        };
        let mut bytes = Vec::new();
        put_key(&mut bytes, &entry);
        put_key(&mut bytes, &KeyEntry { first_seq: 9, ..entry });
        let mut seen = Vec::new();
        read_keys(&bytes, |entry| seen.push(entry)).unwrap();
        assert_eq!(seen, [entry, KeyEntry { first_seq: 9, ..entry }]);
        assert_eq!(read_keys(&bytes[1..], |_| ()), Err(TableError::Keys(95)));
        assert_eq!(read_counts(&counts_bytes(3, 4)), (3, 4));
        assert_eq!(read_counts(&[1, 2]), (0, 0));
        assert_eq!(read_counts(&[255; 16]).0, 1 << 28);
    }

    #[test]
    fn arbitrary_item_bytes_never_panic() {
        for length in 0..200 {
            let bytes: Vec<u8> = (0..length).map(|i: u32| (i * 37 + length) as u8).collect();
            let _either = read_items(&bytes, |_| ());
        }
    }
}
