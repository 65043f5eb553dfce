//! Finding the slots of many SKUs at once, so that a batch over ten million items doesn't wait for
//! the memory of one after another.
//!
//! A look-up goes through four or five places that no cache has, each known only from the one
//! before, and a lock's atomic operation keeps a core from running ahead to the next SKU. Here all
//! SKUs of a shard take one step after the other, without locks or counts, so that a core has the
//! memory of several under way; afterwards their locks are taken from the caches. It must never
//! answer anything else than [`Items::get`] for each.

use shared::Sku;

use super::{Handle, ITEM_SHARDS, ItemShard, Items, Place, hash_bits, hash_of, shard_of, split};

/// Fewer than so many aren't worth the sorting.
const SKUS_MIN: usize = 64;

/// A SKU's look-up.
#[derive(Clone, Copy)]
struct LookUp {
    hash: u64,
    /// Its place in the caller's list.
    index: u32,
}

impl Items {
    /// The slots of SKUs, in their order.
    pub(crate) fn get_many(&self, skus: &[Sku]) -> Vec<Option<Handle>> {
        if skus.len() < SKUS_MIN {
            return skus.iter().map(|sku| self.get(sku)).collect();
        }
        let (look_ups, ends) = by_shard(skus);
        let mut handles: Vec<Option<Handle>> = vec![None; skus.len()];
        let mut places = Vec::new();
        let mut from = 0;
        for (shard, end) in self.shards.iter().zip(ends) {
            let look_ups = &look_ups[from..end];
            from = end;
            if !look_ups.is_empty() {
                shard.read().find_many(skus, look_ups, &mut places, &mut handles);
            }
        }
        handles
    }
}

/// The look-ups ordered by their shards, and where each shard's end.
fn by_shard(skus: &[Sku]) -> (Vec<LookUp>, [usize; ITEM_SHARDS]) {
    let hashes: Vec<u64> = skus.iter().map(|sku| hash_of(sku.as_str().as_bytes())).collect();
    let mut counts = [0; ITEM_SHARDS];
    for hash in &hashes {
        counts[shard_of(*hash)] += 1;
    }
    let mut ends = [0; ITEM_SHARDS];
    let mut sum = 0;
    for (end, count) in ends.iter_mut().zip(counts) {
        *end = sum;
        sum += count;
    }
    let mut look_ups = vec![LookUp { hash: 0, index: 0 }; skus.len()];
    for (index, hash) in hashes.into_iter().enumerate() {
        let place = &mut ends[shard_of(hash)];
        look_ups[*place] = LookUp { hash, index: index as u32 };
        *place += 1;
    }
    (look_ups, ends)
}

impl ItemShard {
    /// Finds the slots of SKUs of this shard. `places` is memory to be used again.
    fn find_many(
        &self,
        skus: &[Sku],
        look_ups: &[LookUp],
        places: &mut Vec<Option<Place>>,
        handles: &mut [Option<Handle>],
    ) {
        let looks_right = |look_up: &LookUp| {
            self.table.find(look_up.hash, |place| place.hash_bits == hash_bits(look_up.hash))
        };
        places.clear();
        places.extend(look_ups.iter().map(|look_up| looks_right(look_up).copied()));
        let mut touched = 0_usize;
        for place in places.iter().flatten() {
            let (block, index) = split(place.number);
            touched ^= self.blocks[block].touch(index) ^ self.skus.touch(place.number);
        }
        std::hint::black_box(touched);
        for (LookUp { hash, index }, place) in look_ups.iter().zip(places) {
            let sku = skus[*index as usize].as_str().as_bytes();
            handles[*index as usize] = match place {
                Some(place) if place.is(*hash, sku, &self.skus) => Some(self.handle(place.number)),
                // Another SKU has the same bits, or none has them.
                Some(_) => self.find(*hash, sku),
                None => None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::LoadShard;
    use super::*;
    use event_log::Seq;

    #[test]
    fn many_are_found_as_one_after_another() {
        let items = Items::from_loaded(
            (0..ITEM_SHARDS).map(|_| LoadShard::default()).collect(),
            Vec::new(),
            Vec::new(),
        );
        let sku = |number: usize| Sku::new(&format!("S{number}")).unwrap();
        for number in (0..5_000).step_by(2) {
            items.get_or_insert(&sku(number)).lock().last_seq = Seq::new(number as u64);
        }
        for count in [0, 1, SKUS_MIN - 1, SKUS_MIN, 5_000] {
            let skus: Vec<Sku> = (0..count).map(|number| sku(number * 7 % 5_000)).collect();
            let found = items.get_many(&skus);
            assert_eq!(found.len(), count);
            for (number, handle) in found.iter().enumerate() {
                let number = number * 7 % 5_000;
                let expected = (number % 2 == 0).then_some(Seq::new(number as u64));
                assert_eq!(handle.as_ref().map(|handle| handle.lock().last_seq), expected);
            }
        }
    }

    #[test]
    fn another_sku_with_the_same_bits_of_its_hash_is_not_taken_for_it() {
        let mut shard = ItemShard::default();
        let (here, wanted) = (Sku::new("here").unwrap(), Sku::new("wanted").unwrap());
        // As if both had this hash.
        let hash = hash_of(wanted.as_str().as_bytes());
        shard.insert(hash, &here);
        let mut handles = vec![None];
        let look_ups = [LookUp { hash, index: 0 }];
        shard.find_many(&[wanted], &look_ups, &mut Vec::new(), &mut handles);
        assert!(handles[0].is_none());
    }
}
