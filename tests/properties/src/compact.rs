//! Batches in bytes, as `docs/batches.md` lays them out. The input is the body.
//!
//! What is taken must be a whole frame and come to commands that the rules of JSON allow: making
//! them asserts that every field was checked.

use shared::wire::node::compact::parse_compact;

use crate::bound::Bound;
use crate::{seal, with_flipped_bit};

/// Errors in words: several for each line, and the line once more as JSON, for lines of four bytes.
const BOUND: Bound = Bound { fixed_bytes: 16 << 10, per_byte: 1024 };

/// Checks the bytes as they are, then with a right crc.
pub fn check(bytes: &[u8]) {
    seal::as_is_and_sealed(bytes, seal::crc_at_end, examine);
}

fn examine(bytes: &[u8]) {
    let parse = || parse_compact(bytes);
    let Ok(batch) = BOUND.hold("a compact batch", bytes.len(), parse) else { return };
    for line in &batch.lines {
        match line {
            Ok(operation) => {
                assert_eq!(operation.command().sku, operation.sku());
                let _context = operation.context();
            }
            Err(invalid) => {
                assert!(!invalid.errors.is_empty(), "a line is refused without a word");
                let root = |pointer: &str| pointer.starts_with("#/operations/");
                assert!(invalid.errors.iter().all(|error| root(&error.pointer)));
            }
        }
    }
    assert!(parse_compact(&with_flipped_bit(bytes)).is_err(), "a flipped bit is taken");
    assert!(parse_compact(&bytes[..bytes.len() - 1]).is_err(), "a cut body is taken");
}
