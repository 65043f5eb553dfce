//! The integration tests of the event log, in one binary: the promises of its design page, each
//! tried over the simulated disk with every fault it knows, and a few over the real one.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails, with the place")]
#![expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "the log gives the names, always in lower case"
)]

mod crash;
mod damage;
mod faults;
mod golden;
mod golden_life;
mod leftovers;
mod links;
mod model;
mod read_only;
mod refusals;
mod retention;
mod rot;
mod scrub;
mod threads;
mod world;
