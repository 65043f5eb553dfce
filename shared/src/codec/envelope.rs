//! The frozen envelope at the start of every record. Its layout must never change: a consumer that
//! can't read a payload still knows the SKU, the version and the state after it.
//!
//! ```text
//! kind u8 · schema u8 · flags u8 · sku length u8 · sku · recorded at i64 LE µs
//!   then, unless flags bit 7 (no state) is set:
//! version varint · stock · reserved · sold · incoming · in transit out · reorder point ·
//! safety stock, each a varint
//! ```
//! Flags: bit 0 active, 1 provisional, 2 low-stock alert armed, 7 no state.

use super::DecodeError;
use super::numbers::{VarintReader, put_varint};
use crate::cell::{Flags, Quantities, Version};
use crate::quantity::Quantity;
use crate::sku::Sku;
use crate::time::Timestamp;

/// The schema that this version writes.
pub(super) const SCHEMA: u8 = 1;
const NO_STATE: u8 = 1 << 7;

/// What every version can read of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What kind of record ([`crate::Change::kind`], [`crate::receipt::RECEIPT_KIND`]).
    pub kind: u8,
    /// The schema of the payload.
    pub schema: u8,
    /// Logged time.
    pub recorded_at: Timestamp,
    /// The item and its state after; none for records about no item.
    pub state: Option<EnvelopeState>,
}

/// The item's state after the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeState {
    /// The item.
    pub sku: Sku,
    /// Its version after.
    pub version: Version,
    /// Its quantities after.
    pub quantities: Quantities,
    /// Its flags after.
    pub flags: Flags,
}

pub(super) fn put_state_envelope(
    out: &mut Vec<u8>,
    kind: u8,
    recorded_at: Timestamp,
    (sku, version, quantities, flags): (&Sku, Version, &Quantities, Flags),
) {
    let sku = sku.as_str().as_bytes();
    out.extend_from_slice(&[kind, SCHEMA, flags.bits(), sku.len() as u8]);
    out.extend_from_slice(sku);
    out.extend_from_slice(&recorded_at.as_micros().to_le_bytes());
    put_varint(out, version.get());
    for quantity in quantities.to_array() {
        put_varint(out, quantity.get());
    }
}

pub(super) fn put_bare_envelope(out: &mut Vec<u8>, kind: u8, recorded_at: Timestamp) {
    out.extend_from_slice(&[kind, SCHEMA, NO_STATE, 0]);
    out.extend_from_slice(&recorded_at.as_micros().to_le_bytes());
}

/// Reads the envelope of a record of any version, and returns the payload behind it.
pub fn decode_envelope(record: &[u8]) -> Result<(Envelope, &[u8]), DecodeError> {
    let mut reader = VarintReader::new(record);
    let kind = reader.byte("kind")?;
    let schema = reader.byte("schema")?;
    let flags = reader.byte("flags")?;
    let sku_length = reader.byte("sku length")?;
    let sku = reader.slice(usize::from(sku_length), "sku")?;
    let micros = reader.i64("recorded at")?;
    let recorded_at = Timestamp::from_micros(micros);
    if recorded_at.as_micros() != micros {
        return Err(DecodeError::Invalid("recorded at"));
    }
    if flags & NO_STATE != 0 {
        let envelope = Envelope { kind, schema, recorded_at, state: None };
        return Ok((envelope, reader.rest()));
    }
    let sku = std::str::from_utf8(sku).ok().and_then(|text| Sku::new(text).ok());
    let sku = sku.ok_or(DecodeError::Invalid("sku"))?;
    let version = Version::new(reader.varint("version")?);
    let mut array = [Quantity::ZERO; 7];
    for quantity in &mut array {
        *quantity = reader.quantity("state after")?;
    }
    let quantities = Quantities::from_array(array);
    let flags = Flags::from_bits(flags);
    let state = Some(EnvelopeState { sku, version, quantities, flags });
    Ok((Envelope { kind, schema, recorded_at, state }, reader.rest()))
}

/// The bytes of a record's SKU, read without a look at the rest; none for a record about no item,
/// and for one too short, which every decoder refuses.
pub fn record_sku_bytes(record: &[u8]) -> Option<&[u8]> {
    let (&[_kind, _schema, _flags, length], rest) = record.split_first_chunk::<4>()?;
    if length == 0 { None } else { rest.get(..usize::from(length)) }
}
