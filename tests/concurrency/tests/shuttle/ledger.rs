//! The ledger: items, batches, idempotency keys.

pub(crate) mod items;
pub(crate) mod keys;
mod world;
