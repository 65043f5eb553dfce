//! Bodies of reserve, extend, release and deduct.

use std::borrow::Cow;

use garde::Validate;
use serde::Deserialize;

use super::CommandBody;
use super::movements::movement_body;
use super::rules::{self, EXPIRES_IN_SECONDS_MAX, NUMBER_MAX};
use crate::cell::Version;
use crate::command::Action;
use crate::event::Context;
use crate::wire::text::{NOTE_BYTES_MAX, REFERENCE_BYTES_MAX};

movement_body! {
    /// Units are promised to an order.
    ReserveBody as "reserve" {
        /// The order.
        #[serde(borrow)]
        #[garde(custom(rules::order_id))]
        order_id: Cow<'a, str>,
        /// Units, at least 1.
        #[garde(range(min = 1, max = NUMBER_MAX))]
        quantity: i64,
        /// Seconds until the promise ends; none = never.
        #[garde(inner(range(min = 1, max = EXPIRES_IN_SECONDS_MAX)))]
        expires_in_seconds: Option<i64>,
    }
    action(body) Action::Reserve {
        order_id: rules::parsed_order_id(&body.order_id),
        quantity: rules::quantity(body.quantity),
        expires_in_seconds: body.expires_in_seconds.map(i64::unsigned_abs),
    }
}

movement_body! {
    /// A promise ends at another time.
    ExtendBody as "extend" {
        /// The order.
        #[serde(borrow)]
        #[garde(custom(rules::order_id))]
        order_id: Cow<'a, str>,
        /// Seconds from now; none = never.
        #[garde(inner(range(min = 1, max = EXPIRES_IN_SECONDS_MAX)))]
        expires_in_seconds: Option<i64>,
    }
    action(body) Action::Extend {
        order_id: rules::parsed_order_id(&body.order_id),
        expires_in_seconds: body.expires_in_seconds.map(i64::unsigned_abs),
    }
}

movement_body! {
    /// Promised units are free again.
    ReleaseBody as "release" {
        /// The order.
        #[serde(borrow)]
        #[garde(custom(rules::order_id))]
        order_id: Cow<'a, str>,
        /// Units; none = all that are left.
        #[garde(inner(range(min = 1, max = NUMBER_MAX)))]
        quantity: Option<i64>,
    }
    action(body) Action::Release {
        order_id: rules::parsed_order_id(&body.order_id),
        quantity: body.quantity.map(rules::quantity),
    }
}

movement_body! {
    /// Promised units leave the shelf.
    DeductBody as "deduct" {
        /// The order.
        #[serde(borrow)]
        #[garde(custom(rules::order_id))]
        order_id: Cow<'a, str>,
        /// Units; none = all that are left.
        #[garde(inner(range(min = 1, max = NUMBER_MAX)))]
        quantity: Option<i64>,
    }
    action(body) Action::Deduct {
        order_id: rules::parsed_order_id(&body.order_id),
        quantity: body.quantity.map(rules::quantity),
    }
}
