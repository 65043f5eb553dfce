//! The part of an item's state that is counted, versioned and proven by digests: what the
//! aggregator holds for each SKU and store. It must never hold metadata texts or reservations.

use crate::event::{Change, Event};
use crate::quantity::Quantity;

/// Grows by exactly one with each event of a SKU at a store; the first event makes version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Version(u64);

impl Version {
    /// Before the first event.
    pub const ZERO: Self = Self(0);

    /// The version with this number.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The next version.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// All quantities of one SKU at one store, in the item's base unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quantities {
    /// Physically on hand.
    pub stock: Quantity,
    /// Promised to live reservations.
    pub reserved: Quantity,
    /// Sold ever.
    pub sold: Quantity,
    /// On its way here by transfer.
    pub incoming: Quantity,
    /// On its way elsewhere by transfer.
    pub in_transit_out: Quantity,
    /// `available` at or below this is low stock.
    pub reorder_point: Quantity,
    /// Kept back from `sellable`; reported, not enforced.
    pub safety_stock: Quantity,
}

impl Quantities {
    /// Stock, reserved, sold, incoming, in transit out, reorder point, safety stock: the order on
    /// disk and in the digest.
    pub fn to_array(self) -> [Quantity; 7] {
        [
            self.stock,
            self.reserved,
            self.sold,
            self.incoming,
            self.in_transit_out,
            self.reorder_point,
            self.safety_stock,
        ]
    }

    /// The inverse of [`Quantities::to_array`].
    pub fn from_array(array: [Quantity; 7]) -> Self {
        let [stock, reserved, sold, incoming, in_transit_out, reorder_point, safety_stock] = array;
        Self { stock, reserved, sold, incoming, in_transit_out, reorder_point, safety_stock }
    }

    /// max(0, stock − reserved).
    pub fn available(&self) -> Quantity {
        self.stock.saturating_sub(self.reserved)
    }

    /// max(0, reserved − stock): promised, but no longer there.
    pub fn oversold(&self) -> Quantity {
        self.reserved.saturating_sub(self.stock)
    }

    /// max(0, available − safety stock).
    pub fn sellable(&self) -> Quantity {
        self.available().saturating_sub(self.safety_stock)
    }

    /// Whether available is at or below the reorder point.
    pub fn is_low_stock(&self) -> bool {
        self.available() <= self.reorder_point
    }
}

/// Yes-or-no parts of the state; bits of one byte on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// May be sold, received and reserved.
    pub active: bool,
    /// Created by a fact about an unknown SKU.
    pub provisional: bool,
    /// The low-stock alert may fire at the next crossing.
    pub low_stock_armed: bool,
}

impl Default for Flags {
    fn default() -> Self {
        Self { active: true, provisional: false, low_stock_armed: true }
    }
}

impl Flags {
    /// The flags as bits 0, 1 and 2.
    pub fn bits(self) -> u8 {
        u8::from(self.active)
            | u8::from(self.provisional) << 1
            | u8::from(self.low_stock_armed) << 2
    }

    /// The flags of these bits; bits above 2 are ignored.
    pub fn from_bits(bits: u8) -> Self {
        Self { active: bits & 1 != 0, provisional: bits & 2 != 0, low_stock_armed: bits & 4 != 0 }
    }
}

/// The counted state of one SKU at one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cell {
    /// How many events made it.
    pub version: Version,
    /// Its quantities.
    pub quantities: Quantities,
    /// Its flags.
    pub flags: Flags,
    /// xxh3-64 of name, category, location and unit ([`crate::Metadata::hash`]).
    pub metadata_hash: u64,
}

/// Why an event can't follow a state: the log or the sender is wrong, never the event's subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Events are missing or repeated.
    #[error("version {found} cannot follow version {current}")]
    VersionGap {
        /// The state's version.
        current: Version,
        /// The event's version.
        found: Version,
    },
    /// A created event for an item that exists, or any other for one that doesn't.
    #[error("{0} does not fit an item that {state}", state = if *.1 { "exists" } else { "does not exist" })]
    Existence(&'static str, bool),
    /// Before + moved is not after.
    #[error("{field} should be {expected} after {change}, the event says {found}")]
    Mismatch {
        /// The change's name.
        change: &'static str,
        /// The quantity that differs.
        field: &'static str,
        /// What before + moved gives; none where it leaves the range.
        expected: Expected,
        /// What the event says.
        found: Quantity,
    },
    /// The reservation that the event speaks of isn't in the fitting state.
    #[error("{change} does not fit the reservation of its order")]
    Reservation {
        /// The change's name.
        change: &'static str,
    },
}

/// What a quantity should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// This number.
    Exactly(Quantity),
    /// No valid quantity follows.
    OutOfRange,
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(quantity) => quantity.fmt(f),
            Self::OutOfRange => f.write_str("out of range"),
        }
    }
}

impl Cell {
    /// Whether `event` is exactly what may follow this state: the next version, and before +
    /// moved = after for every quantity. `Cell::default()` stands for an item that doesn't exist.
    pub fn check(&self, event: &Event) -> Result<(), CheckError> {
        if event.version != self.version.next() {
            return Err(CheckError::VersionGap { current: self.version, found: event.version });
        }
        let exists = self.version != Version::ZERO;
        if matches!(event.change, Change::Created { .. }) == exists {
            return Err(CheckError::Existence(event.change.name(), exists));
        }
        self.check_movement(event)
    }

    fn check_movement(&self, event: &Event) -> Result<(), CheckError> {
        let before = self.quantities;
        let after = event.after;
        let movement = Movement::of(&event.change);
        if self.follows_plainly(event, &movement) {
            return Ok(());
        }
        let (thresholds_free, stock_free) = match event.change {
            Change::Created { .. } => (true, true),
            Change::Updated { .. } => (true, false),
            _ => (false, false),
        };
        let fields = [
            ("stock", before.stock, movement.stock, after.stock, stock_free),
            ("reserved", before.reserved, movement.reserved, after.reserved, false),
            ("sold", before.sold, movement.sold, after.sold, false),
            ("incoming", before.incoming, 0, after.incoming, false),
            ("inTransitOut", before.in_transit_out, 0, after.in_transit_out, false),
            ("reorderPoint", before.reorder_point, 0, after.reorder_point, thresholds_free),
            ("safetyStock", before.safety_stock, 0, after.safety_stock, thresholds_free),
        ];
        for (field, before, moved, found, free) in fields {
            let expected = before.checked_add_signed(moved);
            if !free && expected != Some(found) {
                return Err(CheckError::Mismatch {
                    change: event.change.name(),
                    field,
                    expected: expected.map_or(Expected::OutOfRange, Expected::Exactly),
                    found,
                });
            }
        }
        Ok(())
    }

    /// Whether before + moved is after in every field, none of them free: nearly every event, and
    /// cheap to tell.
    fn follows_plainly(&self, event: &Event, movement: &Movement) -> bool {
        let (before, after) = (self.quantities, event.after);
        let follows =
            |before: Quantity, moved, after| before.checked_add_signed(moved) == Some(after);
        follows(before.stock, movement.stock, after.stock)
            && follows(before.reserved, movement.reserved, after.reserved)
            && follows(before.sold, movement.sold, after.sold)
            && before.incoming == after.incoming
            && before.in_transit_out == after.in_transit_out
            && before.reorder_point == after.reorder_point
            && before.safety_stock == after.safety_stock
    }

    /// Takes over the state after `event`. Total; call [`Cell::check`] first.
    pub fn apply(&mut self, event: &Event) {
        self.version = event.version;
        self.quantities = event.after;
        self.flags = event.flags;
        if let Change::Created { metadata, .. } | Change::Updated { metadata, .. } = &event.change {
            self.metadata_hash = metadata.hash();
        }
    }
}

/// What a change moves; signed units.
struct Movement {
    stock: i64,
    reserved: i64,
    sold: i64,
}

impl Movement {
    fn of(change: &Change) -> Self {
        let signed = |quantity: &Quantity| quantity.get() as i64;
        let (stock, reserved, sold) = match change {
            Change::Created { .. }
            | Change::Updated { .. }
            | Change::Deactivated { .. }
            | Change::Extended { .. } => (0, 0, 0),
            Change::Received { quantity } => (signed(quantity), 0, 0),
            Change::Sold { quantity } => (-signed(quantity), 0, signed(quantity)),
            Change::Returned { quantity, restocked } => {
                (if *restocked { signed(quantity) } else { 0 }, 0, 0)
            }
            Change::Adjusted { delta, .. } => (*delta, 0, 0),
            Change::Reserved { quantity, .. } => (0, signed(quantity), 0),
            Change::Released { quantity, .. } | Change::Expired { quantity, .. } => {
                (0, -signed(quantity), 0)
            }
            Change::Deducted { quantity, .. } => {
                (-signed(quantity), -signed(quantity), signed(quantity))
            }
        };
        Self { stock, reserved, sold }
    }
}
