//! The one checker of every layer that breaks things on purpose: what the callers were told, what
//! the logs hold, what the nodes and the global view show, and whether all of that can be true at
//! once. The simulation and the chaos runs hand in the same plain values.
//!
//! It must never use the rules it checks: the arithmetic of a shelf is written down here a second
//! time ([`shelf`]), in the plainest way there is.
//!
//! | promise | where |
//! |---|---|
//! | acknowledged = durable; refused = no effect; unknown = wholly or not | [`evidence`] |
//! | never oversold; before + moved = after; versions and seqs gapless | [`evidence`] |
//! | one key, one effect, one answer | [`evidence`] |
//! | per SKU linearizable | [`linearizable`] |
//! | nodes, logs and the view agree | [`agreement`] |
//! | a reservation ends at its deadline | [`deadlines`] |

pub mod agreement;
pub mod deadlines;
pub mod evidence;
pub mod history;
pub mod linearizable;
pub mod shelf;

use std::fmt;

pub use agreement::{Held, agreement};
pub use deadlines::{Uptime, deadlines};
pub use evidence::{LogEvent, LogReceipt, StoreLog, evidence};
pub use history::{Answer, History, Line, LineAnswer, Operation, Outcome, Verb};

/// A promise that was broken, in one sentence with everything needed to look it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which promise.
    pub promise: Promise,
    /// What happened.
    pub what: String,
}

/// The promises, as `docs/testing.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// Nothing acknowledged is lost, nothing refused has an effect, unknown is all or nothing.
    Durable,
    /// Never more promised or sold than there is.
    NotOversold,
    /// Each SKU's answers have an order that explains them.
    Linearizable,
    /// Versions and seqs without a gap; the state after each event follows from the one before.
    Gapless,
    /// One key, one effect, one answer.
    Idempotent,
    /// When faults stop, everybody holds the same.
    Converged,
    /// Memory, queues, files stay within bounds.
    Bounded,
    /// A reservation holds until its deadline, and not much longer.
    OnTime,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.what)
    }
}

/// Gathers faults.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Notes that a promise was broken.
    pub fn note(&mut self, promise: Promise, what: impl Into<String>) {
        self.0.push(Fault { promise, what: what.into() });
    }

    /// Everything that was noted.
    pub fn into_vec(self) -> Vec<Fault> {
        self.0
    }
}
