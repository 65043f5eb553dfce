//! What a node answers about items, as views that borrow: an answer is serialised once, straight
//! into the buffer that is sent. Field names and their order are those of the examples.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cell::{Cell, Quantities, Version};
use crate::event::{Change, Event};
use crate::ids::StoreId;
use crate::item::{Item, Metadata};
use crate::quantity::Quantity;
use crate::receipt::ReservationNote;
use crate::rejection::Rejection;
use crate::sku::Sku;
use crate::time::Timestamp;
use crate::wire::problem::{ErrorCode, FieldError, Problem};

/// The full item.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemAnswer<'a> {
    store_id: &'a str,
    sku: &'a str,
    name: Option<&'a str>,
    category: Option<&'a str>,
    location: Option<&'a str>,
    unit: &'a str,
    active: bool,
    stock: Quantity,
    reserved: Quantity,
    sold: Quantity,
    available_stock: Quantity,
    incoming: Quantity,
    in_transit_out: Quantity,
    reorder_point: Quantity,
    safety_stock: Quantity,
    version: u64,
    seq: Option<u64>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
}

impl<'a> ItemAnswer<'a> {
    /// The item as it is; `seq` is that of its last event.
    pub fn of_item(store: &'a StoreId, sku: &'a Sku, item: &'a Item, seq: Option<u64>) -> Self {
        let times = (item.created_at(), item.updated_at());
        Self::of_parts(store, sku, item.metadata(), item.cell(), seq, times)
    }

    /// The item after a created, updated or deactivated event; `None` for other events, which
    /// don't carry all of it.
    pub fn of_event(store: &'a StoreId, event: &'a Event, seq: u64) -> Option<Self> {
        let (metadata, created_at) = match &event.change {
            Change::Created { metadata } => (metadata, event.recorded_at),
            Change::Updated { metadata, created_at }
            | Change::Deactivated { metadata, created_at } => (metadata, *created_at),
            Change::Received { .. }
            | Change::Sold { .. }
            | Change::Returned { .. }
            | Change::Adjusted { .. }
            | Change::Reserved { .. }
            | Change::Extended { .. }
            | Change::Released { .. }
            | Change::Deducted { .. }
            | Change::Expired { .. } => return None,
        };
        let cell = Cell {
            version: event.version,
            quantities: event.after,
            flags: event.flags,
            metadata_hash: 0,
        };
        let times = (created_at, event.recorded_at);
        Some(Self::of_parts(store, &event.sku, metadata, &cell, Some(seq), times))
    }

    /// The same, saying whether the request changed it.
    #[must_use]
    pub fn changed(mut self, changed: bool) -> Self {
        self.changed = Some(changed);
        self
    }

    fn of_parts(
        store: &'a StoreId,
        sku: &'a Sku,
        metadata: &'a Metadata,
        cell: &Cell,
        seq: Option<u64>,
        (created_at, updated_at): (Timestamp, Timestamp),
    ) -> Self {
        let none_if_empty = |text: &'a str| (!text.is_empty()).then_some(text);
        let quantities = &cell.quantities;
        Self {
            store_id: store.as_str(),
            sku: sku.as_str(),
            name: none_if_empty(&metadata.name),
            category: none_if_empty(&metadata.category),
            location: none_if_empty(&metadata.location),
            unit: &metadata.unit,
            active: cell.flags.active,
            stock: quantities.stock,
            reserved: quantities.reserved,
            sold: quantities.sold,
            available_stock: quantities.available(),
            incoming: quantities.incoming,
            in_transit_out: quantities.in_transit_out,
            reorder_point: quantities.reorder_point,
            safety_stock: quantities.safety_stock,
            version: cell.version.get(),
            seq,
            created_at,
            updated_at,
            changed: None,
        }
    }
}

/// One page of items.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemPage<'a> {
    /// The rows.
    pub items: Vec<ItemAnswer<'a>>,
    /// Where the next page begins; none on the last one.
    pub next_cursor: Option<String>,
}

/// A promise, as verbs answer it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationAnswer<'a> {
    order_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<Quantity>,
    expires_at: Option<Timestamp>,
}

impl<'a> ReservationAnswer<'a> {
    /// What a reserved or extended event says of its promise. (An extended one doesn't carry the
    /// quantity.)
    pub fn of_change(change: &'a Change) -> Option<Self> {
        match change {
            Change::Reserved { order_id, quantity, expires_at } => Some(Self {
                order_id: order_id.as_str(),
                quantity: Some(*quantity),
                expires_at: *expires_at,
            }),
            Change::Extended { order_id, expires_at } => {
                Some(Self { order_id: order_id.as_str(), quantity: None, expires_at: *expires_at })
            }
            Change::Created { .. }
            | Change::Updated { .. }
            | Change::Deactivated { .. }
            | Change::Received { .. }
            | Change::Sold { .. }
            | Change::Returned { .. }
            | Change::Adjusted { .. }
            | Change::Released { .. }
            | Change::Deducted { .. }
            | Change::Expired { .. } => None,
        }
    }
}

impl<'a> From<&'a ReservationNote> for ReservationAnswer<'a> {
    fn from(note: &'a ReservationNote) -> Self {
        Self {
            order_id: note.order_id.as_str(),
            quantity: Some(note.quantity),
            expires_at: note.expires_at,
        }
    }
}

/// What a verb answers: quantities without the metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerbAnswer<'a> {
    store_id: &'a str,
    sku: &'a str,
    stock: Quantity,
    reserved: Quantity,
    sold: Quantity,
    available_stock: Quantity,
    version: u64,
    seq: Option<u64>,
    changed: bool,
    recorded_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<ReservationAnswer<'a>>,
}

impl<'a> VerbAnswer<'a> {
    /// The answer to a verb that made this event.
    pub fn of_event(store: &'a StoreId, event: &'a Event, seq: u64) -> Self {
        let mut answer = Self::unchanged(store, &event.sku, event.version, &event.after);
        answer.seq = Some(seq);
        answer.changed = true;
        answer.recorded_at = Some(event.recorded_at);
        answer.reservation = ReservationAnswer::of_change(&event.change);
        answer
    }

    /// The answer to a verb that had been done already.
    pub fn unchanged(
        store: &'a StoreId,
        sku: &'a Sku,
        version: Version,
        quantities: &Quantities,
    ) -> Self {
        Self {
            store_id: store.as_str(),
            sku: sku.as_str(),
            stock: quantities.stock,
            reserved: quantities.reserved,
            sold: quantities.sold,
            available_stock: quantities.available(),
            version: version.get(),
            seq: None,
            changed: false,
            recorded_at: None,
            reservation: None,
        }
    }

    /// The same with the promise that is there.
    #[must_use]
    pub fn with_reservation(mut self, note: Option<&'a ReservationNote>) -> Self {
        self.reservation = note.map(ReservationAnswer::from);
        self
    }
}

/// What `POST /api/batch` answers; a refused atomic batch has the same members in its problem.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchAnswer<'a> {
    /// Whether every line was applied.
    pub success: bool,
    /// All or none?
    pub atomic: bool,
    /// Lines that were applied or had been already.
    pub applied: usize,
    /// Lines that were not.
    pub failed: usize,
    /// The SKUs of the lines that failed, each once, in request order.
    pub failed_items: Vec<&'a str>,
    /// A summary, if any line failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Each line, in request order.
    pub results: Vec<LineAnswer<'a>>,
}

/// What became of one line.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum LineAnswer<'a> {
    /// It was applied, or had been already (`changed` is false then, and `seq` none).
    Applied {
        /// Its place in the request.
        index: usize,
        /// What its endpoint would have answered.
        status: u16,
        /// The item.
        sku: &'a str,
        /// On hand after the line.
        stock: Quantity,
        /// Promised after the line.
        reserved: Quantity,
        /// Sold ever, after the line.
        sold: Quantity,
        /// Free after the line.
        available_stock: Quantity,
        /// The item's version after the line.
        version: u64,
        /// The seq of its event.
        seq: Option<u64>,
        /// Only said where nothing changed.
        #[serde(skip_serializing_if = "Option::is_none")]
        changed: Option<bool>,
    },
    /// It was refused, or its atomic batch was (status 424).
    Refused {
        /// Its place in the request.
        index: usize,
        /// What its endpoint would have answered.
        status: u16,
        /// The item.
        sku: &'a str,
        /// The error's name.
        error: &'static str,
        /// The error in words.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// What belongs to the error.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// It breaks rules of its own.
    Invalid {
        /// Its place in the request.
        index: usize,
        /// 400.
        status: u16,
        /// The item, where that much could be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        sku: Option<&'a str>,
        /// `ValidationError`.
        error: &'static str,
        /// The errors in words.
        message: String,
        /// The errors.
        errors: &'a [FieldError],
    },
}

impl<'a> LineAnswer<'a> {
    /// A line that was applied as the event of `seq`, or (without one) had been already.
    pub fn applied(
        index: usize,
        status: u16,
        sku: &'a Sku,
        version: Version,
        quantities: &Quantities,
        seq: Option<u64>,
    ) -> Self {
        Self::Applied {
            index,
            status,
            sku: sku.as_str(),
            stock: quantities.stock,
            reserved: quantities.reserved,
            sold: quantities.sold,
            available_stock: quantities.available(),
            version: version.get(),
            seq,
            changed: seq.is_none().then_some(false),
        }
    }

    /// A line that its item's state refuses.
    pub fn refused(index: usize, sku: &'a Sku, rejection: &Rejection) -> Self {
        let mut problem = Problem::of_rejection(sku, rejection);
        problem.extra.shift_remove("sku");
        if matches!(rejection, Rejection::InsufficientStock { .. }) {
            problem.extra.shift_remove("currentVersion");
        }
        Self::Refused {
            index,
            status: problem.status,
            sku: sku.as_str(),
            error: problem.error,
            message: Some(problem.message),
            extra: problem.extra,
        }
    }

    /// A good line of an atomic batch that was refused.
    pub fn not_applied(index: usize, sku: &'a Sku) -> Self {
        Self::Refused {
            index,
            status: 424,
            sku: sku.as_str(),
            error: "NotApplied",
            message: None,
            extra: Map::new(),
        }
    }

    /// A line that breaks rules of its own.
    pub fn invalid(index: usize, sku: Option<&'a Sku>, errors: &'a [FieldError]) -> Self {
        let problem = Problem::validation(errors);
        Self::Invalid {
            index,
            status: ErrorCode::ValidationError.status(),
            sku: sku.map(Sku::as_str),
            error: problem.error,
            message: problem.message,
            errors,
        }
    }

    /// What the line's endpoint would have answered.
    pub fn status(&self) -> u16 {
        match self {
            Self::Applied { status, .. }
            | Self::Refused { status, .. }
            | Self::Invalid { status, .. } => *status,
        }
    }

    /// The SKU of a line that failed; none for others.
    pub fn failed_sku(&self) -> Option<&'a str> {
        match self {
            Self::Applied { .. } | Self::Refused { status: 424, .. } => None,
            Self::Refused { sku, .. } => Some(sku),
            Self::Invalid { sku, .. } => *sku,
        }
    }
}
