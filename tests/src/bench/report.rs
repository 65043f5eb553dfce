//! `bench/report.md` and `bench/report.json`. A missed bar must stand there as plainly as a met one.

use std::fmt::Write as _;

use serde::Serialize;

use super::machine::Machine;
use super::part::{Asks, Criterion, Verdict};
use super::suite::Measured;

/// Everything measured in one call.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// The parts that were asked for, in order.
    pub parts: Vec<Measured>,
}

impl Report {
    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = "# Benchmark report\n\n".to_owned();
        machine(&mut text, &self.machine);
        text.push_str("\n| bar | what | result | measured | asked | verdict |\n");
        text.push_str("|---|---|---|---|---|---|\n");
        for part in &self.parts {
            summary(&mut text, part);
        }
        let seconds: f64 = self.parts.iter().map(|part| part.seconds).sum();
        let _ = writeln!(text, "\nAll parts together took {:.1} minutes.", seconds / 60.0);
        for measured in &self.parts {
            part(&mut text, measured);
        }
        text
    }

    /// Whether any part has no measurement that counts.
    pub fn any_failed(&self) -> bool {
        self.parts.iter().any(|part| part.verdict == Verdict::Failed)
    }
}

fn machine(text: &mut String, machine: &Machine) {
    let _ = writeln!(
        text,
        "{} × {}, {} MiB, Linux {}, {}; {}; commit {}; load before: {}.\nfdatasync of 4 KiB in the data directory: p50 {:.0} µs, p99 {:.0} µs.\n",
        machine.cores,
        machine.cpu,
        machine.memory_mib,
        machine.kernel,
        machine.file_system,
        machine.rustc,
        machine.commit,
        machine.load,
        machine.fdatasync.p50_us,
        machine.fdatasync.p99_us
    );
    text.push_str(
        "Absolute figures are of this machine and this hour; the ratios to a peer that ran beside, in turn, are what counts.\nHow each part measures, and why: docs/performance.md.\n",
    );
}

/// The part's rows of the table at the top; one for each criterion.
fn summary(text: &mut String, part: &Measured) {
    if part.criteria.is_empty() {
        let _ =
            writeln!(text, "| {} | {} | no measurement | | | **FAILED** |", part.name, part.title);
    }
    for criterion in &part.criteria {
        let (measured, asked) = judged(criterion);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {measured} | {asked} | {} |",
            part.name,
            criterion.what,
            criterion.result,
            emphasised(criterion.verdict())
        );
    }
}

/// The figure and its bar, with their unit.
fn judged(criterion: &Criterion) -> (String, String) {
    let unit = &criterion.unit;
    let show = |value: f64| format!("{} {unit}", rounded(value)).trim().to_owned();
    let measured = show(criterion.measured);
    match criterion.asks {
        Asks::AtLeast(bar) => (measured, format!("≥ {}", show(bar))),
        Asks::AtMost(bar) => (measured, format!("≤ {}", show(bar))),
        Asks::Holds if criterion.verdict() == Verdict::Met => ("yes".to_owned(), "yes".to_owned()),
        Asks::Holds => ("NO".to_owned(), "yes".to_owned()),
    }
}

/// Three digits behind the point below 10, one below 1,000, none above.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.3}"),
        size if size < 1_000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn emphasised(verdict: Verdict) -> String {
    match verdict {
        Verdict::Met => verdict.word().to_owned(),
        Verdict::Missed | Verdict::Failed => format!("**{}**", verdict.word()),
    }
}

fn part(text: &mut String, part: &Measured) {
    let _ = writeln!(text, "\n## {}: {}: **{}**\n", part.name, part.title, part.verdict.word());
    for command in &part.commands {
        let _ = writeln!(text, "- `{command}`");
    }
    if let Some((before, after)) = &part.fdatasync {
        let _ = writeln!(
            text,
            "\nfdatasync p50/p99 before {:.0}/{:.0} µs, after {:.0}/{:.0} µs; took {:.0} s.\n",
            before.p50_us, before.p99_us, after.p50_us, after.p99_us, part.seconds
        );
    }
    if let Some(complaint) = &part.complaint {
        let _ = writeln!(text, "```\n{}\n```", complaint.trim_end());
    }
    let _ = writeln!(text, "{}", part.text.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::disk::Syncs;
    use serde_json::Value;

    fn measured(criteria: Vec<Criterion>, complaint: Option<&str>) -> Measured {
        Measured {
            name: "P7",
            title: "ingest",
            verdict: Verdict::of(&criteria),
            seconds: 61.0,
            fdatasync: Some((Syncs::default(), Syncs { p50_us: 100.0, p99_us: 170.0 })),
            commands: vec!["wrk -c64".to_owned()],
            criteria,
            text: "a table\n".to_owned(),
            figures: Value::Null,
            complaint: complaint.map(str::to_owned),
        }
    }

    fn rows(part: &Measured) -> Vec<String> {
        let mut text = String::new();
        summary(&mut text, part);
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_criterion_has_its_row_and_a_miss_stands_out() {
        let part = measured(
            vec![
                Criterion::ratio("rate", "8/s beside 10/s".to_owned(), 0.8, 0.8),
                Criterion::at_most("p99", "of 100".to_owned(), (21.04, "ms"), 20.0),
                Criterion::holds("durable", "9 of 10".to_owned(), false),
            ],
            None,
        );
        assert_eq!(
            rows(&part),
            [
                "| P7 | rate | 8/s beside 10/s | 0.800 × | ≥ 0.800 × | met |",
                "| P7 | p99 | of 100 | 21.0 ms | ≤ 20.0 ms | **MISSED** |",
                "| P7 | durable | 9 of 10 | NO | yes | **FAILED** |",
            ]
        );
    }

    #[test]
    fn a_part_without_figures_says_why() {
        let failed = measured(vec![], Some("no server"));
        assert_eq!(rows(&failed), ["| P7 | ingest | no measurement | | | **FAILED** |"]);
        let report = Report { machine: Machine::default(), parts: vec![failed] };
        assert!(report.any_failed());
        let text = report.markdown();
        assert!(text.contains("## P7: ingest: **FAILED**"), "{text}");
        assert!(
            text.contains("no server") && text.contains("after 100/170 µs; took 61 s"),
            "{text}"
        );
        assert!(text.contains("- `wrk -c64`") && text.contains("a table"), "{text}");
    }

    #[test]
    fn large_figures_lose_no_digit_that_matters() {
        assert_eq!(rounded(1_412_345.6), "1412346");
        assert_eq!(rounded(123.45), "123.5");
        assert_eq!(rounded(0.123_4), "0.123");
    }
}
