//! A cell in 68 bytes. Nearly every real cell fits; one that doesn't (a quantity over 2^32, goods
//! in transit) says so and keeps its numbers in the column's side table. Packing must never lose
//! or round anything.

use shared::cell::{Cell, Flags, Quantities, Version};
use shared::{Quantity, Timestamp};

use super::Held;
use super::texts::EMPTY;

/// Set in a packed cell's flags when its numbers are in the side table.
const WIDE: u8 = 1 << 7;
const SEQ_HIGH_MAX: u64 = u16::MAX as u64;

/// The ids of an item's texts.
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

    pub(super) fn all(self) -> [u32; 4] {
        [self.name, self.category, self.location, self.unit]
    }
}

/// A cell as the view holds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed {
    /// The id of its SKU in the shard.
    pub(super) sku: u32,
    /// Its texts.
    pub(super) texts: TextIds,
    version: u32,
    seq_low: u32,
    stock: u32,
    reserved: u32,
    sold: u32,
    reorder_point: u32,
    safety_stock: u32,
    metadata_hash: [u32; 2],
    metadata_at: [u32; 2],
    seq_high: u16,
    flags: u8,
}

const _: () = assert!(size_of::<Packed>() == 68, "memory of the view is counted in this size");

/// The numbers of a cell that doesn't fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wide {
    version: u64,
    seq: u64,
    quantities: Quantities,
}

impl Packed {
    /// Packs a cell; the second part is there when its numbers don't fit.
    pub(super) fn new(sku: u32, held: &Held, texts: TextIds) -> (Self, Option<Wide>) {
        let quantities = held.cell.quantities;
        let small = |quantity: Quantity| u32::try_from(quantity.get());
        let mut packed = Self {
            sku,
            texts,
            version: 0,
            seq_low: 0,
            stock: 0,
            reserved: 0,
            sold: 0,
            reorder_point: 0,
            safety_stock: 0,
            metadata_hash: halves(held.cell.metadata_hash),
            metadata_at: halves(held.metadata_at.as_micros() as u64),
            seq_high: 0,
            flags: held.cell.flags.bits(),
        };
        let version = u32::try_from(held.cell.version.get());
        let in_transit = !quantities.incoming.is_zero() || !quantities.in_transit_out.is_zero();
        let (
            Ok(version),
            Ok(stock),
            Ok(reserved),
            Ok(sold),
            Ok(reorder_point),
            Ok(safety_stock),
            false,
            true,
        ) = (
            version,
            small(quantities.stock),
            small(quantities.reserved),
            small(quantities.sold),
            small(quantities.reorder_point),
            small(quantities.safety_stock),
            in_transit,
            held.seq >> 32 <= SEQ_HIGH_MAX,
        )
        else {
            packed.flags |= WIDE;
            let version = held.cell.version.get();
            return (packed, Some(Wide { version, seq: held.seq, quantities }));
        };
        packed.version = version;
        packed.seq_low = held.seq as u32;
        packed.seq_high = (held.seq >> 32) as u16;
        packed.stock = stock;
        packed.reserved = reserved;
        packed.sold = sold;
        packed.reorder_point = reorder_point;
        packed.safety_stock = safety_stock;
        (packed, None)
    }

    /// Whether its numbers are in the side table.
    pub(super) fn is_wide(&self) -> bool {
        self.flags & WIDE != 0
    }

    /// The cell; `wide` is its entry of the side table, if it has one.
    pub(super) fn unpack(&self, wide: Option<&Wide>) -> Held {
        let (version, seq, quantities) = match wide {
            Some(wide) => (wide.version, wide.seq, wide.quantities),
            None => (u64::from(self.version), self.seq(), self.quantities()),
        };
        let cell = Cell {
            version: Version::new(version),
            quantities,
            flags: Flags::from_bits(self.flags),
            metadata_hash: whole(self.metadata_hash),
        };
        let metadata_at = Timestamp::from_micros(whole(self.metadata_at) as i64);
        Held { cell, seq, metadata_at }
    }

    fn seq(&self) -> u64 {
        u64::from(self.seq_high) << 32 | u64::from(self.seq_low)
    }

    fn quantities(&self) -> Quantities {
        let wide = |small: u32| Quantity::new(u64::from(small)).unwrap_or_default();
        Quantities {
            stock: wide(self.stock),
            reserved: wide(self.reserved),
            sold: wide(self.sold),
            reorder_point: wide(self.reorder_point),
            safety_stock: wide(self.safety_stock),
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
        let edge = u64::from(u32::MAX).min(max);
        prop_oneof![0..=max, 0..100_u64, edge - 1..=(edge + 1).min(max), max - 1..=max]
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
            let (packed, wide) = Packed::new(7, &held, TextIds::NONE);
            prop_assert_eq!(packed.is_wide(), wide.is_some());
            prop_assert_eq!(packed.unpack(wide.as_ref()), held);
        }
    }
}
