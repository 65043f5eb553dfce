//! What happened: one record of the log is one event of one SKU, with the state after it. Events
//! must stay readable for ever: the numbers of their kinds never change, and new kinds only add.

use bincode::{Decode, Encode};
use compact_str::CompactString;

use crate::cell::{Flags, Quantities, Version};
use crate::command::AdjustReason;
use crate::ids::OrderId;
use crate::item::Metadata;
use crate::quantity::Quantity;
use crate::sku::Sku;
use crate::time::Timestamp;

/// One change of one SKU at one store.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The item.
    pub sku: Sku,
    /// The version that this event makes.
    pub version: Version,
    /// Logged time; per SKU it never goes back.
    pub recorded_at: Timestamp,
    /// The quantities after the event.
    pub after: Quantities,
    /// The flags after the event.
    pub flags: Flags,
    /// What happened.
    pub change: Change,
    /// Who, why, for which request.
    pub context: Context,
}

/// What happened to the item. The numbers are the `kind` byte on disk. Metadata is in a box: movements,
/// which have none, are what is copied by thousands.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It came to be, with opening stock.
    Created {
        /// Its names and places.
        metadata: Box<Metadata>,
    },
    /// Its metadata or thresholds changed.
    Updated {
        /// All of its metadata after the change.
        metadata: Box<Metadata>,
        /// When the item was created.
        created_at: Timestamp,
    },
    /// It is no longer sold.
    Deactivated {
        /// Its metadata, unchanged.
        metadata: Box<Metadata>,
        /// When the item was created.
        created_at: Timestamp,
    },
    /// Goods came in.
    Received {
        /// Units.
        quantity: Quantity,
    },
    /// Goods were sold from the shelf.
    Sold {
        /// Units.
        quantity: Quantity,
    },
    /// A customer brought goods back.
    Returned {
        /// Units.
        quantity: Quantity,
        /// Back on the shelf, or recorded as damaged.
        restocked: bool,
    },
    /// The stock was corrected.
    Adjusted {
        /// Signed units, not zero.
        delta: i64,
        /// Why.
        reason: AdjustReason,
    },
    /// Units were promised to an order.
    Reserved {
        /// The order.
        order_id: OrderId,
        /// Units.
        quantity: Quantity,
        /// When the promise ends; none = never.
        expires_at: Option<Timestamp>,
    },
    /// The promise ends later (or earlier).
    Extended {
        /// The order.
        order_id: OrderId,
        /// When the promise ends now; none = never.
        expires_at: Option<Timestamp>,
    },
    /// Promised units are free again.
    Released {
        /// The order.
        order_id: OrderId,
        /// Units.
        quantity: Quantity,
    },
    /// Promised units left the shelf.
    Deducted {
        /// The order.
        order_id: OrderId,
        /// Units.
        quantity: Quantity,
    },
    /// The promise ran out.
    Expired {
        /// The order.
        order_id: OrderId,
        /// Units.
        quantity: Quantity,
    },
}

impl Change {
    /// The kind byte of the record; the same as the discriminant.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Created { .. } => 1,
            Self::Updated { .. } => 2,
            Self::Deactivated { .. } => 3,
            Self::Received { .. } => 4,
            Self::Sold { .. } => 5,
            Self::Returned { .. } => 6,
            Self::Adjusted { .. } => 7,
            Self::Reserved { .. } => 9,
            Self::Extended { .. } => 10,
            Self::Released { .. } => 11,
            Self::Deducted { .. } => 12,
            Self::Expired { .. } => 13,
        }
    }

    /// The change in one word, as history and logs show it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Updated { .. } => "updated",
            Self::Deactivated { .. } => "deactivated",
            Self::Received { .. } => "received",
            Self::Sold { .. } => "sold",
            Self::Returned { .. } => "returned",
            Self::Adjusted { .. } => "adjusted",
            Self::Reserved { .. } => "reserved",
            Self::Extended { .. } => "extended",
            Self::Released { .. } => "released",
            Self::Deducted { .. } => "deducted",
            Self::Expired { .. } => "expired",
        }
    }

    /// The order that the change belongs to, if any.
    pub fn order_id(&self) -> Option<&OrderId> {
        match self {
            Self::Reserved { order_id, .. }
            | Self::Extended { order_id, .. }
            | Self::Released { order_id, .. }
            | Self::Deducted { order_id, .. }
            | Self::Expired { order_id, .. } => Some(order_id),
            Self::Created { .. }
            | Self::Updated { .. }
            | Self::Deactivated { .. }
            | Self::Received { .. }
            | Self::Sold { .. }
            | Self::Returned { .. }
            | Self::Adjusted { .. } => None,
        }
    }
}

/// Who asked, why and for which request. Lengths are bounded where requests are validated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// The `x-request-id`.
    pub request_id: Option<CompactString>,
    /// Who did it.
    pub actor: Option<CompactString>,
    /// A basket, delivery note or other document.
    pub reference: Option<CompactString>,
    /// Why, in the caller's words.
    pub reason: Option<CompactString>,
    /// Anything else.
    pub note: Option<CompactString>,
    /// When it happened, as the device claims.
    pub occurred_at: Option<Timestamp>,
    /// The fencing token of the lease, if leases are on.
    pub fencing_token: Option<u64>,
    /// The idempotency key, in the first record of its append only.
    pub key: Option<KeyClaim>,
}

/// A claimed idempotency key, as durable as the effect it guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct KeyClaim {
    /// BLAKE3-128 of the key.
    pub key_hash: u128,
    /// BLAKE3-128 of method, path, If-Match and the raw body.
    pub fingerprint: u128,
    /// How many records its append has, this one included.
    pub records: u32,
}

crate::codec::text::tagged_codec!(Change {
    1 => Created { metadata },
    2 => Updated { metadata, created_at },
    3 => Deactivated { metadata, created_at },
    4 => Received { quantity },
    5 => Sold { quantity },
    6 => Returned { quantity, restocked },
    7 => Adjusted { delta, reason },
    9 => Reserved { order_id, quantity, expires_at },
    10 => Extended { order_id, expires_at },
    11 => Released { order_id, quantity },
    12 => Deducted { order_id, quantity },
    13 => Expired { order_id, quantity },
});
