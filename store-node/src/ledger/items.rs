//! Where the items live: a map from SKU to a slot with its own lock, and the SKUs in order.
//!
//! A slot's lock must never be taken while a guard of the map or of the order is held: callers get
//! a handle out, and lock that. (The other way round is fine: a slot's holder may remove it.)
//!
//! The map is sharded like dashmap, but its shards can be borrowed apart, so that recovery fills
//! them from several threads without a lock for each record.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use event_log::Seq;
use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};
use shared::{FixedHasher, Item, Sku, Timestamp, Version};

/// How many SKUs are copied out of the order under one hold of its lock.
pub(crate) const ORDER_PAGE_MAX: usize = 512;
/// How many shards the map has.
pub(crate) const ITEM_SHARDS: usize = 128;

/// One item and what the ledger keeps beside it.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// The item; version zero while it is being created.
    pub(crate) item: Item,
    /// The seq of its last event.
    pub(crate) last_seq: Seq,
    /// The time under which the expiry queue knows it.
    pub(crate) queued_expiry: Option<Timestamp>,
    /// Removed from the map again: look the SKU up anew.
    pub(crate) gone: bool,
}

impl Slot {
    /// Whether the item exists.
    pub(crate) fn exists(&self) -> bool {
        self.item.cell().version != Version::ZERO
    }
}

/// A slot outside of any map guard.
pub(crate) type Handle = Arc<Mutex<Slot>>;

/// One shard of the map.
#[derive(Default)]
pub(crate) struct ItemShard {
    table: HashTable<(Sku, Handle)>,
}

impl ItemShard {
    /// The slot of a SKU, given with its hash.
    pub(crate) fn get(&self, hash: u64, sku: &str) -> Option<&Handle> {
        self.table
            .find(hash, |(found, _)| found.as_str() == sku)
            .map(|(_, handle)| handle)
    }

    /// Adds a SKU that isn't there.
    pub(crate) fn insert(&mut self, hash: u64, sku: Sku, handle: Handle) {
        self.table.insert_unique(hash, (sku, handle), |(sku, _)| {
            hash_of(sku.as_str().as_bytes())
        });
    }

    fn remove(&mut self, hash: u64, sku: &Sku) -> bool {
        let found = self.table.find_entry(hash, |(found, _)| found == sku);
        found
            .map(hashbrown::hash_table::OccupiedEntry::remove)
            .is_ok()
    }
}

/// All items of a store.
pub(crate) struct Items {
    shards: Box<[RwLock<ItemShard>]>,
    order: RwLock<BTreeMap<Sku, Handle>>,
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
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..ITEM_SHARDS).map(|_| RwLock::default()).collect(),
            order: RwLock::new(BTreeMap::new()),
            count: AtomicUsize::new(0),
        }
    }

    /// How many slots there are, those in creation included.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn get(&self, sku: &Sku) -> Option<Handle> {
        let hash = hash_of(sku.as_str().as_bytes());
        self.shards[shard_of(hash)]
            .read()
            .get(hash, sku.as_str())
            .map(Arc::clone)
    }

    /// The slot of a SKU, an empty one if it is new. It is in the order before anyone can lock it,
    /// so that a snapshot that begins after its first event was durable finds it.
    pub(crate) fn get_or_insert(&self, sku: &Sku) -> Handle {
        if let Some(handle) = self.get(sku) {
            return handle;
        }
        let hash = hash_of(sku.as_str().as_bytes());
        let mut shard = self.shards[shard_of(hash)].write();
        if let Some(handle) = shard.get(hash, sku.as_str()) {
            return Arc::clone(handle);
        }
        let handle = Handle::default();
        self.order.write().insert(sku.clone(), Arc::clone(&handle));
        shard.insert(hash, sku.clone(), Arc::clone(&handle));
        self.count.fetch_add(1, Ordering::Relaxed);
        handle
    }

    /// Takes out a slot whose item wasn't created after all. The caller holds its lock.
    pub(crate) fn remove(&self, sku: &Sku, slot: &mut Slot) {
        slot.gone = true;
        let hash = hash_of(sku.as_str().as_bytes());
        let mut shard = self.shards[shard_of(hash)].write();
        if shard.remove(hash, sku) {
            self.order.write().remove(sku);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The next SKUs after `after` in byte order with their slots; empty at the end.
    pub(crate) fn page(&self, after: Bound<&Sku>, descending: bool) -> Vec<(Sku, Handle)> {
        let order = self.order.read();
        let owned = |(sku, handle): (&Sku, &Handle)| (sku.clone(), Arc::clone(handle));
        if descending {
            let range = order.range::<Sku, _>((Bound::Unbounded, after));
            return range.rev().take(ORDER_PAGE_MAX).map(owned).collect();
        }
        order
            .range::<Sku, _>((after, Bound::Unbounded))
            .take(ORDER_PAGE_MAX)
            .map(owned)
            .collect()
    }

    /// Every slot in SKU order, a page at a time.
    pub(crate) fn walk(&self) -> impl Iterator<Item = (Sku, Handle)> + '_ {
        let mut last: Option<Sku> = None;
        let mut page = Vec::new().into_iter();
        std::iter::from_fn(move || {
            if page.len() == 0 {
                let after = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let next = self.page(after, false);
                last = next.last().map(|(sku, _)| sku.clone());
                page = next.into_iter();
            }
            page.next()
        })
    }

    /// Makes room for so many items before they are loaded.
    pub(crate) fn reserve(&mut self, items: usize) {
        // A little more than the even share: hashes don't spread evenly.
        let each = items / ITEM_SHARDS + items / ITEM_SHARDS / 16;
        for shard in &mut self.shards {
            shard
                .get_mut()
                .table
                .reserve(each, |(sku, _)| hash_of(sku.as_str().as_bytes()));
        }
    }

    /// The shards for loading.
    pub(crate) fn shards(&self) -> &[RwLock<ItemShard>] {
        &self.shards
    }

    /// The shards apart, for filling them from several threads.
    pub(crate) fn shards_mut(&mut self) -> impl Iterator<Item = &mut ItemShard> {
        self.shards.iter_mut().map(RwLock::get_mut)
    }

    /// Replaces the order after loading; `all` should be in long runs of the right order.
    pub(crate) fn set_order(&mut self, all: Vec<(Sku, Handle)>) {
        *self.count.get_mut() = all.len();
        *self.order.get_mut() = all.into_iter().collect();
    }
}
