//! What the replay benchmark needs besides its timing: logs to replay, the ceiling, figures.

pub(crate) mod ceiling;
pub(crate) mod generate;

use std::fmt;

use serde::Serialize;

/// The store that the logs belong to.
pub(crate) const STORE: &str = "bench";

/// Ends the run with a message.
pub(crate) fn failed(error: &dyn fmt::Display) -> ! {
    eprintln!("error: {error}");
    std::process::exit(1)
}

/// Several measurements of one thing.
#[derive(Serialize)]
pub(crate) struct Series {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: Vec<f64>,
}

impl Series {
    pub(crate) fn of(rounds: Vec<f64>) -> Self {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let median = f64::midpoint(at((sorted.len() - 1) / 2), at(sorted.len() / 2));
        Self { median, min: at(0), max: at(sorted.len() - 1), rounds }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, min, max, rounds } = self;
        let digits = if *median < 1000.0 { 3 } else { 0 };
        write!(
            f,
            "median {median:.digits$}  min {min:.digits$}  max {max:.digits$}  ({} rounds)",
            rounds.len()
        )
    }
}
