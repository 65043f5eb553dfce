//! The HTTP API of a store node, in process: requests into the real router over the real ledger and
//! log on a simulated disk, answers compared to the letter.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_inputs;
mod batches;
mod examples;
mod failures;
mod heads;
mod idempotency;
mod leaving;
mod lists;
mod load;
mod log;
mod operators;
mod preconditions;
mod process;
mod read_only;
mod reservations;
mod scrubs;
mod targets;
mod verbs;
mod world;
