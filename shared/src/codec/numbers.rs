//! LEB128 varints for the hand-coded envelope and item bytes. The reader must never run past its
//! slice.

use super::DecodeError;
use crate::quantity::Quantity;

/// Appends `value` as LEB128: 7 bits a byte, lowest first.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads numbers and slices from the front of a byte slice.
pub struct VarintReader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> VarintReader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, total: bytes.len() }
    }

    /// What hasn't been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    #[inline]
    pub fn slice(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(DecodeError::Truncated(self.total, what));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// The next byte.
    #[inline]
    pub fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.slice(1, what)?[0])
    }

    /// The next eight bytes as i64, little-endian.
    pub fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.slice(8, what)?);
        Ok(i64::from_le_bytes(bytes))
    }

    /// The next LEB128 number; longer than ten bytes or over 2^64 is invalid.
    #[inline]
    pub fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        // Most numbers are small.
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            [low, high, ref rest @ ..] if high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.long_varint(what),
        }
    }

    fn long_varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            if shift == 63 && byte > 1 {
                return Err(DecodeError::Invalid(what));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid(what))
    }

    /// The next number as a quantity.
    #[inline]
    pub fn quantity(&mut self, what: &'static str) -> Result<Quantity, DecodeError> {
        Quantity::new(self.varint(what)?).ok_or(DecodeError::Invalid(what))
    }

    /// The next text: a varint length in bytes, then UTF-8.
    pub fn text(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        let length = self.varint(what)?;
        let length = usize::try_from(length).map_err(|_| DecodeError::Invalid(what))?;
        let bytes = self.slice(length, what)?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::Invalid(what))
    }

    /// Ends the reading: nothing may be left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.rest.len())) }
    }
}

/// Appends a text: a varint length in bytes, then UTF-8.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}
