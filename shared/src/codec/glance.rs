//! What lists look at in an item's packed state, a part at a time, without copying or checking a
//! text: such bytes were validated when they were packed. It must never be used on bytes from
//! outside.

use super::DecodeError;
use super::numbers::VarintReader;
use crate::cell::{Flags, Quantities, Version};
use crate::item::Item;
use crate::quantity::Quantity;
use crate::time::Timestamp;

/// The numbers that an item's packed state begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateNumbers<'a> {
    /// Zero: there is no item.
    pub version: Version,
    /// Yes or no.
    pub flags: Flags,
    /// How many units.
    pub quantities: Quantities,
    rest: &'a [u8],
}

/// Names, places and times of an item; texts as the bytes of their UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateTexts<'a> {
    /// What it is called.
    pub name: &'a [u8],
    /// What it is.
    pub category: &'a [u8],
    /// Where it lies.
    pub location: &'a [u8],
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl<'a> StateNumbers<'a> {
    /// Reads the first part of what [`super::encode_state`] wrote.
    #[inline]
    pub fn read(state: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = VarintReader::new(state);
        let (flags, version, quantities) = numbers(&mut reader)?;
        Ok(Self { version, flags, quantities, rest: reader.rest() })
    }

    /// Name, category, location and unit as they are packed, for comparing them all at once.
    #[inline]
    pub fn packed_texts(&self) -> Result<&'a [u8], DecodeError> {
        let mut reader = VarintReader::new(self.rest);
        for _ in 0..4 {
            text(&mut reader)?;
        }
        Ok(&self.rest[..self.rest.len() - reader.rest().len()])
    }

    /// Reads the part behind them.
    pub fn texts(&self) -> Result<StateTexts<'a>, DecodeError> {
        let mut reader = VarintReader::new(self.rest);
        let name = text(&mut reader)?;
        let category = text(&mut reader)?;
        let location = text(&mut reader)?;
        let _unit = text(&mut reader)?;
        let created_at = Timestamp::from_micros(reader.i64("time")?);
        let updated_at = Timestamp::from_micros(reader.i64("time")?);
        Ok(StateTexts { name, category, location, created_at, updated_at })
    }
}

impl<'a> StateTexts<'a> {
    /// Those of an unpacked item.
    pub fn of(item: &'a Item) -> Self {
        let metadata = item.metadata();
        Self {
            name: metadata.name.as_bytes(),
            category: metadata.category.as_bytes(),
            location: metadata.location.as_bytes(),
            created_at: item.created_at(),
            updated_at: item.updated_at(),
        }
    }
}

/// What a state begins with.
#[inline]
pub(super) fn numbers(
    reader: &mut VarintReader<'_>,
) -> Result<(Flags, Version, Quantities), DecodeError> {
    let flags = Flags::from_bits(reader.byte("flags")?);
    let version = Version::new(reader.varint("version")?);
    let mut array = [Quantity::ZERO; 7];
    for quantity in &mut array {
        *quantity = reader.quantity("quantities")?;
    }
    Ok((flags, version, Quantities::from_array(array)))
}

/// The next text, not known to be UTF-8.
#[inline]
pub(super) fn text<'a>(reader: &mut VarintReader<'a>) -> Result<&'a [u8], DecodeError> {
    let length = reader.varint("text")?;
    reader.slice(usize::try_from(length).unwrap_or(usize::MAX), "text")
}
