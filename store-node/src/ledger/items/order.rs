//! The SKUs of a store in byte order: sorted chunks in a tree, so that a snapshot's ten million
//! become one without a second copy. It must never hold a SKU twice, nor an empty chunk.

use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::ops::Bound;

use shared::Sku;

/// How many SKUs a chunk holds at most.
pub(crate) const CHUNK_SKUS_MAX: usize = 512;

/// A set of SKUs.
#[derive(Default)]
pub(super) struct SkuOrder {
    /// Sorted chunks, each under a SKU that is at most its first and greater than all before it.
    chunks: BTreeMap<Sku, Vec<Sku>>,
}

impl SkuOrder {
    /// Takes over chunks of at most [`CHUNK_SKUS_MAX`], which should follow each other in the
    /// right order, and any number of other SKUs.
    pub(super) fn of(chunks: Vec<Vec<Sku>>, others: Vec<Sku>) -> Self {
        let count: usize = chunks.iter().map(Vec::len).sum();
        if others.len() > count / 8 || !are_in_order(&chunks) {
            let mut all: Vec<Sku> = chunks.into_iter().flatten().chain(others).collect();
            // Stable, because that is fast for long runs.
            all.sort();
            all.dedup();
            return Self::of(all.chunks(CHUNK_SKUS_MAX).map(<[Sku]>::to_vec).collect(), Vec::new());
        }
        let keyed = chunks.into_iter().filter_map(|chunk| Some((chunk.first()?.clone(), chunk)));
        let mut order = Self { chunks: keyed.collect() };
        for sku in others {
            order.insert(sku);
        }
        order
    }

    /// Adds a SKU, if it isn't there.
    pub(super) fn insert(&mut self, sku: Sku) {
        let Some((_, chunk)) = self.chunks.range_mut::<Sku, _>(..=&sku).next_back() else {
            return self.insert_first(sku);
        };
        let Err(place) = chunk.binary_search(&sku) else {
            return;
        };
        if chunk.len() < CHUNK_SKUS_MAX {
            return chunk.insert(place, sku);
        }
        // SKUs that come in ascending order leave full chunks behind them.
        let kept = if place == CHUNK_SKUS_MAX { place } else { CHUNK_SKUS_MAX / 2 };
        let mut tail = chunk.split_off(kept);
        match place.checked_sub(kept) {
            Some(place) => tail.insert(place, sku),
            None => chunk.insert(place, sku),
        }
        self.chunks.insert(tail[0].clone(), tail);
    }

    /// Adds a SKU before all others.
    fn insert_first(&mut self, sku: Sku) {
        let with_room = |entry: &OccupiedEntry<Sku, Vec<Sku>>| entry.get().len() < CHUNK_SKUS_MAX;
        let first = self.chunks.first_entry().filter(with_room).map(OccupiedEntry::remove);
        let mut first = first.unwrap_or_default();
        first.insert(0, sku.clone());
        self.chunks.insert(sku, first);
    }

    /// Takes a SKU out, if it is there.
    pub(super) fn remove(&mut self, sku: &Sku) {
        let Some((key, chunk)) = self.chunks.range_mut::<Sku, _>(..=sku).next_back() else {
            return;
        };
        if let Ok(place) = chunk.binary_search(sku) {
            chunk.remove(place);
            if chunk.is_empty() {
                let key = key.clone();
                self.chunks.remove(&key);
            }
        }
    }

    /// The SKUs behind a bound, in ascending order.
    pub(super) fn ascending<'a>(&'a self, after: Bound<&'a Sku>) -> impl Iterator<Item = &'a Sku> {
        let holding = match after {
            Bound::Included(sku) | Bound::Excluded(sku) => {
                self.chunks.range::<Sku, _>(..=sku).next_back().map(|(key, _)| key)
            }
            Bound::Unbounded => None,
        };
        let from = holding.map_or(Bound::Unbounded, Bound::Included);
        let is_before = move |sku: &Sku| match after {
            Bound::Included(bound) => sku < bound,
            Bound::Excluded(bound) => sku <= bound,
            Bound::Unbounded => false,
        };
        let chunks = self.chunks.range::<Sku, _>((from, Bound::Unbounded));
        chunks.flat_map(move |(_, chunk)| &chunk[chunk.partition_point(is_before)..])
    }

    /// The SKUs before a bound, in descending order.
    pub(super) fn descending<'a>(
        &'a self,
        before: Bound<&'a Sku>,
    ) -> impl Iterator<Item = &'a Sku> {
        let is_within = move |sku: &Sku| match before {
            Bound::Included(bound) => sku <= bound,
            Bound::Excluded(bound) => sku < bound,
            Bound::Unbounded => true,
        };
        let chunks = self.chunks.range::<Sku, _>((Bound::Unbounded, before)).rev();
        chunks.flat_map(move |(_, chunk)| chunk[..chunk.partition_point(is_within)].iter().rev())
    }
}

/// Whether every SKU is greater than the one before it, and no chunk too long.
fn are_in_order(chunks: &[Vec<Sku>]) -> bool {
    chunks.iter().all(|chunk| chunk.len() <= CHUNK_SKUS_MAX)
        && chunks.iter().flatten().is_sorted_by(|before, after| before < after)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn sku(number: u16) -> Sku {
        Sku::new(&format!("S{number}")).unwrap()
    }

    /// The order holds what the set holds, from every bound and both ways.
    fn check(order: &SkuOrder, set: &BTreeSet<Sku>, bounds: &[Sku]) {
        assert!(order.ascending(Bound::Unbounded).eq(set));
        assert!(order.descending(Bound::Unbounded).eq(set.iter().rev()));
        assert!(order.chunks.values().all(|chunk| (1..=CHUNK_SKUS_MAX).contains(&chunk.len())));
        for bound in bounds {
            for bound in [Bound::Included(bound), Bound::Excluded(bound)] {
                let above = set.range::<Sku, _>((bound, Bound::Unbounded));
                assert!(order.ascending(bound).eq(above), "from {bound:?}");
                let below = set.range::<Sku, _>((Bound::Unbounded, bound)).rev();
                assert!(order.descending(bound).eq(below), "down from {bound:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn an_order_is_a_set(
            loaded in 0_u16..3000,
            shuffled in any::<bool>(),
            others in prop::collection::vec(0_u16..9000, 0..300),
            changes in prop::collection::vec((any::<bool>(), 0_u16..9000), 0..900),
            cleared in any::<bool>(),
        ) {
            let mut skus: Vec<Sku> = (0..loaded).map(|number| sku(number * 3)).collect();
            if !shuffled {
                skus.sort();
            }
            let others: Vec<Sku> = others.into_iter().map(sku).collect();
            let mut set: BTreeSet<Sku> = skus.iter().chain(&others).cloned().collect();
            let chunks = skus.chunks(CHUNK_SKUS_MAX).map(<[Sku]>::to_vec).collect();
            let mut order = SkuOrder::of(chunks, others);
            for (is_new, number) in changes {
                if is_new {
                    order.insert(sku(number));
                    set.insert(sku(number));
                } else {
                    order.remove(&sku(number));
                    set.remove(&sku(number));
                }
            }
            check(&order, &set, &[sku(0), sku(7), sku(4500), sku(9), sku(8999)]);
            if cleared {
                for sku in std::mem::take(&mut set) {
                    order.remove(&sku);
                }
                check(&order, &set, &[sku(7)]);
            }
        }
    }

    #[test]
    fn chunks_split_before_all_others_and_behind_them() {
        let (mut order, mut set) = (SkuOrder::default(), BTreeSet::new());
        for number in (0..2000).rev().chain(2000..4000) {
            let sku = Sku::new(&format!("S{number:05}")).unwrap();
            order.insert(sku.clone());
            set.insert(sku);
        }
        check(&order, &set, &[sku(0), Sku::new("S02000").unwrap(), Sku::new("T").unwrap()]);
    }
}
