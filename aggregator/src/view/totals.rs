//! What all visible slots together hold of each SKU, in 24 bytes: lists over all stores look at
//! these numbers alone, and the summary's distinct counts cost nothing to ask. It must never count a
//! cell that nobody can see, nor lose or round a unit.

use hashbrown::HashMap;
use shared::{FixedHasher, Quantities};

use super::chunked::Chunked;

/// Stands in place of the first sum when the sums are in the side table.
const WIDE: u32 = u32::MAX;

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

/// What some slots together hold of a SKU: in how many of them it is held, low, available and in
/// sale, and the sums of its units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Total {
    pub(super) holding: u16,
    pub(super) low: u16,
    pub(super) available_in: u16,
    pub(super) active: u16,
    pub(super) stock: u64,
    pub(super) reserved: u64,
    pub(super) sold: u64,
    pub(super) available: u64,
}

impl Total {
    /// Counts a cell in.
    pub(super) fn add(&mut self, quantities: &Quantities, is_active: bool) {
        let available = quantities.available();
        self.holding += 1;
        self.low += u16::from(quantities.is_low_stock());
        self.available_in += u16::from(!available.is_zero());
        self.active += u16::from(is_active);
        self.stock += quantities.stock.get();
        self.reserved += quantities.reserved.get();
        self.sold += quantities.sold.get();
        self.available += available.get();
    }

    fn subtract(&mut self, quantities: &Quantities, is_active: bool) {
        let available = quantities.available();
        self.holding -= 1;
        self.low -= u16::from(quantities.is_low_stock());
        self.available_in -= u16::from(!available.is_zero());
        self.active -= u16::from(is_active);
        self.stock -= quantities.stock.get();
        self.reserved -= quantities.reserved.get();
        self.sold -= quantities.sold.get();
        self.available -= available.get();
    }

    fn sums(&self) -> [u64; 4] {
        [self.stock, self.reserved, self.sold, self.available]
    }
}

/// A total whose sums fit 32 bits, which nearly all do.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    sums: [u32; 4],
    counts: [u16; 4],
}

const _: () = assert!(size_of::<Row>() == 24, "lists over all stores read this much of each SKU");

/// The totals of one shard's SKUs, by id.
#[derive(Debug, Default)]
pub(super) struct Totals {
    rows: Chunked<Row>,
    wide: HashMap<u32, [u64; 4], FixedHasher>,
    distinct: Distinct,
}

impl Totals {
    /// What the visible slots hold of a SKU; none where none does.
    pub(super) fn get(&self, id: u32) -> Option<Total> {
        let row = self.rows.get(id)?;
        if row.counts[0] == 0 {
            return None;
        }
        let [holding, low, available_in, active] = row.counts;
        let sums = if row.sums[0] == WIDE { self.wide.get(&id).copied() } else { None };
        let [stock, reserved, sold, available] = sums.unwrap_or(row.sums.map(u64::from));
        Some(Total { holding, low, available_in, active, stock, reserved, sold, available })
    }

    /// Takes a visible cell, its quantities and whether it is in sale, from `before` to `after`; none
    /// is a cell that isn't there.
    pub(super) fn change(
        &mut self,
        id: u32,
        before: Option<(Quantities, bool)>,
        after: Option<(Quantities, bool)>,
    ) {
        let old = self.get(id).unwrap_or_default();
        let mut new = old;
        if let Some((quantities, is_active)) = after {
            new.add(&quantities, is_active);
        }
        if let Some((quantities, is_active)) = before {
            new.subtract(&quantities, is_active);
        }
        self.set(id, &new);
        let distinct = &mut self.distinct;
        let moved = |counter: &mut u64, was: bool, is: bool| {
            *counter = *counter + u64::from(is) - u64::from(was);
        };
        let is_out = |total: &Total| total.holding > 0 && total.available_in == 0;
        moved(&mut distinct.items, old.holding > 0, new.holding > 0);
        moved(&mut distinct.low_stock, old.low > 0, new.low > 0);
        moved(&mut distinct.out_of_stock, is_out(&old), is_out(&new));
    }

    /// The counts over all SKUs of the shard.
    pub(super) fn distinct(&self) -> Distinct {
        self.distinct
    }

    fn set(&mut self, id: u32, total: &Total) {
        while self.rows.len() <= id as usize {
            self.rows.push(Row::default());
        }
        let row = &mut self.rows[id];
        if row.sums[0] == WIDE {
            self.wide.remove(&id);
        }
        let sums = total.sums();
        row.counts = [total.holding, total.low, total.available_in, total.active];
        if sums.iter().all(|sum| *sum < u64::from(WIDE)) {
            row.sums = sums.map(|sum| sum as u32);
        } else {
            row.sums = [WIDE; 4];
            self.wide.insert(id, sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::{QUANTITY_MAX, Quantity};

    use super::*;

    fn cell() -> impl Strategy<Value = (Quantities, bool)> {
        let units = prop_oneof![
            0..50_u64,
            Just(u64::from(u32::MAX) - 1),
            Just(u64::from(u32::MAX)),
            0..=QUANTITY_MAX
        ];
        (units.clone(), units, any::<bool>()).prop_map(|(stock, reserved, is_active)| {
            let of = |units| Quantity::new(units).unwrap();
            let quantities =
                Quantities { stock: of(stock), reserved: of(reserved), ..Quantities::default() };
            (quantities, is_active)
        })
    }

    proptest! {
        #[test]
        fn a_total_is_the_sum_of_what_is_there(
            changes in prop::collection::vec((0..3_u32, 0..4_usize, prop::option::of(cell())), 0..80),
        ) {
            let mut totals = Totals::default();
            let mut cells = [[None; 4]; 3];
            for (id, slot, after) in changes {
                let before = std::mem::replace(&mut cells[id as usize][slot], after);
                totals.change(id, before, after);
                let mut expected = Total::default();
                for (quantities, is_active) in cells[id as usize].iter().flatten() {
                    expected.add(quantities, *is_active);
                }
                prop_assert_eq!(totals.get(id), (expected.holding > 0).then_some(expected));
            }
            let wide = totals.rows.iter().filter(|row| row.sums[0] == WIDE).count();
            prop_assert_eq!(totals.wide.len(), wide, "the side table has no more than is needed");
        }
    }
}
