//! The answers "no": each is decided from durable state, is stored with its idempotency key, and
//! says what the caller needs to do better. A rejection must never stand for a defect.

use crate::cell::Version;
use crate::ids::OrderId;
use crate::quantity::Quantity;
use crate::sku::Sku;

/// Why a command was refused. The numbers are on disk and never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// There is no such item here: create it.
    UnknownSku,
    /// The item exists already, at this version.
    AlreadyExists {
        /// Its version.
        current: Version,
    },
    /// Another write came first: read again.
    VersionConflict {
        /// The item's version.
        current: Version,
        /// The version that was asked for.
        expected: Version,
        /// Its stock.
        stock: Quantity,
        /// Its reserved units.
        reserved: Quantity,
        /// Its available units.
        available: Quantity,
    },
    /// Not enough is free to sell or reserve.
    InsufficientStock {
        /// Free units.
        available: Quantity,
        /// Units asked for.
        required: Quantity,
        /// The item's version.
        current: Version,
    },
    /// The order's reservation holds fewer units.
    InsufficientReservedStock {
        /// The order.
        order_id: OrderId,
        /// Units still reserved for it.
        reserved: Quantity,
        /// Units asked for.
        required: Quantity,
    },
    /// The order has a live reservation of another quantity: release it first.
    ReservationMismatch {
        /// The order.
        order_id: OrderId,
        /// Units of the live reservation.
        reserved: Quantity,
        /// Units asked for.
        required: Quantity,
    },
    /// The order's reservation was released or deducted: use another order id.
    ReservationClosed {
        /// The order.
        order_id: OrderId,
    },
    /// The order's reservation ran out: reserve again.
    ReservationExpired {
        /// The order.
        order_id: OrderId,
    },
    /// The order has no reservation of this SKU here.
    UnknownReservation {
        /// The order.
        order_id: OrderId,
    },
    /// The item is deactivated: reactivate it.
    ItemInactive,
    /// The item still has stock or reservations: adjust or release them first.
    ItemNotEmpty {
        /// Its stock.
        stock: Quantity,
        /// Its reserved units.
        reserved: Quantity,
    },
    /// A quantity would pass 2^53.
    QuantityOverflow,
}

impl Rejection {
    /// The refusal of a command on `sku` in one sentence.
    pub fn describe(&self, sku: &Sku) -> String {
        match self {
            Self::UnknownSku => format!("{sku} is not an item of this store"),
            Self::AlreadyExists { current } => {
                format!("{sku} exists already, at version {current}")
            }
            Self::VersionConflict { current, expected, .. } => {
                format!("{sku} has version {current}, {expected} was expected")
            }
            Self::InsufficientStock { available, required, .. } => {
                format!("{sku} has {available} available, {required} required")
            }
            Self::InsufficientReservedStock { order_id, reserved, required } => {
                format!("order {order_id} has {reserved} of {sku} reserved, {required} required")
            }
            Self::ReservationMismatch { order_id, reserved, required } => {
                format!("order {order_id} has {reserved} of {sku} reserved, not {required}")
            }
            Self::ReservationClosed { order_id } => {
                format!("the reservation of {sku} for order {order_id} is closed")
            }
            Self::ReservationExpired { order_id } => {
                format!("the reservation of {sku} for order {order_id} has expired")
            }
            Self::UnknownReservation { order_id } => {
                format!("order {order_id} has no reservation of {sku}")
            }
            Self::ItemInactive => format!("{sku} is deactivated"),
            Self::ItemNotEmpty { stock, reserved } => {
                format!("{sku} still has {stock} in stock, {reserved} reserved")
            }
            Self::QuantityOverflow => format!("{sku} would pass 2^53 units"),
        }
    }
}

crate::codec::text::tagged_codec!(Rejection {
    1 => UnknownSku,
    2 => AlreadyExists { current },
    3 => VersionConflict { current, expected, stock, reserved, available },
    4 => InsufficientStock { available, required, current },
    5 => InsufficientReservedStock { order_id, reserved, required },
    6 => ReservationMismatch { order_id, reserved, required },
    7 => ReservationClosed { order_id },
    8 => ReservationExpired { order_id },
    9 => UnknownReservation { order_id },
    10 => ItemInactive,
    11 => ItemNotEmpty { stock, reserved },
    12 => QuantityOverflow,
});
