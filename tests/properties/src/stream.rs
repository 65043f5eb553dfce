//! Single lines of a streamed batch. The input is the line.
//!
//! A line must mean what it means in a JSON batch, its key apart, and be refused where that
//! refuses it.

use serde_json::{Map, Value};
use shared::wire::node::batch::parse_batch;
use shared::wire::node::stream::{LineError, parse_stream_line};

use crate::bound::Bound;

/// Words for each of two errors that a line of two bytes can have.
const BOUND: Bound = Bound { fixed_bytes: 16 << 10, per_byte: 768 };

/// Checks one line.
pub fn check(bytes: &[u8]) {
    let found = BOUND.hold("a line", bytes.len(), || parse_stream_line(bytes));
    let without_key =
        serde_json::from_slice::<Map<String, Value>>(bytes).ok().map(|mut members| {
            let had = members.remove("idempotencyKey").is_some();
            (had, Value::Object(members).to_string())
        });
    match found {
        Ok(line) => {
            let (had_key, rest) = without_key.expect("an accepted line is an object");
            let is_null = !had_key || line.idempotency_key.is_some();
            assert!(is_null || bytes.windows(4).any(|four| four == b"null"), "a key is lost");
            let body = format!(r#"{{"atomic":false,"operations":[{rest}]}}"#);
            let batch = parse_batch(body.as_bytes()).expect("a good line is a good batch");
            let same = batch.lines[0].as_ref().expect("the same line is good in a batch");
            assert_eq!(same.command(), line.operation.command());
            assert_eq!(same.context(), line.operation.context());
        }
        Err(LineError::Invalid(invalid)) => {
            assert!(!invalid.errors.is_empty(), "a line is refused without a word");
            assert!(invalid.errors.iter().all(|error| error.pointer.starts_with('#')));
        }
        Err(LineError::Malformed(detail)) => assert!(!detail.is_empty()),
    }
}
