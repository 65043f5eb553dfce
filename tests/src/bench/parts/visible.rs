//! P8: acknowledged at the node until visible in the global view, while the node takes 20,000
//! reservations a second over HTTP. The load keeps its timetable whatever the node does, and so do
//! the probes (`freshness`). A run whose load fell short must never count.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;

use super::latency::reserving;
use super::stores::office::wait_verified;
use crate::bench::freshness::{Freshness, Probes, Target};
use crate::bench::node;
use crate::bench::pace::{self, Latencies, Pace};
use crate::bench::part::{Criterion, Findings, Part, Setup};
use crate::bench::series::Series;
use crate::bench::table::table_of_rounds;
use crate::bench::usage::Usage;
use crate::bench::wrk::CONNECTIONS;
use crate::world::{Service, ServiceSpec, free_address};

/// Reservations a second.
const RATE: u64 = 20_000;
/// The load must reach this part of it. Each request is sent when it is due; what is missing is the
/// time that the last answers took, 90 ms of a run of three seconds, and more where the node can't
/// keep up at all.
const RATE_SHARE_MIN: f64 = 0.97;
/// The bar, in milliseconds.
const BAR_MS: f64 = 20.0;
/// Probes a second.
const PROBES_PER_SECOND: u32 = 100;
/// SKUs of the load.
const SKUS: usize = 10_000;
/// The item that only probes write to.
const PROBED: &str = "PROBE";

/// P8.
pub const PART: Part = Part {
    name: "P8",
    title: "acknowledged at the node until visible in the global view, at 20,000 reservations/s",
    measure: |setup| Box::pin(measure(setup)),
};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    /// Without any load but the probes.
    idle: Freshness,
    /// Under the load.
    loaded: Freshness,
    /// The load at the node.
    load: Latencies,
    /// What the node used meanwhile.
    node: Usage,
    /// What the aggregator used meanwhile.
    aggregator: Usage,
}

async fn measure(setup: &Setup) -> Result<Findings> {
    let mut node = node::start(setup, "node").await?;
    let directory = setup.directory.join("view");
    let nodes = [node.client().base().to_owned()];
    let spec = ServiceSpec::aggregator(&setup.binaries, &directory, free_address()?, &nodes);
    let mut office = Service::start(spec.ends_with_its_starter(&setup.binaries)).await?;
    node::create_items(node.client(), SKUS).await?;
    node.client().post("/api/inventory", &json!({"sku": PROBED, "stock": 0})).await?.ok()?;
    let mut rounds = Vec::new();
    for number in 0..setup.rounds {
        let round = round(number, &node, &office, setup).await?;
        println!(
            "  round {}: at {:.0}/s visible after {:.2} ms (p99 {:.2}, worst {:.2}); idle {:.2} (p99 {:.2})",
            number + 1,
            round.load.per_second,
            round.loaded.p50_us / 1e3,
            round.loaded.p99_us / 1e3,
            round.loaded.max_us / 1e3,
            round.idle.p50_us / 1e3,
            round.idle.p99_us / 1e3
        );
        rounds.push(round);
    }
    let durable = super::stores::fleet::durable(&node).await?;
    let is_equal = wait_verified(office.client(), &[durable]).await.is_ok();
    for service in [&mut office, &mut node] {
        let status = service.stop().await?;
        ensure!(status.success(), "{} ended with {status}", service.name());
    }
    Ok(findings(&rounds, is_equal, setup))
}

async fn round(number: usize, node: &Service, office: &Service, setup: &Setup) -> Result<Round> {
    let target = vec![Target { node: node.client().clone(), sku: PROBED.to_owned() }];
    let view = office.client().clone();
    let window = Duration::from_secs(setup.seconds) / 2;
    let idle = Probes::run_for(target.clone(), view.clone(), PROBES_PER_SECOND, window).await?;
    let node_id = node.id().context("the node runs")?;
    let office_id = office.id().context("the aggregator runs")?;
    let before = (Usage::of(node_id)?, Usage::of(office_id)?);
    let probes = Probes::start(target, view, PROBES_PER_SECOND);
    let load = load(node.spec().address, format!("r{number}"), setup.seconds).await?;
    let loaded = probes.finish().await?;
    let (node, aggregator) =
        (Usage::of(node_id)?.since(before.0), Usage::of(office_id)?.since(before.1));
    Ok(Round { idle, loaded, load, node, aggregator })
}

/// Sends [`RATE`] reservations a second.
async fn load(address: SocketAddr, prefix: String, seconds: u64) -> Result<Latencies> {
    let pace =
        Pace { connections: CONNECTIONS, per_second: Some(RATE as f64), seconds: seconds as f64 };
    let reserve = reserving(prefix, SKUS as u64);
    let load = tokio::task::spawn_blocking(move || pace::run(address, pace, &reserve)).await??;
    ensure!(load.put_off == 0, "{} of {} requests were put off", load.put_off, load.requests);
    Ok(load)
}

fn findings(rounds: &[Round], is_equal: bool, setup: &Setup) -> Findings {
    let series = |figure: fn(&Round) -> f64| Series::of(rounds.iter().map(figure));
    let rate = series(|round| round.load.per_second);
    let p99 = series(|round| round.loaded.p99_us / 1e3);
    let p50 = series(|round| round.loaded.p50_us / 1e3);
    let kept_up = rate.min >= RATE as f64 * RATE_SHARE_MIN;
    let criteria = vec![
        Criterion::at_most(
            "visible after, p99",
            format!(
                "p50 {:.2} ms, p99 {:.2} ms ({:.2} to {:.2})",
                p50.median, p99.median, p99.min, p99.max
            ),
            (p99.median, "ms"),
            BAR_MS,
        ),
        Criterion::holds(
            "20,000 reservations/s all the while",
            format!("{:.0}/s, {:.0} at least", rate.median, rate.min),
            kept_up,
        ),
        Criterion::holds("the view's digest equals the node's", is_equal.to_string(), is_equal),
    ];
    let headings = "load /s | p50 ms | p99 ms | worst ms | round trip p50 ms | idle p50 ms | idle p99 ms | node CPU s | aggregator CPU s";
    let table = table_of_rounds(headings, rounds, |round| {
        format!(
            "{:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2}",
            round.load.per_second,
            round.loaded.p50_us / 1e3,
            round.loaded.p99_us / 1e3,
            round.loaded.max_us / 1e3,
            round.loaded.question_p50_us / 1e3,
            round.idle.p50_us / 1e3,
            round.idle.p99_us / 1e3,
            round.node.cpu_seconds(),
            round.aggregator.cpu_seconds()
        )
    });
    let text = format!(
        "A write to an item of its own is acknowledged by the node, then the aggregator is asked \
        for the item until the version is there; the time ends with that answer, so it holds one round trip \
        too much (beside it). Probes begin every 10 ms, whatever became of the ones before.\n\n{table}"
    );
    Findings {
        commands: vec![format!(
            "{RATE} reservations/s over {CONNECTIONS} connections for {} s: tests/src/bench/pace.rs",
            setup.seconds
        )],
        criteria,
        text,
        figures: json!({"rounds": rounds, "p99Ms": p99, "p50Ms": p50, "perSecond": rate}),
    }
}
