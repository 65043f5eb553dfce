//! A cell in 48 bytes, which an event changes; its name and location, which it seldom does, are beside
//! it in its column. Nearly every real cell fits; one that doesn't (a quantity over 2^32, goods in
//! transit) says so and keeps its numbers in the column's side table. Packing must never lose or
//! round anything.

use shared::cell::{Cell, Flags, Quantities, Version};
use shared::{Quantity, Timestamp};

use super::Held;
use super::texts::EMPTY;

/// Set in a packed cell's flags when its numbers are in the side table.
const WIDE: u8 = 1 << 7;

/// The ids of an item's texts: names and places in one pool, categories and units in another, which
/// has few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextIds {
    pub(super) name: u32,
    pub(super) category: u32,
    pub(super) location: u32,
    pub(super) unit: u32,
}

impl TextIds {
    pub(super) const NONE: Self =
        Self { name: EMPTY, category: EMPTY, location: EMPTY, unit: EMPTY };
}

/// The ids that are in the cell itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WordIds {
    pub(super) category: u32,
    pub(super) unit: u32,
}

impl TextIds {
    /// Those that are in the cell itself.
    pub(super) fn words(self) -> WordIds {
        WordIds { category: self.category, unit: self.unit }
    }
}

/// What lists filter and sort by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glance {
    pub(super) quantities: Quantities,
    pub(super) flags: Flags,
    pub(super) category: u32,
}

/// A cell as the view holds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed {
    /// The id of its SKU in the shard.
    pub(super) sku: u32,
    version: u32,
    seq_low: u32,
    stock: u32,
    sold: u32,
    metadata_hash: [u32; 2],
    seq_high: u16,
    category: u16,
    unit: u16,
    reserved: u16,
    reorder_point: u16,
    safety_stock: u16,
    /// Microseconds since 1970, little-endian: years to 4253 fit.
    metadata_at: [u8; 7],
    flags: u8,
}

const _: () = assert!(size_of::<Packed>() == 48, "memory of the view is counted in this size");

/// The numbers of a cell that doesn't fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wide {
    version: u64,
    seq: u64,
    quantities: Quantities,
    metadata_at: Timestamp,
    words: WordIds,
}

/// The numbers of a cell that fits.
struct Narrow {
    version: u32,
    seq_high: u16,
    stock: u32,
    sold: u32,
    category: u16,
    unit: u16,
    reserved: u16,
    reorder_point: u16,
    safety_stock: u16,
}

impl Narrow {
    fn of(held: &Held, words: WordIds) -> Option<Self> {
        let quantities = held.cell.quantities;
        let is_in_transit = !quantities.incoming.is_zero() || !quantities.in_transit_out.is_zero();
        if is_in_transit || held.metadata_at.as_micros() >> 56 != 0 {
            return None;
        }
        Some(Self {
            version: u32::try_from(held.cell.version.get()).ok()?,
            seq_high: u16::try_from(held.seq >> 32).ok()?,
            stock: u32::try_from(quantities.stock.get()).ok()?,
            sold: u32::try_from(quantities.sold.get()).ok()?,
            category: u16::try_from(words.category).ok()?,
            unit: u16::try_from(words.unit).ok()?,
            reserved: u16::try_from(quantities.reserved.get()).ok()?,
            reorder_point: u16::try_from(quantities.reorder_point.get()).ok()?,
            safety_stock: u16::try_from(quantities.safety_stock.get()).ok()?,
        })
    }
}

impl Packed {
    /// Packs a cell; the second part is there when its numbers don't fit.
    pub(super) fn new(sku: u32, held: &Held, words: WordIds) -> (Self, Option<Wide>) {
        let micros = held.metadata_at.as_micros().to_le_bytes();
        let mut metadata_at = [0; 7];
        metadata_at.copy_from_slice(&micros[..7]);
        let mut packed = Self {
            sku,
            version: 0,
            seq_low: held.seq as u32,
            stock: 0,
            sold: 0,
            metadata_hash: halves(held.cell.metadata_hash),
            seq_high: 0,
            category: 0,
            unit: 0,
            reserved: 0,
            reorder_point: 0,
            safety_stock: 0,
            metadata_at,
            flags: held.cell.flags.bits(),
        };
        let Some(narrow) = Narrow::of(held, words) else {
            packed.flags |= WIDE;
            let wide = Wide {
                version: held.cell.version.get(),
                seq: held.seq,
                quantities: held.cell.quantities,
                metadata_at: held.metadata_at,
                words,
            };
            return (packed, Some(wide));
        };
        packed.version = narrow.version;
        packed.seq_high = narrow.seq_high;
        packed.stock = narrow.stock;
        packed.sold = narrow.sold;
        packed.category = narrow.category;
        packed.unit = narrow.unit;
        packed.reserved = narrow.reserved;
        packed.reorder_point = narrow.reorder_point;
        packed.safety_stock = narrow.safety_stock;
        (packed, None)
    }

    /// Whether its numbers are in the side table.
    pub(super) fn is_wide(&self) -> bool {
        self.flags & WIDE != 0
    }

    /// The cell and its words; `wide` is its entry of the side table, if it has one.
    pub(super) fn unpack(&self, wide: Option<&Wide>) -> (Held, WordIds) {
        let narrow = || Wide {
            version: u64::from(self.version),
            seq: self.seq(),
            quantities: self.quantities(),
            metadata_at: self.metadata_at(),
            words: self.words(),
        };
        let numbers = wide.copied().unwrap_or_else(narrow);
        let cell = Cell {
            version: Version::new(numbers.version),
            quantities: numbers.quantities,
            flags: Flags::from_bits(self.flags),
            metadata_hash: whole(self.metadata_hash),
        };
        let held = Held { cell, seq: numbers.seq, metadata_at: numbers.metadata_at };
        (held, numbers.words)
    }

    /// What lists filter and sort by; `wide` as for [`Self::unpack`].
    pub(super) fn glance(&self, wide: Option<&Wide>) -> Glance {
        let (quantities, words) = match wide {
            Some(wide) => (wide.quantities, wide.words),
            None => (self.quantities(), self.words()),
        };
        let category = words.category;
        Glance { quantities, category, flags: Flags::from_bits(self.flags) }
    }

    fn metadata_at(&self) -> Timestamp {
        let mut micros = [0; 8];
        micros[..7].copy_from_slice(&self.metadata_at);
        Timestamp::from_micros(i64::from_le_bytes(micros))
    }

    fn seq(&self) -> u64 {
        u64::from(self.seq_high) << 32 | u64::from(self.seq_low)
    }

    fn words(&self) -> WordIds {
        WordIds { category: u32::from(self.category), unit: u32::from(self.unit) }
    }

    fn quantities(&self) -> Quantities {
        let units = |small: u32| Quantity::new(u64::from(small)).unwrap_or_default();
        Quantities {
            stock: units(self.stock),
            reserved: units(u32::from(self.reserved)),
            sold: units(self.sold),
            reorder_point: units(u32::from(self.reorder_point)),
            safety_stock: units(u32::from(self.safety_stock)),
            ..Quantities::default()
        }
    }
}

fn halves(number: u64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

fn whole([low, high]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::QUANTITY_MAX;

    use super::*;

    fn number(max: u64) -> impl Strategy<Value = u64> {
        let (small, edge) = (u64::from(u16::MAX), u64::from(u32::MAX).min(max));
        prop_oneof![
            0..=max,
            0..100_u64,
            small - 1..=small + 1,
            edge - 1..=(edge + 1).min(max),
            max - 1..=max
        ]
    }

    proptest! {
        #[test]
        fn packing_loses_nothing(
            version in number(u64::MAX),
            seq in number(u64::MAX),
            array in prop::array::uniform7(number(QUANTITY_MAX)),
            transit in any::<bool>(),
            bits in 0..8_u8,
            metadata_hash in any::<u64>(),
            micros in 0..253_402_214_400_000_000_i64,
            ids in prop::array::uniform2(number(u64::from(u32::MAX) - 1)),
        ) {
            let mut array = array.map(|units| Quantity::new(units).unwrap());
            if !transit {
                (array[3], array[4]) = (Quantity::ZERO, Quantity::ZERO);
            }
            let held = Held {
                cell: Cell {
                    version: Version::new(version),
                    quantities: Quantities::from_array(array),
                    flags: Flags::from_bits(bits),
                    metadata_hash,
                },
                seq,
                metadata_at: Timestamp::from_micros(micros),
            };
            let [category, unit] = ids.map(|id| id as u32);
            let words = WordIds { category, unit };
            let (packed, wide) = Packed::new(7, &held, words);
            prop_assert_eq!(packed.is_wide(), wide.is_some());
            prop_assert_eq!(packed.unpack(wide.as_ref()), (held, words));
        }
    }
}
