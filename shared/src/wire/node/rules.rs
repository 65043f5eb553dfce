//! The rules of single fields, for garde, and the conversions that rely on them. A rule must never
//! look at stock: that is [`crate::rules`].

#![expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde passes references to a field and to its context"
)]

use std::borrow::Cow;

use compact_str::CompactString;

use super::stream::check_idempotency_key;
use crate::cell::Version;
use crate::event::Context;
use crate::ids::{IdError, OrderId};
use crate::quantity::{QUANTITY_MAX, Quantity};
use crate::sku::Sku;
use crate::time::Timestamp;
use crate::wire::body::rule_error;
use crate::wire::text::{check_line, check_lines};

/// The greatest quantity and version, as the `i64` that bodies carry.
pub(super) const NUMBER_MAX: i64 = QUANTITY_MAX as i64;
/// The longest life of a reservation: ten years.
pub const EXPIRES_IN_SECONDS_MAX: i64 = 315_576_000;
/// garde hands fields over as they are, `Cow` included.
type Text<'a> = Cow<'a, str>;

pub(super) fn sku(text: &Text<'_>, (): &()) -> garde::Result {
    Sku::new(text).map(drop).map_err(|error| rule_error(error.code(), error))
}

pub(super) fn order_id(text: &Text<'_>, (): &()) -> garde::Result {
    OrderId::new(text).map(drop).map_err(|error| {
        let code = match error {
            IdError::Empty => "min_length",
            IdError::TooLong { .. } => "max_length",
            IdError::BadCharacter(_) => "control_character",
        };
        rule_error(code, error)
    })
}

/// A text of one line; its length is another rule's.
pub(super) fn line(text: &Text<'_>, (): &()) -> garde::Result {
    check_line(text).map_err(|error| rule_error(error.code(), error))
}

/// A text of any number of lines.
pub(super) fn lines(text: &Text<'_>, (): &()) -> garde::Result {
    check_lines(text).map_err(|error| rule_error(error.code(), error))
}

pub(super) fn time(text: &Text<'_>, (): &()) -> garde::Result {
    Timestamp::parse(text).map(drop).map_err(|error| rule_error("time", error))
}

/// What the header of the same name takes.
pub(super) fn idempotency_key(text: &Text<'_>, (): &()) -> garde::Result {
    check_idempotency_key(text).map_err(|(code, message)| rule_error(code, message))
}

pub(super) fn non_zero(number: &i64, (): &()) -> garde::Result {
    if *number == 0 { Err(rule_error("non_zero", "must not be 0")) } else { Ok(()) }
}

pub(super) fn list_length<T>(min: usize, max: usize) -> impl Fn(&[T], &()) -> garde::Result {
    move |list, ()| check_length(list.len(), min, max)
}

pub(super) fn check_length(length: usize, min: usize, max: usize) -> garde::Result {
    if length < min {
        return Err(rule_error("min_items", format!("must have at least {min} entry")));
    }
    if length > max {
        return Err(rule_error(
            "max_items",
            format!("must have at most {max} entries, has {length}"),
        ));
    }
    Ok(())
}

/// The quantity of a field whose range was checked.
pub(super) fn quantity(number: i64) -> Quantity {
    let units = u64::try_from(number).ok();
    units.and_then(Quantity::new).expect("the body's rules bound it to 0..=2^53")
}

/// The version of a field whose range was checked.
pub(super) fn version(number: Option<i64>) -> Option<Version> {
    number.and_then(|number| u64::try_from(number).ok()).map(Version::new)
}

/// The SKU of a field that was checked.
pub(super) fn parsed_sku(text: &str) -> Sku {
    Sku::new(text).expect("the body's rules checked it")
}

/// The order id of a field that was checked.
pub(super) fn parsed_order_id(text: &str) -> OrderId {
    OrderId::new(text).expect("the body's rules checked it")
}

/// The four fields that say who, why and when.
pub(super) fn context(
    reason: Option<&str>,
    reference: Option<&str>,
    note: Option<&str>,
    occurred_at: Option<&str>,
) -> Context {
    Context {
        reason: reason.map(CompactString::new),
        reference: reference.map(CompactString::new),
        note: note.map(CompactString::new),
        occurred_at: occurred_at
            .map(|text| Timestamp::parse(text).expect("the body's rules checked it")),
        ..Context::default()
    }
}
