//! Following, saving, resuming, bootstrapping.

use aggregator::hub::StoreSpec;
use aggregator::sync_worker::WorkerOptions;
use event_log::storage::sim::SimStorage;
use shared::StoreId;

use crate::node::{Node, create, sell};
use crate::world::{Aggregator, fast, saved_seqs, spec, until};

async fn stocked(store_id: &str) -> Node {
    let node = Node::start(store_id).await;
    for number in 0..40 {
        node.commit(&[(&format!("SKU {number}"), create(100, "Mug"))]);
    }
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_are_followed_and_verified() {
    let (a, b) = (stocked("store-a").await, stocked("store-b").await);
    let storage = SimStorage::new(1);
    let aggregator = Aggregator::start(&storage, &[&a, &b]).await;
    aggregator.wait_verified("store-a", 40).await;
    for _ in 0..50 {
        a.commit(&[("SKU 1", sell(1)), ("SKU 2", sell(1))]);
        b.commit(&[("SKU 1", sell(1))]);
    }
    a.checkpoint();
    aggregator.wait_verified("store-a", 140).await;
    aggregator.wait_verified("store-b", 90).await;
    aggregator.assert_holds("store-a", &a);
    aggregator.assert_holds("store-b", &b);
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_resumes_at_its_cursor_and_tells_only_what_is_durable() {
    let node = stocked("store-a").await;
    let storage = SimStorage::new(1);
    let aggregator = Aggregator::start(&storage, &[&node]).await;
    aggregator.wait_verified("store-a", 40).await;
    aggregator.stop().await;
    assert_eq!(saved_seqs(&storage), [("store-a".to_owned(), 40)]);
    assert_eq!(node.asked().acknowledged.last(), Some(&40), "the last word says all of it");
    // While the node is away, what was known is shown, and how old it is.
    node.stop();
    let aggregator = Aggregator::start(&storage, &[&node]).await;
    let store = aggregator
        .wait("store-a", "refused", |store| store["reason"] == "connection refused")
        .await;
    assert_eq!((&store["state"], &store["verified"]), (&"unreachable".into(), &true.into()));
    assert_eq!(store["lagEvents"], serde_json::Value::Null);
    assert_eq!((store["seq"].as_u64(), store["verifiedSeq"].as_u64()), (Some(40), Some(40)));
    aggregator.assert_holds("store-a", &node);
    node.commit(&[("SKU 3", sell(5))]);
    node.restart().await;
    aggregator.wait_verified("store-a", 41).await;
    aggregator.assert_holds("store-a", &node);
    assert_eq!(node.asked().streams_after, [0, 40], "nothing came twice");
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledgement_runs_ahead_of_the_disk() {
    let node = stocked("store-a").await;
    let storage = SimStorage::new(1);
    let aggregator = Aggregator::start(&storage, &[&node]).await;
    for round in 0..20 {
        node.commit(&[("SKU 1", sell(1))]);
        let before = node.asked().acknowledged.len();
        if round % 4 == 0 {
            until("an acknowledgement", || node.asked().acknowledged.len() > before).await;
        }
        let told = node.asked().acknowledged.last().copied().unwrap_or(0);
        // Whatever power cut comes now, at least what was told is there.
        let saved = saved_seqs(&storage.crashed(round));
        assert!(
            saved.first().is_some_and(|(_, seq)| *seq >= told) || told == 0,
            "{saved:?} < {told}"
        );
    }
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_moment_converges_again() {
    let node = stocked("store-a").await;
    let mut storage = SimStorage::new(1);
    for seed in 0..6 {
        let aggregator = Aggregator::start(&storage, &[&node]).await;
        for _ in 0..10 {
            node.commit(&[("SKU 1", sell(1)), ("SKU 7", sell(1))]);
            tokio::time::sleep(std::time::Duration::from_millis(7)).await;
        }
        let crashed = storage.crashed(seed);
        aggregator.stop().await;
        storage = crashed;
    }
    let aggregator = Aggregator::start(&storage, &[&node]).await;
    aggregator.wait_verified("store-a", 160).await;
    aggregator.assert_holds("store-a", &node);
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_node_is_begun_from_its_snapshot() {
    let node = stocked("store-a").await;
    node.snapshot();
    node.commit(&[("SKU 1", sell(1)), ("SKU 2", sell(2))]);
    let options = WorkerOptions { snapshot_events_min: 10, ..fast() };
    let storage = SimStorage::new(1);
    let aggregator = Aggregator::start_with(&storage, &[spec(&node)], options).await;
    aggregator.wait_verified("store-a", 42).await;
    aggregator.assert_holds("store-a", &node);
    assert_eq!((node.asked().snapshots, node.asked().streams_after), (1, vec![40]));
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compacted_away_is_replaced_by_a_snapshot() {
    let node = stocked("store-a").await;
    let storage = SimStorage::new(1);
    // First contact: the beginning is gone already.
    node.snapshot();
    node.misbehave(|knobs| knobs.floor = 40);
    let aggregator = Aggregator::start(&storage, &[&node]).await;
    aggregator.wait_verified("store-a", 40).await;
    aggregator.assert_holds("store-a", &node);
    aggregator.stop().await;
    // Away for too long: bootstrapped in the shadow, the old part visible until the swap.
    for _ in 0..30 {
        node.commit(&[("SKU 1", sell(1))]);
    }
    let hi = node.snapshot();
    node.misbehave(|knobs| (knobs.floor, knobs.no_snapshot) = (hi, true));
    let aggregator = Aggregator::start(&storage, &[&node]).await;
    until("the snapshot to be asked for", || node.asked().snapshots > 2).await;
    let part = aggregator.get("/api/inventory/SKU%201").await.json();
    assert_eq!(part["total"]["stock"], 100, "what was known stays visible: {part}");
    node.misbehave(|knobs| knobs.no_snapshot = false);
    aggregator.wait_verified("store-a", 70).await;
    aggregator.assert_holds("store-a", &node);
    aggregator.stop().await;
    assert_eq!(saved_seqs(&storage), [("store-a".to_owned(), 70)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_moved_is_found_again_when_its_id_is_configured() {
    let node = stocked("store-a").await;
    let storage = SimStorage::new(1);
    let aggregator = Aggregator::start(&storage, &[&node]).await;
    aggregator.wait_verified("store-a", 40).await;
    aggregator.stop().await;
    let moved = StoreSpec {
        store_id: Some(StoreId::new("store-a").unwrap()),
        ..StoreSpec::at(node.url().replace("127.0.0.1", "localhost"))
    };
    // Without its id the new URL is refused: it might be anybody.
    let unnamed = StoreSpec { store_id: None, ..moved.clone() };
    let aggregator = Aggregator::start_with(&storage, &[unnamed], fast()).await;
    let is_refused = || {
        aggregator.hub.stores()[0]
            .shared
            .status()
            .reason
            .is_some_and(|reason| reason.contains("rebind"))
    };
    until("the new URL to be refused", is_refused).await;
    aggregator.stop().await;
    let aggregator = Aggregator::start_with(&storage, &[moved], fast()).await;
    aggregator.wait_verified("store-a", 40).await;
    assert_eq!(node.asked().streams_after.last(), Some(&40), "it goes on where it was");
    aggregator.stop().await;
}
