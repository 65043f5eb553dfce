//! The whole system in one thread, from one seed: stores, head office and tills, over the real log,
//! recovery, ledger, HTTP handlers, sync workers, followers and view. Simulated are only the disk,
//! the network and the time, and none of them decides anything.
//!
//! The same seed gives the same history, bit for bit. So nothing here may look at a real clock, a
//! real thread or an unseeded hash.

pub mod book;
pub mod bounds;
pub use tests::dice;
pub mod mischief;
pub mod network;
pub mod node;
pub mod office;
pub mod rot;
pub mod run;
pub mod signal;
pub mod till;
pub mod trace;

pub use run::{Plan, Report, run};
