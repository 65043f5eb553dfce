//! P9: how long an answer takes at half the load that the node can bear, and the reference's table
//! of latencies with ten million SKUs. It must never count a latency from the moment at which a
//! request was sent instead of when it was due, unless nothing but the client's own sleep lay between;
//! and then it must tell the other figure too.

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use super::latency_table;
use super::reservations::{SKUS, plans};
use crate::bench::disk::Syncs;
use crate::bench::node::{self, Side};
use crate::bench::pace::{self, Latencies, Pace};
use crate::bench::part::{Criterion, Findings, Part, Setup};
use crate::bench::series::Series;
use crate::bench::table::table_of_rounds;
use crate::bench::wrk::CONNECTIONS;

/// The bar: so many times the p99 of fdatasync, and so many milliseconds.
const SYNCS_BAR: f64 = 5.0;
const MORE_MS_BAR: f64 = 2.0;

/// P9.
pub const PART: Part = Part {
    name: "P9",
    title: "latency at half the maximum load, and the reference's table with 10 million SKUs",
    measure: |setup| Box::pin(measure(setup)),
};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    maximum: Side,
    half: Latencies,
    fdatasync: Syncs,
}

impl Round {
    fn p99_ms(&self) -> f64 {
        self.half.p99_served_us / 1e3
    }

    fn bar_ms(&self) -> f64 {
        SYNCS_BAR * self.fdatasync.p99_us / 1e3 + MORE_MS_BAR
    }
}

async fn measure(setup: &Setup) -> Result<Findings> {
    let mut rounds = Vec::new();
    for number in 0..setup.rounds {
        let round = round(setup, number).await?;
        println!(
            "  round {}: maximum {:.0}/s; at {:.0}/s p50 {:.2} ms, p99 {:.2} ms ({:.2} with the client's lateness), fdatasync p99 {:.2} ms",
            number + 1,
            round.maximum.per_second(),
            round.half.per_second,
            round.half.p50_us / 1e3,
            round.p99_ms(),
            round.half.p99_us / 1e3,
            round.fdatasync.p99_us / 1e3
        );
        rounds.push(round);
    }
    let table = latency_table::measure(setup).await?;
    let (p99, bar) = (
        Series::of(rounds.iter().map(Round::p99_ms)),
        Series::of(rounds.iter().map(Round::bar_ms)),
    );
    let rate = Series::of(rounds.iter().map(|round| round.half.per_second)).median;
    let from_due = Series::of(rounds.iter().map(|round| round.half.p99_us / 1e3)).median;
    let result = format!(
        "at {rate:.0}/s; {:.2} – {:.2} ms; {from_due:.2} ms with the client's lateness",
        p99.min, p99.max
    );
    let mut criteria = vec![Criterion::at_most(
        "p99 of a reservation at half the maximum load",
        result,
        (p99.median, "ms"),
        bar.median,
    )];
    criteria.extend(table.rows.iter().map(latency_table::Row::criterion));
    let mut text = half_text(&rounds);
    text.push_str(&table.markdown());
    let first = plans(setup, 0, SKUS).pop().map(|plan| plan.command("http://127.0.0.1:4101"));
    Ok(Findings {
        commands: vec![
            first
                .unwrap_or_default()
                .join(" ")
                .replace(&format!("{}/", setup.repository.display()), ""),
            format!(
                "then half of that rate over {CONNECTIONS} connections for {} s: tests/src/bench/pace.rs",
                setup.seconds
            ),
            latency_table::GENERATE.to_owned(),
        ],
        criteria,
        text,
        figures: json!({"rounds": rounds, "p99Ms": p99, "barMs": bar, "table": table}),
    })
}

/// A fresh node: warmed up, its maximum with wrk, half of that at a constant rate, and the disk.
async fn round(setup: &Setup, number: usize) -> Result<Round> {
    let mut node = node::start(setup, &format!("node-{number}")).await?;
    node::create_items(node.client(), SKUS).await?;
    let mut maximum = None;
    for plan in plans(setup, number, SKUS) {
        maximum = Some(node::load(&node, plan).await?);
    }
    let maximum = maximum.ok_or_else(|| anyhow::anyhow!("nothing was run"))?;
    let pace = Pace {
        connections: CONNECTIONS,
        per_second: Some(maximum.per_second() / 2.0),
        seconds: setup.seconds as f64,
    };
    let address = node.spec().address;
    let reserve = reserving("h".to_owned(), SKUS as u64);
    let half = tokio::task::spawn_blocking(move || pace::run(address, pace, &reserve)).await??;
    node.stop().await?;
    std::fs::remove_dir_all(&node.spec().data_dir)?;
    let fdatasync = Syncs::measure(&setup.directory)?;
    Ok(Round { maximum, half, fdatasync })
}

/// One unit of one of so many SKUs under an order id of its own, as tests/bench/reserve.lua asks
/// for it.
pub fn reserving(prefix: String, skus: u64) -> impl Fn(usize, u64, &mut Vec<u8>) {
    move |connection, number, request| {
        let sku = (number * 7_919 + connection as u64 * 5_003) % skus;
        let body = format!(r#"{{"orderId":"{prefix}-{connection}-{number}","quantity":1}}"#);
        post(request, &format!("/api/inventory/SKU-{sku:05}/reserve"), &body);
    }
}

/// Writes a POST of JSON.
pub fn post(request: &mut Vec<u8>, path: &str, body: &str) {
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    request.extend_from_slice(text.as_bytes());
}

fn half_text(rounds: &[Round]) -> String {
    let headings = "maximum /s | constant rate /s | p50 ms | p95 ms | p99 ms | p99 with the client's lateness ms | longest ms | fdatasync p50/p99 µs | bar ms";
    let mut text = table_of_rounds(headings, rounds, |round| {
        let half = &round.half;
        format!(
            "{:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0}/{:.0} | {:.2}",
            round.maximum.per_second(),
            half.per_second,
            half.p50_us / 1e3,
            half.p95_us / 1e3,
            round.p99_ms(),
            half.p99_us / 1e3,
            half.max_us / 1e3,
            round.fdatasync.p50_us,
            round.fdatasync.p99_us,
            round.bar_ms()
        )
    });
    let maxima = rounds.iter().map(|round| &round.maximum).collect();
    text.push_str(&node::usage_table(&[("node at its maximum", maxima)]));
    text
}
