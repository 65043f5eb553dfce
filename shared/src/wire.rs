//! The JSON types of both APIs: the only thing besides frames through which the services meet.
//! Field names are the contract (docs/architecture.md); nothing here decides anything.

pub mod body;
pub mod cursor;
pub mod global;
pub mod global_sync;
pub mod node;
pub mod problem;
pub mod text;
