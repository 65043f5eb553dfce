//! One store's whole log pours into the aggregator while the other stores trade: how much later
//! their writes are seen than without it, and than while the same log pours into another aggregator
//! on the same machine. That one takes the same processor time and leaves the measured one alone:
//! what it delays is the machine's doing, for which more cores are the cure. A window with a flood
//! must never have a moment without.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reqwest::Method;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::fleet::{Fleet, durable, probed};
use super::office::wait_store_verified;
use crate::bench::freshness::{Freshness, Probes, Target};
use crate::http::Client;
use crate::world::Service;

/// Probes a second, over all stores in turn.
const PROBES_PER_SECOND: u32 = 200;
/// Sales a second in each store besides.
const SALES_PER_SECOND: u32 = 10;
/// Items that are sold; each store has more.
const SOLD_ITEMS: usize = 100;
/// Stores that one task sells in.
const STORES_PER_TASK: usize = 10;

/// A window without a flood, one with it elsewhere, and one with it here.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Flood {
    /// Without.
    pub calm: Freshness,
    /// While the log pours into another aggregator on this machine.
    pub elsewhere: Freshness,
    /// With.
    pub flooded: Freshness,
    /// Events a second that flooded in elsewhere.
    pub elsewhere_per_second: f64,
    /// Events a second that flooded in here.
    pub flooded_per_second: f64,
}

impl fmt::Display for Flood {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |seen: &Freshness| {
            format!("{:.2} ms (p99 {:.2})", seen.p50_us / 1e3, seen.p99_us / 1e3)
        };
        write!(
            out,
            "visible after {}, with a flood of {:.0}/s elsewhere {}, of {:.0}/s here {}",
            ms(&self.calm),
            self.elsewhere_per_second,
            ms(&self.elsewhere),
            self.flooded_per_second,
            ms(&self.flooded)
        )
    }
}

/// Whom the stores of a flood are followed by.
#[derive(Debug, Clone, Copy)]
pub struct Offices<'a> {
    /// The aggregator that is measured.
    pub here: &'a Service,
    /// One that follows nobody else.
    pub elsewhere: &'a Service,
}

/// Measures the windows, in turn. The flooding store is unknown to both aggregators before and after.
pub async fn measure(
    offices: Offices<'_>,
    fleet: &Fleet,
    flooding: &Service,
    window: Duration,
) -> Result<Flood> {
    let view = offices.here.client();
    let nodes = fleet.nodes.iter().enumerate();
    let targets: Vec<Target> = nodes
        .map(|(number, node)| Target { node: node.client().clone(), sku: probed(number) })
        .collect();
    let sales = Sales::start(fleet);
    let calm = Probes::run_for(targets.clone(), view.clone(), PROBES_PER_SECOND, window).await?;
    let probes = || Probes::start(targets.clone(), view.clone(), PROBES_PER_SECOND);
    let (elsewhere, elsewhere_per_second) =
        pour(offices.elsewhere.client(), flooding, probes, window).await?;
    let (flooded, flooded_per_second) = pour(view, flooding, probes, window).await?;
    sales.finish().await?;
    Ok(Flood { calm, elsewhere, flooded, elsewhere_per_second, flooded_per_second })
}

/// Lets the whole log pour into an aggregator again and again until the window is over; returns what
/// the probes saw meanwhile, and the events a second.
async fn pour(
    office: &Client,
    flooding: &Service,
    begin_probes: impl Fn() -> Probes,
    window: Duration,
) -> Result<(Freshness, f64)> {
    let durable = durable(flooding).await?;
    let path = format!("/api/sync/stores/{}", flooding.name());
    let begin = json!({"url": flooding.client().base()}).to_string();
    office.send(Method::PUT, &path, &[], Some(begin.clone())).await?.ok()?;
    let (probes, started) = (begin_probes(), Instant::now());
    let mut events = 0;
    loop {
        wait_store_verified(office, &durable).await?;
        events += durable.1;
        if started.elapsed() >= window {
            break;
        }
        office.send(Method::DELETE, &path, &[], None).await?.ok()?;
        office.send(Method::PUT, &path, &[], Some(begin.clone())).await?.ok()?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let seen = probes.finish().await?;
    office.send(Method::DELETE, &path, &[], None).await?.ok()?;
    Ok((seen, events as f64 / seconds))
}

/// Tills of all stores, at their pace.
struct Sales {
    ending: Arc<AtomicBool>,
    tasks: JoinSet<Result<()>>,
}

impl Sales {
    fn start(fleet: &Fleet) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for nodes in fleet.nodes.chunks(STORES_PER_TASK) {
            let stores = nodes.iter().map(|node| node.client().clone()).collect();
            tasks.spawn(sell(stores, Arc::clone(&ending)));
        }
        Self { ending, tasks }
    }

    async fn finish(mut self) -> Result<()> {
        self.ending.store(true, Ordering::Relaxed);
        while let Some(task) = self.tasks.join_next().await {
            task.context("a till broke off")??;
        }
        Ok(())
    }
}

async fn sell(stores: Vec<Client>, ending: Arc<AtomicBool>) -> Result<()> {
    let mut clock = interval(Duration::from_secs(1) / (SALES_PER_SECOND * stores.len() as u32));
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for (number, store) in stores.iter().cycle().enumerate() {
        clock.tick().await;
        if ending.load(Ordering::Relaxed) {
            break;
        }
        let path = format!("/api/inventory/SKU-{:06}/sell", number / stores.len() % SOLD_ITEMS);
        store.post(&path, &json!({"quantity": 1})).await?.ok()?;
    }
    Ok(())
}
