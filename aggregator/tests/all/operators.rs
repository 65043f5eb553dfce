//! What operators may do with a store that is followed: pause, resume, rebuild.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use event_log::storage::sim::SimStorage;

use crate::node::{Node, create, sell};
use crate::world::{Aggregator, until};

async fn one() -> (Node, SimStorage, Aggregator) {
    let node = Node::start("store-a").await;
    node.commit(&[("mug", create(10, "Mug")), ("cup", create(5, "Cup"))]);
    let storage = SimStorage::new(1);
    let aggregator = Aggregator::start(&storage, &[&node]).await;
    aggregator.wait_verified("store-a", 2).await;
    (node, storage, aggregator)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_store_stays_as_it_is_over_a_restart() {
    let (node, storage, aggregator) = one().await;
    assert_eq!(aggregator.post("/api/sync/stores/store-a/pause").await.status, 202);
    aggregator.wait_state("store-a", "paused").await;
    node.commit(&[("mug", sell(1))]);
    aggregator.stop().await;
    let aggregator = Aggregator::start(&storage, &[&node]).await;
    let store = aggregator.wait_state("store-a", "paused").await;
    assert_eq!((&store["seq"], &store["lagEvents"]), (&2.into(), &serde_json::Value::Null));
    assert_eq!(aggregator.post("/api/sync/stores/store-a/resume").await.status, 202);
    aggregator.wait_verified("store-a", 3).await;
    aggregator.assert_holds("store-a", &node);
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_never_seen_half_done() {
    let (node, _storage, aggregator) = one().await;
    let is_ending = Arc::new(AtomicBool::new(false));
    let (view, watching) = (aggregator.hub.view().clone(), is_ending.clone());
    let watcher = tokio::task::spawn_blocking(move || {
        let mut looks = 0_u64;
        let mut newest = [shared::Version::ZERO; 2];
        while !watching.load(Ordering::Relaxed) {
            for (text, newest) in ["mug", "cup"].into_iter().zip(&mut newest) {
                let row = view.item(&crate::node::sku(text)).expect("always there");
                assert_eq!(row.parts.len(), 1, "old and new part are never seen together");
                let version = row.parts[0].held.cell.version;
                assert!(version >= *newest, "{text} went back from {newest} to {version}");
                *newest = version;
            }
            looks += 1;
        }
        looks
    });
    for _ in 0..5 {
        node.commit(&[("mug", sell(1))]);
        let job = aggregator.run_job("/api/sync/rebuild").await;
        assert_eq!((&job["state"], &job["reports"][0]["different"]), (&"done".into(), &0.into()));
    }
    is_ending.store(true, Ordering::Relaxed);
    assert!(watcher.await.unwrap() > 0);
    aggregator.wait_verified("store-a", 7).await;
    aggregator.assert_holds("store-a", &node);
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_cancels_a_bootstrap_that_cannot_end() {
    let (node, _storage, aggregator) = one().await;
    node.misbehave(|knobs| knobs.is_down = true);
    node.stop();
    node.restart().await;
    let begun = aggregator.post("/api/sync/stores/store-a/resync").await;
    let location = begun.headers["location"].to_str().unwrap().to_owned();
    aggregator.wait_state("store-a", "unreachable").await;
    assert_eq!(aggregator.get(&location).await.json()["state"], "running");
    aggregator.post("/api/sync/stores/store-a/pause").await;
    aggregator.wait_state("store-a", "paused").await;
    assert_eq!(aggregator.get(&location).await.json()["state"], "cancelled");
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_cancelled_leaves_the_store_as_it_is() {
    let (node, _storage, aggregator) = one().await;
    node.misbehave(|knobs| knobs.is_down = true);
    node.stop();
    node.restart().await;
    let begun = aggregator.post("/api/sync/rebuild").await;
    let location = begun.headers["location"].to_str().unwrap().to_owned();
    aggregator.wait_state("store-a", "unreachable").await;
    let cancelled = aggregator.call("DELETE", &location, &[], "").await;
    assert_eq!(cancelled.status, 202, "{}", cancelled.text);
    until("the job to end", || {
        let job = aggregator.hub.jobs().list().pop().unwrap();
        (job.state, job.done) == ("cancelled", 1)
    })
    .await;
    node.misbehave(|knobs| knobs.is_down = false);
    node.commit(&[("mug", sell(1))]);
    aggregator.wait_verified("store-a", 3).await;
    assert_eq!(node.asked().snapshots, 0, "nothing was bootstrapped");
    assert_eq!(aggregator.call("DELETE", "/api/jobs/none", &[], "").await.status, 404);
    aggregator.stop().await;
}
