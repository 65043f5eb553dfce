//! The aggregator over sockets: real logs behind a node that can be made to misbehave, the real
//! workers, the real API. One binary, so that it links once.

#![expect(
    clippy::unwrap_used,
    reason = "in a test's helper as in a test: what isn't there is the failure"
)]

mod api;
mod directory;
mod faults;
mod node;
mod operators;
mod stores;
mod sync;
mod world;
