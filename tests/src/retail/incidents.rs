//! What happens to the services while the tills play: one node is killed at a third, the aggregator
//! at two thirds, both restarted at once; and how far the view lags behind meanwhile. It must never
//! wait for the load to pause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::play::Playback;
use crate::http::Client;
use crate::world::{Service, until};

/// How often the aggregator is asked how far behind it is.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// How long the tills may take to reach a point in the plan.
const LOAD_DEADLINE: Duration = Duration::from_hours(1);
/// How long the view may take to catch up when the load is over.
const CATCH_UP_DEADLINE: Duration = Duration::from_mins(2);

/// A kill and what followed, times in milliseconds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// Which service.
    pub service: String,
    /// After how many answered baskets it was killed.
    pub after_baskets: usize,
    /// From its start until it was ready again.
    pub ready_ms: f64,
    /// From the kill until every store was live in the global view (of an aggregator), or until
    /// it was ready (of a node).
    pub recovered_ms: f64,
}

/// How far the global view was behind at worst, in samples taken while the tills played.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Samples that were answered.
    pub samples: usize,
    /// The worst lag of a live store, in events.
    pub live_events: u64,
    /// The worst lag of a live store, in milliseconds.
    pub live_ms: u64,
    /// The worst lag of any store whose lag is known, in events, outages and catching up included.
    pub any_events: u64,
    /// The worst lag of any store, in milliseconds, outages included.
    pub any_ms: u64,
}

/// Waits until so many baskets are answered.
pub async fn answered(playback: &Arc<Playback>, baskets: usize) -> Result<()> {
    until("the tills' progress", LOAD_DEADLINE, || async {
        (playback.answered() >= baskets).then_some(())
    })
    .await
}

/// Kills a node and starts it again.
pub async fn kill_node(node: &mut Service, after_baskets: usize) -> Result<Incident> {
    let killed = Instant::now();
    node.kill()?;
    let ready = node.restart().await.context("restarting a killed node")?;
    Ok(Incident {
        service: node.name().to_owned(),
        after_baskets,
        ready_ms: milliseconds(ready),
        recovered_ms: milliseconds(killed.elapsed()),
    })
}

/// Kills the aggregator, starts it again and waits until it has all stores live.
pub async fn kill_aggregator(aggregator: &mut Service, after_baskets: usize) -> Result<Incident> {
    let killed = Instant::now();
    aggregator.kill()?;
    let ready = aggregator.restart().await.context("restarting a killed aggregator")?;
    let client = aggregator.client().clone();
    until("all stores live again", CATCH_UP_DEADLINE, || async {
        let status = sync_status(&client).await?;
        let stores = status["stores"].as_array()?;
        stores.iter().all(|store| store["state"] == "live").then_some(())
    })
    .await?;
    Ok(Incident {
        service: aggregator.name().to_owned(),
        after_baskets,
        ready_ms: milliseconds(ready),
        recovered_ms: milliseconds(killed.elapsed()),
    })
}

/// Starts asking for the lag; abort the task to end it, the last value sent stands.
pub fn watch_lag(client: Client) -> (tokio::sync::watch::Receiver<Lag>, JoinHandle<()>) {
    let (sender, receiver) = tokio::sync::watch::channel(Lag::default());
    let task = tokio::spawn(async move {
        loop {
            if let Some(status) = sync_status(&client).await {
                sender.send_modify(|lag| lag.add(&status));
            }
            tokio::time::sleep(SAMPLE_EVERY).await;
        }
    });
    (receiver, task)
}

/// Waits until the view holds everything the nodes have: every store live and verified at the
/// node's own durable seq, no dead letters; how long it took.
pub async fn caught_up(aggregator: &Client, nodes: &[Client]) -> Result<Duration> {
    let started = Instant::now();
    let mut seqs = Vec::new();
    for node in nodes {
        let status = node.get("/api/sync/status").await?.ok()?.json()?;
        let (Some(store), Some(seq)) =
            (status["storeId"].as_str().map(str::to_owned), status["durableSeq"].as_u64())
        else {
            bail!("a node's sync status lacks storeId or durableSeq: {status}");
        };
        seqs.push((store, seq));
    }
    let waited = until("the view to catch up", CATCH_UP_DEADLINE, || async {
        let status = sync_status(aggregator).await?;
        let stores = status["stores"].as_array()?;
        let all = seqs.iter().all(|(id, seq)| {
            stores
                .iter()
                .any(|store| store["storeId"] == id.as_str() && is_verified_at(store, *seq))
        });
        (all && status["global"]["deadLetters"] == 0).then_some(())
    });
    if let Err(error) = waited.await {
        let status = sync_status(aggregator).await.unwrap_or_default();
        return Err(error).context(format!("nodes at {seqs:?}, the view says {status}"));
    }
    Ok(started.elapsed())
}

/// Whether a row of the sync status says: live, all of it there and verified.
pub(crate) fn is_verified_at(store: &Value, seq: u64) -> bool {
    store["state"] == "live"
        && store["verified"] == true
        && store["seq"] == seq
        && store["verifiedSeq"] == seq
        && store["deadLetters"] == 0
}

impl Lag {
    fn add(&mut self, status: &Value) {
        self.samples += 1;
        for store in status["stores"].as_array().into_iter().flatten() {
            let events = store["lagEvents"].as_u64().unwrap_or(0);
            let ms = store["lagMs"].as_u64().unwrap_or(0);
            self.any_events = self.any_events.max(events);
            self.any_ms = self.any_ms.max(ms);
            if store["state"] == "live" {
                self.live_events = self.live_events.max(events);
                self.live_ms = self.live_ms.max(ms);
            }
        }
    }
}

/// The aggregator's word about all stores, if it answers.
pub(crate) async fn sync_status(client: &Client) -> Option<Value> {
    let reply = client.get("/api/sync/status?limit=1000").await.ok()?;
    reply.ok().ok()?.json().ok()
}

/// A duration in milliseconds, with fractions.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
