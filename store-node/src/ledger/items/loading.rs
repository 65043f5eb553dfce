//! A shard while it is filled by one thread: no locks, no counts. It must never be visible to
//! anyone else before it is frozen.
//!
//! Items of a snapshot stay packed. One that an event is about is unpacked and lies, with its
//! digest, among the others that are in use, until all of them are packed at the end.

use std::sync::Arc;

use hashbrown::HashTable;
use shared::{Item, Sku, digest};

use super::block::{AtRest, BLOCK_SLOTS, Block};
use super::columns::{Columns, Lane};
use super::skus::Skus;
use super::{ItemShard, Place, Slot, hash_of, split};

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
    /// The slot's number.
    pub(crate) number: u32,
}

const _: () = assert!(size_of::<Used>() <= 256, "an unpacked slot fits four cache lines");

/// An item of a snapshot on its way into its shard.
pub(crate) struct PackedItem {
    hash: u64,
    sku: Sku,
    state: Box<[u8]>,
    reservations: AtRest,
}

impl PackedItem {
    /// An item with the bytes of its state and the hash of its SKU.
    pub(crate) fn new(hash: u64, sku: Sku, state: &[u8], mut item: Item) -> Self {
        Self { hash, sku, state: Box::from(state), reservations: item.take_reservations() }
    }

    /// Whether it has or had reservations.
    pub(crate) fn has_reservations(&self) -> bool {
        self.reservations.is_some()
    }
}

impl LoadShard {
    /// Makes room for so many items.
    pub(crate) fn reserve(&mut self, items: usize) {
        self.table.reserve(items, |place| hash_of(self.skus.get(place.number).as_bytes()));
        self.blocks.reserve(items.div_ceil(BLOCK_SLOTS));
        self.places.reserve(items);
    }

    /// The number of a SKU's slot.
    pub(crate) fn find(&self, hash: u64, sku: &[u8]) -> Option<u32> {
        let place = self.table.find(hash, |place| place.is(hash, sku, &self.skus))?;
        Some(place.number)
    }

    /// Unpacks a slot, unless it is in use; returns its place among those that are.
    pub(crate) fn place_in_use(&mut self, number: u32) -> u32 {
        let place = &mut self.places[number as usize];
        if *place == UNUSED {
            *place = self.used.len() as u32;
            let (block, index) = split(number);
            let slot = own(&mut self.blocks[block]).take(index);
            let digest = digest::digest_of(self.skus.get(number), slot.item.cell());
            self.used.push(Used { slot, digest, number });
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
    pub(crate) fn touch(&self, place: u32, is_reservation: bool) -> u64 {
        let Used { slot, digest, .. } = &self.used[place as usize];
        let cell = slot.item.cell();
        let read = cell.version.get() ^ slot.last_seq.get() ^ *digest as u64;
        let reservations = slot.item.reservations().filter(|_| is_reservation);
        read ^ reservations.map_or(0, |all| u64::from(all.iter_live().next().is_some()))
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
        self.used.push(Used { slot, digest, number });
    }

    /// Adds an item of a snapshot that isn't there; returns its slot's number.
    pub(crate) fn insert_packed(&mut self, item: PackedItem) -> u32 {
        let number = self.add(item.hash, &item.sku, UNUSED);
        let (block, index) = split(number);
        own(&mut self.blocks[block]).fill(index, &item.state, item.reservations);
        number
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
