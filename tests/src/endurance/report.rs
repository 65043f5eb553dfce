//! `bench/endurance.md` and `.json`: what is flat, what isn't, and whether the sums hold. It must never
//! leave out what failed.

use std::fmt::Write as _;

use serde::Serialize;

use super::flatness::{Judged, WARM_UP_SHARE, judge, lows};
use super::plot::{Panel, Trace};
use super::samples::{Sample, Samples};

const MIB: f64 = (1 << 20) as f64;
/// Of memory, disk and open files over the judged time.
const GROWTH_MAX: f64 = 0.05;
/// Requests among which are more events than lead to a snapshot and a compaction, twice as many: the
/// least disk that was seen meanwhile is what a compaction left.
const COMPACTED_OPERATIONS: u64 = 400_000;
/// Of latencies, which a shared machine moves.
const LATENCY_GROWTH_MAX: f64 = 0.25;

/// Something that holds in the end, or doesn't.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// By which figures.
    pub detail: String,
    /// Whether.
    pub holds: bool,
}

/// What came of a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Requests answered.
    pub operations: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Each series.
    pub judged: Vec<Judged>,
    /// What must hold in the end.
    pub findings: Vec<Finding>,
    /// Bytes that a million requests left in the node's archive, which ages by the day.
    pub archive_bytes_per_million: f64,
    /// Everything that was seen.
    pub samples: Vec<Sample>,
}

impl Finding {
    /// One of them.
    pub fn of(what: &'static str, detail: String, holds: bool) -> Self {
        Self { what, detail, holds }
    }
}

impl Outcome {
    /// Judges the samples.
    pub fn new(samples: Samples, findings: Vec<Finding>, operations: u64, seconds: f64) -> Self {
        let series = |value: fn(&Sample) -> f64| samples.series(value);
        let of =
            |what, unit, value, growth_max| judge(what, unit, &series(value), seconds, growth_max);
        let seen = |sample: &Sample| {
            let least = sample.node_disk_least_bytes as f64 / MIB;
            (sample.at_seconds, sample.operations, least)
        };
        let node_disk = lows(&samples.0.iter().map(seen).collect::<Vec<_>>(), COMPACTED_OPERATIONS);
        let judged = vec![
            of("node: memory", "MiB", |s| s.node.resident_bytes as f64 / MIB, GROWTH_MAX),
            of(
                "aggregator: memory",
                "MiB",
                |s| s.aggregator.resident_bytes as f64 / MIB,
                GROWTH_MAX,
            ),
            of("node: open files", "", |s| s.node.descriptors as f64, GROWTH_MAX),
            of("aggregator: open files", "", |s| s.aggregator.descriptors as f64, GROWTH_MAX),
            judge("node: disk after compaction", "MiB", &node_disk, seconds, GROWTH_MAX),
            of("aggregator: disk", "MiB", |s| s.aggregator_disk_bytes as f64 / MIB, GROWTH_MAX),
            of("node: writes, p99", "ms", |s| s.writes_p99_ms, LATENCY_GROWTH_MAX),
            of("node: reads, p99", "ms", |s| s.reads_p99_ms, LATENCY_GROWTH_MAX),
            of("aggregator: reads, p99", "ms", |s| s.view_reads_p99_ms, LATENCY_GROWTH_MAX),
        ];
        let archived = samples.0.last().map_or(0, |sample| sample.archive_bytes) as f64;
        let archive_bytes_per_million = archived * 1e6 / operations.max(1) as f64;
        Self {
            operations,
            seconds,
            judged,
            findings,
            archive_bytes_per_million,
            samples: samples.0,
        }
    }

    /// Whether everything is flat and everything holds.
    pub fn is_good(&self) -> bool {
        self.judged.iter().all(|judged| judged.is_flat)
            && self.findings.iter().all(|finding| finding.holds)
    }

    /// The report as Markdown; the plot is beside it.
    pub fn markdown(&self) -> String {
        let verdict =
            if self.is_good() { "flat, and all sums hold" } else { "NOT FLAT, or not right" };
        let mut text = format!(
            "# Endurance: **{verdict}**\n\n\
             One node and one aggregator, the released programs: {} requests in {:.0} s ({:.0}/s) of sales, promises \
             kept, taken back and run out, goods received and returned, creates, batches, idempotency keys, repeated \
             requests, reads and lists, with snapshots and compactions going on.\n\n\
             ![memory, open files, disk and latency over time](endurance.svg)\n\n\
             The first {:.0} % are warm-up. Growth: the rise of the Theil–Sen line (the median slope of all pairs of \
             samples) over the rest, as a part of the median.\n\n\
             | what | median | min – max | growth | at most | |\n|---|---|---|---|---|---|\n",
            self.operations,
            self.seconds,
            self.operations as f64 / self.seconds,
            WARM_UP_SHARE * 100.0
        );
        for judged in &self.judged {
            let (least, most) = judged.extremes;
            let word = if judged.is_flat { "flat" } else { "**NOT FLAT**" };
            let _ = writeln!(
                text,
                "| {} | {:.2} {} | {least:.2} – {most:.2} | {:+.1} % | {:.0} % | {word} ({} samples) |",
                judged.what,
                judged.median,
                judged.unit,
                judged.growth * 100.0,
                judged.growth_max * 100.0,
                judged.samples
            );
        }
        text.push_str("\n| in the end | by | |\n|---|---|---|\n");
        for finding in &self.findings {
            let word = if finding.holds { "holds" } else { "**BROKEN**" };
            let _ = writeln!(text, "| {} | {} | {word} |", finding.what, finding.detail);
        }
        let _ = writeln!(
            text,
            "\nThe archive grew by {:.1} MiB for a million requests; it is kept by the day (`archive_keep_days`) and isn't part of the disk above.",
            self.archive_bytes_per_million / MIB
        );
        text
    }

    /// The four panels of the plot.
    pub fn panels(&self) -> Vec<Panel> {
        let trace = |name, value: &dyn Fn(&Sample) -> f64| Trace {
            name,
            points: self.samples.iter().map(|s| (s.at_seconds / 60.0, value(s))).collect(),
        };
        vec![
            Panel {
                title: "Resident memory, MiB",
                traces: vec![
                    trace("node", &|s| s.node.resident_bytes as f64 / MIB),
                    trace("aggregator", &|s| s.aggregator.resident_bytes as f64 / MIB),
                ],
            },
            Panel {
                title: "Open files and sockets",
                traces: vec![
                    trace("node", &|s| s.node.descriptors as f64),
                    trace("aggregator", &|s| s.aggregator.descriptors as f64),
                ],
            },
            Panel {
                title: "Disk, MiB",
                traces: vec![
                    trace("node", &|s| s.node_disk_bytes as f64 / MIB),
                    trace("aggregator", &|s| s.aggregator_disk_bytes as f64 / MIB),
                    trace("node's archive", &|s| s.archive_bytes as f64 / MIB),
                ],
            },
            Panel {
                title: "p99 latency, ms",
                traces: vec![
                    trace("node, writes", &|s| s.writes_p99_ms),
                    trace("aggregator, reads", &|s| s.view_reads_p99_ms),
                    trace("node, reads", &|s| s.reads_p99_ms),
                ],
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endurance::samples::Held;

    fn outcome(leak: u64, holds: bool) -> Outcome {
        let held = |resident_bytes| Held { resident_bytes, descriptors: 30 };
        let sample = |at: u64| Sample {
            at_seconds: at as f64,
            operations: at * COMPACTED_OPERATIONS,
            node: held((100 << 20) + at * leak),
            aggregator: held(50 << 20),
            node_disk_bytes: (10 + at % 2) << 20,
            node_disk_least_bytes: 10 << 20,
            aggregator_disk_bytes: 5 << 20,
            writes_p99_ms: 2.0,
            reads_p99_ms: 1.0,
            view_reads_p99_ms: 1.0,
            ..Sample::default()
        };
        let samples = Samples((0..100).map(sample).collect());
        Outcome::new(
            samples,
            vec![Finding::of("conserved", "1 = 1".to_owned(), holds)],
            1000,
            100.0,
        )
    }

    #[test]
    fn a_leak_and_a_broken_sum_each_spoil_a_run_and_are_told() {
        let good = outcome(0, true);
        assert!(good.is_good(), "{}", good.markdown());
        let leaks = outcome(1 << 20, true);
        assert!(!leaks.is_good() && leaks.markdown().contains("| **NOT FLAT** (75 samples) |"));
        let wrong = outcome(0, false);
        assert!(
            !wrong.is_good() && wrong.markdown().contains("| conserved | 1 = 1 | **BROKEN** |")
        );
    }
}
