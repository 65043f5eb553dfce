//! Items in snapshots: the whole state, reservations included. A snapshot's own crcs guard these
//! bytes; every field is validated again all the same.
//!
//! ```text
//! sku text · state · reservations
//! state:
//! flags u8 · version · 7 quantities (varints) · name, category, location, unit texts ·
//! created at, updated at i64 LE µs · last seq varint
//! reservations:
//! live count varint · (order text · requested · remaining · released · deducted varints ·
//!                      has expiry u8 · [expiry i64]) * ·
//! closed count varint · (order text · released · deducted varints · expired u8 · closed at i64) *
//! ```

use compact_str::CompactString;

use super::numbers::{VarintReader, put_text, put_varint};
use super::{DecodeError, glance};
use crate::cell::Cell;
use crate::ids::OrderId;
use crate::item::{Item, ItemState, Metadata};
use crate::reservations::{ClosedReservation, Reservation, Reservations};
use crate::sku::Sku;
use crate::time::Timestamp;

/// An item as a snapshot holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotItem {
    /// The item's SKU.
    pub sku: Sku,
    /// Its state.
    pub item: Item,
    /// The seq of its last event in the node's log.
    pub last_seq: u64,
}

/// Appends an item to a snapshot's shard.
pub fn encode_item(out: &mut Vec<u8>, sku: &Sku, item: &Item, last_seq: u64) {
    put_text(out, sku.as_str());
    encode_state(out, item, last_seq);
    encode_reservations(out, item);
}

/// Appends an item's state: all but its SKU and its reservations.
pub fn encode_state(out: &mut Vec<u8>, item: &Item, last_seq: u64) {
    let cell = item.cell();
    out.push(cell.flags.bits());
    put_varint(out, cell.version.get());
    for quantity in cell.quantities.to_array() {
        put_varint(out, quantity.get());
    }
    let metadata = item.metadata();
    for text in [&metadata.name, &metadata.category, &metadata.location, &metadata.unit] {
        put_text(out, text);
    }
    put_time(out, item.created_at());
    put_time(out, item.updated_at());
    put_varint(out, last_seq);
}

fn encode_reservations(out: &mut Vec<u8>, item: &Item) {
    let Some(reservations) = item.reservations() else {
        out.extend_from_slice(&[0, 0]);
        return;
    };
    put_varint(out, reservations.iter_live().count() as u64);
    for (order_id, live) in reservations.iter_live() {
        put_text(out, order_id.as_str());
        for quantity in [live.requested, live.remaining, live.released, live.deducted] {
            put_varint(out, quantity.get());
        }
        out.push(u8::from(live.expires_at.is_some()));
        if let Some(at) = live.expires_at {
            put_time(out, at);
        }
    }
    put_varint(out, reservations.iter_closed().count() as u64);
    for (order_id, closed) in reservations.iter_closed() {
        put_text(out, order_id.as_str());
        put_varint(out, closed.released.get());
        put_varint(out, closed.deducted.get());
        out.push(u8::from(closed.expired));
        put_time(out, closed.closed_at);
    }
}

/// Reads the next item of a snapshot's shard; call until nothing is left.
pub fn decode_item(reader: &mut VarintReader<'_>) -> Result<SnapshotItem, DecodeError> {
    let sku = Sku::new(reader.text("sku")?).map_err(|_| DecodeError::Invalid("sku"))?;
    let (state, last_seq) = decode_state(reader)?;
    let reservations = read_reservations(reader)?;
    let reservations = (!reservations.is_empty()).then(|| Box::new(reservations));
    let item = Item::restore(state, reservations)
        .ok_or(DecodeError::Invalid("sum of the reservations"))?;
    Ok(SnapshotItem { sku, item, last_seq })
}

/// Reads what [`encode_state`] wrote: the state and the seq of the last event.
pub fn decode_state(reader: &mut VarintReader<'_>) -> Result<(ItemState, u64), DecodeError> {
    let (flags, version, quantities) = glance::numbers(reader)?;
    let metadata = Metadata {
        name: CompactString::new(reader.text("name")?),
        category: CompactString::new(reader.text("category")?),
        location: CompactString::new(reader.text("location")?),
        unit: CompactString::new(reader.text("unit")?),
    };
    let created_at = read_time(reader)?;
    let updated_at = read_time(reader)?;
    let last_seq = reader.varint("last seq")?;
    let cell = Cell { version, quantities, flags, metadata_hash: metadata.hash() };
    Ok((ItemState { cell, metadata, created_at, updated_at }, last_seq))
}

pub(super) fn read_reservations(
    reader: &mut VarintReader<'_>,
) -> Result<Reservations, DecodeError> {
    let mut reservations = Reservations::default();
    for _ in 0..reader.varint("live count")? {
        let order_id = read_order(reader)?;
        let requested = reader.quantity("requested")?;
        let remaining = reader.quantity("remaining")?;
        let released = reader.quantity("released")?;
        let deducted = reader.quantity("deducted")?;
        let expires_at = match reader.byte("has expiry")? {
            0 => None,
            1 => Some(read_time(reader)?),
            _ => return Err(DecodeError::Invalid("has expiry")),
        };
        let live = Reservation { requested, remaining, released, deducted, expires_at };
        reservations
            .restore_live(order_id, live)
            .ok_or(DecodeError::Invalid("live reservation"))?;
    }
    for _ in 0..reader.varint("closed count")? {
        let order_id = read_order(reader)?;
        let released = reader.quantity("released")?;
        let deducted = reader.quantity("deducted")?;
        let expired = reader.byte("expired")? == 1;
        let closed_at = read_time(reader)?;
        let closed = ClosedReservation { released, deducted, expired, closed_at };
        reservations.restore_closed(order_id, closed);
    }
    Ok(reservations)
}

fn read_order(reader: &mut VarintReader<'_>) -> Result<OrderId, DecodeError> {
    OrderId::new(reader.text("order id")?).map_err(|_| DecodeError::Invalid("order id"))
}

fn put_time(out: &mut Vec<u8>, at: Timestamp) {
    out.extend_from_slice(&at.as_micros().to_le_bytes());
}

fn read_time(reader: &mut VarintReader<'_>) -> Result<Timestamp, DecodeError> {
    Ok(Timestamp::from_micros(reader.i64("time")?))
}
