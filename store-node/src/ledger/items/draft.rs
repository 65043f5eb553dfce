//! Items of a snapshot until they fill a block: one loading thread collects those of a shard, so that
//! the shard is locked once for all of them and their memory is what they need in the end. It must
//! never hold items of two shards, nor lose those that don't fill a block.

use shared::codec::PackedItem;

use super::block::{AtRest, BLOCK_SLOTS, Block, length_of};
use super::columns::SlotBits;
use super::loading::LoadShard;
use super::order::{Chunk, whole};
use super::skus::ROW_SKUS;

/// How many rows of SKUs a block has.
const ROWS: usize = BLOCK_SLOTS / ROW_SKUS;

/// Items of one shard, fewer than a block of them between two calls.
#[derive(Default)]
pub(crate) struct BlockDraft {
    count: usize,
    /// Their states, one behind the other.
    states: Vec<u8>,
    lengths: [u16; BLOCK_SLOTS],
    rows: [Chunk; ROWS],
    bits: [SlotBits; BLOCK_SLOTS],
    /// Of those that have or had any, with their places.
    reservations: Vec<(usize, AtRest)>,
}

impl BlockDraft {
    /// Adds an item; answers whether the block is full and must be handed over.
    pub(crate) fn push(&mut self, item: PackedItem<'_>) -> bool {
        let index = self.count;
        self.states.extend_from_slice(item.state);
        self.lengths[index] = length_of(item.state);
        self.rows[index / ROW_SKUS].push(item.sku);
        self.bits[index] = SlotBits::of_item(&item);
        if item.reservations.is_some() {
            self.reservations.push((index, item.reservations));
        }
        self.count += 1;
        self.count == BLOCK_SLOTS
    }

    /// Puts a full block into its shard, which must not have got single items yet, and begins the
    /// next one; tells `promised` the numbers of those that have or had reservations. The shard
    /// finds none of them before it is indexed.
    pub(crate) fn hand_over(&mut self, shard: &mut LoadShard, mut promised: impl FnMut(u32)) {
        assert_eq!(self.count, BLOCK_SLOTS, "only whole blocks");
        let Self { states, lengths, rows, bits, reservations, .. } = self;
        let mut places = Vec::new();
        let first = shard.push_block(rows.iter_mut().map(Chunk::take), |lane| {
            let mut block = Block::full(lane, states, *lengths, bits);
            for (index, reservations) in reservations.drain(..) {
                block.promise(index, reservations);
                places.push(index as u32);
            }
            block
        });
        for index in places {
            promised(first + index);
        }
        self.states.clear();
        self.count = 0;
    }

    /// Puts those that fill no block into their shard, which is indexed and gets no more blocks.
    pub(crate) fn hand_over_rest(self, shard: &mut LoadShard, mut promised: impl FnMut(u32)) {
        let mut reservations = self.reservations.into_iter().peekable();
        let mut rest = &self.states[..];
        for (index, sku) in self.rows.iter().flat_map(Chunk::iter).enumerate() {
            let (state, behind) = rest.split_at(usize::from(self.lengths[index]));
            rest = behind;
            let own = reservations.next_if(|(place, _)| *place == index);
            let has_own = own.is_some();
            let number = shard.insert_packed(&whole(sku), state, own.and_then(|(_, own)| own));
            if has_own {
                promised(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use event_log::Seq;
    use shared::codec::{VarintReader, encode_item};
    use shared::{
        Cell, Item, ItemState, Metadata, OrderId, Quantity, Reservation, Reservations, Sku,
        Timestamp, Version,
    };

    use super::super::{ITEM_SHARDS, Items, hash_of, shard_of};
    use super::*;

    /// Item number n; each seventh has a promise, each eleventh isn't there in the end.
    fn item(number: u64) -> Item {
        let mut cell = Cell { version: Version::new(number % 11), ..Cell::default() };
        cell.quantities.stock = Quantity::new(number * 7919 % 1000).unwrap();
        let reservations = number.is_multiple_of(7).then(|| {
            let requested = Quantity::new(number % 5 + 1).unwrap();
            cell.quantities.reserved = requested;
            let live = Reservation::new(requested, None);
            let mut reservations = Box::new(Reservations::default());
            reservations.restore_live(OrderId::new("order").unwrap(), live).unwrap();
            reservations
        });
        let category = format!("category {}", number % 13).as_str().into();
        let name = "n".repeat(number as usize % 40).as_str().into();
        let metadata = Metadata { name, category, ..Metadata::default() };
        cell.metadata_hash = metadata.hash();
        let at = Timestamp::from_micros(number as i64);
        let state = ItemState { cell, metadata, created_at: at, updated_at: at };
        Item::restore(state, reservations).unwrap()
    }

    fn sku(number: u64) -> Sku {
        Sku::new(&format!("S{}", number * 7_368_787 % 100_003)).unwrap()
    }

    /// Items that two threads load by turns, some shards without a whole block.
    fn loaded(count: u64) -> (Items, Vec<(usize, u32)>) {
        let mut shards: Vec<LoadShard> = (0..ITEM_SHARDS).map(|_| LoadShard::default()).collect();
        let mut drafts: [Vec<BlockDraft>; 2] =
            std::array::from_fn(|_| (0..ITEM_SHARDS).map(|_| BlockDraft::default()).collect());
        let mut promised = Vec::new();
        for number in 0..count {
            let (sku, mut bytes) = (sku(number), Vec::new());
            encode_item(&mut bytes, &sku, &item(number), number);
            let shard = shard_of(hash_of(sku.as_str().as_bytes()));
            let packed = PackedItem::read(&mut VarintReader::new(&bytes)).unwrap();
            let draft = &mut drafts[number as usize / 1000 % 2][shard];
            if draft.push(packed) {
                draft.hand_over(&mut shards[shard], |slot| promised.push((shard, slot)));
            }
        }
        shards.iter_mut().for_each(LoadShard::index);
        for (shard, draft) in drafts.into_iter().flat_map(|drafts| drafts.into_iter().enumerate()) {
            draft.hand_over_rest(&mut shards[shard], |slot| promised.push((shard, slot)));
        }
        for number in 0..count {
            let sku = sku(number);
            let shard = shard_of(hash_of(sku.as_str().as_bytes()));
            let slot = shards[shard].guess(hash_of(sku.as_str().as_bytes())).unwrap();
            let is_promised = promised.contains(&(shard, slot));
            assert_eq!(is_promised, number.is_multiple_of(7), "{number}");
        }
        (Items::from_loaded(shards, Vec::new(), (0..count).map(sku).collect()), promised)
    }

    #[test]
    fn items_of_blocks_and_of_none_are_what_the_snapshot_holds() {
        for count in [0, 100, 6_000, 12_345] {
            let (items, promised) = loaded(count);
            assert_eq!(items.len() as u64, count);
            assert_eq!(promised.len() as u64, count.div_ceil(7));
            for number in 0..count {
                let handle = items.get(&sku(number)).unwrap();
                let slot = handle.lock();
                assert_eq!((&slot.item, slot.last_seq), (&item(number), Seq::new(number)));
            }
            assert_eq!(items.slots_unlike_their_columns(), Vec::<String>::new());
            assert_eq!(items.skus_outside_their_ranges(), Vec::<String>::new());
            let mut skus: Vec<Sku> = (0..count).map(sku).collect();
            skus.sort();
            assert!(items.walk().map(|(sku, _)| sku).eq(skus));
        }
    }
}
