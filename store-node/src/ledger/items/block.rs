//! Thirty-two slots that lie together: a lock with the reservations for each, and the packed states
//! of all of them one behind the other, under one lock that is held only to copy bytes. Whatever
//! changes a state tells the block's columns.
//!
//! The lock of the states is the innermost of all: whoever holds it must never take another.

use std::cell::RefCell;

use shared::Reservations;
use threading::Mutex;

use super::columns::{Lane, Probe, SlotBits};
use super::slot::{Slot, SlotGuard};

/// How many slots share a block.
pub(super) const BLOCK_SLOTS: usize = 32;

/// The reservations of a slot while nobody holds its lock.
pub(super) type AtRest = Option<Box<Reservations>>;

/// Slots at rest, those in creation and those given back included.
#[derive(Debug)]
pub(super) struct Block {
    slots: [Mutex<AtRest>; BLOCK_SLOTS],
    states: Mutex<States>,
    lane: Lane,
}

impl Block {
    /// A block of slots that are as new.
    pub(super) fn new(lane: Lane) -> Self {
        Self { slots: std::array::from_fn(|_| Mutex::default()), states: Mutex::default(), lane }
    }

    /// Locks a slot and unpacks it.
    pub(super) fn lock(&self, index: usize) -> SlotGuard<'_> {
        let mut reservations = self.slots[index].lock();
        let slot = Slot::unpack(self.states.lock().get(index), reservations.take());
        SlotGuard::new(self, index, reservations, slot)
    }

    /// Looks at the memory that [`Block::lock`] needs next, without any lock: what is there means
    /// nothing.
    pub(super) fn touch(&self, index: usize) -> usize {
        usize::from(self.slots[index].is_locked()) ^ usize::from(self.states.is_locked())
    }

    /// Replaces the state of a slot, which the caller has locked.
    pub(super) fn put_state(&self, index: usize, slot: &Slot) {
        with_packed(slot, |packed| self.states.lock().replace(&self.lane, index, packed));
    }

    /// Shows the packed states of those of these slots (a bit each) that have one.
    pub(super) fn show(&self, slots: u32, mut visit: impl FnMut(usize, &[u8])) {
        let states = self.states.lock();
        for (index, state) in states.iter().enumerate() {
            if slots >> index & 1 == 1 && !state.is_empty() {
                visit(index, state);
            }
        }
    }

    /// Begins to keep in the columns what `probe` asks of them, unless it is kept. The caller knows
    /// the SKUs of the slots, and keeps them from being given to others.
    pub(super) fn keep_columns<'a>(&self, probe: &Probe, skus: impl Iterator<Item = &'a str>) {
        let states = self.states.lock();
        self.lane.keep_numbers(states.iter());
        if probe.has_text() {
            self.lane.keep_texts(states.iter(), skus);
        }
    }

    /// Whether the columns are what reading the states again would make of them.
    #[cfg(test)]
    pub(super) fn is_like_its_columns<'a>(&self, skus: impl Iterator<Item = &'a str>) -> bool {
        let states = self.states.lock();
        self.lane.is_as_made_new(|| states.iter(), skus)
    }

    /// Takes over that a slot, which is as new, was given to a SKU; nobody else may see it yet.
    pub(super) fn note_sku(&self, index: usize, sku: &str) {
        let _states = self.states.lock();
        self.lane.note_sku(index, sku);
    }

    /// Makes a slot as new; nobody else knows the block.
    pub(super) fn reset(&mut self, index: usize) {
        *self.slots[index].get_mut() = None;
        self.states.get_mut().replace(&self.lane, index, &[]);
    }

    /// Unpacks a slot to be put back by [`Block::put`]; nobody else knows the block.
    pub(super) fn take(&mut self, index: usize) -> Slot {
        let reservations = self.slots[index].get_mut().take();
        Slot::unpack(self.states.get_mut().get(index), reservations)
    }

    /// Puts a slot back; nobody else knows the block.
    pub(super) fn put(&mut self, index: usize, slot: &mut Slot) {
        with_packed(slot, |packed| self.states.get_mut().replace(&self.lane, index, packed));
        *self.slots[index].get_mut() = slot.item.take_reservations();
    }

    /// A block whose slots all have a packed state, `lengths` bytes each, and `bits` in the columns.
    pub(super) fn full(
        lane: Lane,
        states: &[u8],
        lengths: [u16; BLOCK_SLOTS],
        bits: &[SlotBits; BLOCK_SLOTS],
    ) -> Self {
        let bytes = states.to_vec();
        // They are at hand: later, a list would have to fetch the states again.
        lane.keep_slots(bits);
        let slots = std::array::from_fn(|_| Mutex::default());
        Self { slots, states: Mutex::new(States { bytes, lengths }), lane }
    }

    /// Gives a slot its reservations; nobody else knows the block.
    pub(super) fn promise(&mut self, index: usize, reservations: AtRest) {
        *self.slots[index].get_mut() = reservations;
    }

    /// Fills a slot that is as new, as those behind it are, with a packed state; nobody else knows
    /// the block.
    pub(super) fn fill(&mut self, index: usize, state: &[u8], reservations: AtRest) {
        *self.slots[index].get_mut() = reservations;
        let states = self.states.get_mut();
        if index == 0 {
            states.bytes.reserve_exact(state.len() * BLOCK_SLOTS);
        }
        states.lengths[index] = length_of(state);
        states.bytes.extend_from_slice(state);
        let (length, capacity) = (states.bytes.len(), states.bytes.capacity());
        if index + 1 == BLOCK_SLOTS && capacity - length > length / SPARE_PART_MAX {
            // By a copy: shrunk in place, an allocator may keep up to twice as much.
            states.bytes = states.bytes.as_slice().into();
        }
        if index + 1 == BLOCK_SLOTS {
            // They are at hand: later, a list would have to fetch them again.
            self.lane.keep_numbers(states.iter());
        }
    }
}

/// A full block may have an eighth of its bytes to spare.
const SPARE_PART_MAX: usize = 8;

/// The length of a packed state.
pub(super) fn length_of(state: &[u8]) -> u16 {
    u16::try_from(state.len()).expect("four texts of at most 4 KiB each")
}

/// Packed states in the order of their slots. A slot that is as new has an empty one.
#[derive(Debug, Default)]
struct States {
    bytes: Vec<u8>,
    lengths: [u16; BLOCK_SLOTS],
}

impl States {
    fn start(&self, index: usize) -> usize {
        self.lengths[..index].iter().map(|length| usize::from(*length)).sum()
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = self.start(index);
        &self.bytes[start..start + usize::from(self.lengths[index])]
    }

    /// All of them, the empty ones too.
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        self.lengths.iter().map(move |length| {
            let (state, behind) = rest.split_at(usize::from(*length));
            rest = behind;
            state
        })
    }

    /// Gives a slot another state, in its columns too.
    fn replace(&mut self, lane: &Lane, index: usize, state: &[u8]) {
        lane.note(index, self.get(index), state);
        self.set(index, state);
    }

    fn set(&mut self, index: usize, state: &[u8]) {
        let (start, length) = (self.start(index), usize::from(self.lengths[index]));
        let range = start..start + length;
        if state.len() == length {
            return self.bytes[range].copy_from_slice(state);
        }
        self.lengths[index] = length_of(state);
        if state.len() > length {
            // Exactly: the allocator's own rounding is all the room that a block should have.
            self.bytes.reserve_exact(state.len() - length);
        }
        self.bytes.splice(range, state.iter().copied());
    }
}

threading::thread_local! {
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with the bytes of a slot, in this thread's buffer.
fn with_packed(slot: &Slot, work: impl FnOnce(&[u8])) {
    PACKED.with(|buffer| {
        let mut packed = buffer.borrow_mut();
        packed.clear();
        slot.pack(&mut packed);
        work(&packed);
    });
}

// Under the concurrency tests' scheduler a lock is larger.
#[cfg(not(feature = "shuttle"))]
const _: () =
    assert!(size_of::<Block>() <= 624, "with its counts 20 bytes for each slot besides its state");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::block;
    use super::*;

    proptest! {
        #[test]
        fn states_keep_apart_whatever_their_lengths(
            changes in prop::collection::vec(
                (0..BLOCK_SLOTS, prop::collection::vec(any::<u8>(), 0..200)), 0..200,
            ),
        ) {
            let block = block();
            let mut model = vec![Vec::new(); BLOCK_SLOTS];
            for (index, state) in changes {
                block.states.lock().set(index, &state);
                model[index] = state;
                for (index, state) in model.iter().enumerate() {
                    let states = block.states.lock();
                    prop_assert_eq!(states.get(index), &state[..]);
                }
            }
            let mut shown = vec![Vec::new(); BLOCK_SLOTS];
            block.show(u32::MAX, |index, state| shown[index] = state.to_vec());
            prop_assert_eq!(shown, model);
        }
    }
}
