//! A shard while it is filled by one thread: no locks, no counts. It must never be visible to
//! anyone else before it is frozen.

use std::sync::Arc;

use hashbrown::HashTable;
use shared::Sku;
use threading::Mutex;

use super::{BLOCK_SLOTS, Block, ItemShard, Named, Place, Slot, hash_bits, hash_of, split};

/// A shard being filled.
#[derive(Default)]
pub(crate) struct LoadShard {
    table: HashTable<Place>,
    blocks: Vec<Block>,
    /// The digest of each slot's item, so that moving it needs only the new one.
    digests: Vec<u128>,
}

/// A slot being filled, with what belongs to it.
pub(crate) struct Loading<'a> {
    pub(crate) sku: &'a Sku,
    pub(crate) slot: &'a mut Slot,
    pub(crate) digest: &'a mut u128,
}

impl LoadShard {
    /// Makes room for so many items.
    pub(crate) fn reserve(&mut self, items: usize) {
        let blocks = &self.blocks;
        self.table.reserve(items, |place| hash_of(named(blocks, place.number).bytes()));
        self.blocks.reserve(items.div_ceil(BLOCK_SLOTS));
        self.digests.reserve(items);
    }

    /// The number of a SKU's slot.
    pub(crate) fn find(&self, hash: u64, sku: &[u8]) -> Option<u32> {
        let is_it = |place: &Place| {
            place.hash_bits == hash_bits(hash) && named(&self.blocks, place.number).bytes() == sku
        };
        self.table.find(hash, is_it).map(|place| place.number)
    }

    /// A slot by its number.
    pub(crate) fn slot(&mut self, number: u32) -> Loading<'_> {
        let (block, index) = split(number);
        let Named { sku, slot } = &mut self.blocks[block][index];
        Loading {
            sku: sku.get().expect("a loaded slot has a SKU"),
            slot: slot.get_mut(),
            digest: &mut self.digests[number as usize],
        }
    }

    /// How many slots there are.
    pub(crate) fn len(&self) -> usize {
        self.digests.len()
    }

    /// Reads a little of each cache line of every slot, in the order of memory.
    pub(crate) fn sweep(&mut self) -> u64 {
        let mut read = 0;
        for named in self.blocks.iter_mut().flatten() {
            let slot = named.slot.get_mut();
            let cell = slot.item.cell();
            read ^= cell.metadata_hash ^ cell.version.get() ^ cell.quantities.safety_stock.get();
            read ^= slot.item.updated_at().as_micros() as u64 ^ slot.last_seq.get();
            read ^= slot.item.reservations().map_or(0, |all| all.total().get());
        }
        read
    }

    /// Adds a SKU that isn't there, with its item's digest; returns its slot's number.
    pub(crate) fn insert(&mut self, hash: u64, sku: Sku, slot: Slot, digest: u128) -> u32 {
        let number = u32::try_from(self.digests.len()).expect("a shard never holds 2^32 items");
        self.digests.push(digest);
        let (block, _) = split(number);
        if block == self.blocks.len() {
            self.blocks.push(Vec::with_capacity(BLOCK_SLOTS));
        }
        self.blocks[block].push(Named { sku: sku.into(), slot: Mutex::new(slot) });
        let blocks = &self.blocks;
        let rehash = |place: &Place| hash_of(named(blocks, place.number).bytes());
        self.table.insert_unique(hash, Place::new(hash, number), rehash);
        number
    }

    /// The shard for everyone.
    pub(super) fn freeze(mut self) -> ItemShard {
        if let Some(last) = self.blocks.last_mut() {
            last.resize_with(BLOCK_SLOTS, Named::default);
        }
        ItemShard {
            table: self.table,
            blocks: self.blocks.into_iter().map(Arc::new).collect(),
            used: self.digests.len() as u32,
            free: Vec::new(),
        }
    }
}

fn named(blocks: &[Block], number: u32) -> &Named {
    let (block, index) = split(number);
    &blocks[block][index]
}
