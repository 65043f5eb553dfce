//! One store's node: an inventory over HTTP, durable in a local event log.
//!
//! Three rooms: [`http`] turns bytes into validated commands, [`ledger`] decides and appends, the
//! log's committer makes durable. No rule of the business may live in `http`, no async in the
//! ledger, and nothing here may answer before the log is durable up to the answer.

pub mod clock;
pub mod config;
pub mod damage;
pub mod expiry;
pub mod http;
pub mod idempotency;
pub mod ledger;
pub mod ops;
pub mod scrub;
pub mod serve;

/// How many cores this process may use; one where the system doesn't say.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
