//! `application/vnd.onhand.batch.v1`: a batch and its answer in bytes, for gateways and imports
//! that count in hundreds of thousands of movements a second. The same lines, rules and errors as
//! the JSON of [`super::batch`]; nothing may be asked here that JSON can't ask.
//!
//! A request, numbers little-endian:
//! ```text
//!  0  magic      "OHBATCH1"
//!  8  flags      u8, bit 0: atomic; the others 0
//!  9  zero       3 bytes
//! 12  lines      u32, 1 to 10,000
//! 16  the lines, one after the other
//!     crc32      u32 of all bytes before it (IEEE 802.3, as zlib's)
//! ```
//! A line:
//! ```text
//! op             u8: 1 create, 2 update, 3 deactivate, 4 receive, 5 sell, 6 return, 7 adjust,
//!                9 reserve, 10 extend, 11 release, 12 deduct (the kinds of their events)
//! sku            u8 length in bytes, UTF-8
//! fields         u16, bit n set: field n follows; they follow in the order of their numbers
//!  0 quantity (`stock` of a create)   5 reference      10 category
//!  1 orderId                          6 note           11 location
//!  2 expectedVersion                  7 occurredAt     12 unit
//!  3 expiresInSeconds                 8 restock        13 reorderPoint
//!  4 reason                           9 name           14 safetyStock      15 active
//! ```
//! A number is a zigzag LEB128 varint, a time the same in microseconds since 1970 (UTC), a text a
//! LEB128 length in bytes and UTF-8, a yes or no one byte, 1 or 0. An empty text of an update
//! clears what was there, as `null` does in JSON.
//!
//! The answer: [`CompactAnswer`].

mod answer;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::batch::{BATCH_LINES_MAX, Batch, InvalidLine, OnSku, Operation, parse_line};
use super::items::{CreateBody, DeactivateBody, UpdateBody};
use super::movements::{AdjustBody, ReceiveBody, ReturnBody, SellBody};
use super::reservations::{DeductBody, ExtendBody, ReleaseBody, ReserveBody};
use crate::codec::{DecodeError, VarintReader};
use crate::command::AdjustReason;
use crate::time::Timestamp;
use crate::wire::body::{BodyError, Patch};
use crate::wire::problem::{ErrorCode, Problem};

pub use answer::{ANSWER_MAGIC, CompactAnswer};

/// The media type of a compact batch and of its answer.
pub const COMPACT_MEDIA_TYPE: &str = "application/vnd.onhand.batch.v1";
/// How a compact batch begins.
pub const BATCH_MAGIC: [u8; 8] = *b"OHBATCH1";
const HEADER_BYTES: usize = 16;
const CRC_BYTES: usize = 4;
/// op · sku length · fields: so that a small body doesn't reserve room for many lines.
const LINE_BYTES_MIN: usize = 4;
const ATOMIC: u8 = 1;

/// A body that isn't a compact batch: nothing of it was looked at as stock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MalformedBatch(String);

impl From<MalformedBatch> for Problem {
    fn from(error: MalformedBatch) -> Self {
        Self::new(ErrorCode::MalformedBatch, error.0)
    }
}

fn malformed(what: impl Into<String>) -> MalformedBatch {
    MalformedBatch(what.into())
}

/// Parses a compact batch. The error is about the body as a whole; invalid lines are in
/// [`Batch::lines`], with the errors that JSON would have had.
pub fn parse_compact(bytes: &[u8]) -> Result<Batch<'_>, MalformedBatch> {
    let (atomic, count, body) = open(bytes)?;
    let mut reader = VarintReader::new(body);
    let mut lines = Vec::with_capacity(count.min(body.len() / LINE_BYTES_MIN));
    for index in 0..count {
        let line = Line::read(&mut reader)
            .map_err(|error| malformed(format!("line {index} of {count}: {error}")))?;
        let operation = line.operation().filter(Operation::is_valid);
        lines.push(match operation {
            Some(operation) => Ok(operation),
            None => Err(line.explained(index)?),
        });
    }
    reader.finish().map_err(|error| malformed(format!("after line {count}: {error}")))?;
    Ok(Batch { atomic, lines })
}

/// The frame of a body: whether it is atomic, how many lines it has, and their bytes.
fn open(bytes: &[u8]) -> Result<(bool, usize, &[u8]), MalformedBatch> {
    if bytes.len() < HEADER_BYTES + CRC_BYTES {
        let (least, found) = (HEADER_BYTES + CRC_BYTES, bytes.len());
        return Err(malformed(format!("{found} bytes are fewer than the {least} of a frame")));
    }
    let (header, rest) = bytes.split_at(HEADER_BYTES);
    if header[..8] != BATCH_MAGIC {
        return Err(malformed("it does not begin with OHBATCH1"));
    }
    let (body, crc) = rest.split_at(rest.len() - CRC_BYTES);
    let (sent, found) = (number(crc), crc32fast::hash(&bytes[..bytes.len() - CRC_BYTES]));
    if sent != found {
        return Err(malformed(format!("its crc32 is {found:08x}, its end says {sent:08x}")));
    }
    if header[8] & !ATOMIC != 0 || header[9..12] != [0; 3] {
        return Err(malformed("flags that this version doesn't know are set"));
    }
    let count = number(&header[12..]) as usize;
    if !(1..=BATCH_LINES_MAX).contains(&count) {
        return Err(malformed(format!("it has {count} lines, 1 to {BATCH_LINES_MAX} may be")));
    }
    Ok((header[8] & ATOMIC != 0, count, body))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().copied().map_or(0, u32::from_le_bytes)
}

/// The bits of a line's fields, in the order of their numbers.
mod bit {
    pub(super) const QUANTITY: u16 = 1;
    pub(super) const ORDER_ID: u16 = 1 << 1;
    pub(super) const EXPECTED_VERSION: u16 = 1 << 2;
    pub(super) const EXPIRES_IN_SECONDS: u16 = 1 << 3;
    pub(super) const REASON: u16 = 1 << 4;
    pub(super) const REFERENCE: u16 = 1 << 5;
    pub(super) const NOTE: u16 = 1 << 6;
    pub(super) const OCCURRED_AT: u16 = 1 << 7;
    pub(super) const RESTOCK: u16 = 1 << 8;
    pub(super) const NAME: u16 = 1 << 9;
    pub(super) const CATEGORY: u16 = 1 << 10;
    pub(super) const LOCATION: u16 = 1 << 11;
    pub(super) const UNIT: u16 = 1 << 12;
    pub(super) const REORDER_POINT: u16 = 1 << 13;
    pub(super) const SAFETY_STOCK: u16 = 1 << 14;
    pub(super) const ACTIVE: u16 = 1 << 15;
    /// What says when and why.
    pub(super) const CIRCUMSTANCES: u16 =
        EXPECTED_VERSION | REASON | REFERENCE | NOTE | OCCURRED_AT;
    /// The same, and how much.
    pub(super) const MOVEMENT: u16 = CIRCUMSTANCES | QUANTITY;
    /// What names and places an item.
    pub(super) const METADATA: u16 =
        NAME | CATEGORY | LOCATION | UNIT | REORDER_POINT | SAFETY_STOCK;
}

/// The operations: number, name, and the fields that each may have.
const OPERATIONS: [(u8, &str, u16); 11] = [
    (1, "create", bit::QUANTITY | bit::METADATA),
    (2, "update", bit::METADATA | bit::ACTIVE | bit::EXPECTED_VERSION),
    (3, "deactivate", bit::EXPECTED_VERSION),
    (4, "receive", bit::MOVEMENT),
    (5, "sell", bit::MOVEMENT),
    (6, "return", bit::MOVEMENT | bit::RESTOCK),
    (7, "adjust", bit::MOVEMENT),
    (9, "reserve", bit::MOVEMENT | bit::ORDER_ID | bit::EXPIRES_IN_SECONDS),
    (10, "extend", bit::CIRCUMSTANCES | bit::ORDER_ID | bit::EXPIRES_IN_SECONDS),
    (11, "release", bit::MOVEMENT | bit::ORDER_ID),
    (12, "deduct", bit::MOVEMENT | bit::ORDER_ID),
];

/// A line as it was sent: nothing about it is checked but its layout.
#[derive(Default)]
struct Line<'a> {
    op: u8,
    sku: &'a str,
    fields: u16,
    quantity: Option<i64>,
    order_id: Option<&'a str>,
    expected_version: Option<i64>,
    expires_in_seconds: Option<i64>,
    reason: Option<&'a str>,
    reference: Option<&'a str>,
    note: Option<&'a str>,
    occurred_at_us: Option<i64>,
    restock: Option<bool>,
    name: Option<&'a str>,
    category: Option<&'a str>,
    location: Option<&'a str>,
    unit: Option<&'a str>,
    reorder_point: Option<i64>,
    safety_stock: Option<i64>,
    active: Option<bool>,
}

/// A body with what every movement may say.
macro_rules! movement {
    ($line:ident, $body:ident { $($field:ident: $value:expr),* }) => {{
        let text = |text: Option<&'a str>| text.map(Cow::Borrowed);
        let body = $body {
            $($field: $value,)*
            reference: text($line.reference),
            note: text($line.note),
            occurred_at: $line.occurred_at()?,
            expected_version: $line.expected_version,
        };
        OnSku { sku: Cow::Borrowed($line.sku), body }
    }};
}

impl<'a> Line<'a> {
    fn read(reader: &mut VarintReader<'a>) -> Result<Self, DecodeError> {
        let op = reader.byte("op")?;
        let length = usize::from(reader.byte("sku")?);
        let sku = std::str::from_utf8(reader.slice(length, "sku")?);
        let sku = sku.map_err(|_| DecodeError::Invalid("sku"))?;
        let fields = reader.slice(2, "fields")?;
        let fields = u16::from_le_bytes([fields[0], fields[1]]);
        let mut line = Self { op, sku, fields, ..Self::default() };
        macro_rules! read {
            ($($field:ident = $bit:ident, $name:literal, $reading:ident;)*) => {
                $(if fields & bit::$bit != 0 {
                    line.$field = Some($reading(reader, $name)?);
                })*
            };
        }
        read! {
            quantity = QUANTITY, "quantity", signed;
            order_id = ORDER_ID, "orderId", text;
            expected_version = EXPECTED_VERSION, "expectedVersion", signed;
            expires_in_seconds = EXPIRES_IN_SECONDS, "expiresInSeconds", signed;
            reason = REASON, "reason", text;
            reference = REFERENCE, "reference", text;
            note = NOTE, "note", text;
            occurred_at_us = OCCURRED_AT, "occurredAt", signed;
            restock = RESTOCK, "restock", yes_or_no;
            name = NAME, "name", text;
            category = CATEGORY, "category", text;
            location = LOCATION, "location", text;
            unit = UNIT, "unit", text;
            reorder_point = REORDER_POINT, "reorderPoint", signed;
            safety_stock = SAFETY_STOCK, "safetyStock", signed;
            active = ACTIVE, "active", yes_or_no;
        }
        Ok(line)
    }

    /// The line as its operation, not validated; none if a field is missing or doesn't belong.
    fn operation(&self) -> Option<Operation<'a>> {
        let (_, _, may) = OPERATIONS.iter().find(|(op, ..)| *op == self.op)?;
        if self.fields & !may != 0 {
            return None;
        }
        let reason = self.reason.map(Cow::Borrowed);
        let (quantity, expires_in_seconds) = (self.quantity, self.expires_in_seconds);
        Some(match self.op {
            1 => Operation::Create(self.create()?),
            2 => Operation::Update(OnSku { sku: Cow::Borrowed(self.sku), body: self.update() }),
            3 => Operation::Deactivate(OnSku {
                sku: Cow::Borrowed(self.sku),
                body: DeactivateBody { expected_version: self.expected_version },
            }),
            4 => Operation::Receive(movement!(
                self,
                ReceiveBody { quantity: quantity?, reason: reason }
            )),
            5 => Operation::Sell(movement!(self, SellBody { quantity: quantity?, reason: reason })),
            6 => Operation::Return(movement!(
                self,
                ReturnBody { quantity: quantity?, restock: self.restock, reason: reason }
            )),
            7 => Operation::Adjust(movement!(
                self,
                AdjustBody { quantity: quantity?, reason: adjust_reason(self.reason?)? }
            )),
            9 => Operation::Reserve(movement!(
                self,
                ReserveBody {
                    order_id: Cow::Borrowed(self.order_id?),
                    quantity: quantity?,
                    expires_in_seconds: expires_in_seconds,
                    reason: reason
                }
            )),
            10 => Operation::Extend(movement!(
                self,
                ExtendBody {
                    order_id: Cow::Borrowed(self.order_id?),
                    expires_in_seconds: expires_in_seconds,
                    reason: reason
                }
            )),
            11 => Operation::Release(movement!(
                self,
                ReleaseBody {
                    order_id: Cow::Borrowed(self.order_id?),
                    quantity: quantity,
                    reason: reason
                }
            )),
            12 => Operation::Deduct(movement!(
                self,
                DeductBody {
                    order_id: Cow::Borrowed(self.order_id?),
                    quantity: quantity,
                    reason: reason
                }
            )),
            _ => return None,
        })
    }

    fn create(&self) -> Option<CreateBody<'a>> {
        Some(CreateBody {
            sku: Cow::Borrowed(self.sku),
            stock: self.quantity?,
            location: self.location.map(Cow::Borrowed),
            name: self.name.map(Cow::Borrowed),
            category: self.category.map(Cow::Borrowed),
            unit: self.unit.map(Cow::Borrowed),
            reorder_point: self.reorder_point,
            safety_stock: self.safety_stock,
        })
    }

    fn update(&self) -> UpdateBody<'a> {
        let text = |text: Option<&'a str>| match text {
            None => Patch::Keep,
            Some("") => Patch::Clear,
            Some(text) => Patch::Set(Cow::Borrowed(text)),
        };
        let number = |number: Option<i64>| number.map_or(Patch::Keep, Patch::Set);
        UpdateBody {
            name: text(self.name),
            category: text(self.category),
            location: text(self.location),
            unit: text(self.unit),
            reorder_point: number(self.reorder_point),
            safety_stock: number(self.safety_stock),
            active: self.active,
            expected_version: self.expected_version,
        }
    }

    /// When it happened, as JSON says it; none for a time that it can't say.
    #[expect(clippy::option_option, reason = "absent and impossible are two things here")]
    fn occurred_at(&self) -> Option<Option<Cow<'a, str>>> {
        let Some(micros) = self.occurred_at_us else {
            return Some(None);
        };
        let at = Timestamp::from_micros(micros);
        (at.as_micros() == micros).then(|| Some(Cow::Owned(at.to_string())))
    }

    /// What is wrong with the line: it is looked at once more as the JSON that it stands for.
    fn explained(&self, index: usize) -> Result<InvalidLine, MalformedBatch> {
        let json = self.json().to_string();
        match parse_line(&json, format!("#/operations/{index}")) {
            Ok(Err(invalid)) => Ok(invalid),
            Ok(Ok(_)) => Err(malformed(format!("line {index} can't be said in JSON"))),
            Err(BodyError::Malformed(error)) => Err(malformed(format!("line {index}: {error}"))),
            Err(BodyError::Invalid(errors)) => Ok(InvalidLine { sku: None, errors }),
        }
    }

    fn json(&self) -> Value {
        let known = OPERATIONS.iter().find(|(op, ..)| *op == self.op);
        let name = known.map_or_else(|| self.op.to_string(), |(_, name, _)| (*name).to_owned());
        let mut json = Map::new();
        json.insert("op".to_owned(), name.into());
        json.insert("sku".to_owned(), self.sku.into());
        let quantity = if self.op == 1 { "stock" } else { "quantity" };
        let mut put = |name: &str, value: Option<Value>| {
            json.extend(value.map(|value| (name.to_owned(), value)));
        };
        put(quantity, self.quantity.map(Value::from));
        put("orderId", self.order_id.map(Value::from));
        put("expectedVersion", self.expected_version.map(Value::from));
        put("expiresInSeconds", self.expires_in_seconds.map(Value::from));
        put("reason", self.reason.map(Value::from));
        put("reference", self.reference.map(Value::from));
        put("note", self.note.map(Value::from));
        let time = self.occurred_at().map_or_else(
            || self.occurred_at_us.map(|micros| format!("{micros} microseconds").into()),
            |time| time.map(|time| Value::from(time.into_owned())),
        );
        put("occurredAt", time);
        put("restock", self.restock.map(Value::from));
        for (name, text) in [
            ("name", self.name),
            ("category", self.category),
            ("location", self.location),
            ("unit", self.unit),
        ] {
            let is_cleared = self.op == 2 && text == Some("");
            put(name, text.map(|text| if is_cleared { Value::Null } else { text.into() }));
        }
        put("reorderPoint", self.reorder_point.map(Value::from));
        put("safetyStock", self.safety_stock.map(Value::from));
        put("active", self.active.map(Value::from));
        Value::Object(json)
    }
}

fn signed(reader: &mut VarintReader<'_>, what: &'static str) -> Result<i64, DecodeError> {
    let zigzag = reader.varint(what)?;
    Ok((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()))
}

fn text<'a>(reader: &mut VarintReader<'a>, what: &'static str) -> Result<&'a str, DecodeError> {
    reader.text(what)
}

fn yes_or_no(reader: &mut VarintReader<'_>, what: &'static str) -> Result<bool, DecodeError> {
    match reader.byte(what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Invalid(what)),
    }
}

/// The reason of this word, as JSON reads it.
fn adjust_reason(word: &str) -> Option<AdjustReason> {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};
    let word: StrDeserializer<'_, Error> = word.into_deserializer();
    serde::Deserialize::deserialize(word).ok()
}
