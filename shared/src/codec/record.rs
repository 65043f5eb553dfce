//! Whole records: envelope and payload of an event or a receipt.

use bincode::{Decode, Encode};

use super::envelope::{SCHEMA, put_bare_envelope, put_state_envelope};
use super::text::decode_text;
use super::{BINCODE, DecodeError, decode_envelope};
use crate::event::{Change, Context, Event, KeyClaim};
use crate::receipt::{LineOutcome, RECEIPT_KIND, Receipt, RequestShape};
use crate::time::Timestamp;

/// A decoded record.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every record is an event; a box would cost one allocation each"
)]
pub enum Record {
    /// A change of an item.
    Event(Event),
    /// The answer to a keyed request that its events alone don't tell.
    Receipt(Receipt),
}

/// The payload of an event.
struct EventPayload<'a>(&'a Change, &'a Context);

/// The payload of a receipt.
#[derive(Encode, Decode)]
struct ReceiptPayload {
    key: KeyClaim,
    shape: RequestShape,
    lines: Lines,
}

/// A receipt's lines, laid out as bincode lays out a list.
struct Lines(Vec<LineOutcome>);

/// Appends the record of an event to `out`.
pub fn encode_event(out: &mut Vec<u8>, event: &Event) {
    let state = (&event.sku, event.version, &event.after, event.flags);
    put_state_envelope(out, event.change.kind(), event.recorded_at, state);
    let payload = EventPayload(&event.change, &event.context);
    put_payload(out, &payload);
}

/// Appends the record of a receipt to `out`.
pub fn encode_receipt(out: &mut Vec<u8>, receipt: &Receipt) {
    put_bare_envelope(out, RECEIPT_KIND, receipt.recorded_at);
    let payload = ReceiptPayload {
        key: receipt.key,
        shape: receipt.shape,
        lines: Lines(receipt.lines.clone()),
    };
    put_payload(out, &payload);
}

/// Reads a record of this version; every field is validated again.
pub fn decode_record(record: &[u8]) -> Result<Record, DecodeError> {
    let (envelope, payload) = decode_envelope(record)?;
    let unknown = DecodeError::Unknown { kind: envelope.kind, schema: envelope.schema };
    if envelope.schema != SCHEMA {
        return Err(unknown);
    }
    if envelope.kind == RECEIPT_KIND {
        let ReceiptPayload { key, shape, lines: Lines(lines) } = read_payload(payload)?;
        let recorded_at = envelope.recorded_at;
        return Ok(Record::Receipt(Receipt { recorded_at, key, shape, lines }));
    }
    if !matches!(envelope.kind, 1..=7 | 9..=13) {
        return Err(unknown);
    }
    let state = envelope.state.ok_or(DecodeError::Invalid("state after"))?;
    let DecodedEvent(change, context) = read_payload(payload)?;
    if change.kind() != envelope.kind {
        return Err(DecodeError::Invalid("kind"));
    }
    Ok(Record::Event(Event {
        sku: state.sku,
        version: state.version,
        recorded_at: envelope.recorded_at,
        after: state.quantities,
        flags: state.flags,
        change,
        context,
    }))
}

fn put_payload(out: &mut Vec<u8>, payload: &impl Encode) {
    bincode::encode_into_std_write(payload, out, BINCODE)
        .expect("a Vec takes all bytes and requests are bounded far below the limit");
}

fn read_payload<T: Decode<()>>(payload: &[u8]) -> Result<T, DecodeError> {
    let (value, used) = bincode::decode_from_slice(payload, BINCODE)
        .map_err(|error| DecodeError::Payload(error.to_string()))?;
    if used == payload.len() { Ok(value) } else { Err(DecodeError::Trailing(payload.len() - used)) }
}

impl Encode for EventPayload<'_> {
    fn encode<E: bincode::enc::Encoder>(
        &self,
        encoder: &mut E,
    ) -> Result<(), bincode::error::EncodeError> {
        self.0.encode(encoder)?;
        self.1.encode(encoder)
    }
}

impl Encode for Lines {
    fn encode<E: bincode::enc::Encoder>(
        &self,
        encoder: &mut E,
    ) -> Result<(), bincode::error::EncodeError> {
        self.0.encode(encoder)
    }
}

impl<C> Decode<C> for Lines {
    /// Grows with the lines that are there: bincode's own list takes memory for as many as are
    /// claimed, which are megabytes for twenty bytes.
    fn decode<D: bincode::de::Decoder<Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        let count: u64 = Decode::decode(decoder)?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        decoder.claim_container_read::<LineOutcome>(count)?;
        let mut lines = Vec::new();
        for _ in 0..count {
            decoder.unclaim_bytes_read(size_of::<LineOutcome>());
            lines.push(Decode::decode(decoder)?);
        }
        Ok(Self(lines))
    }
}
bincode::impl_borrow_decode!(Lines);

struct DecodedEvent(Change, Context);

impl<C> Decode<C> for DecodedEvent {
    fn decode<D: bincode::de::Decoder<Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        Ok(Self(Decode::decode(decoder)?, Decode::decode(decoder)?))
    }
}

/// Presence bits of a context, so that an absent field costs nothing.
pub(super) const REQUEST_ID: u8 = 1;
pub(super) const ACTOR: u8 = 1 << 1;
pub(super) const REFERENCE: u8 = 1 << 2;
pub(super) const REASON: u8 = 1 << 3;
pub(super) const NOTE: u8 = 1 << 4;
pub(super) const OCCURRED_AT: u8 = 1 << 5;
pub(super) const FENCING_TOKEN: u8 = 1 << 6;
pub(super) const KEY: u8 = 1 << 7;

impl Encode for Context {
    fn encode<E: bincode::enc::Encoder>(
        &self,
        encoder: &mut E,
    ) -> Result<(), bincode::error::EncodeError> {
        let texts = [
            (REQUEST_ID, &self.request_id),
            (ACTOR, &self.actor),
            (REFERENCE, &self.reference),
            (REASON, &self.reason),
            (NOTE, &self.note),
        ];
        let mut present = 0;
        for (bit, text) in &texts {
            present |= if text.is_some() { *bit } else { 0 };
        }
        present |= if self.occurred_at.is_some() { OCCURRED_AT } else { 0 };
        present |= if self.fencing_token.is_some() { FENCING_TOKEN } else { 0 };
        present |= if self.key.is_some() { KEY } else { 0 };
        Encode::encode(&present, encoder)?;
        for text in texts.iter().filter_map(|(_, text)| text.as_ref()) {
            Encode::encode(text.as_str(), encoder)?;
        }
        if let Some(at) = &self.occurred_at {
            at.encode(encoder)?;
        }
        if let Some(token) = &self.fencing_token {
            token.encode(encoder)?;
        }
        if let Some(key) = &self.key {
            key.encode(encoder)?;
        }
        Ok(())
    }
}

impl<C> Decode<C> for Context {
    fn decode<D: bincode::de::Decoder<Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        let present: u8 = Decode::decode(decoder)?;
        let mut text = |bit| (present & bit != 0).then(|| decode_text(decoder)).transpose();
        let request_id = text(REQUEST_ID)?;
        let actor = text(ACTOR)?;
        let reference = text(REFERENCE)?;
        let reason = text(REASON)?;
        let note = text(NOTE)?;
        let occurred_at: Option<Timestamp> =
            (present & OCCURRED_AT != 0).then(|| Decode::decode(decoder)).transpose()?;
        let fencing_token =
            (present & FENCING_TOKEN != 0).then(|| Decode::decode(decoder)).transpose()?;
        let key = (present & KEY != 0).then(|| Decode::decode(decoder)).transpose()?;
        Ok(Self { request_id, actor, reference, reason, note, occurred_at, fencing_token, key })
    }
}
