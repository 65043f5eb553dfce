//! The aggregator over a fleet: started, waited for, compared. It must never believe the aggregator
//! alone: what it holds is compared with what the nodes answer.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use super::fleet::Fleet;
use crate::bench::usage::Usage;
use crate::http::Client;
use crate::world::{Binaries, Service, ServiceSpec, free_address, until};

/// How long a catch-up may take.
const CAUGHT_UP_WITHIN: Duration = Duration::from_mins(2);
/// More events than any store here has: every store is followed from its first frame.
const NEVER_FROM_SNAPSHOTS: &str = "1000000000000";

/// What taking over a fleet's whole log came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CatchUp {
    /// Stores.
    pub stores: usize,
    /// Events.
    pub events: u64,
    /// From readiness until every store was verified at its node's seq.
    pub seconds: f64,
    /// What the aggregator's process used for it, its start included.
    pub usage: Usage,
}

impl CatchUp {
    /// Processor time of an event at the aggregator, in microseconds.
    pub fn cpu_us_per_event(&self) -> f64 {
        self.usage.cpu_seconds() * 1e6 / self.events as f64
    }

    /// Events a second, by the clock on the wall.
    pub fn events_per_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }
}

impl fmt::Display for CatchUp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} stores {:.0} events/s, {:.3} µs each",
            self.stores,
            self.events_per_second(),
            self.cpu_us_per_event()
        )
    }
}

/// Starts an aggregator over these nodes with nothing in its directory.
pub async fn open(binaries: &Binaries, directory: &Path, nodes: &[&Service]) -> Result<Service> {
    if directory.exists() {
        std::fs::remove_dir_all(directory).context("removing the last view")?;
    }
    let urls: Vec<String> = nodes.iter().map(|node| node.client().base().to_owned()).collect();
    let spec = ServiceSpec::aggregator(binaries, directory, free_address()?, &urls)
        .with_options(&["--log-level", "warn"].map(str::to_owned))
        .with_environment("AGGREGATOR_SNAPSHOT_EVENTS_MIN", NEVER_FROM_SNAPSHOTS)
        .ends_with_its_starter(binaries);
    Service::start(spec).await
}

/// Lets a new aggregator take over everything, and ends it.
pub async fn catch_up(binaries: &Binaries, directory: &Path, fleet: &Fleet) -> Result<CatchUp> {
    let durable = fleet.durable().await?;
    let nodes: Vec<&Service> = fleet.nodes.iter().collect();
    let mut office = open(binaries, directory, &nodes).await?;
    let started = Instant::now();
    wait_verified(office.client(), &durable).await?;
    let seconds = started.elapsed().as_secs_f64();
    let usage = Usage::of(office.id().context("the aggregator runs")?)?;
    let status = office.stop().await?;
    ensure!(status.success(), "the aggregator ended with {status}");
    std::fs::remove_dir_all(directory).context("removing the view")?;
    Ok(CatchUp {
        stores: durable.len(),
        events: durable.iter().map(|(_, seq)| seq).sum(),
        seconds,
        usage,
    })
}

/// Waits until every store is live and verified at (or beyond) the seq given.
pub async fn wait_verified(office: &Client, durable: &[(String, u64)]) -> Result<()> {
    until("every store verified", CAUGHT_UP_WITHIN, || async {
        let status = office.get("/api/sync/status?limit=1000").await.ok()?.json().ok()?;
        is_verified(&status, durable).then_some(())
    })
    .await
}

/// Waits until one store is; asks for nothing of the others, so that the asking costs the aggregator
/// the same however many there are.
pub async fn wait_store_verified(office: &Client, (name, seq): &(String, u64)) -> Result<()> {
    let path = format!("/api/sync/stores/{name}");
    until("the store verified", CAUGHT_UP_WITHIN, || async {
        let store = office.get(&path).await.ok()?.json().ok()?;
        is_store_verified(&store, *seq).then_some(())
    })
    .await
}

/// Whether a status says of each store that its digest is equal at its seq.
fn is_verified(status: &Value, durable: &[(String, u64)]) -> bool {
    let Some(stores) = status["stores"].as_array() else { return false };
    let by_name: BTreeMap<&str, &Value> =
        stores.iter().filter_map(|store| Some((store["storeId"].as_str()?, store))).collect();
    durable.iter().all(|(name, seq)| {
        by_name.get(name.as_str()).is_some_and(|store| is_store_verified(store, *seq))
    })
}

fn is_store_verified(store: &Value, seq: u64) -> bool {
    let is_equal = store["verified"].as_bool() == Some(true);
    is_equal && store["verifiedSeq"].as_u64() >= Some(seq) && store["state"] == "live"
}

/// Compares every item of every store with what the aggregator shows; returns how many there are.
/// Nothing may be written meanwhile.
pub async fn compare(office: &Client, nodes: &[Service]) -> Result<usize> {
    let mut held = BTreeMap::new();
    for row in office.list_all("/api/inventory").await? {
        let sku = row["sku"].as_str().unwrap_or_default().to_owned();
        for part in row["stores"].as_array().into_iter().flatten() {
            let store = part["storeId"].as_str().unwrap_or_default().to_owned();
            held.insert((store, sku.clone()), state(part));
        }
    }
    let mut compared = 0;
    for node in nodes {
        for row in node.client().list_all("/api/inventory").await? {
            let sku = row["sku"].as_str().unwrap_or_default().to_owned();
            let at = (node.name().to_owned(), sku);
            let found = held.remove(&at);
            ensure!(found == Some(state(&row)), "{at:?}: {found:?} in the view, {row} at the node");
            compared += 1;
        }
    }
    ensure!(held.is_empty(), "the view has {} items that no store has", held.len());
    Ok(compared)
}

fn state(row: &Value) -> [Option<u64>; 5] {
    ["stock", "reserved", "sold", "version", "seq"].map(|name| row[name].as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn verified_means_each_store_at_its_seq() {
        let durable = [("a".to_owned(), 7), ("b".to_owned(), 9)];
        let store = |name: &str, seq: u64, verified: bool, state: &str| json!({"storeId": name, "verifiedSeq": seq, "verified": verified, "state": state});
        let a = store("a", 7, true, "live");
        let cases = [
            (vec![a.clone(), store("b", 9, true, "live")], true),
            (vec![a.clone(), store("b", 10, true, "live")], true),
            (vec![a.clone(), store("b", 8, true, "live")], false),
            (vec![a.clone(), store("b", 9, false, "live")], false),
            (vec![a.clone(), store("b", 9, true, "paused")], false),
            (vec![a], false),
        ];
        for (stores, expected) in cases {
            let status = json!({ "stores": stores });
            assert_eq!(is_verified(&status, &durable), expected, "{status}");
        }
    }
}
