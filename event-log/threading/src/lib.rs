//! What threads meet at in the log and in the ledger: locks, condition variables, atomics, thread
//! locals and the starting of threads.
//!
//! In a normal build these are parking_lot's and std's own, re-exported, and nothing of this crate
//! remains. Under the feature `shuttle`, which only the concurrency tests turn on, they are
//! [shuttle](https://docs.rs/shuttle)'s, with the same names and signatures: each lock, load, store
//! and wake is then a point at which the test's scheduler may go on with another thread.
//!
//! It must never add a primitive of its own, nor give one a meaning that parking_lot or std doesn't
//! give it: the code that is tested is the code that runs. What isn't taken from here (counters,
//! shards that are only held for a look) is no such point, and may never be waited for.

#[cfg(feature = "shuttle")]
mod modelled;

#[cfg(feature = "shuttle")]
pub use modelled::{Condvar, Mutex, MutexGuard, RwLock, atomic, thread, thread_local};
#[cfg(feature = "shuttle")]
pub use shuttle;

#[cfg(not(feature = "shuttle"))]
pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(feature = "shuttle"))]
pub use std::{sync::atomic, thread, thread_local};
