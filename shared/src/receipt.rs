//! The record that lets a keyed request be answered again when its events alone can't tell: a
//! rejection, a no-op, a batch. It takes a seq, but no version and no state.

use bincode::{Decode, Encode};

use crate::cell::{Cell, Quantities, Version};
use crate::event::KeyClaim;
use crate::ids::OrderId;
use crate::quantity::Quantity;
use crate::rejection::Rejection;
use crate::sku::Sku;
use crate::time::Timestamp;

/// The kind byte of a receipt's record; outside the range of changes.
pub const RECEIPT_KIND: u8 = 64;

/// What a keyed request came to. It is the first record of its append.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// Logged time.
    pub recorded_at: Timestamp,
    /// The key.
    pub key: KeyClaim,
    /// Whether the request was a batch, and of which kind.
    pub shape: RequestShape,
    /// The outcome of each line in request order; exactly one for a single request.
    pub lines: Vec<LineOutcome>,
}

/// What kind of request a receipt answers. The numbers are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestShape {
    /// One verb on one SKU.
    Single,
    /// All lines or none.
    AtomicBatch,
    /// Each line for itself.
    BestEffortBatch,
}

/// What became of one line. The numbers are on disk.
#[derive(Debug, Clone, PartialEq)]
pub enum LineOutcome {
    /// It happened: the record at this distance from the receipt is its (last) event.
    Applied {
        /// Records after the receipt, at least 1.
        offset: u32,
    },
    /// It had happened already; nothing changed.
    Unchanged {
        /// The item.
        sku: Sku,
        /// Its version.
        version: Version,
        /// Its quantities.
        quantities: Quantities,
        /// Its flags, as bits.
        flags: u8,
        /// The reservation that was there already, where one was asked for.
        reservation: Option<ReservationNote>,
    },
    /// It was refused.
    Refused {
        /// The item.
        sku: Sku,
        /// Why.
        rejection: Rejection,
    },
    /// It was fine, but another line of its atomic batch was refused.
    NotApplied {
        /// The item.
        sku: Sku,
    },
    /// It broke the rules of a request; the same body breaks them again.
    Invalid,
}

impl LineOutcome {
    /// The outcome of a line that had happened already.
    pub fn unchanged(sku: Sku, cell: &Cell, reservation: Option<ReservationNote>) -> Self {
        Self::Unchanged {
            sku,
            version: cell.version,
            quantities: cell.quantities,
            flags: cell.flags.bits(),
            reservation,
        }
    }
}

/// A reservation as answers show it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReservationNote {
    /// The order.
    pub order_id: OrderId,
    /// Units still promised.
    pub quantity: Quantity,
    /// When the promise ends; none = never.
    pub expires_at: Option<Timestamp>,
}

crate::codec::text::tagged_codec!(RequestShape {
    1 => Single,
    2 => AtomicBatch,
    3 => BestEffortBatch,
});

crate::codec::text::tagged_codec!(LineOutcome {
    1 => Applied { offset },
    2 => Unchanged { sku, version, quantities, flags, reservation },
    3 => Refused { sku, rejection },
    4 => NotApplied { sku },
    5 => Invalid,
});
