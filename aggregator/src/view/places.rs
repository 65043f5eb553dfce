//! Where a slot's cells are, by the ids of their SKUs: plain numbers by id where the slot holds most
//! of the shard's SKUs, a hash table where it holds few. It must never answer with another's place.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use shared::FixedHasher;

use super::chunked::Chunked;

/// A slot that holds one SKU of so many, or more, is dense: four bytes each are fewer than the
/// table's.
const DENSE_FROM_ONE_IN: usize = 2;
/// A slot that holds fewer than one of so many is no longer dense.
const SPARSE_BELOW_ONE_IN: usize = 4;
/// How often, in added cells, that is looked at.
const LOOK_EVERY: usize = 256;
/// No place.
const NONE: u32 = 0;

/// Places by SKU id.
#[derive(Debug)]
pub(super) enum Places {
    /// The SKU's id and its place.
    Sparse(HashTable<(u32, u32)>),
    /// The place plus one at the SKU's id.
    Dense(Chunked<u32>),
}

impl Default for Places {
    fn default() -> Self {
        Self::Sparse(HashTable::new())
    }
}

fn hash(id: u32) -> u64 {
    FixedHasher::default().hash_one(id)
}

impl Places {
    /// The place of a SKU's cell.
    pub(super) fn find(&self, sku: u32) -> Option<u32> {
        match self {
            Self::Sparse(table) => {
                table.find(hash(sku), |(other, _)| *other == sku).map(|(_, place)| *place)
            }
            Self::Dense(places) => {
                places.get(sku).copied().filter(|place| *place != NONE).map(|place| place - 1)
            }
        }
    }

    /// Adds a cell that wasn't there; `cells` are there with it, of the shard's `skus`.
    pub(super) fn insert(&mut self, sku: u32, place: u32, cells: usize, skus: usize) {
        match self {
            Self::Sparse(table) => {
                table.insert_unique(hash(sku), (sku, place), |(sku, _)| hash(*sku));
            }
            Self::Dense(places) => set(places, sku, place),
        }
        if cells.is_multiple_of(LOOK_EVERY) {
            self.adapt(cells, skus);
        }
    }

    fn adapt(&mut self, cells: usize, skus: usize) {
        match self {
            Self::Sparse(table) if cells * DENSE_FROM_ONE_IN >= skus => {
                let mut places = Chunked::default();
                let mut known: Vec<(u32, u32)> = table.iter().copied().collect();
                known.sort_unstable();
                for (sku, place) in known {
                    set(&mut places, sku, place);
                }
                *self = Self::Dense(places);
            }
            Self::Dense(places) if cells * SPARSE_BELOW_ONE_IN < skus => {
                let mut table = HashTable::with_capacity(cells);
                for (sku, place) in places.iter().enumerate().filter(|(_, place)| **place != NONE) {
                    let sku = sku as u32;
                    table.insert_unique(hash(sku), (sku, place - 1), |(sku, _)| hash(*sku));
                }
                *self = Self::Sparse(table);
            }
            Self::Sparse(_) | Self::Dense(_) => {}
        }
    }
}

fn set(places: &mut Chunked<u32>, sku: u32, place: u32) {
    while places.len() <= sku as usize {
        places.push(NONE);
    }
    places[sku] = place + 1;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn adapts_without_losing_a_place() {
        let mut places = Places::default();
        let mut model = BTreeMap::new();
        let mut add = |places: &mut Places, sku: u32, skus: usize| {
            let place = model.len() as u32;
            model.insert(sku, place);
            places.insert(sku, place, model.len(), skus);
            place
        };
        // All SKUs, then only one of a thousand new ones.
        for sku in 0..1024 {
            add(&mut places, sku, sku as usize + 1);
        }
        assert!(matches!(places, Places::Dense(_)));
        for step in 0..1024 {
            let sku = 2000 + step * 1000;
            add(&mut places, sku, sku as usize + 1);
        }
        assert!(matches!(places, Places::Sparse(_)));
        for sku in (0..3000).chain([1_025_000, 2_000_000]) {
            assert_eq!(places.find(sku), model.get(&sku).copied(), "{sku}");
        }
    }
}
