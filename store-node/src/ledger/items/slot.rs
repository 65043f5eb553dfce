//! One item at rest and on loan: bytes while nobody looks at it, a [`Slot`] while its lock is held.
//!
//! At rest an item takes the bytes that a snapshot gives it (about 60 with a short name), so that
//! ten million fit into the memory of a small machine. Its reservations stay as they are. Whoever
//! holds the lock sees all of it; what was changed is packed again when the lock is given back.

use std::ops::{Deref, DerefMut};

use event_log::Seq;
use shared::codec::{VarintReader, decode_state, encode_state};
use shared::{Item, Reservations, Timestamp, Version};
use threading::{Mutex, MutexGuard};

/// Room for most items' bytes, so that the buffer they are packed in seldom grows.
const PACKED_BYTES: usize = 128;

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

/// A slot at rest.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Nothing for a slot that is as new; else the item's state, then the mark as i64
    /// little-endian if it says anything.
    bytes: Box<[u8]>,
    reservations: Option<Box<Reservations>>,
}

impl Stored {
    /// An item of a snapshot, by the bytes of its state.
    pub(super) fn restored(state: &[u8], mut item: Item) -> Self {
        Self { bytes: Box::from(state), reservations: item.take_reservations() }
    }

    /// Whether it has or had reservations.
    pub(super) fn has_reservations(&self) -> bool {
        self.reservations.is_some()
    }

    /// The whole slot; its reservations are in it alone until it is put back.
    pub(super) fn unpack(&mut self) -> Slot {
        if self.bytes.is_empty() {
            return Slot::default();
        }
        let mut reader = VarintReader::new(&self.bytes);
        let (state, last_seq) = decode_state(&mut reader).expect("packed by this process");
        let mark = reader.rest().first_chunk().copied().map(i64::from_le_bytes);
        let item = Item::restore(state, self.reservations.take());
        Slot {
            item: item.expect("packed with these reservations"),
            last_seq: Seq::new(last_seq),
            mark: mark.map_or(Mark::NONE, Mark),
        }
    }

    /// Puts a slot back that is as it was.
    fn put_back(&mut self, slot: &mut Slot) {
        self.reservations = slot.item.take_reservations();
    }

    /// Puts a slot back that may have changed.
    pub(super) fn pack(&mut self, slot: &mut Slot) {
        thread_local! {
            static PACKED: std::cell::RefCell<Vec<u8>> =
                std::cell::RefCell::new(Vec::with_capacity(PACKED_BYTES));
        }
        PACKED.with_borrow_mut(|packed| {
            packed.clear();
            encode_state(packed, &slot.item, slot.last_seq.get());
            if slot.mark != Mark::NONE {
                packed.extend_from_slice(&slot.mark.0.to_le_bytes());
            }
            if packed.len() == self.bytes.len() {
                self.bytes.copy_from_slice(packed);
            } else {
                self.bytes = Box::from(&packed[..]);
            }
        });
        self.put_back(slot);
    }
}

/// A locked slot.
pub(crate) struct SlotGuard<'a> {
    stored: MutexGuard<'a, Stored>,
    slot: Slot,
    is_changed: bool,
}

impl<'a> SlotGuard<'a> {
    pub(super) fn lock(stored: &'a Mutex<Stored>) -> Self {
        let mut stored = stored.lock();
        let slot = stored.unpack();
        Self { stored, slot, is_changed: false }
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
        let slot = &mut self.slot;
        if self.is_changed { self.stored.pack(slot) } else { self.stored.put_back(slot) }
    }
}

// Under the concurrency tests' scheduler a lock is larger.
#[cfg(not(feature = "shuttle"))]
const _: () = assert!(size_of::<Mutex<Stored>>() == 32, "two slots at rest fit a cache line");

#[cfg(test)]
mod tests {
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

    #[test]
    fn what_a_guard_changed_is_there_for_the_next_one() {
        let stored = Mutex::new(Stored::default());
        assert!(!SlotGuard::lock(&stored).exists());
        *SlotGuard::lock(&stored) = Slot::holding(item(7, 1), Seq::new(9));
        for (stock, seq) in [(7, 9), (1 << 40, 10), (3, 1 << 50)] {
            let mut guard = SlotGuard::lock(&stored);
            guard.item = item(stock, 1);
            guard.last_seq = Seq::new(seq);
            drop(guard);
            let guard = SlotGuard::lock(&stored);
            assert_eq!((&guard.item, guard.last_seq), (&item(stock, 1), Seq::new(seq)));
        }
    }

    #[test]
    fn marks_last_and_cost_nothing_where_there_is_none() {
        let stored = Mutex::new(Stored::default());
        *SlotGuard::lock(&stored) = Slot::holding(item(7, 1), Seq::new(9));
        let plain = stored.lock().bytes.len();
        let at = Some(Timestamp::from_micros(77));
        SlotGuard::lock(&stored).set_queued_expiry(at);
        assert_eq!(SlotGuard::lock(&stored).queued_expiry(), at);
        SlotGuard::lock(&stored).set_queued_expiry(None);
        assert_eq!(SlotGuard::lock(&stored).queued_expiry(), None);
        assert_eq!(stored.lock().bytes.len(), plain);
        SlotGuard::lock(&stored).set_gone();
        assert!(SlotGuard::lock(&stored).is_gone());
    }
}
