//! The log's and the ledger's own code under a scheduler that tries many orders of its threads.
//!
//! Only the feature `shuttle` gives this crate anything; without it locks and threads are the
//! system's, and there is nothing to schedule. docs/testing.md says how to run, repeat and extend.

#[cfg(feature = "shuttle")]
mod explore;

#[cfg(feature = "shuttle")]
pub use explore::{explore, first_to_see};
