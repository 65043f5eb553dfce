//! Whole units of stock. A quantity must never leave 0..=2^53, so that every JSON reader sees the
//! same number.

use std::fmt;

use serde::{Serialize, Serializer};

/// The greatest quantity: 2^53, the last integer that IEEE doubles (and so JSON readers) hold exactly.
pub const QUANTITY_MAX: u64 = 1 << 53;

/// A number of base units of one SKU, 0 to 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Quantity(u64);

impl Quantity {
    /// None of it.
    pub const ZERO: Self = Self(0);

    /// A quantity, unless it is over [`QUANTITY_MAX`].
    pub fn new(units: u64) -> Option<Self> {
        (units <= QUANTITY_MAX).then_some(Self(units))
    }

    /// The number of units.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Whether there is none.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, unless it is over [`QUANTITY_MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Self::new(self.0 + other.0)
    }

    /// The difference, unless it is below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The difference, or zero where it would be below.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Moved by a signed number of units, unless that leaves the range.
    pub fn checked_add_signed(self, delta: i64) -> Option<Self> {
        self.0.checked_add_signed(delta).and_then(Self::new)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_in_range() {
        let max = Quantity::new(QUANTITY_MAX).unwrap();
        let one = Quantity::new(1).unwrap();
        assert_eq!(Quantity::new(QUANTITY_MAX + 1), None);
        assert_eq!(max.checked_add(one), None);
        assert_eq!(Quantity::ZERO.checked_sub(one), None);
        assert_eq!(one.checked_add_signed(-2), None);
        assert_eq!(one.checked_add_signed(-1), Some(Quantity::ZERO));
        assert_eq!(max.checked_add_signed(i64::MAX), None);
    }
}
