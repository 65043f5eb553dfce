//! Many orders of the threads of the log and of the ledger, over a simulated disk. What waits for
//! ever is a deadlock here, since no timed wait times out.

#![expect(clippy::unwrap_used, reason = "scenarios are tests")]

mod ledger;
mod log;
mod mutants;
