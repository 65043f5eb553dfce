//! The log: appenders, committer, preallocator, waiters.

pub(crate) mod handoff;
pub(crate) mod waiting;
mod world;
