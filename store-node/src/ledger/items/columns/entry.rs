//! What a packed state says to filters and orders. It must depend on nothing but the state.

use shared::Version;
use shared::cell::{Cell, Flags, Quantities};
use shared::codec::{PackedItem, StateNumbers, StateTexts};

use super::super::hash_of;
use super::level::{MARK, level};

/// There is an item.
pub(super) const EXISTS: usize = 0;
/// It is active.
pub(super) const ACTIVE: usize = 1;
/// It is at or below its reorder point.
pub(super) const LOW: usize = 2;
/// Nothing of it is available.
pub(super) const OUT: usize = 3;
/// Bits of its category's hash, and of its location's.
pub(super) const HASH_ROWS: usize = 12;
/// The first bit of the category's hash.
pub(super) const CATEGORY: usize = 4;
/// The first bit of the location's hash.
pub(super) const LOCATION: usize = CATEGORY + HASH_ROWS;
/// All of these.
pub(super) const ENTRY_ROWS: usize = LOCATION + HASH_ROWS;

/// What a slot has in its columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct SlotBits {
    /// Its bit in each row.
    pub(super) rows: u32,
    /// How much is available; marked if some are reserved.
    pub(super) level: u16,
}

impl SlotBits {
    /// Those of an item.
    pub(in super::super) fn of_item(item: &PackedItem<'_>) -> Self {
        let Cell { version, quantities, flags, .. } = &item.cell;
        if *version == Version::ZERO {
            return Self::default();
        }
        let numbers = Self::of_numbers(quantities, *flags);
        Self { rows: numbers.rows | text_bits(item.category, item.location), ..numbers }
    }

    fn of_numbers(quantities: &Quantities, flags: Flags) -> Self {
        let available = quantities.available();
        let reserved = if quantities.reserved.is_zero() { 0 } else { MARK };
        let rows = 1 << EXISTS
            | u32::from(flags.active) << ACTIVE
            | u32::from(quantities.is_low_stock()) << LOW
            | u32::from(available.is_zero()) << OUT;
        Self { rows, level: level(available.get()) | reserved }
    }
}

/// A slot as its columns know it.
#[derive(Debug, Default)]
pub(super) struct Entry<'a> {
    /// The rows that speak of numbers.
    pub(super) flags: u32,
    /// How much is available; marked if some are reserved.
    pub(super) level: u16,
    numbers: Option<StateNumbers<'a>>,
}

impl<'a> Entry<'a> {
    /// What a packed state gives; the default for a slot without an item.
    #[inline]
    pub(super) fn of(state: &'a [u8]) -> Self {
        if state.is_empty() {
            return Self::default();
        }
        let numbers = StateNumbers::read(state).expect("packed by this process");
        if numbers.version == Version::ZERO {
            return Self::default();
        }
        let SlotBits { rows, level } = SlotBits::of_numbers(&numbers.quantities, numbers.flags);
        Self { flags: rows, level, numbers: Some(numbers) }
    }

    /// The rows and the level together.
    pub(super) fn bits(&self) -> SlotBits {
        SlotBits { rows: self.flags | self.text_bits(), level: self.level }
    }

    /// Name, category, location and unit as they are packed.
    #[inline]
    pub(super) fn packed_texts(&self) -> &'a [u8] {
        let numbers = self.numbers.as_ref();
        numbers.map_or(&[], |numbers| numbers.packed_texts().expect("packed by this process"))
    }

    fn parts(&self) -> Option<StateTexts<'a>> {
        let numbers = self.numbers.as_ref()?;
        Some(numbers.texts().expect("packed by this process"))
    }

    /// The rows that speak of texts.
    pub(super) fn text_bits(&self) -> u32 {
        self.parts().map_or(0, |texts| text_bits(texts.category, texts.location))
    }

    /// What the item is called.
    pub(super) fn name(&self) -> &'a [u8] {
        self.parts().map_or(&[], |texts| texts.name)
    }
}

fn text_bits(category: &[u8], location: &[u8]) -> u32 {
    hash_bits(category) << CATEGORY | hash_bits(location) << LOCATION
}

/// The bits of a text's hash.
pub(super) fn hash_bits(text: &[u8]) -> u32 {
    (hash_of(text) >> 32) as u32 & ((1 << HASH_ROWS) - 1)
}
