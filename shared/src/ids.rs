//! Names other than SKUs: stores and orders. They must never be empty, huge or unprintable, since
//! they travel in headers, paths, logs and records.

use std::fmt;

use compact_str::CompactString;
use serde::{Serialize, Serializer};
use thiserror::Error;

/// The longest store id, in bytes: it is the owner field of every segment header.
pub const STORE_ID_BYTES_MAX: usize = 64;
/// The longest order id, in bytes of UTF-8.
pub const ORDER_ID_BYTES_MAX: usize = 128;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IdError {
    /// Send at least one character.
    #[error("must not be empty")]
    Empty,
    /// Shorten it.
    #[error("must be at most {max} bytes, is {found}")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Use other characters.
    #[error("must not contain {0:?}")]
    BadCharacter(char),
}

/// A store's name: 1 to 64 of `a-z A-Z 0-9 . _ -`, beginning with a letter or digit; safe as a
/// file name and in a URL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId(CompactString);

/// An order's id, as the order system gives it: 1 to 128 bytes without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(CompactString);

impl StoreId {
    /// Parses a store id.
    pub fn new(text: &str) -> Result<Self, IdError> {
        check_length(text, STORE_ID_BYTES_MAX)?;
        let bad = text.chars().enumerate().find(|(index, c)| {
            !(c.is_ascii_alphanumeric() || (*index > 0 && matches!(c, '.' | '_' | '-')))
        });
        match bad {
            Some((_, c)) => Err(IdError::BadCharacter(c)),
            None => Ok(Self(CompactString::new(text))),
        }
    }
}

impl OrderId {
    /// Parses an order id; the text is kept exactly as it is.
    pub fn new(text: &str) -> Result<Self, IdError> {
        check_length(text, ORDER_ID_BYTES_MAX)?;
        // Nearly all are printable ASCII, which is told many bytes at a time.
        let is_plain = text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'));
        if !is_plain && let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(IdError::BadCharacter(c));
        }
        Ok(Self(CompactString::new(text)))
    }
}

fn check_length(text: &str, max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > max {
        return Err(IdError::TooLong { found: text.len(), max });
    }
    Ok(())
}

macro_rules! text_traits {
    ($name:ident) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
    };
}
text_traits!(StoreId);
text_traits!(OrderId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_ids_are_safe_in_paths_and_urls() {
        assert!(StoreId::new("store-a").is_ok());
        assert!(StoreId::new("330").is_ok());
        for bad in ["", "../x", ".x", "a b", "a/b", "é", &"x".repeat(65)] {
            assert!(StoreId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn order_ids_refuse_control_characters() {
        assert!(OrderId::new("order 1/2").is_ok());
        assert_eq!(OrderId::new("a\n").unwrap_err(), IdError::BadCharacter('\n'));
    }
}
