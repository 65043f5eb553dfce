//! How fast one aggregator takes over several nodes' logs from their first frames, in turn with a
//! program that reads the same logs and keeps nothing: what HTTP, frames and crcs cost by themselves.
//! A round must never count before every store is verified at its node's seq.

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::bench::example;
use crate::bench::part::{Criterion, Setup};
use crate::bench::parts::stores::fleet::{self, Fleet};
use crate::bench::parts::stores::office::{self, CatchUp};
use crate::bench::series::Series;
use crate::bench::table::table_of_rounds;

/// The bound beside it.
pub const READ_LOGS: &str =
    "cargo run --release --quiet -p aggregator --example read_logs -- --json FILE";
/// Nodes.
const NODES: usize = 4;
/// Items in each.
const ITEMS: usize = 50_000;
/// Events on each item, its creation included.
const EVENTS_PER_ITEM: usize = 10;
/// Events a second.
const BAR: f64 = 1_000_000.0;

/// Both, one after the other.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Round {
    ours: CatchUp,
    /// Events a second that were read and thrown away.
    read_per_second: f64,
}

impl Round {
    /// Taken over, as a part of what was merely read.
    pub fn ratio(&self) -> f64 {
        self.ours.events_per_second() / self.read_per_second
    }
}

/// Measures all rounds over one fleet.
pub async fn measure(setup: &Setup) -> Result<Vec<Round>> {
    let fleet = Fleet::start(setup, "shop", NODES).await?;
    fleet.fill(ITEMS, EVENTS_PER_ITEM - 1).await?;
    let view = setup.directory.join("view");
    let mut rounds = Vec::new();
    for number in 0..setup.rounds {
        let ours = office::catch_up(&setup.binaries, &view, &fleet).await?;
        let round = Round { ours, read_per_second: read(setup, &fleet)? };
        println!(
            "  round {}: {}, {:.0}/s merely read",
            number + 1,
            round.ours,
            round.read_per_second
        );
        rounds.push(round);
    }
    fleet.stop().await?;
    Ok(rounds)
}

fn read(setup: &Setup, fleet: &Fleet) -> Result<f64> {
    let json = setup.directory.join("read.json");
    let nodes: Vec<&str> = fleet.nodes.iter().map(|node| node.client().base()).collect();
    let command = format!("{READ_LOGS} --node {}", nodes.join(" --node "));
    let ended = example::run(setup, &command, &[("FILE", &json.display().to_string())])?;
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let figures: serde_json::Value = serde_json::from_slice(&std::fs::read(&json)?)?;
    let events = figures["events"].as_f64().context("events were read")?;
    ensure!(events as usize == NODES * ITEMS * EVENTS_PER_ITEM, "{events} events were read");
    Ok(events / example::figure(&figures, "/seconds"))
}

/// The bar.
pub fn criteria(rounds: &[Round]) -> Vec<Criterion> {
    let rate = Series::of(rounds.iter().map(|round| round.ours.events_per_second()));
    let read = Series::of(rounds.iter().map(|round| round.read_per_second));
    let cost = Series::of(rounds.iter().map(|round| round.ours.cpu_us_per_event()));
    let ratio = Series::of(rounds.iter().map(Round::ratio));
    let result = format!(
        "{NODES} nodes; {:.2} µs of processor an event; {:.2} × the {:.0}/s of merely reading",
        cost.median, ratio.median, read.median
    );
    vec![Criterion::at_least("events taken over", result, (rate.median, "/s"), BAR)]
}

/// As Markdown.
pub fn markdown(rounds: &[Round]) -> String {
    let headings = "events/s | µs an event | peak RSS MiB | merely read/s | ratio";
    let table = table_of_rounds(headings, rounds, |round| {
        format!(
            "{:.0} | {:.3} | {:.0} | {:.0} | {:.2}",
            round.ours.events_per_second(),
            round.ours.cpu_us_per_event(),
            round.ours.usage.peak_rss_mib(),
            round.read_per_second,
            round.ratio()
        )
    });
    format!(
        "{NODES} nodes of {} events each, in frames of {} at most, followed from the first frame over HTTP \
         by an aggregator that begins with nothing; digests checked; nodes and aggregator on the same \
         cores. Merely read: the same streams, crcs checked, thrown away.\n\n{table}",
        ITEMS * EVENTS_PER_ITEM,
        fleet::OPERATIONS
    )
}
