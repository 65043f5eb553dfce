//! One store's whole log pours into the aggregator while the other stores trade: how much later
//! their writes are seen than without it. A window with a flood must never have a moment without.

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
use super::office::wait_verified;
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

/// A window without and one with a flood.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Flood {
    /// Without.
    pub calm: Freshness,
    /// With.
    pub flooded: Freshness,
    /// Events that flooded in.
    pub events: u64,
    /// How long that took, in seconds.
    pub seconds: f64,
}

impl fmt::Display for Flood {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "visible after {:.2} ms (p99 {:.2}), under a flood of {:.0} events/s after {:.2} ms (p99 {:.2})",
            self.calm.p50_us / 1e3,
            self.calm.p99_us / 1e3,
            self.events as f64 / self.seconds,
            self.flooded.p50_us / 1e3,
            self.flooded.p99_us / 1e3
        )
    }
}

/// Measures both windows, in turn. The flooding store is unknown to the aggregator before and after.
pub async fn measure(
    office: &Service,
    fleet: &Fleet,
    flooding: &Service,
    window: Duration,
) -> Result<Flood> {
    let view = office.client();
    let nodes = fleet.nodes.iter().enumerate();
    let targets: Vec<Target> = nodes
        .map(|(number, node)| Target { node: node.client().clone(), sku: probed(number) })
        .collect();
    let sales = Sales::start(fleet);
    let calm = Probes::run_for(targets.clone(), view.clone(), PROBES_PER_SECOND, window).await?;
    let durable = durable(flooding).await?;
    let path = format!("/api/sync/stores/{}", flooding.name());
    let begin = json!({"url": flooding.client().base()}).to_string();
    view.send(Method::PUT, &path, &[], Some(begin.clone())).await?.ok()?;
    let probes = Probes::start(targets, view.clone(), PROBES_PER_SECOND);
    let started = Instant::now();
    let mut events = 0;
    let (flooded, seconds) = loop {
        wait_verified(view, std::slice::from_ref(&durable)).await?;
        events += durable.1;
        if started.elapsed() >= window {
            let seconds = started.elapsed().as_secs_f64();
            break (probes.finish().await?, seconds);
        }
        view.send(Method::DELETE, &path, &[], None).await?.ok()?;
        view.send(Method::PUT, &path, &[], Some(begin.clone())).await?.ok()?;
    };
    view.send(Method::DELETE, &path, &[], None).await?.ok()?;
    sales.finish().await?;
    Ok(Flood { calm, flooded, events, seconds })
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
