//! P3: durable movements a second in batches over HTTP, in each of the three forms that a gateway
//! or an import would use, beside a thread that copies the bytes of the log and syncs them. A
//! movement only counts if it is there after kill -9.

pub(super) mod bodies;
mod bound;

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;

use crate::bench::node::{self, Side};
use crate::bench::part::{Criterion, Findings, Part, Setup};
use crate::bench::series::Series;
use crate::bench::table::table_of_rounds;
use crate::bench::wrk::Plan;
use crate::http::Client;
use crate::world::Service;
use bodies::{Bodies, FORMS, Form, LINES, SKUS};

/// Keep-alive connections: as many batches are on their way.
const CONNECTIONS: usize = 4;
const WARM_UP_SECONDS: u64 = 1;
/// A round measures three forms: each for less time than a part with one.
const SECONDS_MAX: u64 = 3;
/// The better of JSON and NDJSON, movements a second.
const TEXT_BAR: f64 = 700_000.0;
/// The compact form, movements a second.
const COMPACT_BAR: f64 = 1_400_000.0;

/// P3.
pub const PART: Part = Part {
    name: "P3",
    title: "durable movements in batches of 8,000 over the wire",
    measure: |setup| Box::pin(measure(setup)),
};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    #[serde(flatten)]
    side: Side,
    /// Movements acknowledged, and movements found after kill -9.
    acknowledged: u64,
    durable: u64,
}

impl Run {
    fn per_second(&self) -> f64 {
        self.side.per_second() * LINES as f64
    }

    /// Nothing acknowledged is missing; beyond it may be what was on its way when a run stopped.
    fn is_durable(&self) -> bool {
        let in_flight_max = 2 * (CONNECTIONS * LINES) as u64;
        (self.acknowledged..=self.acknowledged + in_flight_max).contains(&self.durable)
    }
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    /// In the order of [`FORMS`].
    runs: Vec<Run>,
    /// What the log has for a movement, in bytes.
    log_bytes: f64,
    bound_per_second: f64,
}

async fn measure(setup: &Setup) -> Result<Findings> {
    let bodies = Bodies::write(&setup.directory)?;
    let mut rounds = Vec::new();
    for number in 0..setup.rounds {
        let mut runs = Vec::new();
        let mut log_bytes = 0.0;
        for form in FORMS {
            let name = format!("{}-{number}", form.name);
            let run = run(setup, &bodies, form, &name, &mut log_bytes).await?;
            println!("  round {}: {}: {:.0} movements/s", number + 1, form.name, run.per_second());
            runs.push(run);
        }
        let bytes = (log_bytes * LINES as f64) as usize;
        let bound_per_second = bound::batches_per_second(&setup.directory, bytes)? * LINES as f64;
        println!("  round {}: the bound: {bound_per_second:.0} movements/s", number + 1);
        rounds.push(Round { runs, log_bytes, bound_per_second });
    }
    Ok(findings(setup, &bodies, &rounds))
}

async fn run(
    setup: &Setup,
    bodies: &Bodies,
    form: &Form,
    name: &str,
    log_bytes: &mut f64,
) -> Result<Run> {
    let mut node = node::start(setup, name).await?;
    node::create_items(node.client(), SKUS).await?;
    let plan = |seconds| plan(setup, bodies, form, seconds);
    let before = log_stream_bytes(node.client()).await?;
    let first = bodies.post_once(form, node.client()).await?;
    ensure!(first == LINES as u64, "{first} of {LINES} lines were applied");
    *log_bytes = (log_stream_bytes(node.client()).await? - before) as f64 / LINES as f64;

    let warm = node::load(&node, plan(WARM_UP_SECONDS)).await?;
    let side = node::load(&node, plan(setup.seconds.min(SECONDS_MAX))).await?;
    node.kill()?;
    node.restart().await.context("restarting the killed node")?;
    let durable = movements(&node).await?;
    node.stop().await?;
    std::fs::remove_dir_all(&node.spec().data_dir).context("removing a run's data")?;
    let requests = 1 + warm.load.acknowledged() + side.load.acknowledged();
    Ok(Run { side, acknowledged: requests * LINES as u64, durable })
}

fn plan(setup: &Setup, bodies: &Bodies, form: &Form, seconds: u64) -> Plan {
    let mut arguments = vec!["/api/batch".to_owned(), form.media_type.to_owned()];
    arguments.extend(bodies.files(form));
    let script = setup.repository.join("tests/bench/post.lua");
    Plan { script, connections: CONNECTIONS, seconds, arguments }
}

/// The bytes of the whole log, as they go over the line to the aggregator.
async fn log_stream_bytes(client: &Client) -> Result<usize> {
    Ok(client.get("/api/log?follow=false").await?.ok()?.body.len())
}

/// Movements that the items tell of: all of their events but the one that made them.
async fn movements(node: &Service) -> Result<u64> {
    let rows = node.client().list_all("/api/inventory").await?;
    ensure!(rows.len() == SKUS, "{} items came back, {SKUS} were created", rows.len());
    rows.iter()
        .map(|row| Some(row["version"].as_u64()? - 1))
        .sum::<Option<u64>>()
        .context("version")
}

fn findings(setup: &Setup, bodies: &Bodies, rounds: &[Round]) -> Findings {
    let rate = |form: usize| Series::of(rounds.iter().map(|round| round.runs[form].per_second()));
    let share = |form: usize| {
        let ratio = |round: &Round| round.runs[form].per_second() / round.bound_per_second;
        Series::of(rounds.iter().map(ratio)).median
    };
    let [json, lines, compact] = [rate(0), rate(1), rate(2)];
    let text_form = usize::from(lines.median > json.median);
    let text_rate = json.median.max(lines.median);
    let told =
        |form: usize| format!("{:.3} of copying and syncing the same bytes of log", share(form));
    let all_durable = rounds.iter().flat_map(|round| &round.runs).all(Run::is_durable);
    let what = format!("movements/s as {}, the better text form", FORMS[text_form].name);
    let unit = "movements/s";
    let criteria = vec![
        Criterion::at_least(&what, told(text_form), (text_rate, unit), TEXT_BAR),
        Criterion::at_least("movements/s in bytes", told(2), (compact.median, unit), COMPACT_BAR),
        Criterion::holds("every acknowledged one there after kill -9", String::new(), all_durable),
    ];
    let headings = "JSON | NDJSON | compact | copy and sync | log bytes a movement";
    let mut text = table_of_rounds(headings, rounds, |round| {
        let rates = round.runs.iter().map(|run| format!("{:.0}", run.per_second()));
        let rates: Vec<String> = rates.collect();
        let rates = rates.join(" | ");
        format!("{rates} | {:.0} | {:.1}", round.bound_per_second, round.log_bytes)
    });
    let sides = |form: usize| rounds.iter().map(|round| &round.runs[form].side).collect();
    let of_batch: Vec<_> = (0..).zip(FORMS).map(|(form, of)| (of.name, sides(form))).collect();
    text.push_str(&node::usage_table(&of_batch));
    let _ = writeln!(text, "\nAn answer is that of {LINES} movements.");
    let relative = setup.repository.display().to_string() + "/";
    let commands = FORMS.iter().map(|form| {
        let command = plan(setup, bodies, form, SECONDS_MAX).command("http://127.0.0.1:4101");
        command.join(" ").replace(&relative, "")
    });
    Findings {
        commands: commands.collect(),
        criteria,
        text,
        figures: json!({"rounds": rounds, "json": json, "ndjson": lines, "compact": compact}),
    }
}
