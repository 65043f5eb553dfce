//! The JSON of a store node: what it is asked ([`items`], [`movements`], [`reservations`],
//! [`batch`], [`availability`]) and what it answers ([`answers`], [`log`]). Field names are the
//! contract; nothing here decides anything about stock.

pub mod answers;
pub mod availability;
pub mod batch;
pub mod compact;
pub mod items;
pub mod log;
pub mod movements;
pub mod reservations;
pub mod reserved;
mod rules;
pub mod stream;
#[cfg(test)]
mod tests;

pub use rules::EXPIRES_IN_SECONDS_MAX;

use crate::Version;
use crate::command::Action;
use crate::event::Context;

/// A validated request about one item.
pub trait CommandBody {
    /// What is asked.
    fn action(&self) -> Action;

    /// Who, why and when, as far as the body says so.
    fn context(&self) -> Context;

    /// The version that the caller has seen, if it says so.
    fn expected_version(&self) -> Option<Version>;
}
