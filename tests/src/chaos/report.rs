//! What a chaos run has to say, as a table. It must never round a fault away.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::strikes::Counts;
use crate::audit::{Fault, LineAnswer, Operation, Outcome, Promise};

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed of the schedule.
    pub seed: u64,
    /// From the first operation to the healing.
    pub duration: Duration,
    /// How often each fault happened.
    pub counts: Counts,
    /// What can't be done on this machine, and why.
    pub left_out: Vec<(String, String)>,
    /// What the tills were told.
    pub told: Told,
    /// From the healing until every store was verified at its node's last record.
    pub converged: Duration,
    /// Promises that were broken.
    pub faults: Vec<Fault>,
    /// Where logs and dumps are kept, if a promise was broken.
    pub kept: Option<PathBuf>,
}

/// How operations ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// Done, at least in part, or seen.
    pub acknowledged: u64,
    /// Nothing was done.
    pub refused: u64,
    /// Nobody knows.
    pub unknown: u64,
}

impl Told {
    /// Counts them.
    pub fn of(operations: &[Operation]) -> Self {
        let mut told = Self::default();
        for operation in operations {
            match &operation.outcome {
                Outcome::Unknown => told.unknown += 1,
                Outcome::Answered(answer) if answer.lines.iter().any(is_state) => {
                    told.acknowledged += 1;
                }
                Outcome::Answered(_) | Outcome::Refused { .. } => told.refused += 1,
            }
        }
        told
    }
}

fn is_state(line: &LineAnswer) -> bool {
    matches!(line, LineAnswer::State(_))
}

impl Report {
    /// How many promises of this kind were broken.
    pub fn broken(&self, promise: Promise) -> usize {
        self.faults.iter().filter(|fault| fault.promise == promise).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "chaos, seed {}, {:.1} s", self.seed, self.duration.as_secs_f64())?;
        writeln!(f, "{:<40} {:>7}", "fault", "times")?;
        for (kind, times) in &self.counts {
            writeln!(f, "{:<40} {times:>7}", kind.name())?;
        }
        for (what, why) in &self.left_out {
            writeln!(f, "{what:<40} skipped: {why}")?;
        }
        let (lost, oversold) = (self.broken(Promise::Durable), self.broken(Promise::NotOversold));
        writeln!(f, "{:<40} {:>7}", "operations", "")?;
        for (what, count) in [
            ("  acknowledged", self.told.acknowledged),
            ("  refused", self.told.refused),
            ("  unknown", self.told.unknown),
            ("  lost, doubled or from nowhere", lost as u64),
            ("  oversold", oversold as u64),
            ("other promises broken", (self.faults.len() - lost - oversold) as u64),
        ] {
            writeln!(f, "{what:<40} {count:>7}")?;
        }
        writeln!(f, "{:<40} {:>7} ms", "converged in", self.converged.as_millis())?;
        for fault in &self.faults {
            writeln!(f, "FAULT {fault}")?;
        }
        if let Some(place) = &self.kept {
            writeln!(f, "logs and dumps are kept in {}", place.display())?;
        }
        Ok(())
    }
}
