//! Snapshots and compaction of a running node while an aggregator follows it.

use anyhow::Result;
use serde_json::{Value, json};
use tests::audit::History;
use tests::findings::nothing_runs_out;
use tests::http::Client;
use tests::load::Crew;
use tests::retail::play::until_answered;
use tests::world::{Service, World};

use crate::audited::tills_at;
use crate::support::{create, create_items, expect_equal, item, run_job, skus, wait_for_state};

/// Fills several small segments: so many batches of [`LINES`] receipts with a note each.
const BATCHES: usize = 24;
const LINES: usize = 1_000;
const NOTE_BYTES: usize = 200;

/// `name` keeps the keys of several fillings apart. A node whose small segments aren't ready as fast
/// as it is written to says so (503), and gets the batch again.
pub(crate) async fn fill(client: &Client, name: &str, skus: &[String]) -> Result<()> {
    let note = "n".repeat(NOTE_BYTES);
    for batch in 0..BATCHES {
        let operations: Vec<Value> = (0..LINES)
            .map(|line| {
                let sku = &skus[line % skus.len()];
                json!({"op": "receive", "sku": sku, "quantity": 1, "note": note})
            })
            .collect();
        let body = json!({"atomic": true, "operations": operations});
        let key = format!("{name}-{batch}");
        let (reply, _) = until_answered(client, &key, &body.to_string()).await?;
        reply.ok()?;
    }
    Ok(())
}

async fn segment_count(client: &Client) -> Result<usize> {
    let status = client.get("/api/sync/status").await?.ok()?.json()?;
    let segments = status["segments"].as_array().map_or(0, Vec::len);
    let archived = status["segments"].as_array().into_iter().flatten();
    Ok(segments - archived.filter(|segment| segment["archived"] == true).count())
}

/// Two snapshots at different seqs (two are always kept), then a compaction.
pub(crate) async fn snapshot_and_compact(node: &Service) -> Result<Value> {
    for sku in ["SKU-0", "SKU-1"] {
        let path = format!("/api/inventory/{sku}/receive");
        node.client().post(&path, &json!({"quantity": 1})).await?.ok()?;
        let job = run_job(node.client(), "/api/admin/snapshot").await?;
        assert_eq!(job["state"], "done", "{job}");
    }
    let job = run_job(node.client(), "/api/admin/compact").await?;
    assert_eq!(job["state"], "done", "{job}");
    Ok(job)
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_and_compaction_run_beside_sales_and_a_follower() -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    let aggregator = world.aggregator(&[&node]).await?;
    let skus = skus("SKU", 50);
    create_items(node.client(), &skus, 1_000_000).await?;
    create(node.client(), "keyed", 10).await?;
    let sale = json!({"quantity": 1});
    let first =
        node.client().post_keyed("/api/inventory/keyed/sell", "early", &sale).await?.ok()?;
    fill(node.client(), "first", &skus).await?;
    let before = segment_count(node.client()).await?;
    assert!(before > 2, "only {before} segments: nothing to compact");

    // The aggregator's cursor must have passed what is to go; it acknowledges what it has kept.
    expect_equal(aggregator.client(), &[&node]).await?;
    let load = tills_at(&[&node], Crew::default(), &History::default())?;
    tests::world::until("the floor to rise", crate::support::VIEW_DEADLINE, || async {
        let job = snapshot_and_compact(&node).await.ok()?;
        (job["result"]["archived"].as_u64() > Some(0)).then_some(())
    })
    .await?;
    load.acknowledge_more(50).await?;
    load.finish().await?;
    nothing_runs_out(&[node.client()]).await?;
    assert!(segment_count(node.client()).await? < before, "no segment went");
    expect_equal(aggregator.client(), &[&node]).await?;

    let held = node.client().list_all("/api/inventory").await?;
    node.kill()?;
    node.restart().await?;
    assert_eq!(node.client().list_all("/api/inventory").await?, held, "snapshot + rest = all");
    let again = node.client().post_keyed("/api/inventory/keyed/sell", "early", &sale).await?;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.json()?, first.json()?, "an archived answer is still an answer");
    assert_eq!(item(node.client(), "keyed").await?["stock"], 9);
    wait_for_state(aggregator.client(), "store-a", "live").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_aggregator_bootstraps_from_a_compacted_node() -> Result<()> {
    let world = World::new()?;
    let node = world.node("store-a").await?;
    let skus = skus("SKU", 50);
    create_items(node.client(), &skus, 5).await?;
    fill(node.client(), "first", &skus).await?;
    let job = snapshot_and_compact(&node).await?;
    assert!(job["result"]["archived"].as_u64() > Some(0), "nothing was compacted: {job}");
    fill(node.client(), "second", &skus[..7]).await?;
    let aggregator = world.aggregator(&[&node]).await?;
    expect_equal(aggregator.client(), &[&node]).await
}
