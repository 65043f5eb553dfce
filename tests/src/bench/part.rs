//! The one shape of every bar: a part with a name, what it measures, and findings that say by
//! numbered criteria whether the bar was met. It must never let a part without a measurement, or
//! one whose answers weren't durable, pass as measured.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::world::Binaries;

/// A running measurement.
pub type Measuring<'a> = Pin<Box<dyn Future<Output = Result<Findings>> + 'a>>;

/// One bar of the performance contract and the program that measures it.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The bar: `P1`. Where a bar has several programs, a word follows: `P11-skus`, `P11-stores`.
    pub name: &'static str,
    /// What is measured, one line.
    pub title: &'static str,
    /// Measures it. An error makes the part [`Verdict::Failed`]; the other parts go on.
    pub measure: for<'a> fn(&'a Setup) -> Measuring<'a>,
}

/// What a part is given.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The programs, built for release.
    pub binaries: Binaries,
    /// The repository's root.
    pub repository: PathBuf,
    /// A directory of the part's own on the disk that is measured: empty before, removed after.
    pub directory: PathBuf,
    /// A directory of the whole call on the same disk, for what is made once and read by several
    /// parts.
    pub shared: PathBuf,
    /// Rounds; each runs ours and the peer's, in turn.
    pub rounds: usize,
    /// Seconds of each run in a round.
    pub seconds: u64,
    /// SKUs of a large store.
    pub skus: u64,
    /// More options for every node.
    pub node_options: Vec<String>,
}

/// What a part found.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Every command line that made load or was measured, as it can be typed.
    pub commands: Vec<String>,
    /// What the bar asks, one by one. Without any, nothing was measured.
    pub criteria: Vec<Criterion>,
    /// Tables and words, as Markdown without headings.
    pub text: String,
    /// All figures.
    pub figures: Value,
}

/// One number that the bar asks for. Examples of other crates may write them as JSON:
/// `{"what": "read", "result": "0.2 ms of 1,000", "measured": 0.2, "unit": "ms", "asks": {"atMost": 50}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Criterion {
    /// What was measured.
    pub what: String,
    /// The absolute figures behind it, for orientation.
    pub result: String,
    /// The figure that is judged.
    pub measured: f64,
    /// Its unit; `×` of a ratio to a peer.
    pub unit: String,
    /// What it is judged by.
    pub asks: Asks,
}

/// What a criterion asks of its figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Asks {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// That it holds (1) and not that it doesn't (0): without it the other figures mean nothing.
    Holds,
}

/// How a part or a criterion came out; the worst comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every bar was met.
    Met,
    /// At least one wasn't.
    Missed,
    /// There is no measurement that counts.
    Failed,
}

impl Verdict {
    /// The word in the report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Failed => "FAILED",
        }
    }

    /// The worst of all criteria; of none, [`Verdict::Failed`].
    pub fn of(criteria: &[Criterion]) -> Self {
        criteria.iter().map(Criterion::verdict).max().unwrap_or(Self::Failed)
    }
}

impl Criterion {
    /// Ours as a multiple of the peer's, at least `bar`.
    pub fn ratio(what: &str, result: String, measured: f64, bar: f64) -> Self {
        Self::at_least(what, result, (measured, "×"), bar)
    }

    /// A figure with its unit, at least `bar`.
    pub fn at_least(what: &str, result: String, measured: (f64, &str), bar: f64) -> Self {
        Self::new(what, result, measured, Asks::AtLeast(bar))
    }

    /// A figure with its unit, at most `bar`.
    pub fn at_most(what: &str, result: String, measured: (f64, &str), bar: f64) -> Self {
        Self::new(what, result, measured, Asks::AtMost(bar))
    }

    /// Something that must be so for any figure to count.
    pub fn holds(what: &str, result: String, holds: bool) -> Self {
        Self::new(what, result, (f64::from(u8::from(holds)), ""), Asks::Holds)
    }

    fn new(what: &str, result: String, (measured, unit): (f64, &str), asks: Asks) -> Self {
        Self { what: what.to_owned(), result, measured, unit: unit.to_owned(), asks }
    }

    /// How it came out; a figure that is no number never meets a bar.
    pub fn verdict(&self) -> Verdict {
        let (met, otherwise) = match self.asks {
            Asks::AtLeast(bar) => (self.measured >= bar, Verdict::Missed),
            Asks::AtMost(bar) => (self.measured <= bar, Verdict::Missed),
            Asks::Holds => (self.measured >= 1.0, Verdict::Failed),
        };
        if met { Verdict::Met } else { otherwise }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_criterion_decides_and_none_is_a_failure() {
        let ratio = |measured| Criterion::ratio("rate", String::new(), measured, 0.8);
        let latency = |measured| Criterion::at_most("p99", String::new(), (measured, "ms"), 20.0);
        let durable = |holds| Criterion::holds("durable", String::new(), holds);
        let cases = [
            (vec![], Verdict::Failed),
            (vec![ratio(0.8)], Verdict::Met),
            (vec![ratio(0.799)], Verdict::Missed),
            (vec![ratio(f64::NAN)], Verdict::Missed),
            (vec![latency(20.0)], Verdict::Met),
            (vec![latency(20.1)], Verdict::Missed),
            (vec![latency(f64::NAN)], Verdict::Missed),
            (vec![ratio(0.9), latency(19.0), durable(true)], Verdict::Met),
            (vec![ratio(0.9), latency(21.0), durable(true)], Verdict::Missed),
            (vec![ratio(0.9), durable(false), latency(21.0)], Verdict::Failed),
        ];
        for (criteria, expected) in cases {
            assert_eq!(Verdict::of(&criteria), expected, "{criteria:?}");
        }
    }

    #[test]
    fn an_example_can_write_its_criteria_as_json() {
        let text =
            r#"{"what":"read","result":"1","measured":0.2,"unit":"ms","asks":{"atMost":50}}"#;
        let read: Criterion = serde_json::from_str(text).unwrap();
        assert_eq!(read, Criterion::at_most("read", "1".to_owned(), (0.2, "ms"), 50.0));
    }
}
