//! What the end-to-end tests, the demonstration, the real-input replay and the benchmarks share:
//! a world of real processes on real sockets and disks. It must never link the services: it knows
//! them only as a user does, by their binaries, their HTTP and their files.

pub mod audit;
pub mod bench;
pub mod chaos;
pub mod dice;
pub mod endurance;
pub mod findings;
pub mod http;
pub mod load;
pub mod quantile;
pub mod retail;
pub mod sample;
pub mod skip;
pub mod till;
pub mod world;
