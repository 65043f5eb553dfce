//! P10: the same load on one SKU beside the load spread over ten thousand. It shows that no lock of
//! an item is held over the sync. Both sides must still hold every acknowledged reservation after
//! kill -9.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, anyhow};
use serde::Serialize;
use serde_json::json;

use super::reservations::{SKUS, plan, plans};
use crate::bench::node::{self, Kept, Side};
use crate::bench::part::{Criterion, Findings, Part, Setup};
use crate::bench::series::Series;
use crate::bench::table::table_of_rounds;

/// Of the rate over [`SKUS`].
const BAR: f64 = 0.5;

/// P10.
pub const PART: Part = Part {
    name: "P10",
    title: "64 clients on one SKU beside 64 clients on 10,000 SKUs",
    measure: |setup| Box::pin(measure(setup)),
};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    hot: Side,
    hot_kept: Kept,
    spread: Side,
    spread_kept: Kept,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.hot.per_second() / self.spread.per_second()
    }
}

async fn measure(setup: &Setup) -> Result<Findings> {
    let mut rounds = Vec::new();
    for number in 0..setup.rounds {
        let (hot, hot_kept) = side(setup, "hot", number, 1).await?;
        let (spread, spread_kept) = side(setup, "spread", number, SKUS).await?;
        let round = Round { hot, hot_kept, spread, spread_kept };
        println!(
            "  round {}: one SKU {:.0}/s (p99 {} µs), {SKUS} SKUs {:.0}/s, ratio {:.3}; {} of {} acknowledged on one SKU durable",
            number + 1,
            round.hot.per_second(),
            round.hot.load.p99_us,
            round.spread.per_second(),
            round.ratio(),
            round.hot_kept.durable,
            round.hot_kept.acknowledged
        );
        rounds.push(round);
    }
    Ok(findings(setup, &rounds))
}

/// The node holds [`SKUS`] items on both sides; the load is about the first `skus` of them.
async fn side(setup: &Setup, name: &str, number: usize, skus: usize) -> Result<(Side, Kept)> {
    let plans = plans(setup, number, skus);
    let name = format!("{name}-{number}");
    let (sides, kept) = node::durable_round(setup, &name, SKUS, plans).await?;
    let measured = sides.into_iter().next_back().ok_or_else(|| anyhow!("nothing was run"))?;
    Ok((measured, kept))
}

fn findings(setup: &Setup, rounds: &[Round]) -> Findings {
    let series = |figure: &dyn Fn(&Round) -> f64| Series::of(rounds.iter().map(figure));
    let hot = series(&|round| round.hot.per_second());
    let spread = series(&|round| round.spread.per_second());
    let ratio = series(&Round::ratio);
    let kept: Vec<Kept> =
        rounds.iter().flat_map(|round| [round.hot_kept, round.spread_kept]).collect();
    let result = format!("{:.0}/s beside {:.0}/s", hot.median, spread.median);
    let headings = "one SKU /s | p50 µs | p99 µs | 10,000 SKUs /s | p50 µs | p99 µs | ratio";
    let mut text = table_of_rounds(headings, rounds, |round| {
        let (one, many) = (&round.hot.load, &round.spread.load);
        format!(
            "{:.0} | {} | {} | {:.0} | {} | {} | {:.3}",
            one.per_second(),
            one.p50_us,
            one.p99_us,
            many.per_second(),
            many.p50_us,
            many.p99_us,
            round.ratio()
        )
    });
    let _ = writeln!(
        text,
        "| **median** | {:.0} | | | {:.0} | | | {:.3} |\n\
         | min – max | {:.0} – {:.0} | | | {:.0} – {:.0} | | | {:.3} – {:.3} |",
        hot.median,
        spread.median,
        ratio.median,
        hot.min,
        hot.max,
        spread.min,
        spread.max,
        ratio.min,
        ratio.max
    );
    let sides = |side: fn(&Round) -> &Side| rounds.iter().map(side).collect::<Vec<_>>();
    let (one, many) = (sides(|round| &round.hot), sides(|round| &round.spread));
    text.push_str(&node::usage_table(&[("node, one SKU", one), ("node, 10,000 SKUs", many)]));
    let command = |skus| {
        let plan = plan(Path::new(""), "r0".to_owned(), skus, setup.seconds);
        plan.command("http://127.0.0.1:4101").join(" ")
    };
    Findings {
        commands: vec![command(1), command(SKUS)],
        criteria: vec![
            Criterion::ratio("one SKU beside 10,000 SKUs", result, ratio.median, BAR),
            Kept::criterion(&kept),
        ],
        text,
        figures: json!({
            "rounds": rounds,
            "hotPerSecond": hot,
            "spreadPerSecond": spread,
            "ratio": ratio,
        }),
    }
}
