//! A shard while it is filled by one thread: no locks, no counts. It must never be visible to
//! anyone else before it is frozen.
//!
//! Items of a snapshot stay packed. One that an event is about is unpacked and lies, with its
//! digest, among the others that are in use, until all of them are packed at the end.

use std::sync::Arc;

use hashbrown::HashTable;
use shared::{Reservations, Sku, digest};

use super::block::{AtRest, BLOCK_SLOTS, Block};
use super::columns::{Columns, Lane};
use super::order::Chunk;
use super::skus::Skus;
use super::{ItemShard, Place, Slot, hash_bits, hash_of, split};

/// The place in `used` of a slot that isn't there.
const UNUSED: u32 = u32::MAX;

/// A shard being filled.
#[derive(Default)]
pub(crate) struct LoadShard {
    table: HashTable<Place>,
    skus: Skus,
    /// Nobody else knows them yet.
    blocks: Vec<Arc<Block>>,
    columns: Vec<Arc<Columns>>,
    /// Where each slot lies in `used`.
    places: Vec<u32>,
    used: Vec<Used>,
}

/// An unpacked slot; four cache lines.
#[repr(align(64))]
pub(crate) struct Used {
    pub(crate) slot: Slot,
    /// The digest of its item, so that moving it needs only the new one.
    pub(crate) digest: u128,
    /// Its SKU.
    short: ShortSku,
    /// The slot's number.
    pub(crate) number: u32,
}

/// A SKU of at most fifteen bytes behind its length, zeros behind it: to be compared at once. Of a
/// longer one nothing is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShortSku(u128);

impl ShortSku {
    const LONG: Self = Self(0);
    const BYTES_MAX: usize = 15;

    fn of(sku: &str) -> Self {
        let mut bytes = [0; Self::BYTES_MAX + 1];
        let Some(text) = bytes[1..].get_mut(..sku.len()) else { return Self::LONG };
        text.copy_from_slice(sku.as_bytes());
        bytes[0] = sku.len() as u8;
        Self(u128::from_le_bytes(bytes))
    }

    /// Reads a SKU that stands behind its length; nothing where there are too few bytes.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let Some(bytes) = bytes.first_chunk::<{ Self::BYTES_MAX + 1 }>() else {
            return Self::LONG;
        };
        let spare = Self::BYTES_MAX.checked_sub(usize::from(bytes[0]));
        let mask = |spare: usize| u128::MAX >> (8 * spare);
        Self(u128::from_le_bytes(*bytes) & spare.map_or(0, mask))
    }
}

const _: () = assert!(size_of::<Used>() <= 256, "an unpacked slot fits four cache lines");

impl LoadShard {
    /// Makes room for so many items.
    pub(crate) fn reserve(&mut self, items: usize) {
        self.blocks.reserve(items.div_ceil(BLOCK_SLOTS));
        self.places.reserve(items);
    }

    /// The number of a slot that has nearly all bits of a hash: probably the one that is
    /// looked for.
    pub(crate) fn guess(&self, hash: u64) -> Option<u32> {
        let hash_bits = hash_bits(hash);
        Some(self.table.find(hash, |place| place.hash_bits == hash_bits)?.number)
    }

    /// The place in use of a guessed slot, if it is in use and has this SKU for certain.
    pub(crate) fn confirm(&self, number: u32, short: ShortSku) -> Option<u32> {
        let place = self.places[number as usize];
        let used = self.used.get(place as usize)?;
        (short != ShortSku::LONG && used.short == short).then_some(place)
    }

    /// Unpacks a SKU's slot, unless it is in use; returns its place among those that are.
    pub(crate) fn find_in_use(&mut self, hash: u64, sku: &[u8], short: ShortSku) -> Option<u32> {
        let hash_bits = hash_bits(hash);
        let is_it = |place: &Place| {
            place.hash_bits == hash_bits
                && match self.used.get(self.places[place.number as usize] as usize) {
                    Some(used) if short != ShortSku::LONG => used.short == short,
                    _ => self.skus.is(place.number, sku),
                }
        };
        let number = self.table.find(hash, is_it)?.number;
        Some(self.place_in_use(number))
    }

    /// Unpacks a slot, unless it is in use; returns its place among those that are.
    pub(crate) fn place_in_use(&mut self, number: u32) -> u32 {
        let place = &mut self.places[number as usize];
        if *place == UNUSED {
            *place = self.used.len() as u32;
            let (block, index) = split(number);
            let slot = own(&mut self.blocks[block]).take(index);
            let sku = self.skus.get(number);
            let (digest, short) = (digest::digest_of(sku, slot.item.cell()), ShortSku::of(sku));
            self.used.push(Used { slot, digest, short, number });
        }
        *place
    }

    /// A slot in use by its place among them.
    pub(crate) fn used_mut(&mut self, place: u32) -> &mut Used {
        &mut self.used[place as usize]
    }

    /// The SKU of a slot.
    pub(crate) fn sku(&self, number: u32) -> &str {
        self.skus.get(number)
    }

    /// Looks at the memory that an event about a slot in use needs, without waiting for it: what
    /// is there means nothing.
    pub(crate) fn touch(&self, place: u32) -> u64 {
        let Used { slot, digest, .. } = &self.used[place as usize];
        let item = &slot.item;
        let read = item.cell().version.get() ^ slot.last_seq.get() ^ *digest as u64;
        read ^ u64::from(item.reservations().is_some())
    }

    /// The same for an event about a reservation.
    pub(crate) fn touch_reservations(&self, place: u32) -> u64 {
        let reservations = self.used[place as usize].slot.item.reservations();
        reservations.map_or(0, |all| all.total().get())
    }

    /// The same for whoever goes through all live reservations.
    pub(crate) fn touch_all_live(&self, place: u32) -> u64 {
        let reservations = self.used[place as usize].slot.item.reservations();
        let live = reservations.into_iter().flat_map(Reservations::iter_live);
        live.fold(0, |read, (_, reservation)| read ^ reservation.remaining.get())
    }

    /// How many live reservations a slot in use has; of any other one, for a guess.
    pub(crate) fn live_guess(&self, number: u32) -> usize {
        let used = self.used.get(self.places[number as usize] as usize);
        let reservations = used.and_then(|used| used.slot.item.reservations());
        reservations.map_or(1, |all| all.iter_live().size_hint().0)
    }

    /// The next step for an event about a reservation.
    pub(crate) fn touch_live(&self, place: u32) -> u64 {
        let reservations = self.used[place as usize].slot.item.reservations();
        reservations.map_or(0, |all| u64::from(all.iter_live().next().is_some()))
    }

    /// How many slots there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// How many of them are unpacked.
    pub(crate) fn used_count(&self) -> usize {
        self.used.len()
    }

    /// Reads a little of each cache line of every slot in use, in the order of memory.
    pub(crate) fn sweep(&mut self) -> u64 {
        let mut read = 0;
        for Used { slot, digest, .. } in &self.used {
            let cell = slot.item.cell();
            read ^= cell.metadata_hash ^ cell.version.get() ^ cell.quantities.safety_stock.get();
            read ^= slot.item.updated_at().as_micros() as u64 ^ slot.last_seq.get();
            read ^= slot.item.reservations().map_or(0, |all| all.total().get()) ^ *digest as u64;
        }
        read
    }

    /// Adds a SKU that isn't there, with its item's digest.
    pub(crate) fn insert(&mut self, hash: u64, sku: &Sku, slot: Slot, digest: u128) {
        let place = self.used.len() as u32;
        let number = self.add(hash, sku, place);
        let short = ShortSku::of(sku.as_str());
        self.used.push(Used { slot, digest, short, number });
    }

    /// Adds an item of a snapshot that isn't there; returns its slot's number.
    pub(super) fn insert_packed(&mut self, sku: &Sku, state: &[u8], reservations: AtRest) -> u32 {
        let number = self.add(hash_of(sku.as_str().as_bytes()), sku, UNUSED);
        let (block, index) = split(number);
        own(&mut self.blocks[block]).fill(index, state, reservations);
        number
    }

    /// Adds a block of items of a snapshot, none of which is there; returns its first number. None
    /// of them is found before [`LoadShard::index`].
    pub(super) fn push_block(
        &mut self,
        rows: impl Iterator<Item = Chunk>,
        block: impl FnOnce(Lane) -> Block,
    ) -> u32 {
        let first = self.places.len();
        assert!(first.is_multiple_of(BLOCK_SLOTS), "whole blocks come before single items");
        let number = u32::try_from(first).expect("a shard never holds 2^32 items");
        self.places.resize(first + BLOCK_SLOTS, UNUSED);
        self.skus.extend(number, rows);
        let lane = Lane::of(&mut self.columns, self.blocks.len());
        self.blocks.push(Arc::new(block(lane)));
        number
    }

    /// Makes all items that came in blocks be found: all at once, so that the table lies in the
    /// core's cache meanwhile, which one item at a time of each shard by turns would never find it in.
    pub(crate) fn index(&mut self) {
        let mut table = HashTable::with_capacity(self.len());
        for (number, sku) in (0..).zip(self.skus.rows_from(0)) {
            let hash = hash_of(sku.as_bytes());
            let rehash = |place: &Place| hash_of(self.skus.get(place.number).as_bytes());
            table.insert_unique(hash, Place::new(hash, number), rehash);
        }
        self.table = table;
    }

    fn add(&mut self, hash: u64, sku: &Sku, place: u32) -> u32 {
        let number = u32::try_from(self.places.len()).expect("a shard never holds 2^32 items");
        self.places.push(place);
        let (block, _) = split(number);
        if block == self.blocks.len() {
            self.blocks.push(Arc::new(Block::new(Lane::of(&mut self.columns, block))));
        }
        self.skus.set(number, sku);
        let rehash = |place: &Place| hash_of(self.skus.get(place.number).as_bytes());
        self.table.insert_unique(hash, Place::new(hash, number), rehash);
        number
    }

    /// Packs every slot that was in use.
    pub(crate) fn pack(&mut self) {
        for Used { mut slot, number, .. } in std::mem::take(&mut self.used) {
            self.places[number as usize] = UNUSED;
            let (block, index) = split(number);
            own(&mut self.blocks[block]).put(index, &mut slot);
        }
    }

    /// The shard for everyone.
    pub(super) fn freeze(mut self) -> ItemShard {
        self.pack();
        ItemShard {
            table: self.table,
            skus: self.skus,
            used: self.places.len() as u32,
            blocks: self.blocks,
            columns: self.columns,
            free: Vec::new(),
        }
    }
}

fn own(block: &mut Arc<Block>) -> &mut Block {
    Arc::get_mut(block).expect("nobody else knows a block before it is frozen")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_sku_is_only_itself() {
        let texts =
            ["A", "B", "AB", "A B", "fifteen bytes..", "fifteen bytes.,", "sixteen bytes..."];
        for text in texts {
            let mut bytes = vec![text.len() as u8];
            bytes.extend_from_slice(text.as_bytes());
            bytes.extend_from_slice(&[7; 16]);
            let read = ShortSku::read(&bytes);
            assert_eq!(read == ShortSku::LONG, text.len() > ShortSku::BYTES_MAX);
            for other in texts.iter().filter(|other| other.len() <= ShortSku::BYTES_MAX) {
                assert_eq!(read == ShortSku::of(other), text == *other);
            }
            assert!(ShortSku::read(&bytes[..ShortSku::BYTES_MAX]) == ShortSku::LONG);
        }
    }
}
