//! Lists that look at everything as it lies in memory: over all stores the totals of each SKU, over
//! one store its cells, for a location the columns of locations first. It must never hold a lock for
//! more than a bounded number of SKUs, nor look at a text before the numbers have let an item in.

use super::super::MemoryView;
use super::super::grams::ITEMS_TOGETHER;
use super::super::memory::{SHARDS, VisibleSlot};
use super::super::sieve::{Sieve, looked_at};
use super::{Best, ItemRow, PageRequest};

/// SKUs or cells that are looked at before a shard's lock is let go: SKUs that share a set of pairs.
const LOOKS_PER_LOCK_MAX: u32 = ITEMS_TOGETHER;
/// Locations that are looked at before a shard's lock is let go: four bytes each, nothing else.
const LOCATIONS_PER_LOCK_MAX: u32 = 16_384;

/// What of a shard is looked at.
enum Walk {
    /// Each SKU.
    Skus,
    /// Each cell of this slot.
    Cells(u32),
    /// These SKUs.
    Listed(Vec<u32>),
}

impl MemoryView {
    /// The first rows over all SKUs.
    pub(super) fn best_of_all(
        &self,
        visible: &[VisibleSlot],
        request: &PageRequest,
    ) -> Vec<(i64, ItemRow)> {
        let mut best = Best::new(request);
        for index in 0..SHARDS {
            let walk = match (&request.filter.store_id, &request.filter.location) {
                (Some(_), _) => {
                    let Some([slot]) = looked_at(visible, &request.filter) else { break };
                    Walk::Cells(slot.slot().number())
                }
                (None, Some(location)) => Walk::Listed(self.located(index, visible, location)),
                (None, None) => Walk::Skus,
            };
            let mut from = 0;
            while let Some(end) = self.look(index, &walk, from, visible, &mut best) {
                from = end;
            }
        }
        self.rows_of(visible, best)
    }

    /// Looks at some more of a shard under one lock; says where that ends, none after the last.
    fn look(
        &self,
        index: usize,
        walk: &Walk,
        from: u32,
        visible: &[VisibleSlot],
        best: &mut Best<'_>,
    ) -> Option<u32> {
        let shard = self.shard(index);
        // What can't pass in this shard now needn't be looked for.
        let sieve = Sieve::new(&shard, visible, best.request)?;
        let mut offer = |id: u32, rank: i64| {
            let sku = shard.sku(id);
            if best.admits(rank, sku) && sieve.has_texts(id) {
                best.push(rank, sku);
            }
        };
        let upto = |length: u32| from..length.min(from.saturating_add(LOOKS_PER_LOCK_MAX));
        let (looked, length) = match walk {
            Walk::Skus => {
                let ids = upto(shard.sku_count());
                let near = if sieve.may_be_near(from) { ids.clone() } else { 0..0 };
                for id in near {
                    if let Some(rank) = sieve.rank(id) {
                        offer(id, rank);
                    }
                }
                (ids, shard.sku_count())
            }
            Walk::Cells(slot) => {
                let column = shard.column(*slot)?;
                let places = upto(column.len());
                for place in places.clone() {
                    if let Some((id, rank)) = sieve.rank_at(column, place) {
                        offer(id, rank);
                    }
                }
                (places, column.len())
            }
            Walk::Listed(listed) => {
                let places = upto(listed.len() as u32);
                for id in &listed[places.start as usize..places.end as usize] {
                    if let Some(rank) = sieve.rank(*id) {
                        offer(*id, rank);
                    }
                }
                (places, listed.len() as u32)
            }
        };
        (looked.end < length).then_some(looked.end)
    }

    /// The SKUs of a shard that any visible store has at this location, each once.
    fn located(&self, index: usize, visible: &[VisibleSlot], location: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        for slot in visible {
            let mut from = Some(0);
            while let Some(begin) = from {
                let shard = self.shard(index);
                let Some(id) = shard.location_id(location) else { break };
                let Some(column) = shard.column(slot.slot().number()) else { break };
                let mut at = Some(begin);
                while let Some(place) = at.filter(|at| at - begin < LOCATIONS_PER_LOCK_MAX) {
                    at = column.located(id, place, |sku| ids.push(sku));
                }
                from = at;
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

#[cfg(test)]
mod tests {
    use shared::cell::{Cell, Version};
    use shared::{Quantities, Quantity, Sku, StoreId};

    use super::super::{ItemFilter, Rank};
    use super::*;
    use crate::view::{Held, ViewStore};

    #[test]
    fn whoever_began_before_a_store_left_still_ranks_by_what_it_held() {
        let view = MemoryView::default();
        let slots: Vec<_> = (0..2).map(|_| view.open_slot()).collect();
        let sku = |number: u64| Sku::new(&format!("S{number}")).unwrap();
        // The second store has much of what the first has little of.
        for (slot, stocks) in slots.iter().zip([[1, 2, 3], [30, 20, 10]]) {
            for (number, stock) in (0..).zip(stocks) {
                let stock = Quantity::new(stock).unwrap();
                let quantities = Quantities { stock, ..Quantities::default() };
                let cell = Cell { version: Version::new(1), quantities, ..Cell::default() };
                view.put(slot, &sku(number), &Held { cell, ..Held::default() }, None);
            }
        }
        for (number, slot) in slots.iter().enumerate() {
            view.publish(slot, &StoreId::new(&format!("store-{number}")).unwrap());
        }
        let request = PageRequest {
            filter: ItemFilter::default(),
            rank: Rank::Stock,
            descending: true,
            after: None,
            limit: 3,
        };
        let ranks = |visible: &[VisibleSlot]| -> Vec<i64> {
            view.best_of_all(visible, &request).iter().map(|(rank, _)| *rank).collect()
        };
        let before = view.visible();
        assert_eq!(ranks(&before), [31, 22, 13]);
        view.withdraw(&StoreId::new("store-1").unwrap());
        assert_eq!(ranks(&before), [31, 22, 13], "the store was there when the question began");
        assert_eq!(ranks(&view.visible()), [3, 2, 1]);
    }
}
