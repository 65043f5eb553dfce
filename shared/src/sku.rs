//! The SKU newtype: what an item is called at the till. It must never normalise: real SKUs hold
//! spaces and slashes and differ only by case, so they are compared byte for byte.

use std::fmt;

use compact_str::CompactString;
use serde::{Serialize, Serializer};
use thiserror::Error;

/// The longest SKU, in bytes of UTF-8.
pub const SKU_BYTES_MAX: usize = 64;

/// A stock keeping unit: 1 to 64 bytes of UTF-8 without control characters, not beginning or
/// ending in white space, case-sensitive.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sku(CompactString);

/// Why a text is not a SKU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SkuError {
    /// Send at least one character.
    #[error("must not be empty")]
    Empty,
    /// Shorten it.
    #[error("must be at most {SKU_BYTES_MAX} bytes of UTF-8, is {0}")]
    TooLong(usize),
    /// Remove tabs, line ends and other control characters.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// Trim it.
    #[error("must not begin or end with white space")]
    OuterWhiteSpace,
}

impl SkuError {
    /// The machine-readable code of the broken rule, as validation errors carry it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "min_length",
            Self::TooLong(_) => "max_length",
            Self::ControlCharacter => "control_character",
            Self::OuterWhiteSpace => "outer_white_space",
        }
    }
}

impl Sku {
    /// Parses a SKU; the text is kept exactly as it is.
    pub fn new(text: &str) -> Result<Self, SkuError> {
        Self::check(text)?;
        Ok(Self(CompactString::new(text)))
    }

    /// Whether a text is a SKU.
    pub fn check(text: &str) -> Result<(), SkuError> {
        if text.is_empty() {
            return Err(SkuError::Empty);
        }
        if text.len() > SKU_BYTES_MAX {
            return Err(SkuError::TooLong(text.len()));
        }
        // Nearly all of them, and several times faster than to look at characters.
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(());
        }
        if text.chars().any(char::is_control) {
            return Err(SkuError::ControlCharacter);
        }
        if text.trim().len() != text.len() {
            return Err(SkuError::OuterWhiteSpace);
        }
        Ok(())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Sku {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Sku {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_shops_really_use_and_refuses_what_breaks_them() {
        let sixty_four = "x".repeat(64);
        for good in
            ["PROD-001", "a", "gift_0001_20", "BANK CHARGES", "a/b", "é", "🍎", "..", &sixty_four]
        {
            assert_eq!(Sku::new(good).unwrap().as_str(), good);
        }
        let sixty_five = "x".repeat(65);
        let bad = [
            ("", SkuError::Empty),
            (sixty_five.as_str(), SkuError::TooLong(65)),
            ("a\tb", SkuError::ControlCharacter),
            ("a\u{7f}", SkuError::ControlCharacter),
            (" a", SkuError::OuterWhiteSpace),
            ("a\u{a0}", SkuError::OuterWhiteSpace),
        ];
        for (text, error) in bad {
            assert_eq!(Sku::new(text).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn compares_byte_for_byte() {
        assert_ne!(Sku::new("m").unwrap(), Sku::new("M").unwrap());
    }
}
