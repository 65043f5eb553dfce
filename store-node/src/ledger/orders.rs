//! Which SKUs an order has live reservations on: an index, so that asking for an order looks at its
//! items and not at all of them. It is derived from the items and rebuilt at opening, and may never
//! decide anything: the item itself is asked again, also because two orders may share a hash.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use shared::{FixedHasher, OrderId, Sku};
use threading::Mutex;

/// How many parts the index is locked in.
const SHARDS: usize = 64;
/// How many entries of a shard a stage collects.
const TOGETHER: usize = 64;

/// A live reservation, under the hash of its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderEntry {
    hash: u64,
    sku: Sku,
}

impl OrderEntry {
    /// The entry of an order's reservation on a SKU.
    pub(crate) fn new(order_id: &OrderId, sku: Sku) -> Self {
        Self { hash: hash_of(order_id), sku }
    }
}

/// All live reservations.
pub(crate) struct OrderIndex {
    shards: Box<[Mutex<HashTable<OrderEntry>>]>,
}

impl Default for OrderIndex {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl OrderIndex {
    pub(crate) fn insert(&self, entry: OrderEntry) {
        let mut shard = self.shard(entry.hash).lock();
        shard.insert_unique(entry.hash, entry, |entry| entry.hash);
    }

    pub(crate) fn remove(&self, entry: &OrderEntry) {
        let mut shard = self.shard(entry.hash).lock();
        if let Ok(found) = shard.find_entry(entry.hash, |known| known == entry) {
            found.remove();
        }
    }

    /// The SKUs that the order may have live reservations on, in order, each once.
    pub(crate) fn skus(&self, order_id: &OrderId) -> Vec<Sku> {
        let hash = hash_of(order_id);
        let shard = self.shard(hash).lock();
        let entries = shard.iter_hash(hash).filter(|entry| entry.hash == hash);
        let mut skus: Vec<Sku> = entries.map(|entry| entry.sku.clone()).collect();
        drop(shard);
        skus.sort_unstable();
        skus.dedup();
        skus
    }

    fn shard(&self, hash: u64) -> &Mutex<HashTable<OrderEntry>> {
        &self.shards[shard_of(hash)]
    }
}

fn shard_of(hash: u64) -> usize {
    // Bits that the table looks at last.
    (hash >> 40) as usize % SHARDS
}

/// Entries of one thread on their way into the index, so that a shard is locked, and its memory
/// fetched, for many at a time.
pub(crate) struct OrderStage<'a> {
    index: &'a OrderIndex,
    /// Room that each shard is made to have in all.
    shard_entries: usize,
    waiting: Vec<Vec<OrderEntry>>,
}

impl<'a> OrderStage<'a> {
    /// Nothing on its way yet into an index that will hold about so many entries.
    pub(crate) fn new(index: &'a OrderIndex, entries: usize) -> Self {
        // Hashes don't spread evenly.
        let shard_entries = entries.div_ceil(SHARDS) * 17 / 16;
        Self { index, shard_entries, waiting: vec![Vec::new(); SHARDS] }
    }

    /// Sends an entry on its way.
    pub(crate) fn push(&mut self, entry: OrderEntry) {
        let shard = shard_of(entry.hash);
        self.waiting[shard].push(entry);
        if self.waiting[shard].len() == TOGETHER {
            self.hand_over(shard);
        }
    }

    /// Puts what is still on its way into the index.
    pub(crate) fn hand_over_all(&mut self) {
        (0..SHARDS).for_each(|shard| self.hand_over(shard));
    }

    fn hand_over(&mut self, shard: usize) {
        if self.waiting[shard].is_empty() {
            return;
        }
        let mut table = self.index.shards[shard].lock();
        if table.capacity() < self.shard_entries {
            let missing = self.shard_entries - table.len();
            table.reserve(missing, |entry| entry.hash);
        }
        for entry in self.waiting[shard].drain(..) {
            table.insert_unique(entry.hash, entry, |entry| entry.hash);
        }
    }
}

fn hash_of(order_id: &OrderId) -> u64 {
    FixedHasher::default().hash_one(order_id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_the_skus_it_was_given_until_they_are_taken() {
        let order = |text: &str| OrderId::new(text).unwrap();
        let sku = |number: usize| Sku::new(&format!("S-{number:03}")).unwrap();
        let entry = |text: &str, number: usize| OrderEntry::new(&order(text), sku(number));
        let index = OrderIndex::default();
        let mut stage = OrderStage::new(&index, 500);
        (0..500).rev().for_each(|n| stage.push(entry("big", n)));
        stage.hand_over_all();
        index.insert(entry("small", 7));
        index.insert(entry("small", 3));
        assert_eq!(index.skus(&order("big")), (0..500).map(sku).collect::<Vec<_>>());
        assert_eq!(index.skus(&order("small")), [sku(3), sku(7)]);
        assert_eq!(index.skus(&order("none")), []);
        index.remove(&entry("small", 3));
        index.remove(&entry("small", 3));
        index.remove(&entry("none", 3));
        assert_eq!(index.skus(&order("small")), [sku(7)]);
        assert_eq!(index.skus(&order("big")).len(), 500);
    }
}
