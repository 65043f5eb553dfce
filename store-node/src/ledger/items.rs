//! Where the items live: a sharded map from SKU to a slot with its own lock, and the SKUs in order.
//!
//! A slot's lock must never be taken while a guard of the map or of the order is held: callers get
//! a handle out, and lock that. (The other way round is fine: a slot's holder may remove it.)
//!
//! Slots lie in blocks of 32 behind one `Arc`, so that a handle keeps its block alive without the
//! map, and so that recovery can fill plain vectors, without locks or counts, and wrap them at the
//! end. A number that was given back is used again only while nobody holds a handle to its block.

mod block;
mod columns;
mod draft;
mod loading;
mod many;
mod order;
mod scan;
mod skus;
mod slot;

use std::hash::{BuildHasher, Hasher};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use shared::{FixedHasher, Sku};
use threading::RwLock;

use block::{BLOCK_SLOTS, Block};
use columns::{Columns, Lane};
pub(crate) use columns::{Counted, Probe};
pub(crate) use draft::BlockDraft;
pub(crate) use loading::{LoadShard, ShortSku, Used};
pub(crate) use order::Chunk;
use order::SkuOrder;
pub(crate) use scan::{Seeker, SkuAt};
pub(crate) use skus::SkuRange;
use skus::Skus;
pub(crate) use slot::{Slot, SlotGuard};

/// How many SKUs are copied out of the order under one hold of its lock.
pub(crate) const ORDER_PAGE_MAX: usize = 512;
/// How many shards the map has.
pub(crate) const ITEM_SHARDS: usize = 128;
/// How many numbers given back are looked at when a new one is needed.
const FREE_LOOKED_AT_MAX: usize = 8;

/// A slot outside of any map guard.
#[derive(Clone)]
pub(crate) struct Handle {
    block: Arc<Block>,
    index: usize,
}

impl Handle {
    /// Locks the slot.
    pub(crate) fn lock(&self) -> SlotGuard<'_> {
        self.block.lock(self.index)
    }
}

/// Where a SKU's slot lies, with enough of its hash to tell nearly all others apart without
/// looking there.
#[derive(Clone, Copy)]
struct Place {
    hash_bits: u32,
    number: u32,
}

impl Place {
    fn new(hash: u64, number: u32) -> Self {
        Self { hash_bits: hash_bits(hash), number }
    }

    /// Whether it is this SKU's.
    fn is(self, hash: u64, sku: &[u8], skus: &Skus) -> bool {
        self.hash_bits == hash_bits(hash) && skus.is(self.number, sku)
    }
}

/// Bits of a hash that a table of these sizes doesn't look at.
fn hash_bits(hash: u64) -> u32 {
    (hash >> 25) as u32
}

/// One shard of the map.
#[derive(Default)]
struct ItemShard {
    table: HashTable<Place>,
    skus: Skus,
    blocks: Vec<Arc<Block>>,
    columns: Vec<Arc<Columns>>,
    /// Slots ever given out.
    used: u32,
    /// Numbers given back.
    free: Vec<u32>,
}

impl ItemShard {
    fn find(&self, hash: u64, sku: &[u8]) -> Option<Handle> {
        let place = self.table.find(hash, |place| place.is(hash, sku, &self.skus))?;
        Some(self.handle(place.number))
    }

    fn handle(&self, number: u32) -> Handle {
        let (block, index) = split(number);
        Handle { block: Arc::clone(&self.blocks[block]), index }
    }

    fn insert(&mut self, hash: u64, sku: &Sku) -> Handle {
        let number = self.free_number().unwrap_or_else(|| self.new_number());
        self.skus.set(number, sku);
        let rehash = |place: &Place| hash_of(self.skus.get(place.number).as_bytes());
        self.table.insert_unique(hash, Place::new(hash, number), rehash);
        let handle = self.handle(number);
        handle.block.note_sku(handle.index, sku.as_str());
        handle
    }

    /// A number given back whose block nobody else holds, its slot made new.
    fn free_number(&mut self) -> Option<u32> {
        let from = self.free.len().saturating_sub(FREE_LOOKED_AT_MAX);
        for at in from..self.free.len() {
            let (block, index) = split(self.free[at]);
            if let Some(block) = Arc::get_mut(&mut self.blocks[block]) {
                block.reset(index);
                return Some(self.free.swap_remove(at));
            }
        }
        None
    }

    fn new_number(&mut self) -> u32 {
        let number = self.used;
        self.used = number.checked_add(1).expect("a shard never holds 2^32 items");
        if split(number).0 == self.blocks.len() {
            let lane = Lane::of(&mut self.columns, self.blocks.len());
            self.blocks.push(Arc::new(Block::new(lane)));
        }
        number
    }

    fn remove(&mut self, hash: u64, sku: &[u8]) -> bool {
        let is_it = |place: &Place| place.is(hash, sku, &self.skus);
        let Ok(entry) = self.table.find_entry(hash, is_it) else {
            return false;
        };
        let (place, _) = entry.remove();
        self.free.push(place.number);
        true
    }
}

/// The block and the index in it of a slot's number.
fn split(number: u32) -> (usize, usize) {
    (number as usize / BLOCK_SLOTS, number as usize % BLOCK_SLOTS)
}

/// All items of a store.
pub(crate) struct Items {
    shards: Box<[RwLock<ItemShard>]>,
    order: RwLock<SkuOrder>,
    count: AtomicUsize,
}

/// The hash that places a SKU.
pub(crate) fn hash_of(sku: &[u8]) -> u64 {
    let mut hasher = FixedHasher::default().build_hasher();
    hasher.write(sku);
    hasher.finish()
}

/// The shard of a hash; from bits that the shard's own table doesn't use first.
pub(crate) fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % ITEM_SHARDS
}

impl Items {
    /// Takes over what was loaded: the SKUs of a snapshot in chunks, in order, and
    /// those created since.
    pub(crate) fn from_loaded(
        shards: Vec<LoadShard>,
        loaded: Vec<Chunk>,
        created: Vec<Sku>,
    ) -> Self {
        Self {
            count: AtomicUsize::new(shards.iter().map(LoadShard::len).sum()),
            shards: shards.into_iter().map(|shard| RwLock::new(shard.freeze())).collect(),
            order: RwLock::new(SkuOrder::of(loaded, created)),
        }
    }

    /// How many slots there are, those in creation included.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn get(&self, sku: &Sku) -> Option<Handle> {
        let bytes = sku.as_str().as_bytes();
        let hash = hash_of(bytes);
        self.shards[shard_of(hash)].read().find(hash, bytes)
    }

    /// The slot of a SKU, an empty one if it is new. It is in the order before anyone can lock it,
    /// so that a snapshot that begins after its first event was durable finds it.
    pub(crate) fn get_or_insert(&self, sku: &Sku) -> Handle {
        if let Some(handle) = self.get(sku) {
            return handle;
        }
        let bytes = sku.as_str().as_bytes();
        let hash = hash_of(bytes);
        let mut shard = self.shards[shard_of(hash)].write();
        if let Some(handle) = shard.find(hash, bytes) {
            return handle;
        }
        self.order.write().insert(sku);
        self.count.fetch_add(1, Ordering::Relaxed);
        shard.insert(hash, sku)
    }

    /// Takes out a slot whose item wasn't created after all. The caller holds its lock.
    pub(crate) fn remove(&self, sku: &Sku, slot: &mut Slot) {
        slot.set_gone();
        let bytes = sku.as_str().as_bytes();
        let hash = hash_of(bytes);
        let mut shard = self.shards[shard_of(hash)].write();
        if shard.remove(hash, bytes) {
            self.order.write().remove(sku);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The next SKUs after `after` in byte order; empty at the end.
    pub(crate) fn page(&self, after: Bound<&Sku>, descending: bool) -> Vec<Sku> {
        let order = self.order.read();
        if descending {
            return order.descending(after).take(ORDER_PAGE_MAX).collect();
        }
        order.ascending(after).take(ORDER_PAGE_MAX).collect()
    }

    /// Every SKU and its slot in SKU order, a page at a time.
    pub(crate) fn walk(&self) -> impl Iterator<Item = (Sku, Handle)> + '_ {
        let mut last: Option<Sku> = None;
        let mut page = Vec::new().into_iter();
        let next = move || {
            if page.len() == 0 {
                let after = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let next = self.page(after, false);
                last = next.last().cloned();
                page = next.into_iter();
            }
            page.next()
        };
        std::iter::from_fn(next).filter_map(|sku| self.get(&sku).map(|handle| (sku, handle)))
    }
}

#[cfg(test)]
impl Items {
    /// SKUs that aren't between those that their numbers' ranges say.
    pub(crate) fn skus_outside_their_ranges(&self) -> Vec<String> {
        let mut outside = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            for (number, sku) in shard.skus.rows_from(0).enumerate() {
                let SkuRange { least, greatest } = shard.skus.range(number / skus::RANGE_SKUS);
                if sku < least.as_str() || sku > greatest.as_str() {
                    outside.push(sku.to_owned());
                }
            }
        }
        outside
    }

    /// SKUs of blocks whose columns aren't what reading them again would make.
    pub(crate) fn slots_unlike_their_columns(&self) -> Vec<String> {
        let mut unlike = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            for (number, block) in shard.blocks.iter().enumerate() {
                let skus = || shard.skus.rows_from((number * BLOCK_SLOTS) as u32).take(BLOCK_SLOTS);
                if !block.is_like_its_columns(skus()) {
                    unlike.extend(skus().map(str::to_owned));
                }
            }
        }
        unlike
    }
}

#[cfg(test)]
mod tests {
    use event_log::Seq;
    use shared::codec::StateNumbers;
    use shared::{Cell, Item, ItemState, Metadata, Timestamp, Version};

    use super::*;

    fn sku(number: usize) -> Sku {
        Sku::new(&format!("S{number}")).unwrap()
    }

    /// A block of a shard that has no other.
    pub(super) fn block() -> Block {
        Block::new(Lane::of(&mut Vec::new(), 0))
    }

    fn empty() -> Items {
        Items::from_loaded(
            (0..ITEM_SHARDS).map(|_| LoadShard::default()).collect(),
            Vec::new(),
            Vec::new(),
        )
    }

    #[test]
    fn a_number_is_used_again_only_when_nobody_holds_its_block() {
        let items = empty();
        let held = items.get_or_insert(&sku(1));
        items.remove(&sku(1), &mut held.lock());
        assert!(items.get(&sku(1)).is_none());
        let second = items.get_or_insert(&sku(1));
        assert!(held.lock().is_gone() && !second.lock().is_gone(), "the old handle still says so");
        items.remove(&sku(1), &mut second.lock());
        drop((held, second));
        let third = items.get_or_insert(&sku(1));
        assert!(!third.lock().is_gone());
        let shard = shard_of(hash_of(sku(1).as_str().as_bytes()));
        assert_eq!(items.shards[shard].read().used, 2, "given back and used again");
        assert_eq!(items.len(), 1);
    }

    #[test]
    fn loaded_items_and_new_ones_are_found_and_walked_in_order() {
        let mut shards: Vec<LoadShard> = (0..ITEM_SHARDS).map(|_| LoadShard::default()).collect();
        let mut skus = Vec::new();
        for number in 0..20_000 {
            let sku = sku(number);
            let hash = hash_of(sku.as_str().as_bytes());
            let slot = Slot::holding(Item::default(), Seq::new(number as u64));
            shards[shard_of(hash)].insert(hash, &sku, slot, 0);
            skus.push(sku);
        }
        let items = Items::from_loaded(shards, Vec::new(), skus.clone());
        for number in 20_000..30_000 {
            items.get_or_insert(&sku(number)).lock().last_seq = Seq::new(number as u64);
            skus.push(sku(number));
        }
        for (number, sku) in skus.iter().enumerate() {
            assert_eq!(items.get(sku).unwrap().lock().last_seq, Seq::new(number as u64));
        }
        skus.sort();
        assert!(items.walk().map(|(sku, _)| sku).eq(skus));
    }

    /// Finds the items of a category, and counts those that it was shown.
    struct OfCategory<'a> {
        probe: Probe,
        wanted: &'a str,
        found: Vec<String>,
        shown: usize,
    }

    impl Seeker for OfCategory<'_> {
        fn probe(&self) -> &Probe {
            &self.probe
        }

        fn is_descending(&self) -> bool {
            false
        }

        fn admits_within(&self, _range: &SkuRange) -> bool {
            true
        }

        fn admits(&self, _sku: SkuAt<'_>) -> bool {
            true
        }

        fn look(&mut self, sku: SkuAt<'_>, state: &[u8]) {
            self.shown += 1;
            let texts = StateNumbers::read(state).unwrap().texts().unwrap();
            if texts.category == self.wanted.as_bytes() {
                self.found.push(sku.text().to_owned());
            }
        }
    }

    #[test]
    fn of_more_categories_than_there_are_hashes_each_is_found() {
        const ITEMS: usize = 70_000;
        let items = empty();
        for number in 0..ITEMS {
            let category = format!("category {number}").into();
            let metadata = Metadata { category, ..Metadata::default() };
            let mut cell = Cell { version: Version::new(1), ..Cell::default() };
            cell.metadata_hash = metadata.hash();
            let at = Timestamp::from_micros(5);
            let state = ItemState { cell, metadata, created_at: at, updated_at: at };
            let item = Item::restore(state, None).unwrap();
            *items.get_or_insert(&sku(number)).lock() = Slot::holding(item, Seq::new(1));
        }
        for number in (0..ITEMS).step_by(997) {
            let wanted = format!("category {number}");
            let mut probe = Probe::default();
            probe.category(Some(&wanted));
            let mut seeker = OfCategory { probe, wanted: &wanted, found: Vec::new(), shown: 0 };
            items.scan(0..ITEM_SHARDS, &mut seeker);
            assert_eq!(seeker.found, [sku(number).as_str()]);
            assert!(seeker.shown < 100, "{} of {ITEMS} were looked at", seeker.shown);
        }
    }
}
