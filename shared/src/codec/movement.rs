//! A second reader of the commonest records, those of a kind that only moves quantities: what comes
//! out is what [`decode_record`](super::decode_record) gives, without the SKU and the texts of the
//! context, at a fraction of its cost. Replaying lives on it.
//!
//! It must never accept a record that `decode_record` refuses, nor read another event out of it (a
//! property test compares them); whatever isn't plain and common it leaves to `decode_record`. So a
//! change of the format must be made here too, or be of a kind that this reader passes on.

use super::envelope::SCHEMA;
use super::record::{ACTOR, FENCING_TOKEN, KEY, NOTE, OCCURRED_AT, REASON, REFERENCE, REQUEST_ID};
use super::text::TEXT_BYTES_MAX;
use crate::cell::{Flags, Quantities, Version};
use crate::event::{Change, Context, Event, KeyClaim};
use crate::ids::OrderId;
use crate::quantity::Quantity;
use crate::sku::Sku;
use crate::time::Timestamp;

/// The texts of a context, all of them before its other fields.
const TEXTS: u8 = REQUEST_ID | ACTOR | REFERENCE | REASON | NOTE;
/// Bits of the flags byte that an event of this version doesn't have.
const OTHER_FLAGS: u8 = 0b1111_1000;

/// Reads records into the same event again and again.
pub struct MovementReader {
    event: Event,
}

impl Default for MovementReader {
    fn default() -> Self {
        Self {
            event: Event {
                sku: Sku::new("unread").expect("a good SKU"),
                version: Version::ZERO,
                recorded_at: Timestamp::EPOCH,
                after: Quantities::default(),
                flags: Flags::default(),
                change: Change::Received { quantity: Quantity::ZERO },
                context: Context::default(),
            },
        }
    }
}

impl MovementReader {
    /// Reads a record of goods received or sold, or of a reservation made, released, deducted or
    /// expired. `None` for every other record, and for any that isn't in its plainest form: give
    /// it to [`decode_record`](super::decode_record).
    ///
    /// The event's SKU is **not** the record's: compare
    /// [`record_sku_bytes`](super::record_sku_bytes) with a SKU that is known. Of its context only
    /// the key is there.
    pub fn read(&mut self, record: &[u8]) -> Option<&Event> {
        read(record, &mut self.event)?;
        Some(&self.event)
    }

    /// What was read last; nothing of use if that was `None`.
    pub fn event(&self) -> &Event {
        &self.event
    }
}

fn read(record: &[u8], event: &mut Event) -> Option<()> {
    let (&[kind, schema, flags, sku_length], rest) = record.split_first_chunk::<4>()?;
    if schema != SCHEMA || flags & OTHER_FLAGS != 0 {
        return None;
    }
    let mut cursor = Cursor { rest: rest.get(usize::from(sku_length)..)? };
    event.recorded_at = timestamp(i64::from_le_bytes(cursor.array()?))?;
    event.version = Version::new(cursor.leb128()?);
    // One by one to their places: an array copied behind its writing would be waited for.
    for place in [
        &mut event.after.stock,
        &mut event.after.reserved,
        &mut event.after.sold,
        &mut event.after.incoming,
        &mut event.after.in_transit_out,
        &mut event.after.reorder_point,
        &mut event.after.safety_stock,
    ] {
        *place = Quantity::new(cursor.leb128()?)?;
    }
    event.flags = Flags::from_bits(flags);
    if cursor.number()? != u64::from(kind) {
        return None;
    }
    cursor.change(kind, &mut event.change)?;
    cursor.context(&mut event.context.key)?;
    cursor.rest.is_empty().then_some(())
}

/// Reads bincode's numbers (standard configuration: variable length, little-endian).
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*array)
    }

    /// The envelope's numbers: 7 bits a byte, lowest first.
    #[inline]
    fn leb128(&mut self) -> Option<u64> {
        let first = self.byte()?;
        if first < 0x80 { Some(u64::from(first)) } else { self.leb128_after(first) }
    }

    /// The rest of a number of more than one byte; one of ten is left to `decode_record`.
    fn leb128_after(&mut self, first: u8) -> Option<u64> {
        let mut value = u64::from(first & 0x7f);
        for shift in (7..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A bincode number of up to 64 bits, in its shortest form only.
    #[inline]
    fn number(&mut self) -> Option<u64> {
        let first = self.byte()?;
        let (value, shortest_above) = match first {
            0..=250 => return Some(u64::from(first)),
            251 => (u64::from(u16::from_le_bytes(self.array()?)), 250),
            252 => (u64::from(u32::from_le_bytes(self.array()?)), u64::from(u16::MAX)),
            253 => (u64::from_le_bytes(self.array()?), u64::from(u32::MAX)),
            254 | 255 => return None,
        };
        (value > shortest_above).then_some(value)
    }

    /// A bincode number of 128 bits; short ones are left to `decode_record`.
    #[inline]
    fn hash(&mut self) -> Option<u128> {
        if self.byte()? == 254 { Some(u128::from_le_bytes(self.array()?)) } else { None }
    }

    /// A signed bincode number (zigzag).
    #[inline]
    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    #[inline]
    fn quantity(&mut self) -> Option<Quantity> {
        Quantity::new(self.number()?)
    }

    #[inline]
    fn text(&mut self) -> Option<&'a str> {
        let length = self.number()?;
        let length = usize::try_from(length).ok().filter(|length| *length <= TEXT_BYTES_MAX)?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }

    fn order_id(&mut self) -> Option<OrderId> {
        OrderId::new(self.text()?).ok()
    }

    /// Reads the change to its place.
    #[inline]
    fn change(&mut self, kind: u8, change: &mut Change) -> Option<()> {
        match kind {
            4 => *change = Change::Received { quantity: self.quantity()? },
            5 => *change = Change::Sold { quantity: self.quantity()? },
            9 => {
                let order_id = self.order_id()?;
                let quantity = self.quantity()?;
                let expires_at = match self.byte()? {
                    0 => None,
                    1 => Some(timestamp(self.signed()?)?),
                    _ => return None,
                };
                *change = Change::Reserved { order_id, quantity, expires_at };
            }
            11 => {
                *change =
                    Change::Released { order_id: self.order_id()?, quantity: self.quantity()? };
            }
            12 => {
                *change =
                    Change::Deducted { order_id: self.order_id()?, quantity: self.quantity()? };
            }
            13 => {
                *change =
                    Change::Expired { order_id: self.order_id()?, quantity: self.quantity()? };
            }
            _ => return None,
        }
        Some(())
    }

    /// Reads the key to its place, as all of an event; the other fields are checked and passed over.
    #[inline]
    fn context(&mut self, key: &mut Option<KeyClaim>) -> Option<()> {
        let present = self.byte()?;
        if present & !KEY != 0 {
            self.pass_context(present)?;
        }
        if present & KEY == 0 {
            *key = None;
            return Some(());
        }
        let claim = key.get_or_insert(KeyClaim { key_hash: 0, fingerprint: 0, records: 0 });
        claim.key_hash = self.hash()?;
        claim.fingerprint = self.hash()?;
        claim.records = u32::try_from(self.number()?).ok()?;
        Some(())
    }

    /// Passes over what a context has before its key.
    fn pass_context(&mut self, present: u8) -> Option<()> {
        for _ in 0..(present & TEXTS).count_ones() {
            self.text()?;
        }
        if present & OCCURRED_AT != 0 {
            timestamp(self.signed()?)?;
        }
        if present & FENCING_TOKEN != 0 {
            self.number()?;
        }
        Some(())
    }
}

fn timestamp(micros: i64) -> Option<Timestamp> {
    let timestamp = Timestamp::from_micros(micros);
    (timestamp.as_micros() == micros).then_some(timestamp)
}

#[cfg(test)]
mod tests;
