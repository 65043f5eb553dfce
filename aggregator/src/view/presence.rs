//! In how many visible slots each SKU of a shard is held, low and available, so that the summary's
//! distinct counts cost nothing to ask. It must never count a cell that nobody can see.

use shared::Quantities;

use super::chunked::Chunked;

/// Counts over distinct SKUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Distinct {
    /// Held in any visible slot.
    pub(super) items: u64,
    /// Low in any visible slot.
    pub(super) low_stock: u64,
    /// Held, and available in no visible slot.
    pub(super) out_of_stock: u64,
}

impl Distinct {
    /// The sum of two disjoint sets of SKUs.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            items: self.items + other.items,
            low_stock: self.low_stock + other.low_stock,
            out_of_stock: self.out_of_stock + other.out_of_stock,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Slots {
    holding: u16,
    low: u16,
    available: u16,
}

/// The counts of one shard's SKUs, by id.
#[derive(Debug, Default)]
pub(super) struct Presence {
    slots: Chunked<Slots>,
    distinct: Distinct,
}

impl Presence {
    /// Takes a visible cell from `before` to `after`; none is a cell that isn't there.
    pub(super) fn change(
        &mut self,
        id: u32,
        before: Option<Quantities>,
        after: Option<Quantities>,
    ) {
        while self.slots.len() <= id as usize {
            self.slots.push(Slots::default());
        }
        let slots = &mut self.slots[id];
        let old = *slots;
        if let Some(quantities) = before {
            slots.holding -= 1;
            slots.low -= u16::from(quantities.is_low_stock());
            slots.available -= u16::from(!quantities.available().is_zero());
        }
        if let Some(quantities) = after {
            slots.holding += 1;
            slots.low += u16::from(quantities.is_low_stock());
            slots.available += u16::from(!quantities.available().is_zero());
        }
        let distinct = &mut self.distinct;
        let moved = |counter: &mut u64, was: bool, is: bool| {
            *counter = *counter + u64::from(is) - u64::from(was);
        };
        let new = *slots;
        let is_out = |slots: Slots| slots.holding > 0 && slots.available == 0;
        moved(&mut distinct.items, old.holding > 0, new.holding > 0);
        moved(&mut distinct.low_stock, old.low > 0, new.low > 0);
        moved(&mut distinct.out_of_stock, is_out(old), is_out(new));
    }

    /// The counts over all SKUs of the shard.
    pub(super) fn distinct(&self) -> Distinct {
        self.distinct
    }
}
