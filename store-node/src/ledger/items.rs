//! Where the items live: a sharded map from SKU to a slot with its own lock, and the SKUs in order.
//!
//! A slot's lock must never be taken while a guard of the map or of the order is held: callers get
//! a handle out, and lock that. (The other way round is fine: a slot's holder may remove it.)
//!
//! Slots lie in blocks of 32 behind one `Arc`, so that a handle keeps its block alive without the
//! map, and so that recovery can fill plain vectors, without locks or counts, and wrap them at the
//! end. A number that was given back is used again only while nobody holds a handle to its block.

mod block;
mod loading;
mod order;
mod skus;
mod slot;

use std::hash::{BuildHasher, Hasher};
use std::ops::{Bound, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use shared::{FixedHasher, Sku};
use threading::RwLock;

use block::{BLOCK_SLOTS, Block};
pub(crate) use loading::{LoadShard, Loading, PackedItem};
pub(crate) use order::Chunk;
use order::SkuOrder;
use skus::Skus;
pub(crate) use slot::{Slot, SlotGuard};

/// How many SKUs are copied out of the order under one hold of its lock.
pub(crate) const ORDER_PAGE_MAX: usize = 512;
/// How many blocks are looked at under one hold of a shard's lock.
const SCANNED_BLOCKS_MAX: usize = 16;
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
        self.hash_bits == hash_bits(hash) && skus.get(self.number).as_bytes() == sku
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
        self.handle(number)
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
            self.blocks.push(Arc::default());
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

impl ItemShard {
    /// Shows some blocks; whether there may be more.
    fn show(&self, from: usize, visit: &mut impl FnMut(SkuAt<'_>, &[u8])) -> bool {
        let blocks = self.blocks.iter().enumerate().skip(from).take(SCANNED_BLOCKS_MAX);
        for (number, block) in blocks {
            let first = number * BLOCK_SLOTS;
            block.show(|index, state| {
                visit(SkuAt { skus: &self.skus, number: (first + index) as u32 }, state);
            });
        }
        from + SCANNED_BLOCKS_MAX < self.blocks.len()
    }
}

/// The SKU of an item that is shown; looked up only where it is asked for.
#[derive(Clone, Copy)]
pub(crate) struct SkuAt<'a> {
    skus: &'a Skus,
    number: u32,
}

impl<'a> SkuAt<'a> {
    /// Its text.
    pub(crate) fn text(self) -> &'a str {
        self.skus.get(self.number)
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

    /// Shows the SKU and the packed state of every slot of some shards that has one, in the order
    /// of memory, as the last holder of its lock left it. Those that come or go meanwhile are shown
    /// or not; one that was given back shows version zero.
    pub(crate) fn scan(&self, shards: Range<usize>, mut visit: impl FnMut(SkuAt<'_>, &[u8])) {
        for shard in &self.shards[shards] {
            let mut from = 0;
            while shard.read().show(from, &mut visit) {
                from += SCANNED_BLOCKS_MAX;
            }
        }
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
mod tests {
    use event_log::Seq;
    use shared::Item;

    use super::*;

    fn sku(number: usize) -> Sku {
        Sku::new(&format!("S{number}")).unwrap()
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
}
