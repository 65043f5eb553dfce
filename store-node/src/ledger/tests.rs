//! Tests of the ledger over the simulated disk. They must never depend on real time, and each must
//! be able to fail.

mod batch;
mod columns;
mod crash;
mod expiry;
mod keys;
mod list;
mod model;
mod single;
mod snapshot;
mod threads;
mod world;
