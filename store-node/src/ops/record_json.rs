//! A record as JSON, for `dump` and `history`: everything that is in it, with the names of the API.
//! One way only; nothing may ever be read back from this.

use event_log::Seq;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use shared::codec::Record;
use shared::receipt::RequestShape;
use shared::{Change, Context, Event, LineOutcome, Receipt, Rejection};

/// A record with its seq.
pub struct RecordJson<'a> {
    /// The record's number.
    pub seq: Seq,
    /// The record.
    pub record: &'a Record,
}

impl Serialize for RecordJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("seq", &self.seq.get())?;
        match self.record {
            Record::Event(event) => put_event(&mut map, event)?,
            Record::Receipt(receipt) => put_receipt(&mut map, receipt)?,
        }
        map.end()
    }
}

fn put_event<M: SerializeMap>(map: &mut M, event: &Event) -> Result<(), M::Error> {
    map.serialize_entry("type", event.change.name())?;
    map.serialize_entry("sku", &event.sku)?;
    map.serialize_entry("version", &event.version.get())?;
    map.serialize_entry("recordedAt", &event.recorded_at)?;
    put_change(map, &event.change)?;
    let after = &event.after;
    for (name, quantity) in [
        ("stock", after.stock),
        ("reserved", after.reserved),
        ("sold", after.sold),
        ("availableStock", after.available()),
        ("incoming", after.incoming),
        ("inTransitOut", after.in_transit_out),
        ("reorderPoint", after.reorder_point),
        ("safetyStock", after.safety_stock),
    ] {
        map.serialize_entry(name, &quantity)?;
    }
    map.serialize_entry("active", &event.flags.active)?;
    if event.flags.provisional {
        map.serialize_entry("provisional", &true)?;
    }
    put_context(map, &event.context)
}

fn put_change<M: SerializeMap>(map: &mut M, change: &Change) -> Result<(), M::Error> {
    if let Some(order_id) = change.order_id() {
        map.serialize_entry("orderId", order_id)?;
    }
    match change {
        Change::Created { metadata }
        | Change::Updated { metadata, .. }
        | Change::Deactivated { metadata, .. } => {
            map.serialize_entry("name", metadata.name.as_str())?;
            map.serialize_entry("category", metadata.category.as_str())?;
            map.serialize_entry("location", metadata.location.as_str())?;
            map.serialize_entry("unit", metadata.unit.as_str())
        }
        Change::Received { quantity }
        | Change::Sold { quantity }
        | Change::Released { quantity, .. }
        | Change::Deducted { quantity, .. }
        | Change::Expired { quantity, .. } => map.serialize_entry("quantity", quantity),
        Change::Returned { quantity, restocked } => {
            map.serialize_entry("quantity", quantity)?;
            map.serialize_entry("restocked", restocked)
        }
        Change::Adjusted { delta, reason } => {
            map.serialize_entry("quantity", delta)?;
            map.serialize_entry("adjustReason", reason)
        }
        Change::Reserved { quantity, expires_at, .. } => {
            map.serialize_entry("quantity", quantity)?;
            map.serialize_entry("expiresAt", expires_at)
        }
        Change::Extended { expires_at, .. } => map.serialize_entry("expiresAt", expires_at),
    }
}

fn put_context<M: SerializeMap>(map: &mut M, context: &Context) -> Result<(), M::Error> {
    for (name, text) in [
        ("requestId", &context.request_id),
        ("actor", &context.actor),
        ("reference", &context.reference),
        ("reason", &context.reason),
        ("note", &context.note),
    ] {
        if let Some(text) = text {
            map.serialize_entry(name, text.as_str())?;
        }
    }
    if let Some(at) = &context.occurred_at {
        map.serialize_entry("occurredAt", at)?;
    }
    if let Some(token) = &context.fencing_token {
        map.serialize_entry("fencingToken", token)?;
    }
    if let Some(key) = &context.key {
        map.serialize_entry("keyHash", &format!("{:032x}", key.key_hash))?;
        map.serialize_entry("records", &key.records)?;
    }
    Ok(())
}

fn put_receipt<M: SerializeMap>(map: &mut M, receipt: &Receipt) -> Result<(), M::Error> {
    map.serialize_entry("type", "receipt")?;
    map.serialize_entry("recordedAt", &receipt.recorded_at)?;
    map.serialize_entry("keyHash", &format!("{:032x}", receipt.key.key_hash))?;
    map.serialize_entry("records", &receipt.key.records)?;
    let request = match receipt.shape {
        RequestShape::Single => "single",
        RequestShape::AtomicBatch => "atomicBatch",
        RequestShape::BestEffortBatch => "bestEffortBatch",
    };
    map.serialize_entry("request", request)?;
    let lines: Vec<LineJson<'_>> = receipt.lines.iter().map(LineJson).collect();
    map.serialize_entry("lines", &lines)
}

struct LineJson<'a>(&'a LineOutcome);

impl Serialize for LineJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            LineOutcome::Applied { offset } => {
                map.serialize_entry("outcome", "applied")?;
                map.serialize_entry("offset", offset)?;
            }
            LineOutcome::Unchanged { sku, version, .. } => {
                map.serialize_entry("outcome", "unchanged")?;
                map.serialize_entry("sku", sku)?;
                map.serialize_entry("version", &version.get())?;
            }
            LineOutcome::Refused { sku, rejection } => {
                map.serialize_entry("outcome", "refused")?;
                map.serialize_entry("sku", sku)?;
                map.serialize_entry("error", rejection_name(rejection))?;
            }
            LineOutcome::NotApplied { sku } => {
                map.serialize_entry("outcome", "notApplied")?;
                map.serialize_entry("sku", sku)?;
            }
            LineOutcome::Invalid => map.serialize_entry("outcome", "invalid")?,
        }
        map.end()
    }
}

/// A rejection by the `error` name of the API.
pub fn rejection_name(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::UnknownSku => "UnknownSku",
        Rejection::AlreadyExists { .. } => "AlreadyExists",
        Rejection::VersionConflict { .. } => "VersionConflict",
        Rejection::InsufficientStock { .. } => "InsufficientStockError",
        Rejection::InsufficientReservedStock { .. } => "InsufficientReservedStockError",
        Rejection::ReservationMismatch { .. } => "ReservationMismatch",
        Rejection::ReservationClosed { .. } => "ReservationClosed",
        Rejection::ReservationExpired { .. } => "ReservationExpired",
        Rejection::UnknownReservation { .. } => "UnknownReservation",
        Rejection::ItemInactive => "ItemInactive",
        Rejection::ItemNotEmpty { .. } => "ItemNotEmpty",
        Rejection::QuantityOverflow => "QuantityOverflow",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::command::{Action, NewItem};
    use shared::{Command, Item, Sku, Timestamp, rules};

    #[test]
    fn an_event_shows_everything_it_holds() {
        let sku = Sku::new("A 1").unwrap();
        let new = NewItem { name: "Mug".into(), ..NewItem::default() };
        let command = Command { sku, action: Action::create(new), expected_version: None };
        let now = Timestamp::parse("2026-11-21T10:00:00Z").unwrap();
        let mut event = rules::decide(&Item::default(), &command, now).unwrap().unwrap();
        event.context.actor = Some("till-1".into());
        let record = Record::Event(event);
        let text =
            serde_json::to_string(&RecordJson { seq: Seq::new(7), record: &record }).unwrap();
        assert_eq!(
            text,
            "{\"seq\":7,\"type\":\"created\",\"sku\":\"A 1\",\"version\":1,\
             \"recordedAt\":\"2026-11-21T10:00:00.000000Z\",\"name\":\"Mug\",\"category\":\"\",\
             \"location\":\"\",\"unit\":\"each\",\"stock\":0,\"reserved\":0,\"sold\":0,\
             \"availableStock\":0,\"incoming\":0,\"inTransitOut\":0,\"reorderPoint\":10,\
             \"safetyStock\":0,\"active\":true,\"actor\":\"till-1\"}"
        );
    }
}
