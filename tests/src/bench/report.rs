//! `bench/report.md` and `bench/report.json`. A missed bar must stand there as plainly as a met one.

use std::fmt::Write as _;

use serde::Serialize;

use super::machine::Machine;
use super::parts::{Measured, Verdict};
use super::reservations::Comparison;

/// Everything measured in one call.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// P1, if it was asked for.
    pub reservations: Option<Comparison>,
    /// P4 and P5, as far as they were asked for.
    pub parts: Vec<Measured>,
}

impl Report {
    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = "# Benchmark report\n\n".to_owned();
        let machine = &self.machine;
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
            machine.fdatasync_p50_us,
            machine.fdatasync_p99_us
        );
        text.push_str(
            "Absolute figures are of this machine and this hour; the ratios to a peer that ran beside, in turn, are what counts.\n",
        );
        let _ = write!(text, "\nThe bars:");
        for (bar, verdict) in self.verdicts() {
            let _ = write!(text, " {bar} {}.", verdict.word());
        }
        text.push('\n');
        if let Some(comparison) = &self.reservations {
            reservations(&mut text, comparison);
        }
        for part in &self.parts {
            let _ = write!(
                text,
                "\n## {}: **{}**\n\n`{}`\n\n```\n{}\n```\n",
                part.bar,
                part.verdict.word(),
                part.command,
                part.printed.trim_end()
            );
        }
        text
    }

    /// Each bar's name and how it came out.
    pub fn verdicts(&self) -> Vec<(&'static str, Verdict)> {
        let mut verdicts = Vec::new();
        if let Some(comparison) = &self.reservations {
            let met = comparison.ratio >= comparison.bar && comparison.all_durable;
            verdicts.push(("P1", if met { Verdict::Met } else { Verdict::Missed }));
        }
        verdicts.extend(self.parts.iter().map(|part| (part.bar, part.verdict)));
        verdicts
    }
}

fn reservations(text: &mut String, comparison: &Comparison) {
    let verdict = if comparison.ratio >= comparison.bar { "met" } else { "MISSED" };
    let durable = if comparison.all_durable {
        "every acknowledged reservation of every round was there after kill -9 and a restart"
    } else {
        "ACKNOWLEDGED RESERVATIONS WERE LOST OR INVENTED"
    };
    let _ = writeln!(
        text,
        "\n## P1: single durable reservations over HTTP, 64 connections\n\n\
         Ratio to the ceiling (a handler that parses and answers the same and keeps nothing): **{:.3}**, bar {}: **{verdict}**; {durable}.\n\n\
         `{}`\n\n\
         | round | node /s | p50 µs | p99 µs | ceiling /s | p50 µs | p99 µs | ratio | acknowledged | durable | recovery ms |\n\
         |---|---|---|---|---|---|---|---|---|---|---|",
        comparison.ratio, comparison.bar, comparison.command
    );
    for (number, round) in comparison.rounds.iter().enumerate() {
        let _ = writeln!(
            text,
            "| {} | {:.0} | {} | {} | {:.0} | {} | {} | {:.3} | {} | {} | {:.0} |",
            number + 1,
            round.node.per_second(),
            round.node.p50_us,
            round.node.p99_us,
            round.ceiling.per_second(),
            round.ceiling.p50_us,
            round.ceiling.p99_us,
            round.ratio(),
            round.acknowledged,
            round.durable,
            round.recovery_ms
        );
    }
    let spread = |rate: &dyn Fn(&super::reservations::Round) -> f64| {
        let rates: Vec<f64> = comparison.rounds.iter().map(rate).collect();
        let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let most = rates.iter().copied().fold(0.0, f64::max);
        (least, most)
    };
    let (node_min, node_max) = spread(&|round| round.node.per_second());
    let (ceiling_min, ceiling_max) = spread(&|round| round.ceiling.per_second());
    let (ratio_min, ratio_max) = spread(&super::reservations::Round::ratio);
    let _ = writeln!(
        text,
        "| **median** | {:.0} | | | {:.0} | | | {:.3} | | | |\n\
         | min – max | {node_min:.0} – {node_max:.0} | | | {ceiling_min:.0} – {ceiling_max:.0} | | | {ratio_min:.3} – {ratio_max:.3} | | | |",
        comparison.node_per_second, comparison.ceiling_per_second, comparison.ratio
    );
}
