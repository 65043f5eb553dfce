//! `POST /api/availability`: can this basket be served?

use std::borrow::Cow;

use garde::Validate;
use serde::{Deserialize, Serialize};

use super::rules::{self, NUMBER_MAX};
use crate::quantity::Quantity;
use crate::sku::Sku;

/// The most lines of one question.
pub const AVAILABILITY_ITEMS_MAX: usize = 1000;

/// The question.
#[derive(Debug, Clone, PartialEq, Deserialize, Validate)]
#[serde(rename = "availability", rename_all = "camelCase", deny_unknown_fields)]
pub struct AvailabilityBody<'a> {
    /// The lines, 1 to 1,000.
    #[serde(borrow)]
    #[garde(custom(rules::list_length(1, AVAILABILITY_ITEMS_MAX)), dive)]
    pub items: Vec<AvailabilityLine<'a>>,
}

/// One line of the question.
#[derive(Debug, Clone, PartialEq, Deserialize, Validate)]
#[serde(rename = "an availability item", rename_all = "camelCase", deny_unknown_fields)]
pub struct AvailabilityLine<'a> {
    /// The item.
    #[serde(borrow)]
    #[garde(custom(rules::sku))]
    pub sku: Cow<'a, str>,
    /// Units, at least 1.
    #[garde(range(min = 1, max = NUMBER_MAX))]
    pub quantity: i64,
}

impl AvailabilityLine<'_> {
    /// The SKU, parsed.
    pub fn sku(&self) -> Sku {
        rules::parsed_sku(&self.sku)
    }

    /// The units asked for.
    pub fn quantity(&self) -> Quantity {
        rules::quantity(self.quantity)
    }
}

/// The answer for one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AvailabilityVerdict<'a> {
    /// The item.
    pub sku: &'a str,
    /// Units asked for.
    pub quantity: Quantity,
    /// Units that are free; 0 for an unknown item.
    pub available_stock: Quantity,
    /// The same without the safety stock.
    pub sellable: Quantity,
    /// Whether so many are free.
    pub available: bool,
    /// Whether the store knows the item.
    pub known: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AvailabilityAnswer<'a> {
    /// The store.
    pub store_id: &'a str,
    /// Whether every line can be served.
    pub available: bool,
    /// Each line, in the order of the question.
    pub items: Vec<AvailabilityVerdict<'a>>,
}
