//! The global view: equals the sum of the stores, says how old each part is, resumes, and fences a
//! store that isn't what it was.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::json;
use tests::audit::History;
use tests::findings::{held_by_node, nothing_runs_out};
use tests::load::Crew;
use tests::world::{World, until};

use crate::audited::{expect_sound, tills_at};
use crate::support::{
    VIEW_DEADLINE, create, expect_equal, item, run_job, store_sync, wait_for_state,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_view_equals_the_sum_of_the_stores_under_load() -> Result<()> {
    let world = World::new()?;
    let (mut a, mut b, mut c) =
        (world.node("store-a").await?, world.node("store-b").await?, world.node("store-c").await?);
    let aggregator = world.aggregator(&[&a, &b, &c]).await?;
    let history = History::default();
    let load = tills_at(&[&a, &b, &c], Crew::default(), &history)?;
    load.acknowledge_more(600).await?;
    load.finish().await?;
    let mut nodes = [&mut a, &mut b, &mut c];
    nothing_runs_out(&nodes.each_ref().map(|node| node.client())).await?;
    expect_equal(aggregator.client(), &nodes.each_ref().map(|node| &**node)).await?;
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    for node in &nodes {
        for (sku, state) in held_by_node(node.client()).await? {
            *totals.entry(sku).or_default() += state.stock;
        }
    }
    let (sku, total) = totals.first_key_value().context("something was sold")?;
    let global = item(aggregator.client(), sku).await?;
    assert_eq!(global["total"]["stock"], *total, "{global}");
    assert_eq!(global["stores"].as_array().map(Vec::len), Some(3));
    let summary = aggregator.client().get("/api/summary").await?.ok()?.json()?;
    assert_eq!(summary["total"]["items"], totals.len(), "{summary}");
    expect_sound(&world, &mut nodes, Some(aggregator.client()), &history).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_killed_under_load_resumes_where_it_was() -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    let mut aggregator = world.aggregator(&[&node]).await?;
    let history = History::default();
    let load = tills_at(&[&node], Crew::default(), &history)?;
    // A cursor at the node means: the view has kept that much durably.
    until("the view to keep something", VIEW_DEADLINE, || async {
        let consumers = node.client().get("/api/log/consumers").await.ok()?.json().ok()?;
        (consumers["consumers"][0]["seq"].as_u64()? > 10).then_some(())
    })
    .await?;
    for _ in 0..2 {
        load.acknowledge_more(200).await?;
        aggregator.kill()?;
        load.acknowledge_more(100).await?;
        aggregator.restart().await?;
    }
    load.finish().await?;
    nothing_runs_out(&[node.client()]).await?;
    expect_equal(aggregator.client(), &[&node]).await?;
    assert_eq!(aggregator.stop().await?.code(), Some(0), "SIGTERM ends it cleanly");
    aggregator.restart().await?;
    expect_sound(&world, &mut [&mut node], Some(aggregator.client()), &history).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_unreachable_and_hurts_no_other() -> Result<()> {
    let world = World::new()?;
    let (mut a, b) = (world.node("store-a").await?, world.node("store-b").await?);
    let aggregator = world.aggregator(&[&a, &b]).await?;
    create(a.client(), "mug", 5).await?;
    create(b.client(), "mug", 7).await?;
    expect_equal(aggregator.client(), &[&a, &b]).await?;
    a.kill()?;
    let row = wait_for_state(aggregator.client(), "store-a", "unreachable").await?;
    assert_eq!(row["lagEvents"], serde_json::Value::Null, "unknown isn't zero: {row}");
    assert!(row["reason"].is_string(), "{row}");
    let ready = aggregator.client().get("/api/health/ready").await?;
    assert_eq!(ready.status, 200, "one store doesn't take the view down");
    b.client().post("/api/inventory/mug/sell", &json!({"quantity": 2})).await?.ok()?;
    until("the other store's sale", VIEW_DEADLINE, || async {
        let global = item(aggregator.client(), "mug").await.ok()?;
        (global["total"]["stock"] == 10).then_some(())
    })
    .await?;
    let check = ["status", "--check", "--max-lag", "60s", "--url", aggregator.client().base()];
    assert_eq!(world.aggregator_command(&check)?.code, Some(1));
    a.restart().await?;
    wait_for_state(aggregator.client(), "store-a", "live").await?;
    expect_equal(aggregator.client(), &[&a, &b]).await?;
    let output = world.aggregator_command(&check)?;
    assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_directory_was_replaced_is_quarantined_until_rebound() -> Result<()> {
    let world = World::new()?;
    let (mut a, b) = (world.node("store-a").await?, world.node("store-b").await?);
    let aggregator = world.aggregator(&[&a, &b]).await?;
    create(a.client(), "mug", 5).await?;
    create(b.client(), "mug", 7).await?;
    expect_equal(aggregator.client(), &[&a, &b]).await?;
    a.stop().await?;
    std::fs::remove_dir_all(world.data_dir("store-a"))?;
    a.restart().await?;
    create(a.client(), "mug", 100).await?;
    create(a.client(), "cup", 1).await?;

    let row = wait_for_state(aggregator.client(), "store-a", "quarantined").await?;
    assert!(row["reason"].is_string(), "{row}");
    let global = item(aggregator.client(), "mug").await?;
    assert_eq!(global["total"]["stock"], 12, "its last good state stays: {global}");
    let part =
        global["stores"].as_array().context("stores")?.iter().find(|p| p["storeId"] == "store-a");
    assert_eq!(part.context("store-a")?["state"], "quarantined", "and says so");
    let other = store_sync(aggregator.client(), "store-b").await.context("store-b")?;
    assert_eq!(other["state"], "live");

    let rebind = "/api/sync/stores/store-a/rebind";
    let job = run_job(aggregator.client(), rebind).await?;
    assert_eq!(job["state"], "done", "{job}");
    wait_for_state(aggregator.client(), "store-a", "live").await?;
    expect_equal(aggregator.client(), &[&a, &b]).await
}
