//! Bodies of create, update and deactivate.

use std::borrow::Cow;

use compact_str::CompactString;
use garde::Validate;
use serde::Deserialize;

use super::CommandBody;
use super::rules::{self, NUMBER_MAX};
use crate::cell::Version;
use crate::command::{Action, ItemPatch, NewItem};
use crate::event::Context;
use crate::quantity::Quantity;
use crate::rules::REORDER_POINT_DEFAULT;
use crate::sku::Sku;
use crate::wire::body::{Patch, rule_error};
use crate::wire::text::{NAME_BYTES_MAX, UNIT_BYTES_MAX};

/// A new item.
#[derive(Debug, Clone, PartialEq, Deserialize, Validate)]
#[serde(rename = "create", rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateBody<'a> {
    /// The SKU.
    #[serde(borrow)]
    #[garde(custom(rules::sku))]
    pub sku: Cow<'a, str>,
    /// Opening stock, 0 or more.
    #[garde(range(min = 0, max = NUMBER_MAX))]
    pub stock: i64,
    /// Where it lies: bin, shelf.
    #[serde(borrow)]
    #[garde(inner(length(max = NAME_BYTES_MAX), custom(rules::line)))]
    pub location: Option<Cow<'a, str>>,
    /// What it is called.
    #[serde(borrow)]
    #[garde(inner(length(max = NAME_BYTES_MAX), custom(rules::line)))]
    pub name: Option<Cow<'a, str>>,
    /// What it is.
    #[serde(borrow)]
    #[garde(inner(length(max = NAME_BYTES_MAX), custom(rules::line)))]
    pub category: Option<Cow<'a, str>>,
    /// Its base unit; none = `each`.
    #[serde(borrow)]
    #[garde(inner(length(max = UNIT_BYTES_MAX), custom(rules::line)))]
    pub unit: Option<Cow<'a, str>>,
    /// Low-stock threshold; none = 10.
    #[garde(inner(range(min = 0, max = NUMBER_MAX)))]
    pub reorder_point: Option<i64>,
    /// Kept back from sellable; none = 0.
    #[garde(inner(range(min = 0, max = NUMBER_MAX)))]
    pub safety_stock: Option<i64>,
}

impl CreateBody<'_> {
    /// The SKU, parsed.
    pub fn sku(&self) -> Sku {
        rules::parsed_sku(&self.sku)
    }
}

fn text_or_empty(text: Option<&str>) -> CompactString {
    CompactString::new(text.unwrap_or_default())
}

impl CommandBody for CreateBody<'_> {
    fn action(&self) -> Action {
        Action::create(NewItem {
            stock: rules::quantity(self.stock),
            name: text_or_empty(self.name.as_deref()),
            category: text_or_empty(self.category.as_deref()),
            location: text_or_empty(self.location.as_deref()),
            unit: text_or_empty(self.unit.as_deref()),
            reorder_point: self.reorder_point.map(rules::quantity),
            safety_stock: self.safety_stock.map(rules::quantity).unwrap_or_default(),
        })
    }

    fn context(&self) -> Context {
        Context::default()
    }

    fn expected_version(&self) -> Option<Version> {
        None
    }
}

/// A merge patch of an item's metadata and thresholds: `null` clears a text and gives a threshold
/// its default again.
#[derive(Debug, Clone, PartialEq, Deserialize, Validate)]
#[serde(rename = "update", rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateBody<'a> {
    /// What it is called.
    #[serde(borrow, default)]
    #[garde(inner(length(max = NAME_BYTES_MAX), custom(rules::line)))]
    pub name: Patch<Cow<'a, str>>,
    /// What it is.
    #[serde(borrow, default)]
    #[garde(inner(length(max = NAME_BYTES_MAX), custom(rules::line)))]
    pub category: Patch<Cow<'a, str>>,
    /// Where it lies.
    #[serde(borrow, default)]
    #[garde(inner(length(max = NAME_BYTES_MAX), custom(rules::line)))]
    pub location: Patch<Cow<'a, str>>,
    /// Its base unit.
    #[serde(borrow, default)]
    #[garde(inner(length(max = UNIT_BYTES_MAX), custom(rules::line)))]
    pub unit: Patch<Cow<'a, str>>,
    /// Low-stock threshold.
    #[serde(default)]
    #[garde(inner(range(min = 0, max = NUMBER_MAX)))]
    pub reorder_point: Patch<i64>,
    /// Kept back from sellable.
    #[serde(default)]
    #[garde(inner(range(min = 0, max = NUMBER_MAX)))]
    pub safety_stock: Patch<i64>,
    /// `true` puts a deactivated item back in sale.
    #[garde(inner(custom(only_true)))]
    pub active: Option<bool>,
    /// Refuse unless the item has this version.
    #[garde(inner(range(min = 1, max = NUMBER_MAX)))]
    pub expected_version: Option<i64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde passes a reference to the field")]
fn only_true(active: &bool, (): &()) -> garde::Result {
    if *active {
        Ok(())
    } else {
        Err(rule_error("unsupported", "can only be true here: DELETE the item to deactivate it"))
    }
}

impl CommandBody for UpdateBody<'_> {
    fn action(&self) -> Action {
        let text = |patch: &Patch<Cow<'_, str>>| match patch {
            Patch::Keep => None,
            Patch::Clear => Some(CompactString::default()),
            Patch::Set(text) => Some(CompactString::new(text)),
        };
        let default_point = Quantity::new(REORDER_POINT_DEFAULT).unwrap_or_default();
        Action::update(ItemPatch {
            name: text(&self.name),
            category: text(&self.category),
            location: text(&self.location),
            unit: text(&self.unit),
            reorder_point: self.reorder_point.map(rules::quantity).or_cleared(default_point),
            safety_stock: self.safety_stock.map(rules::quantity).or_cleared(Quantity::ZERO),
            reactivate: self.active == Some(true),
        })
    }

    fn context(&self) -> Context {
        Context::default()
    }

    fn expected_version(&self) -> Option<Version> {
        rules::version(self.expected_version)
    }
}

/// The item goes out of sale; the body of `DELETE`, which may also be empty.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Validate)]
#[serde(rename = "deactivate", rename_all = "camelCase", deny_unknown_fields)]
pub struct DeactivateBody {
    /// Refuse unless the item has this version.
    #[garde(inner(range(min = 1, max = NUMBER_MAX)))]
    pub expected_version: Option<i64>,
}

impl CommandBody for DeactivateBody {
    fn action(&self) -> Action {
        Action::Deactivate
    }

    fn context(&self) -> Context {
        Context::default()
    }

    fn expected_version(&self) -> Option<Version> {
        rules::version(self.expected_version)
    }
}
