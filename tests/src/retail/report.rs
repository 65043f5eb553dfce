//! What a replay found, as a plain table and as JSON. It must never leave out what went wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::compare::Comparison;
use super::incidents::{Incident, Lag};
use super::play::Refused;

/// The most refused baskets that the table names; the JSON has all.
const REFUSED_LISTED_MAX: usize = 5;

/// One data set's replay.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The data set.
    pub data_set: String,
    /// The file's name.
    pub file: String,
    /// Whether it was the generated sample.
    pub is_sample: bool,
    /// The stores that were played.
    pub stores: Vec<String>,
    /// SKU × store cells with opening stock.
    pub opening_cells: usize,
    /// Units of opening stock received.
    pub opening_units: u64,
    /// Tills playing at the same time.
    pub tills: usize,
    /// Baskets sent.
    pub baskets: usize,
    /// Their lines.
    pub lines: usize,
    /// Baskets applied.
    pub applied_baskets: usize,
    /// Lines applied.
    pub applied_lines: usize,
    /// Baskets refused, all of them.
    pub refused: Vec<Refused>,
    /// Rows never sent, by reason.
    pub skipped: BTreeMap<String, usize>,
    /// The SKUs that were never delivered, `store/sku`.
    pub never_delivered: Vec<String>,
    /// Requests sent again after a kill or a "try again".
    pub retries: usize,
    /// Answers that were those of an earlier try.
    pub replayed: usize,
    /// From the first basket to the last answer, outages included.
    pub seconds: f64,
    /// Baskets answered a second.
    pub baskets_per_second: f64,
    /// Lines answered a second.
    pub lines_per_second: f64,
    /// The kills.
    pub incidents: Vec<Incident>,
    /// How far the view was behind.
    pub worst_lag: Lag,
    /// From the last answer until the view had everything, in milliseconds.
    pub caught_up_ms: f64,
    /// Whether every store's digest matched its node's at its last seq.
    pub all_verified: bool,
    /// Dead letters.
    pub dead_letters: u64,
    /// Nodes whose log `store-node verify` found intact after the run.
    pub logs_verified: usize,
    /// The comparison.
    pub comparison: Comparison,
}

impl Report {
    /// Whether everything is as it must be.
    pub fn is_good(&self) -> bool {
        self.comparison.differences == 0
            && self.all_verified
            && self.dead_letters == 0
            && self.logs_verified == self.stores.len()
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut rows = self.load_rows();
        rows.extend(self.verdict_rows());
        let differences = self.comparison.listed.iter();
        rows.extend(differences.map(|text| ("", text.clone())));
        let mut table = String::new();
        for (name, value) in rows {
            let _ = writeln!(table, "  {name:<15} {value}");
        }
        table
    }

    fn load_rows(&self) -> Vec<(&'static str, String)> {
        let sample = if self.is_sample { " (generated sample)" } else { "" };
        let (stores, tills) = (self.stores.join(" "), self.tills);
        let opening = format!("{} units of {} SKU × store", self.opening_units, self.opening_cells);
        let baskets =
            format!("{} with {} lines, from {tills} tills at once", self.baskets, self.lines);
        let speed = format!(
            "{:.0} baskets/s, {:.0} lines/s over {:.1} s, kills included",
            self.baskets_per_second, self.lines_per_second, self.seconds
        );
        vec![
            ("file", format!("{}{sample}", self.file)),
            ("stores", format!("{} ({stores})", self.stores.len())),
            ("opening stock", opening),
            ("baskets", baskets),
            ("applied", format!("{} with {} lines", self.applied_baskets, self.applied_lines)),
            ("refused", self.refused_text()),
            ("skipped rows", self.skipped_text()),
            ("speed", speed),
        ]
    }

    fn verdict_rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        for incident in &self.incidents {
            let text = format!(
                "{} after {} baskets: ready {:.0} ms after its start, recovered {:.0} ms after the kill",
                incident.service, incident.after_baskets, incident.ready_ms, incident.recovered_ms
            );
            rows.push(("killed", text));
        }
        let lag = &self.worst_lag;
        let worst = format!(
            "live {} events, {} ms; in outages {} events, {} ms ({} samples)",
            lag.live_events, lag.live_ms, lag.any_events, lag.any_ms, lag.samples
        );
        rows.extend([
            ("sent again", format!("{}, {} answered as before", self.retries, self.replayed)),
            ("worst lag", worst),
            ("view caught up", format!("{:.0} ms after the last answer", self.caught_up_ms)),
            ("digests", self.digests_text()),
            ("dead letters", self.dead_letters.to_string()),
            ("comparison", self.comparison_text()),
        ]);
        rows
    }

    fn refused_text(&self) -> String {
        let mut by_error: BTreeMap<String, usize> = BTreeMap::new();
        for refused in &self.refused {
            *by_error.entry(refused.errors.join("+")).or_default() += 1;
        }
        let counts: Vec<String> =
            by_error.iter().map(|(error, count)| format!("{count} {error}")).collect();
        let named: Vec<String> = self
            .refused
            .iter()
            .take(REFUSED_LISTED_MAX)
            .map(|refused| {
                let skus = refused.skus.join(",");
                format!("{}/{} ({skus})", refused.store, refused.basket)
            })
            .collect();
        if self.refused.is_empty() {
            return "0".to_owned();
        }
        format!(
            "{}: {}; such as {}; never delivered: {}",
            self.refused.len(),
            counts.join(", "),
            named.join(" "),
            self.never_delivered.join(" ")
        )
    }

    fn skipped_text(&self) -> String {
        let counts: Vec<String> =
            self.skipped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        if counts.is_empty() { "0".to_owned() } else { counts.join(", ") }
    }

    fn digests_text(&self) -> String {
        let verified = if self.all_verified { "all verified" } else { "NOT VERIFIED" };
        format!(
            "{verified} at the nodes' last seqs; {} of {} logs verified offline",
            self.logs_verified,
            self.stores.len()
        )
    }

    fn comparison_text(&self) -> String {
        let comparison = &self.comparison;
        let verdict = if comparison.differences == 0 {
            "EQUAL to the unit".to_owned()
        } else {
            format!("{} DIFFERENCES", comparison.differences)
        };
        format!(
            "nodes = global view = sqlite over {} cells ({} units left, {} sold): {verdict}",
            comparison.cells, comparison.stock, comparison.sold
        )
    }
}
