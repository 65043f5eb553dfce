//! Bodies of receive, sell, return and adjust.

use std::borrow::Cow;

use garde::Validate;
use serde::Deserialize;

use super::CommandBody;
use super::rules::{self, NUMBER_MAX};
use crate::cell::Version;
use crate::command::{Action, AdjustReason};
use crate::event::Context;
use crate::wire::text::{NOTE_BYTES_MAX, REFERENCE_BYTES_MAX};

/// A body with fields of its own and the five that every movement has.
macro_rules! movement_body {
    (
        $(#[$meta:meta])* $name:ident as $api_name:literal {
            $($(#[$field_meta:meta])* $field:ident: $kind:ty,)*
        }
        action($body:ident) $action:expr
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Deserialize, Validate)]
        #[serde(rename = $api_name, rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name<'a> {
            $($(#[$field_meta])* pub $field: $kind,)*
            /// Why, in the caller's words.
            #[serde(borrow)]
            #[garde(inner(length(max = REFERENCE_BYTES_MAX), custom(rules::line)))]
            pub reason: Option<Cow<'a, str>>,
            /// A basket, delivery note or other document.
            #[serde(borrow)]
            #[garde(inner(length(max = REFERENCE_BYTES_MAX), custom(rules::line)))]
            pub reference: Option<Cow<'a, str>>,
            /// Anything else.
            #[serde(borrow)]
            #[garde(inner(length(max = NOTE_BYTES_MAX), custom(rules::lines)))]
            pub note: Option<Cow<'a, str>>,
            /// When it happened, as the device claims (RFC 3339).
            #[serde(borrow)]
            #[garde(inner(custom(rules::time)))]
            pub occurred_at: Option<Cow<'a, str>>,
            /// Refuse unless the item has this version.
            #[garde(inner(range(min = 1, max = NUMBER_MAX)))]
            pub expected_version: Option<i64>,
        }

        impl CommandBody for $name<'_> {
            fn action(&self) -> Action {
                let $body = self;
                $action
            }

            fn context(&self) -> Context {
                let [reason, reference, note, occurred_at] =
                    [&self.reason, &self.reference, &self.note, &self.occurred_at]
                        .map(|text| text.as_deref());
                rules::context(reason, reference, note, occurred_at)
            }

            fn expected_version(&self) -> Option<Version> {
                rules::version(self.expected_version)
            }
        }
    };
}
pub(super) use movement_body;

movement_body! {
    /// Goods came in.
    ReceiveBody as "receive" {
        /// Units, at least 1.
        #[garde(range(min = 1, max = NUMBER_MAX))]
        quantity: i64,
    }
    action(body) Action::Receive { quantity: rules::quantity(body.quantity) }
}

movement_body! {
    /// Goods are sold from the shelf.
    SellBody as "sell" {
        /// Units, at least 1.
        #[garde(range(min = 1, max = NUMBER_MAX))]
        quantity: i64,
    }
    action(body) Action::Sell { quantity: rules::quantity(body.quantity) }
}

movement_body! {
    /// A customer brings goods back.
    ReturnBody as "return" {
        /// Units, at least 1.
        #[garde(range(min = 1, max = NUMBER_MAX))]
        quantity: i64,
        /// Back on the shelf (the default), or recorded as damaged.
        #[garde(skip)]
        restock: Option<bool>,
    }
    action(body) Action::Return {
        quantity: rules::quantity(body.quantity),
        restock: body.restock.unwrap_or(true),
    }
}

/// The stock is corrected.
#[derive(Debug, Clone, PartialEq, Deserialize, Validate)]
#[serde(rename = "adjust", rename_all = "camelCase", deny_unknown_fields)]
pub struct AdjustBody<'a> {
    /// Signed units, not zero.
    #[garde(range(min = -NUMBER_MAX, max = NUMBER_MAX), custom(rules::non_zero))]
    pub quantity: i64,
    /// Why.
    #[garde(skip)]
    pub reason: AdjustReason,
    /// A document.
    #[serde(borrow)]
    #[garde(inner(length(max = REFERENCE_BYTES_MAX), custom(rules::line)))]
    pub reference: Option<Cow<'a, str>>,
    /// Anything else.
    #[serde(borrow)]
    #[garde(inner(length(max = NOTE_BYTES_MAX), custom(rules::lines)))]
    pub note: Option<Cow<'a, str>>,
    /// When it happened, as the device claims (RFC 3339).
    #[serde(borrow)]
    #[garde(inner(custom(rules::time)))]
    pub occurred_at: Option<Cow<'a, str>>,
    /// Refuse unless the item has this version.
    #[garde(inner(range(min = 1, max = NUMBER_MAX)))]
    pub expected_version: Option<i64>,
}

impl CommandBody for AdjustBody<'_> {
    fn action(&self) -> Action {
        Action::Adjust { delta: self.quantity, reason: self.reason }
    }

    fn context(&self) -> Context {
        let [reference, note, occurred_at] =
            [&self.reference, &self.note, &self.occurred_at].map(|text| text.as_deref());
        rules::context(None, reference, note, occurred_at)
    }

    fn expected_version(&self) -> Option<Version> {
        rules::version(self.expected_version)
    }
}
