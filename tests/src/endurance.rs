//! `make endurance`: one node and one aggregator under a mixed load for a long time, with snapshots
//! and compactions going on, sampled every few seconds: memory, open files, disk and latencies must
//! not grow. The load closes what it opens, and what is remembered by contract (idempotency keys,
//! closed reservations) is bounded by configuration, so that flat means flat. Nothing here may call a
//! run flat whose sums, digests or log don't agree in the end.

pub mod flatness;
pub mod plot;
pub mod report;
pub mod samples;
pub mod tills;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::bench::parts::stores::{fleet, office};
use crate::http::Client;
use crate::world::{Binaries, Service, ServiceSpec, free_address, process, until};
use report::{Finding, Outcome};
use samples::{DISK_LOOKS, Sampler, Samples};
use tills::{Crew, Shop};

/// Items that are sold from the beginning.
const ITEMS: usize = 10_000;
/// Items created in one request.
const CREATES_MAX: usize = 5_000;
/// Idempotency keys and closed reservations that the node remembers: reached in the warm-up.
const KEYS_MAX: &str = "20000";
/// A snapshot and a compaction follow so many events.
const SNAPSHOT_EVERY_EVENTS: &str = "100000";
/// Small segments, so that compaction has some to take away.
const SEGMENT_BYTES: &str = "4194304";
/// How long reservations that end by themselves may take in the end.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);
/// Between two lines that say how far it is.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// How long, and how fast.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The services' programs.
    pub binaries: Binaries,
    /// Where their data goes.
    pub directory: PathBuf,
    /// What the tills do.
    pub load: Load,
    /// Between two samples at first, in seconds.
    pub sample_seconds: u64,
}

/// How much is done, at an even pace: as fast as it is answered, what a compaction finds would change
/// with whatever else the machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Requests.
    pub operations: u64,
    /// Requests a second, at most.
    pub per_second: u32,
}

/// Runs it all.
pub async fn run(plan: &Plan) -> Result<Outcome> {
    let mut node = Service::start(node_spec(plan)?).await?;
    let mut office = Service::start(office_spec(plan, &node)?).await?;
    create_items(node.client()).await?;
    let shop = Arc::new(Shop::new(node.client().clone(), office.client().clone(), ITEMS));
    let crew = Crew::start(&shop, plan.load);
    let ended = sample_until_done(plan, &crew, &shop, &node, &office).await;
    let told = crew.finish().await;
    let samples = ended?;
    told?;
    let findings = settle(&shop, &node, &office).await?;
    let seconds = samples.last_at_seconds();
    let is_clean = office.stop().await?.success() && node.stop().await?.success();
    let verified = verify(&plan.binaries, &node.spec().data_dir)?;
    let mut all = vec![Finding::of("both ended cleanly", String::new(), is_clean), verified];
    all.extend(findings);
    let operations = shop.operations();
    std::fs::remove_dir_all(&plan.directory).context("removing the run's data")?;
    Ok(Outcome::new(samples, all, operations, seconds))
}

fn node_spec(plan: &Plan) -> Result<ServiceSpec> {
    let data = plan.directory.join("node");
    let options = ["--segment-bytes", SEGMENT_BYTES, "--log-level", "warn"].map(str::to_owned);
    Ok(ServiceSpec::node(&plan.binaries, "endurance", &data, free_address()?)
        .with_options(&options)
        .with_environment("STORE_NODE_KEYS_MAX", KEYS_MAX)
        .with_environment("STORE_NODE_KEY_LIFE_DAYS", "1")
        .with_environment("STORE_NODE_ARCHIVE_KEEP_DAYS", "1")
        .with_environment("STORE_NODE_SNAPSHOT_EVERY_EVENTS", SNAPSHOT_EVERY_EVENTS)
        .ends_with_its_starter(&plan.binaries))
}

fn office_spec(plan: &Plan, node: &Service) -> Result<ServiceSpec> {
    let nodes = [node.client().base().to_owned()];
    let data = plan.directory.join("view");
    let options = ["--log-level", "warn"].map(str::to_owned);
    Ok(ServiceSpec::aggregator(&plan.binaries, &data, free_address()?, &nodes)
        .with_options(&options)
        .ends_with_its_starter(&plan.binaries))
}

async fn create_items(node: &Client) -> Result<()> {
    let numbers: Vec<usize> = (0..ITEMS).collect();
    for chunk in numbers.chunks(CREATES_MAX) {
        let create = |number: &usize| json!({"op": "create", "sku": tills::sku(*number), "stock": tills::STOCK});
        let operations: Vec<Value> = chunk.iter().map(create).collect();
        let body = json!({"atomic": true, "operations": operations});
        node.post("/api/batch", &body).await?.ok()?;
    }
    Ok(())
}

async fn sample_until_done(
    plan: &Plan,
    crew: &Crew,
    shop: &Shop,
    node: &Service,
    office: &Service,
) -> Result<Samples> {
    let mut sampler = Sampler::start(node, office, plan.sample_seconds)?;
    let mut told_at = Instant::now();
    while !crew.is_done() {
        for _ in 0..DISK_LOOKS {
            sleep(sampler.interval() / DISK_LOOKS).await;
            sampler.look_at_disk();
        }
        let sample = sampler.look(shop)?;
        if told_at.elapsed() >= TELL_EVERY {
            told_at = Instant::now();
            println!("  {sample}");
        }
    }
    Ok(sampler.into_samples())
}

/// Waits until nothing is on its way and compares sums, items and digests.
async fn settle(shop: &Shop, node: &Service, office: &Service) -> Result<Vec<Finding>> {
    until("the last reservations to end", CLOSED_WITHIN, || async {
        let page = node.client().get("/api/reservations?limit=1").await.ok()?.json().ok()?;
        page["items"].as_array()?.is_empty().then_some(())
    })
    .await?;
    let durable = fleet::durable(node).await?;
    office::wait_verified(office.client(), &[durable]).await?;
    let compared = office::compare(office.client(), std::slice::from_ref(node)).await?;
    let rows = node.client().list_all("/api/inventory").await?;
    let sum = |name: &str| rows.iter().filter_map(|row| row[name].as_i64()).sum::<i64>();
    let (stock, reserved, sold) = (sum("stock"), sum("reserved"), sum("sold"));
    let expected = shop.expected();
    ensure!(!rows.is_empty(), "the node has items");
    Ok(vec![
        Finding::of(
            "conserved",
            format!(
                "{stock} in stock, {sold} sold, {reserved} reserved; the tills count {expected:?}"
            ),
            (stock, reserved, sold) == (expected.stock, 0, expected.sold),
        ),
        Finding::of("verified", format!("digests equal, {compared} items compared"), compared > 0),
    ])
}

fn verify(binaries: &Binaries, data: &Path) -> Result<Finding> {
    let data = data.display().to_string();
    let output = process::run(&binaries.store_node(), &["verify", "--data-dir", &data])?;
    Ok(Finding::of("the log is whole", "store-node verify".to_owned(), output.code == Some(0)))
}
