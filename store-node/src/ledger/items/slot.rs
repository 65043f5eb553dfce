//! One item at rest and on loan: bytes while nobody looks at it, a [`Slot`] while its lock is held.
//!
//! At rest an item takes the bytes that a snapshot gives it (about 60 with a short name), so that
//! ten million fit into the memory of a small machine. Its reservations stay as they are. Whoever
//! holds the lock sees all of it; what was changed is packed again when the lock is given back.

use std::ops::{Deref, DerefMut};

use event_log::Seq;
use shared::codec::{VarintReader, decode_state, encode_state};
use shared::{Item, Timestamp, Version};
use threading::MutexGuard;

use super::block::{AtRest, Block};

/// One item and what the ledger keeps beside it.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// The item; version zero while it is being created.
    pub(crate) item: Item,
    /// The seq of its last event.
    pub(crate) last_seq: Seq,
    mark: Mark,
}

/// What else is known of a slot, in eight bytes: nothing, the time (µs) under which the expiry
/// queue knows it, or that it was taken out of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark(i64);

impl Mark {
    const NONE: Self = Self(-1);
    const GONE: Self = Self(-2);
}

impl Default for Mark {
    fn default() -> Self {
        Self::NONE
    }
}

impl Slot {
    /// A slot with an item that was there before.
    pub(crate) fn holding(item: Item, last_seq: Seq) -> Self {
        Self { item, last_seq, mark: Mark::NONE }
    }

    /// A slot from its packed bytes (none for one that is as new) and its reservations.
    pub(super) fn unpack(bytes: &[u8], reservations: AtRest) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        let mut reader = VarintReader::new(bytes);
        let (state, last_seq) = decode_state(&mut reader).expect("packed by this process");
        let mark = reader.rest().first_chunk().copied().map(i64::from_le_bytes);
        let item = Item::restore(state, reservations);
        Self {
            item: item.expect("packed with these reservations"),
            last_seq: Seq::new(last_seq),
            mark: mark.map_or(Mark::NONE, Mark),
        }
    }

    /// Appends all of it but the reservations: the item's state, then the mark as i64 little-endian
    /// if it says anything.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        encode_state(out, &self.item, self.last_seq.get());
        if self.mark != Mark::NONE {
            out.extend_from_slice(&self.mark.0.to_le_bytes());
        }
    }

    /// Whether the item exists.
    pub(crate) fn exists(&self) -> bool {
        self.item.cell().version != Version::ZERO
    }

    /// Whether it was removed from the map again: look the SKU up anew.
    pub(crate) fn is_gone(&self) -> bool {
        self.mark == Mark::GONE
    }

    /// Says that it was removed from the map.
    pub(super) fn set_gone(&mut self) {
        self.mark = Mark::GONE;
    }

    /// The time under which the expiry queue knows it.
    pub(crate) fn queued_expiry(&self) -> Option<Timestamp> {
        (self.mark.0 >= 0).then(|| Timestamp::from_micros(self.mark.0))
    }

    /// Notes under which time the expiry queue knows it.
    pub(crate) fn set_queued_expiry(&mut self, at: Option<Timestamp>) {
        self.mark = at.map_or(Mark::NONE, |at| Mark(at.as_micros()));
    }
}

/// A locked slot.
pub(crate) struct SlotGuard<'a> {
    block: &'a Block,
    index: usize,
    reservations: MutexGuard<'a, AtRest>,
    slot: Slot,
    is_changed: bool,
}

impl<'a> SlotGuard<'a> {
    /// A slot whose lock is held, unpacked.
    pub(super) fn new(
        block: &'a Block,
        index: usize,
        reservations: MutexGuard<'a, AtRest>,
        slot: Slot,
    ) -> Self {
        Self { block, index, reservations, slot, is_changed: false }
    }
}

impl Deref for SlotGuard<'_> {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.slot
    }
}

impl DerefMut for SlotGuard<'_> {
    fn deref_mut(&mut self) -> &mut Slot {
        self.is_changed = true;
        &mut self.slot
    }
}

impl Drop for SlotGuard<'_> {
    fn drop(&mut self) {
        if self.is_changed {
            self.block.put_state(self.index, &self.slot);
        }
        *self.reservations = self.slot.item.take_reservations();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::block;
    use super::*;
    use shared::{Cell, Quantity};
    use shared::{ItemState, Metadata};

    fn item(stock: u64, version: u64) -> Item {
        let metadata = Metadata { name: "Stoneware mug, white".into(), ..Metadata::default() };
        let mut cell = Cell { version: Version::new(version), ..Cell::default() };
        cell.quantities.stock = Quantity::new(stock).unwrap();
        cell.metadata_hash = metadata.hash();
        let at = Timestamp::from_micros(5);
        Item::restore(ItemState { cell, metadata, created_at: at, updated_at: at }, None).unwrap()
    }

    fn length(block: &Block) -> usize {
        let mut length = 0;
        block.show(u32::MAX, |_, state| length += state.len());
        length
    }

    #[test]
    fn what_a_guard_changed_is_there_for_the_next_one() {
        let block = block();
        assert!(!block.lock(7).exists());
        *block.lock(7) = Slot::holding(item(7, 1), Seq::new(9));
        for (stock, seq) in [(7, 9), (1 << 40, 10), (3, 1 << 50)] {
            let mut guard = block.lock(7);
            guard.item = item(stock, 1);
            guard.last_seq = Seq::new(seq);
            drop(guard);
            let guard = block.lock(7);
            assert_eq!((&guard.item, guard.last_seq), (&item(stock, 1), Seq::new(seq)));
        }
    }

    #[test]
    fn marks_last_and_cost_nothing_where_there_is_none() {
        let block = block();
        *block.lock(7) = Slot::holding(item(7, 1), Seq::new(9));
        let plain = length(&block);
        let at = Some(Timestamp::from_micros(77));
        block.lock(7).set_queued_expiry(at);
        assert_eq!(block.lock(7).queued_expiry(), at);
        block.lock(7).set_queued_expiry(None);
        assert_eq!(block.lock(7).queued_expiry(), None);
        assert_eq!(length(&block), plain);
        block.lock(7).set_gone();
        assert!(block.lock(7).is_gone());
    }
}
