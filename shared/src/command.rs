//! What is asked of an item. Commands are made from validated requests only; they must never carry
//! a rule of their own: [`crate::rules::decide`] decides.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::cell::Version;
use crate::ids::OrderId;
use crate::quantity::Quantity;
use crate::sku::Sku;

/// One thing asked of one SKU.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The item.
    pub sku: Sku,
    /// What to do.
    pub action: Action,
    /// Refuse unless the item has this version (expired reservations are dealt with first).
    pub expected_version: Option<Version>,
}

/// What to do with the item. What only creations and updates have is in a box: movements in batches
/// of thousands are what is copied.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make it.
    Create(Box<NewItem>),
    /// Change metadata or thresholds.
    Update(Box<ItemPatch>),
    /// Take it out of sale; only without stock and reservations.
    Deactivate,
    /// Goods came in.
    Receive {
        /// Units, at least 1.
        quantity: Quantity,
    },
    /// Goods are sold from the shelf.
    Sell {
        /// Units, at least 1.
        quantity: Quantity,
    },
    /// A customer brings goods back.
    Return {
        /// Units, at least 1.
        quantity: Quantity,
        /// Back on the shelf (the default), or recorded as damaged.
        restock: bool,
    },
    /// Correct the stock.
    Adjust {
        /// Signed units, not zero.
        delta: i64,
        /// Why.
        reason: AdjustReason,
    },
    /// Promise units to an order.
    Reserve {
        /// The order.
        order_id: OrderId,
        /// Units, at least 1.
        quantity: Quantity,
        /// Seconds until the promise ends; none = never.
        expires_in_seconds: Option<u64>,
    },
    /// Let a promise end at another time.
    Extend {
        /// The order.
        order_id: OrderId,
        /// Seconds from now; none = never.
        expires_in_seconds: Option<u64>,
    },
    /// Free promised units.
    Release {
        /// The order.
        order_id: OrderId,
        /// Units; none = all that are left.
        quantity: Option<Quantity>,
    },
    /// Promised units leave the shelf.
    Deduct {
        /// The order.
        order_id: OrderId,
        /// Units; none = all that are left.
        quantity: Option<Quantity>,
    },
}

impl Action {
    /// Make it so.
    pub fn create(new: NewItem) -> Self {
        Self::Create(Box::new(new))
    }

    /// Change it so.
    pub fn update(patch: ItemPatch) -> Self {
        Self::Update(Box::new(patch))
    }
}

/// A new item.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewItem {
    /// Opening stock.
    pub stock: Quantity,
    /// What it is called; empty = none.
    pub name: CompactString,
    /// What it is; empty = none.
    pub category: CompactString,
    /// Where it lies; empty = none.
    pub location: CompactString,
    /// Its base unit; empty = `each`.
    pub unit: CompactString,
    /// Low-stock threshold; none = 10.
    pub reorder_point: Option<Quantity>,
    /// Kept back from sellable.
    pub safety_stock: Quantity,
}

/// What to change of an item; none = as it is, empty text = none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemPatch {
    /// What it is called.
    pub name: Option<CompactString>,
    /// What it is.
    pub category: Option<CompactString>,
    /// Where it lies.
    pub location: Option<CompactString>,
    /// Its base unit.
    pub unit: Option<CompactString>,
    /// Low-stock threshold.
    pub reorder_point: Option<Quantity>,
    /// Kept back from sellable.
    pub safety_stock: Option<Quantity>,
    /// Back in sale (`true`); `false` is [`Action::Deactivate`]'s work and refused here.
    pub reactivate: bool,
}

/// Why the stock was corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AdjustReason {
    /// Broken.
    Damage,
    /// Stolen.
    Theft,
    /// Turned up.
    Found,
    /// Was counted or typed wrong.
    Correction,
    /// Past its date.
    Expired,
    /// See the note.
    Other,
}

crate::codec::text::tagged_codec!(AdjustReason {
    1 => Damage,
    2 => Theft,
    3 => Found,
    4 => Correction,
    5 => Expired,
    6 => Other,
});
