//! Which stores the aggregator follows, and how: beside a node in its data directory, and as told by
//! a configuration that is read again.

use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::json;
use tests::audit::History;
use tests::load::Crew;
use tests::world::{Service, ServiceSpec, World, free_address, until};

use crate::audited::{expect_sound, tills_at};
use crate::maintenance::{fill, snapshot_and_compact};
use crate::support::{VIEW_DEADLINE, create, create_items, expect_equal, skus, wait_for_state};

/// An aggregator that reads the store's data directory instead of asking its node.
async fn beside(world: &World, store_id: &str) -> Result<Service> {
    let url = format!("file://{}", world.data_dir(store_id).display());
    aggregator(world, &[url], &[]).await
}

async fn aggregator(world: &World, nodes: &[String], options: &[String]) -> Result<Service> {
    let directory = world.data_dir("aggregator");
    let spec = ServiceSpec::aggregator(world.binaries(), &directory, free_address()?, nodes);
    Service::start(spec.log_in(&world.path().join("logs")).with_options(options)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_followed_while_its_node_sells_and_is_killed() -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    let history = History::default();
    let load = tills_at(&[&node], Crew::default(), &history)?;
    load.acknowledge_more(50).await?;
    let aggregator = beside(&world, "store-a").await?;
    for _ in 0..5 {
        load.acknowledge_more(100).await?;
        node.kill()?;
        // Whoever reads beside it must never keep the lock from it.
        node.restart().await?;
    }
    load.finish().await?;
    let consumers = node.client().get("/api/log/consumers").await?.ok()?.json()?;
    assert_eq!(consumers["consumers"], json!([]), "the node doesn't know who reads its files");
    expect_sound(&world, &mut [&mut node], Some(aggregator.client()), &history).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_compacted_is_begun_from_its_snapshot() -> Result<()> {
    let world = World::new()?;
    let mut node = world.node("store-a").await?;
    let skus = skus("SKU", 50);
    create_items(node.client(), &skus, 5).await?;
    let mut aggregator = beside(&world, "store-a").await?;
    expect_equal(aggregator.client(), &[&node]).await?;
    aggregator.stop().await?;

    fill(node.client(), "first", &skus).await?;
    let job = snapshot_and_compact(&node).await?;
    assert!(job["result"]["archived"].as_u64() > Some(0), "nothing was compacted: {job}");
    // The archive is kept no longer: nothing holds what comes after the cursor.
    node.stop().await?;
    std::fs::remove_dir_all(world.data_dir("store-a").join("archive"))?;
    node.restart().await?;
    create(node.client(), "late", 7).await?;
    aggregator.restart().await?;
    expect_equal(aggregator.client(), &[&node]).await?;
    let log = std::fs::read_to_string(&aggregator.spec().log)?;
    assert!(log.contains("bootstrapped anew"), "the cursor was compacted away");
    Ok(())
}

fn configure(path: &Path, stores: &[(&Service, &str)]) -> Result<()> {
    let store = |(node, name): &(&Service, &str)| {
        let url = node.client().base();
        format!("[[store]]\nurl = \"{url}\"\nname = \"{name}\"\ntimezone = \"Europe/Berlin\"\n")
    };
    std::fs::write(path, stores.iter().map(store).collect::<String>()).context("the configuration")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_reads_the_stores_again() -> Result<()> {
    let world = World::new()?;
    let (a, b) = (world.node("store-a").await?, world.node("store-b").await?);
    create(a.client(), "mug", 5).await?;
    create(b.client(), "mug", 7).await?;
    let file = world.path().join("aggregator.toml");
    configure(&file, &[(&a, "Mitte")])?;
    let options = ["--config".to_owned(), file.display().to_string()];
    let mut aggregator = aggregator(&world, &[], &options).await?;
    expect_equal(aggregator.client(), &[&a]).await?;

    configure(&file, &[(&b, "Nord")])?;
    aggregator.process().context("it runs")?.signal(Signal::HUP)?;
    wait_for_state(aggregator.client(), "store-b", "live").await?;
    expect_equal(aggregator.client(), &[&b]).await?;
    let shown = aggregator.client().get("/api/sync/stores/store-b").await?.ok()?.json()?;
    assert_eq!((&shown["name"], &shown["timezone"]), (&json!("Nord"), &json!("Europe/Berlin")));
    let gone = aggregator.client().get("/api/sync/stores/store-a").await?;
    assert_eq!(gone.status, 404, "no longer configured");

    // What can't be used changes nothing.
    std::fs::write(&file, "[[store]]\nurl = \"nowhere\"\n")?;
    aggregator.process().context("it runs")?.signal(Signal::HUP)?;
    until("the refusal to be told", VIEW_DEADLINE, || async {
        let log = std::fs::read_to_string(&aggregator.spec().log).ok()?;
        log.contains("configuration refused").then_some(())
    })
    .await?;
    wait_for_state(aggregator.client(), "store-b", "live").await?;
    Ok(())
}
