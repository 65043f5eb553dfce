//! One line of an NDJSON batch: the fields of a batch line and `idempotencyKey`. What is wrong with
//! a line must never be anybody else's trouble.

use std::borrow::Cow;

use garde::Validate;
use serde::Deserialize;

use super::batch::{FastLine, InvalidLine, Operation, parse_fields, split_off};
use super::rules;
use crate::wire::body::{
    BodyError, Collector, Node, checked_syntax, collect_value, or_unexplained,
};

/// The media type of a stream of lines, and of its verdicts.
pub const NDJSON_MEDIA_TYPE: &str = "application/x-ndjson";
/// The longest line, in bytes, its end not counted.
pub const STREAM_LINE_BYTES_MAX: usize = 64 << 10;
/// The longest idempotency key, in characters.
pub const IDEMPOTENCY_KEY_MAX: usize = 128;

/// A valid line.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamLine<'a> {
    /// What is asked.
    pub operation: Operation<'a>,
    /// The key under which it happens once.
    pub idempotency_key: Option<Cow<'a, str>>,
}

/// Why a line was refused before anybody looked at stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineError {
    /// It is not JSON, not UTF-8, or nested too deeply.
    Malformed(String),
    /// It breaks rules; pointers begin at the line's root.
    Invalid(InvalidLine),
}

impl From<BodyError> for LineError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Malformed(detail) => Self::Malformed(detail),
            BodyError::Invalid(errors) => Self::Invalid(InvalidLine { sku: None, errors }),
        }
    }
}

/// Whether a text may be an idempotency key; an error is the rule's code and what it says.
pub fn check_idempotency_key(text: &str) -> Result<(), (&'static str, String)> {
    if text.is_empty() {
        return Err(("min_length", "must not be empty".to_owned()));
    }
    if text.len() > IDEMPOTENCY_KEY_MAX {
        return Err(("max_length", format!("must be at most {IDEMPOTENCY_KEY_MAX} characters")));
    }
    if text.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
        return Err(("printable", "must be printable ASCII".to_owned()));
    }
    Ok(())
}

/// Parses a line, without its end.
pub fn parse_stream_line(bytes: &[u8]) -> Result<StreamLine<'_>, LineError> {
    if let Ok(FastLine(operation)) = serde_json::from_slice(bytes)
        && operation.is_valid()
    {
        return Ok(StreamLine { operation, idempotency_key: None });
    }
    let raw = checked_syntax(bytes)?;
    let collector = Collector::default();
    let pointer = "#".to_owned();
    let Some(entries) = Node::present(raw, pointer.clone(), &collector).entries() else {
        let errors = or_unexplained(collector.finish()?);
        return Err(LineError::Invalid(InvalidLine { sku: None, errors }));
    };
    let (keys, fields) = split_off(entries, "idempotencyKey");
    let key = collect_value::<KeyField<'_>>(Node::object(keys, pointer.clone(), &collector));
    let operation = parse_fields(fields, pointer, collector)?.map_err(LineError::Invalid)?;
    Ok(StreamLine { operation, idempotency_key: key.and_then(|field| field.idempotency_key) })
}

#[derive(Deserialize, Validate)]
#[serde(rename = "a batch line", rename_all = "camelCase", deny_unknown_fields)]
struct KeyField<'a> {
    #[serde(borrow)]
    #[garde(inner(custom(rules::idempotency_key)))]
    idempotency_key: Option<Cow<'a, str>>,
}
