//! P1: single durable reservations over HTTP beside a handler that parses and answers the same and
//! keeps nothing. After each round the node is killed, started again, and must still hold every
//! reservation that was acknowledged: a fast answer that isn't durable doesn't count.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use super::median;
use super::wrk::{self, CONNECTIONS, Load};
use crate::http::Client;
use crate::world::{Binaries, Service, ServiceSpec, free_address};

/// SKUs the load is spread over.
const SKUS: usize = 10_000;
/// Items created in one request.
const CREATES_MAX: usize = 5_000;
/// Units of each SKU: enough for any round.
const STOCK: u64 = 1_000_000_000;
/// How long each side warms up in a round.
const WARM_UP_SECONDS: u64 = 1;
/// The bar: of the ceiling's rate.
pub const BAR: f64 = 0.8;

/// How the comparison is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The services' programs.
    pub binaries: Binaries,
    /// Where the nodes' data goes.
    pub directory: PathBuf,
    /// The wrk script.
    pub script: PathBuf,
    /// Rounds, each one run of either side.
    pub rounds: usize,
    /// Seconds of each run.
    pub seconds: u64,
    /// Options for the node.
    pub node_options: Vec<String>,
}

/// One round.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Round {
    /// The node under load.
    pub node: Load,
    /// The ceiling under the same load.
    pub ceiling: Load,
    /// Reservations that wrk saw acknowledged, warm-up included.
    pub acknowledged: u64,
    /// Reservations found after kill -9 and a restart.
    pub durable: u64,
    /// From the restart to readiness, in milliseconds.
    pub recovery_ms: f64,
}

/// The result of P1.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// All rounds.
    pub rounds: Vec<Round>,
    /// The node's median, answers a second.
    pub node_per_second: f64,
    /// The ceiling's median, answers a second.
    pub ceiling_per_second: f64,
    /// The median of the rounds' ratios.
    pub ratio: f64,
    /// The bar for it.
    pub bar: f64,
    /// Whether every acknowledged reservation of every round was found again, and nothing that
    /// nobody asked for.
    pub all_durable: bool,
    /// The load's command line, as an example.
    pub command: String,
}

/// Runs all rounds.
pub async fn compare(options: &Options) -> Result<Comparison> {
    wrk::check_program()?;
    let address = free_address()?;
    let mut ceiling = ServiceSpec::node(
        &options.binaries,
        "ceiling",
        &options.directory.join("ceiling"),
        address,
    );
    ceiling.program = options.binaries.ceiling();
    ceiling.arguments = vec!["--listen".to_owned(), address.to_string()];
    let mut ceiling = Service::start(ceiling.ends_with_its_starter(&options.binaries)).await?;
    let mut rounds = Vec::new();
    for number in 0..options.rounds {
        let round = round(number, &ceiling, options).await?;
        println!(
            "  round {}: node {:.0}/s (p99 {} µs), ceiling {:.0}/s (p99 {} µs), ratio {:.3}; {} acknowledged, {} durable after kill -9 (ready in {:.0} ms)",
            number + 1,
            round.node.per_second(),
            round.node.p99_us,
            round.ceiling.per_second(),
            round.ceiling.p99_us,
            round.ratio(),
            round.acknowledged,
            round.durable,
            round.recovery_ms
        );
        rounds.push(round);
    }
    ceiling.kill()?;
    let script = Path::new("tests/bench/reserve.lua");
    let example = wrk::command(script, "http://127.0.0.1:4101", "r0", SKUS, options.seconds);
    Ok(Comparison {
        node_per_second: median(&rates(&rounds, |round| round.node.per_second())),
        ceiling_per_second: median(&rates(&rounds, |round| round.ceiling.per_second())),
        ratio: median(&rates(&rounds, Round::ratio)),
        bar: BAR,
        all_durable: rounds.iter().all(Round::is_durable),
        command: example.join(" "),
        rounds,
    })
}

impl Round {
    /// The node's rate as a part of the ceiling's.
    pub fn ratio(&self) -> f64 {
        self.node.per_second() / self.ceiling.per_second()
    }

    /// Nothing acknowledged is missing; what is there beyond it was in flight when wrk stopped, at
    /// most one a connection and run.
    pub fn is_durable(&self) -> bool {
        let in_flight_max = 2 * CONNECTIONS as u64;
        (self.acknowledged..=self.acknowledged + in_flight_max).contains(&self.durable)
    }
}

async fn round(number: usize, ceiling: &Service, options: &Options) -> Result<Round> {
    let data = options.directory.join(format!("node-{number}"));
    let spec = ServiceSpec::node(&options.binaries, "bench", &data, free_address()?)
        .with_options(&options.node_options)
        .ends_with_its_starter(&options.binaries);
    let mut node = Service::start(spec).await?;
    create_items(node.client()).await?;

    let run = |service: &Service, prefix: String, seconds: u64| {
        let base = service.client().base().to_owned();
        let command = wrk::command(&options.script, &base, &prefix, SKUS, seconds);
        async move { tokio::task::spawn_blocking(move || wrk::run(&command)).await? }
    };
    let warm_up = run(&node, format!("w{number}"), WARM_UP_SECONDS).await?;
    let measured = run(&node, format!("r{number}"), options.seconds).await?;
    ensure_all_good(&warm_up)?;
    ensure_all_good(&measured)?;
    node.kill()?;
    let acknowledged = warm_up.acknowledged() + measured.acknowledged();

    run(ceiling, format!("w{number}"), WARM_UP_SECONDS).await?;
    let peer = run(ceiling, format!("r{number}"), options.seconds).await?;
    ensure_all_good(&peer)?;

    let recovered = node.restart().await.context("restarting the killed node")?;
    let durable = reserved(node.client()).await?;
    node.stop().await?;
    std::fs::remove_dir_all(&data).context("removing a round's data")?;
    Ok(Round {
        node: measured,
        ceiling: peer,
        acknowledged,
        durable,
        recovery_ms: recovered.as_secs_f64() * 1e3,
    })
}

fn ensure_all_good(load: &Load) -> Result<()> {
    ensure!(load.requests > 0, "wrk got no answer");
    ensure!(load.refused == 0, "{} of {} requests were refused", load.refused, load.requests);
    ensure!(load.broken == 0, "{} requests broke", load.broken);
    Ok(())
}

async fn create_items(client: &Client) -> Result<()> {
    let numbers: Vec<usize> = (0..SKUS).collect();
    for chunk in numbers.chunks(CREATES_MAX) {
        let operations: Vec<Value> = chunk
            .iter()
            .map(
                |number| json!({"op": "create", "sku": format!("SKU-{number:05}"), "stock": STOCK}),
            )
            .collect();
        let body = json!({"atomic": true, "operations": operations});
        client.post("/api/batch", &body).await?.ok()?;
    }
    Ok(())
}

/// Units reserved over all items.
async fn reserved(client: &Client) -> Result<u64> {
    let rows = client.list_all("/api/inventory").await?;
    if rows.len() != SKUS {
        bail!("{} items came back, {SKUS} were created", rows.len());
    }
    rows.iter().map(|row| row["reserved"].as_u64().context("an item says what is reserved")).sum()
}

fn rates(rounds: &[Round], rate: impl Fn(&Round) -> f64) -> Vec<f64> {
    rounds.iter().map(rate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_or_invented_reservation_fails_the_round() {
        let load = Load {
            requests: 10,
            refused: 0,
            broken: 0,
            microseconds: 1_000_000,
            p50_us: 1,
            p99_us: 1,
            max_us: 1,
        };
        let round = |durable| Round {
            node: load.clone(),
            ceiling: load.clone(),
            acknowledged: 10,
            durable,
            recovery_ms: 1.0,
        };
        assert!(round(10).is_durable());
        assert!(round(138).is_durable());
        assert!(!round(9).is_durable());
        assert!(!round(139).is_durable());
    }
}
