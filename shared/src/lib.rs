//! The inventory domain of Onhand, pure and synchronous.
//!
//! A command is [decided](rules::decide) against an item's state and yields events or a
//! [rejection](rejection::Rejection); an event is [checked](rules::check) and then
//! [applied](rules::apply). Store nodes, recovery, the aggregator and every test run this one code.
//!
//! This crate must never touch disk, network, clock, thread or randomness: time is an argument, and
//! every map takes a fixed-seed hasher, so that the same input gives the same history bit for bit.

pub mod cell;
pub mod codec;
pub mod command;
pub mod digest;
pub mod event;
pub mod ids;
pub mod item;
pub mod quantity;
pub mod receipt;
pub mod rejection;
pub mod reservations;
pub mod rules;
pub mod sku;
pub mod time;
pub mod wire;

pub use cell::{Cell, Flags, Quantities, Version};
pub use command::{Action, Command};
pub use event::{Change, Context, Event, KeyClaim};
pub use ids::{OrderId, StoreId};
pub use item::{Item, ItemState, Metadata};
pub use quantity::{QUANTITY_MAX, Quantity};
pub use receipt::{LineOutcome, Receipt};
pub use rejection::Rejection;
pub use reservations::{ClosedReservation, Reservation, Reservations};
pub use sku::Sku;
pub use time::Timestamp;

/// The hasher of every map in Onhand: fixed seed, so that iteration order and histories repeat.
pub type FixedHasher = foldhash::fast::FixedState;
