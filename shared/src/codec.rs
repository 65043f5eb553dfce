//! Bytes of events, receipts and items: the only module that knows bincode. Every decoder bounds
//! what it reads, refuses what it doesn't understand and must never panic on any input.
//!
//! A record is a **frozen envelope** that every future version can read, then a payload in bincode
//! (docs/event-log-format.md has the byte table). [`decode_record`] reads all of them;
//! [`MovementReader`] reads the commonest once more, faster, and is held against it by a test. So is [`PackedItem`]
//! against [`decode_item`].

mod envelope;
mod glance;
mod item;
mod movement;
mod numbers;
mod packed;
mod record;
#[cfg(test)]
mod tests;
pub(crate) mod text;

pub use envelope::{Envelope, EnvelopeState, decode_envelope, record_sku_bytes};
pub use glance::{StateNumbers, StateTexts};
pub use item::{SnapshotItem, decode_item, decode_state, encode_item, encode_state};
pub use movement::MovementReader;
pub use numbers::{VarintReader, put_varint};
pub use packed::PackedItem;
pub use record::{Record, decode_record, encode_event, encode_receipt};

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use thiserror::Error;

/// The greatest payload that bincode may read or claim, in bytes; a receipt of a full batch
/// (10,000 lines, each with its SKU and rejection) fits.
pub const PAYLOAD_BYTES_MAX: usize = 8 << 20;

pub(crate) const BINCODE: Configuration<LittleEndian, Varint, Limit<PAYLOAD_BYTES_MAX>> =
    bincode::config::standard().with_limit::<PAYLOAD_BYTES_MAX>();

/// Why bytes are not a record or an item of this version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("ends after {0} bytes, in the middle of {1}")]
    Truncated(usize, &'static str),
    /// Bytes are left over.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// Written by a newer version: upgrade.
    #[error("kind {kind} in schema {schema} is not known to this version")]
    Unknown {
        /// The kind byte.
        kind: u8,
        /// The schema byte.
        schema: u8,
    },
    /// A field breaks its type's rule.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// bincode refused the payload.
    #[error("payload: {0}")]
    Payload(String),
}
