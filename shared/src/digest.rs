//! The state digest: one number that is equal on two machines exactly when they hold the same
//! counted state (up to a collision of xxh3-128). It must never cover reservations or keys.
//!
//! A store's digest is Σ mod 2^128 over its items of [`item_digest`], so that an event moves it by
//! a [`delta`] in O(1).

use std::hint::black_box;

use xxhash_rust::xxh3::xxh3_128;

use crate::cell::{Cell, Version};
use crate::sku::{SKU_BYTES_MAX, Sku};

/// Version · 7 quantities · active u8 · metadata hash: what follows the SKU.
const STATE_BYTES: usize = 8 + 7 * 8 + 1 + 8;
/// sku length u8 · sku · state.
const INPUT_BYTES_MAX: usize = 1 + SKU_BYTES_MAX + STATE_BYTES;

/// xxh3-128 of (SKU, version, all quantities, active, metadata hash), numbers little-endian; zero
/// for an item that doesn't exist.
pub fn item_digest(sku: &Sku, cell: &Cell) -> u128 {
    digest_of(sku.as_str(), cell)
}

/// The same, by the text of a SKU that is known to be one.
pub fn digest_of(sku: &str, cell: &Cell) -> u128 {
    if cell.version == Version::ZERO {
        return 0;
    }
    let mut input = [0_u8; INPUT_BYTES_MAX];
    let length = put_input(&mut input, sku.as_bytes(), cell);
    xxh3_128(&input[..length])
}

/// Writes what is hashed of an item that exists; returns how long it is.
#[inline]
fn put_input(input: &mut [u8; INPUT_BYTES_MAX], sku: &[u8], cell: &Cell) -> usize {
    let end = 1 + sku.len() + STATE_BYTES;
    input[0] = sku.len() as u8;
    input[1..=sku.len()].copy_from_slice(sku);
    put_state(&mut input[1 + sku.len()..end], cell);
    end
}

/// Writes [`STATE_BYTES`], each number to its place: whatever is put together elsewhere and copied
/// in wider pieces is waited for. So is a version read in one piece with the quantities where an
/// event has just written one after the other, hence the black box.
#[inline]
fn put_state(out: &mut [u8], cell: &Cell) {
    let (version, rest) = out.split_at_mut(8);
    version.copy_from_slice(&black_box(cell.version.get()).to_le_bytes());
    let (quantities, rest) = rest.split_at_mut(7 * 8);
    for (place, quantity) in quantities.chunks_exact_mut(8).zip(cell.quantities.to_array()) {
        place.copy_from_slice(&quantity.get().to_le_bytes());
    }
    rest[0] = u8::from(cell.flags.active);
    rest[1..].copy_from_slice(&cell.metadata_hash.to_le_bytes());
}

/// What is hashed of an item at one moment. Hashing right behind the writing waits until the bytes
/// have arrived in the cache; whoever has many items writes some first and hashes them afterwards.
#[derive(Debug, Clone)]
pub struct DigestInput {
    bytes: [u8; INPUT_BYTES_MAX],
    /// Zero for an item that doesn't exist.
    length: usize,
}

impl Default for DigestInput {
    fn default() -> Self {
        Self { bytes: [0; INPUT_BYTES_MAX], length: 0 }
    }
}

impl DigestInput {
    /// Takes over an item, by the bytes of a text that is known to be a SKU.
    pub fn set(&mut self, sku: &[u8], cell: &Cell) {
        let exists = cell.version != Version::ZERO;
        self.length = if exists { put_input(&mut self.bytes, sku, cell) } else { 0 };
    }

    /// Its [`item_digest`].
    pub fn digest(&self) -> u128 {
        if self.length == 0 { 0 } else { xxh3_128(&self.bytes[..self.length]) }
    }
}

/// What a store's digest moves by when an item goes from `before` to `after`; add it wrapping.
pub fn delta(sku: &Sku, before: &Cell, after: &Cell) -> u128 {
    item_digest(sku, after).wrapping_sub(item_digest(sku, before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quantity;

    #[test]
    fn every_counted_field_moves_the_digest() {
        let sku = Sku::new("A").unwrap();
        let one = Quantity::new(1).unwrap();
        let base = Cell { version: Version::new(1), ..Cell::default() };
        let changes: [fn(&mut Cell, Quantity); 10] = [
            |c, _| c.version = c.version.next(),
            |c, q| c.quantities.stock = q,
            |c, q| c.quantities.reserved = q,
            |c, q| c.quantities.sold = q,
            |c, q| c.quantities.incoming = q,
            |c, q| c.quantities.in_transit_out = q,
            |c, q| c.quantities.reorder_point = q,
            |c, q| c.quantities.safety_stock = q,
            |c, _| c.flags.active = false,
            |c, _| c.metadata_hash = 1,
        ];
        let mut seen = vec![item_digest(&sku, &base)];
        let mut input = DigestInput::default();
        assert_eq!(input.digest(), item_digest(&sku, &Cell::default()), "nothing is zero");
        for change in changes {
            let mut cell = base;
            change(&mut cell, one);
            seen.push(item_digest(&sku, &cell));
            input.set(sku.as_str().as_bytes(), &cell);
            assert_eq!(Some(&input.digest()), seen.last());
        }
        seen.push(item_digest(&Sku::new("B").unwrap(), &base));
        let mut distinct = seen.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), seen.len());
    }

    #[test]
    fn deltas_add_up_to_the_sum() {
        let sku = Sku::new("A").unwrap();
        let none = Cell::default();
        let first = Cell { version: Version::new(1), ..none };
        let second = Cell { version: Version::new(2), ..none };
        let sum = delta(&sku, &none, &first).wrapping_add(delta(&sku, &first, &second));
        assert_eq!(sum, item_digest(&sku, &second));
    }
}
