//! P1: single durable reservations over HTTP beside a handler that parses and answers the same and
//! keeps nothing. After each round the node is killed, started again, and must still hold every
//! reservation that was acknowledged: a fast answer that isn't durable doesn't count.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, anyhow};
use serde::Serialize;
use serde_json::json;

use crate::bench::node::{self, Kept, Side};
use crate::bench::part::{Criterion, Findings, Part, Setup};
use crate::bench::series::Series;
use crate::bench::table::table_of_rounds;
use crate::bench::wrk::{CONNECTIONS, Plan};
use crate::world::Service;

/// SKUs the load is spread over.
pub const SKUS: usize = 10_000;
/// How long each side warms up in a round.
const WARM_UP_SECONDS: u64 = 1;
/// Of the ceiling's rate.
const BAR: f64 = 0.8;

/// P1.
pub const PART: Part = Part {
    name: "P1",
    title: "single durable reservations over HTTP/JSON, 64 connections",
    measure: |setup| Box::pin(measure(setup)),
};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    node: Side,
    ceiling: Side,
    kept: Kept,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.node.per_second() / self.ceiling.per_second()
    }
}

async fn measure(setup: &Setup) -> Result<Findings> {
    let mut ceiling = node::start_ceiling(setup).await?;
    let mut rounds = Vec::new();
    for number in 0..setup.rounds {
        let round = round(number, &ceiling, setup).await?;
        println!(
            "  round {}: node {:.0}/s (p99 {} µs), ceiling {:.0}/s (p99 {} µs), ratio {:.3}; {} acknowledged, {} durable after kill -9 (ready in {:.0} ms)",
            number + 1,
            round.node.per_second(),
            round.node.load.p99_us,
            round.ceiling.per_second(),
            round.ceiling.load.p99_us,
            round.ratio(),
            round.kept.acknowledged,
            round.kept.durable,
            round.kept.recovery_ms
        );
        rounds.push(round);
    }
    ceiling.kill()?;
    Ok(findings(setup, &rounds))
}

/// wrk reserving one unit a request, spread over `skus` SKUs.
pub fn plan(repository: &Path, prefix: String, skus: usize, seconds: u64) -> Plan {
    Plan {
        script: repository.join("tests/bench/reserve.lua"),
        connections: CONNECTIONS,
        seconds,
        arguments: vec![prefix, skus.to_string()],
    }
}

async fn round(number: usize, ceiling: &Service, setup: &Setup) -> Result<Round> {
    let plans = || plans(setup, number, SKUS);
    let (mut sides, kept) =
        node::durable_round(setup, &format!("node-{number}"), SKUS, plans()).await?;
    for plan in plans() {
        sides.push(node::load(ceiling, plan).await?);
    }
    let [_, node, _, ceiling] = <[Side; 4]>::try_from(sides)
        .map_err(|sides| anyhow!("four runs and not {}", sides.len()))?;
    Ok(Round { node, ceiling, kept })
}

/// A round's two runs, warming up and measured, spread over `skus` SKUs.
pub fn plans(setup: &Setup, number: usize, skus: usize) -> Vec<Plan> {
    let plan =
        |kind: &str, seconds| plan(&setup.repository, format!("{kind}{number}"), skus, seconds);
    vec![plan("w", WARM_UP_SECONDS), plan("r", setup.seconds)]
}

fn findings(setup: &Setup, rounds: &[Round]) -> Findings {
    let series = |figure: &dyn Fn(&Round) -> f64| Series::of(rounds.iter().map(figure));
    let node = series(&|round| round.node.per_second());
    let ceiling = series(&|round| round.ceiling.per_second());
    let ratio = series(&Round::ratio);
    let result = format!("{:.0}/s beside the ceiling's {:.0}/s", node.median, ceiling.median);
    let kept: Vec<Kept> = rounds.iter().map(|round| round.kept).collect();
    let criteria = vec![
        Criterion::ratio("reservations beside the ceiling", result, ratio.median, BAR),
        Kept::criterion(&kept),
    ];
    let mut text = text(rounds);
    let _ = writeln!(
        text,
        "| **median** | {:.0} | | | {:.0} | | | {:.3} | | | |\n\
         | min – max | {:.0} – {:.0} | | | {:.0} – {:.0} | | | {:.3} – {:.3} | | | |",
        node.median,
        ceiling.median,
        ratio.median,
        node.min,
        node.max,
        ceiling.min,
        ceiling.max,
        ratio.min,
        ratio.max
    );
    let sides = |side: fn(&Round) -> &Side| rounds.iter().map(side).collect::<Vec<_>>();
    let (ours, peers) = (sides(|round| &round.node), sides(|round| &round.ceiling));
    text.push_str(&node::usage_table(&[("node", ours), ("ceiling", peers)]));
    let example = plan(Path::new(""), "r0".to_owned(), SKUS, setup.seconds);
    Findings {
        commands: vec![example.command("http://127.0.0.1:4101").join(" ")],
        criteria,
        text,
        figures: json!({
            "rounds": rounds,
            "nodePerSecond": node,
            "ceilingPerSecond": ceiling,
            "ratio": ratio,
        }),
    }
}

fn text(rounds: &[Round]) -> String {
    let headings = "node /s | p50 µs | p99 µs | ceiling /s | p50 µs | p99 µs | ratio | acknowledged | durable | recovery ms";
    table_of_rounds(headings, rounds, |round| {
        let (node, ceiling) = (&round.node.load, &round.ceiling.load);
        format!(
            "{:.0} | {} | {} | {:.0} | {} | {} | {:.3} | {} | {} | {:.0}",
            node.per_second(),
            node.p50_us,
            node.p99_us,
            ceiling.per_second(),
            ceiling.p50_us,
            ceiling.p99_us,
            round.ratio(),
            round.kept.acknowledged,
            round.kept.durable,
            round.kept.recovery_ms
        )
    })
}
