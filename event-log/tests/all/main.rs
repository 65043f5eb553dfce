//! The integration tests of the event log, in one binary: the promises of its design page, each
//! tried over the simulated disk with every fault it knows, and a few over the real one.

mod crash;
mod damage;
mod faults;
mod golden;
mod golden_life;
mod model;
mod refusals;
mod retention;
mod world;
