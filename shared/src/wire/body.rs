//! JSON bodies into validated types: a fast path for good ones, and for bad ones a second look that
//! collects *all* errors with their JSON pointers. It must never answer with only the first error,
//! and never accept on one path what the other refuses.
//!
//! A body type derives `Deserialize` (with `deny_unknown_fields` and its API name as `rename`) and
//! `garde::Validate`; both are the only description of it. Three conventions keep the slow look
//! exact: integers are `i64` (so that negative ones reach the rules), optional fields are `Option`
//! or [`Patch`] (everything else is required), and field names are camelCase.

mod collect;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::problem::{ErrorCode, FieldError, Problem};
use collect::PATCH_NEWTYPE;
pub(crate) use collect::{Collector, Entries, Node};

/// How deep a body may nest; no request of ours needs more than four levels.
pub const NESTING_DEPTH_MAX: usize = 32;
/// How many field errors are listed at most.
pub const FIELD_ERRORS_MAX: usize = 20_000;

/// Why a body was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is not JSON, not UTF-8, or nested too deeply.
    #[error("{0}")]
    Malformed(String),
    /// It is JSON, but breaks these rules.
    #[error("{} fields are invalid", .0.len())]
    Invalid(Vec<FieldError>),
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Malformed(detail) => Self::new(ErrorCode::MalformedJson, detail),
            BodyError::Invalid(errors) => Self::validation(&errors),
        }
    }
}

/// A field of a merge patch (RFC 7396).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patch<T> {
    /// It was not sent: leave it.
    #[default]
    Keep,
    /// `null` was sent: clear it.
    Clear,
    /// A value was sent.
    Set(T),
}

impl<T> Patch<T> {
    /// The same about another type.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Patch<U> {
        match self {
            Self::Keep => Patch::Keep,
            Self::Clear => Patch::Clear,
            Self::Set(value) => Patch::Set(convert(value)),
        }
    }

    /// The new value, where `cleared` stands for none; `None` to leave the old one.
    pub fn or_cleared(self, cleared: T) -> Option<T> {
        match self {
            Self::Keep => None,
            Self::Clear => Some(cleared),
            Self::Set(value) => Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PatchVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for PatchVisitor<T> {
            type Value = Patch<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or null")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                value: D,
            ) -> Result<Patch<T>, D::Error> {
                Ok(Option::deserialize(value)?.map_or(Patch::Clear, Patch::Set))
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Patch<T>, E> {
                Ok(Patch::Keep)
            }
        }
        deserializer.deserialize_newtype_struct(PATCH_NEWTYPE, PatchVisitor(PhantomData))
    }
}

impl<T> garde::rules::inner::Inner<T> for Patch<T> {
    type Key = garde::error::NoKey;

    fn validate_inner<F>(&self, mut f: F)
    where
        F: FnMut(&T, &Self::Key),
    {
        if let Self::Set(value) = self {
            f(value, &Self::Key::default());
        }
    }
}

/// Parses and validates a body.
pub fn parse<'de, T>(bytes: &'de [u8]) -> Result<T, BodyError>
where
    T: Deserialize<'de> + garde::Validate<Context = ()>,
{
    if let Ok(value) = serde_json::from_slice::<T>(bytes)
        && value.validate().is_ok()
    {
        return Ok(value);
    }
    let raw = checked_syntax(bytes)?;
    let collector = Collector::default();
    let value = collect_value(Node::present(raw, String::from("#"), &collector));
    let errors = collector.finish()?;
    match value {
        Some(value) if errors.is_empty() => Ok(value),
        Some(_) | None => Err(BodyError::Invalid(or_unexplained(errors))),
    }
}

/// The text of one JSON value, once its syntax, UTF-8 and depth are known to be fine.
pub(crate) fn checked_syntax(bytes: &[u8]) -> Result<&str, BodyError> {
    if bytes.is_empty() {
        return Err(BodyError::Malformed("the body is empty".to_owned()));
    }
    if nesting_depth(bytes) > NESTING_DEPTH_MAX {
        let detail = format!("nested deeper than {NESTING_DEPTH_MAX} levels");
        return Err(BodyError::Malformed(detail));
    }
    match serde_json::from_slice::<&RawValue>(bytes) {
        Ok(raw) => Ok(raw.get()),
        Err(error) => Err(BodyError::Malformed(error.to_string())),
    }
}

/// Decodes what can be decoded of a value, then lets its rules look at it; every error lands in the
/// node's collector. `None` only where the value couldn't even be put together.
pub(crate) fn collect_value<'de, T>(node: Node<'_, 'de>) -> Option<T>
where
    T: Deserialize<'de> + garde::Validate<Context = ()>,
{
    let collector = node.collector();
    let pointer = node.pointer().to_owned();
    let value = match T::deserialize(node) {
        Ok(value) => value,
        Err(error) => {
            collector.value_error(&pointer, "invalid", error.to_string());
            return None;
        }
    };
    if let Err(report) = value.validate() {
        for (path, error) in report.iter() {
            let (code, message) = code_and_message(error.message());
            collector.rule_error(&format!("{pointer}{}", path_as_pointer(path)), code, message);
        }
    }
    Some(value)
}

/// A refused body always says something.
pub(crate) fn or_unexplained(errors: Vec<FieldError>) -> Vec<FieldError> {
    if !errors.is_empty() {
        return errors;
    }
    let pointer = String::from("#");
    vec![FieldError { pointer, code: "invalid", message: "is not valid".into() }]
}

fn nesting_depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in bytes {
        if in_text {
            in_text = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// `items[3].order_id` → `/items/3/orderId`.
fn path_as_pointer(path: &garde::Path) -> String {
    let mut pointer = String::new();
    let mut upper = false;
    let text = path.to_string();
    if !text.is_empty() && !text.starts_with('[') {
        pointer.push('/');
    }
    for character in text.chars() {
        match character {
            '.' | '[' => pointer.push('/'),
            ']' => {}
            '_' => upper = true,
            other if upper => {
                pointer.extend(other.to_uppercase());
                upper = false;
            }
            other => pointer.push(other),
        }
    }
    pointer
}

/// The codes that rules may have; the words after the first `: ` of a rule's message.
const RULE_CODES: &[&str] = &[
    "min",
    "max",
    "min_length",
    "printable",
    "max_length",
    "min_items",
    "max_items",
    "required",
    "non_zero",
    "control_character",
    "blank",
    "outer_white_space",
    "time",
    "one_of",
    "hex",
    "unsupported",
    "url",
    "time_zone",
];

/// The rule's code and words. Rules of our own come as `code: message` ([`rule_error`]), those of
/// garde in its words, which the tests pin.
fn code_and_message(text: &str) -> (&'static str, String) {
    for (prefix, code, words, unit) in GARDE_WORDS {
        if let Some(bound) = text.strip_prefix(prefix) {
            return (code, format!("{words}{bound}{unit}"));
        }
    }
    let (found, message) = text.split_once(": ").unwrap_or(("", text));
    match RULE_CODES.iter().find(|code| **code == found) {
        Some(code) => (code, message.to_owned()),
        None => ("invalid", text.to_owned()),
    }
}

/// garde's message up to the bound, our code, our words around the bound.
const GARDE_WORDS: [(&str, &str, &str, &str); 5] = [
    ("lower than ", "min", "must be at least ", ""),
    ("greater than ", "max", "must be at most ", ""),
    ("length is lower than ", "min_length", "must be at least ", " bytes"),
    ("length is greater than ", "max_length", "must be at most ", " bytes"),
    ("not set", "required", "is required", ""),
];

/// A rule's error as `code: message`, the form that the slow look takes apart again; `code` is one
/// of those that rules may have.
pub fn rule_error(code: &str, message: impl std::fmt::Display) -> garde::Error {
    debug_assert!(RULE_CODES.contains(&code), "{code} is listed");
    garde::Error::new(format!("{code}: {message}"))
}
