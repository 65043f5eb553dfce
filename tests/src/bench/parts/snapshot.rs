//! P9, the other half: how long writers wait while a store of ten million SKUs is written into a
//! snapshot and its log is compacted, beside the same time in which neither happens. It must never
//! leave out a write that fell due meanwhile.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use super::latency::post;
use crate::bench::large::{self, Size};
use crate::bench::pace::{self, Answer, Latencies, Pace};
use crate::bench::part::{Criterion, Findings, Part, Setup};
use crate::bench::series::Series;
use crate::bench::table::table;
use crate::http::Client;
use crate::world::Service;

/// Reservations a second, spread over all items: what a node can bear beside the work is several
/// times as much.
const PER_SECOND: f64 = 5_000.0;
/// Keep-alive connections of the writers.
const CONNECTIONS: usize = 32;
const ROUNDS_MAX: usize = 3;
/// How long writers go on before anything is looked at.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long a snapshot or a compaction may take.
const JOB_DEADLINE: Duration = Duration::from_mins(2);
const ASK_EVERY: Duration = Duration::from_millis(50);
/// What the work may add to the longest wait, in milliseconds.
const PAUSE_BAR_MS: f64 = 10.0;

/// P9, the pauses.
pub const PART: Part = Part {
    name: "P9-snapshot",
    title: "writers while ten million SKUs are snapshot and the log is compacted",
    measure: |setup| Box::pin(measure(setup)),
};

/// The waits of the writers in a span of a run.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    seconds: f64,
    #[serde(flatten)]
    waits: Latencies,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    snapshot: Span,
    /// As long as the snapshot, and nothing happens.
    beside_snapshot: Span,
    compaction: Span,
    beside_compaction: Span,
    /// What the jobs said of themselves.
    snapshot_result: Value,
    compaction_result: Value,
}

impl Round {
    /// What a snapshot added to the longest wait, in milliseconds.
    fn snapshot_pause_ms(&self) -> f64 {
        (self.snapshot.waits.max_us - self.beside_snapshot.waits.max_us) / 1e3
    }

    fn compaction_pause_ms(&self) -> f64 {
        (self.compaction.waits.max_us - self.beside_compaction.waits.max_us) / 1e3
    }
}

async fn measure(setup: &Setup) -> Result<Findings> {
    let size = Size { skus: setup.skus, keys: 0 };
    let mut node = large::stopped(setup, "node", size)?;
    node.restart().await?;
    let mut rounds = Vec::new();
    for number in 0..setup.rounds.min(ROUNDS_MAX) {
        let round = round(&node, setup.skus, number).await?;
        for (name, span) in spans(&round) {
            println!(
                "  round {}: {name}, {:.1} s: p50 {:.2} ms, p99 {:.2} ms, longest {:.1} ms",
                number + 1,
                span.seconds,
                span.waits.p50_us / 1e3,
                span.waits.p99_us / 1e3,
                span.waits.max_us / 1e3
            );
        }
        rounds.push(round);
    }
    node.stop().await?;
    Ok(findings(setup, &rounds))
}

/// The node under the writers all the time: the snapshot, the compaction that follows it, and as
/// much time without either. Only the first compaction finds a long log.
async fn round(node: &Service, skus: u64, round: usize) -> Result<Round> {
    let stop = Arc::new(AtomicBool::new(false));
    let (address, stopping) = (node.spec().address, Arc::clone(&stop));
    let started = Instant::now();
    let pace =
        Pace { connections: CONNECTIONS, per_second: Some(PER_SECOND), seconds: f64::INFINITY };
    let write = move |connection: usize, number: u64, request: &mut Vec<u8>| {
        reserve(round, connection, number, skus, request);
    };
    let writers = tokio::task::spawn_blocking(move || {
        pace::record(address, pace, started, &stopping, &write)
    });
    let worked = work(node.client(), started).await;
    stop.store(true, Ordering::Relaxed);
    let answers = writers.await??;
    let [snapshot, compaction, quiet] = worked?;
    let beside = |span: &Range<Duration>| {
        let end = quiet.0.start + span.end.saturating_sub(span.start);
        span_of(&answers, quiet.0.start..end.min(quiet.0.end))
    };
    Ok(Round {
        beside_snapshot: beside(&snapshot.0)?,
        beside_compaction: beside(&compaction.0)?,
        snapshot: span_of(&answers, snapshot.0)?,
        compaction: span_of(&answers, compaction.0)?,
        snapshot_result: snapshot.1,
        compaction_result: compaction.1,
    })
}

/// A span of the run, and what the job said that ran in it.
type Worked = (Range<Duration>, Value);

/// The snapshot, the compaction, and the longer of both times over again.
async fn work(client: &Client, started: Instant) -> Result<[Worked; 3]> {
    tokio::time::sleep(WARM_UP).await;
    let snapshot = job(client, "/api/admin/snapshot", started).await?;
    let compaction = job(client, "/api/admin/compact", started).await?;
    // What the compaction left to the system to write shouldn't be counted to the time after it.
    tokio::time::sleep(WARM_UP).await;
    let from = started.elapsed();
    let length = |(span, _): &Worked| span.end.saturating_sub(span.start);
    tokio::time::sleep(length(&snapshot).max(length(&compaction))).await;
    Ok([snapshot, compaction, (from..started.elapsed(), Value::Null)])
}

/// Runs a job to its end.
async fn job(client: &Client, path: &str, started: Instant) -> Result<Worked> {
    let from = started.elapsed();
    let reply = client.post(path, &json!({})).await?.ok()?;
    let place = reply.header("location").context("a job has a place")?.to_owned();
    for _ in 0..JOB_DEADLINE.as_millis() / ASK_EVERY.as_millis() {
        let job = client.get(&place).await?.ok()?.json()?;
        match job["state"].as_str() {
            Some("running") => tokio::time::sleep(ASK_EVERY).await,
            Some("done") => return Ok((from..started.elapsed(), job["result"].clone())),
            _ => bail!("{path} came to no good end: {job}"),
        }
    }
    bail!("{path} isn't done after {JOB_DEADLINE:?}")
}

fn span_of(answers: &[Answer], part: Range<Duration>) -> Result<Span> {
    let seconds = part.end.saturating_sub(part.start).as_secs_f64();
    let waits = Latencies::within(answers, part)?;
    ensure!(waits.put_off == 0, "{} writes were put off", waits.put_off);
    Ok(Span { seconds, waits })
}

/// One unit of an item under an order id of its own; the items scattered by a step of the golden
/// ratio's.
fn reserve(round: usize, connection: usize, number: u64, skus: u64, request: &mut Vec<u8>) {
    let order = (round as u64) << 40 | (number * CONNECTIONS as u64 + connection as u64);
    let item = (order.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16) % skus;
    let body = format!(r#"{{"orderId":"s-{order}","quantity":1}}"#);
    post(request, &format!("/api/inventory/{}/reserve", large::sku(item)), &body);
}

fn spans(round: &Round) -> [(&'static str, Span); 4] {
    [
        ("snapshot", round.snapshot),
        ("as long without", round.beside_snapshot),
        ("compaction", round.compaction),
        ("as long without", round.beside_compaction),
    ]
}

/// Judged over so many rounds.
fn criterion(
    what: &str,
    rounds: &[Round],
    added_ms: fn(&Round) -> f64,
    spans: [fn(&Round) -> Span; 2],
) -> Criterion {
    let [with, without] =
        spans.map(|span| Series::of(rounds.iter().map(|round| span(round).waits.max_us / 1e3)));
    let result = format!(
        "longest {:.1} ms ({:.1} – {:.1}) beside {:.1} ms without",
        with.median, with.min, with.max, without.median
    );
    let added = Series::of(rounds.iter().map(added_ms));
    Criterion::at_most(what, result, (added.median, "ms"), PAUSE_BAR_MS)
}

fn findings(setup: &Setup, rounds: &[Round]) -> Findings {
    let series = |figure: &dyn Fn(&Round) -> f64| Series::of(rounds.iter().map(figure));
    let criteria = vec![
        criterion(
            "what a snapshot adds to the longest wait of a writer",
            rounds,
            Round::snapshot_pause_ms,
            [|round| round.snapshot, |round| round.beside_snapshot],
        ),
        criterion(
            "what the compaction of a long log adds to it",
            // The others find nothing to archive.
            &rounds[..rounds.len().min(1)],
            Round::compaction_pause_ms,
            [|round| round.compaction, |round| round.beside_compaction],
        ),
    ];
    Findings {
        commands: vec![
            large::GENERATE.to_owned(),
            format!(
                "then {PER_SECOND:.0} reservations a second over {CONNECTIONS} connections (tests/src/bench/pace.rs), POST /api/admin/snapshot, POST /api/admin/compact"
            ),
        ],
        criteria,
        text: text(setup, rounds),
        figures: json!({
            "rounds": rounds,
            "snapshotSeconds": series(&|round| round.snapshot.seconds),
            "compactionSeconds": series(&|round| round.compaction.seconds),
        }),
    }
}

fn text(setup: &Setup, rounds: &[Round]) -> String {
    let spans = (1_usize..).zip(rounds).flat_map(|(number, round)| {
        let row = move |(name, Span { seconds, waits }): (_, Span)| {
            format!(
                "{number} | {name} | {seconds:.1} | {:.2} | {:.2} | {:.1}",
                waits.p50_us / 1e3,
                waits.p99_us / 1e3,
                waits.max_us / 1e3
            )
        };
        spans(round).into_iter().map(row)
    });
    let mut text = format!(
        "{} SKUs, {PER_SECOND:.0} reservations a second.\n\n{}",
        setup.skus,
        table("round | span | seconds | p50 ms | p99 ms | longest ms", spans)
    );
    if let Some(round) = rounds.first() {
        let _ = writeln!(
            text,
            "\nThe first snapshot: {}. The first compaction: {}.",
            round.snapshot_result, round.compaction_result
        );
    }
    text
}
