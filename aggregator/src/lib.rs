//! The global view of Onhand: follows every store's log, proves what it holds by the stores' own
//! digests, and answers for all of them at once.
//!
//! Async is only at the edges (`source/`, `sync_worker`, `http/`, `serve`); what decides
//! ([`follower`]) is pure and synchronous, so that the simulator runs it as it is. A store that is
//! slow, broken or lying must never delay or hurt another.

pub mod address;
pub mod claims;
pub mod clock;
pub mod commands;
pub mod config;
pub mod dead_letter;
pub mod follower;
pub mod http;
pub mod hub;
pub mod jobs;
mod offload;
pub mod persistence;
pub mod registry;
pub mod serve;
pub mod source;
pub mod store_state;
pub mod sync_worker;
#[cfg(test)]
mod testing;
pub mod timezone;
pub mod view;
