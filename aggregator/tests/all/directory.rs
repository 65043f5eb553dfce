//! A store followed through its data directory, beside the process that writes it.

use std::sync::Arc;

use aggregator::hub::StoreSpec;
use aggregator::source::directory::DirectorySource;
use aggregator::sync_worker::WorkerOptions;
use event_log::storage::sim::SimStorage;
use serde_json::Value;

use crate::node::{Node, create, sell};
use crate::world::{Aggregator, fast, saved_seqs};

async fn beside(node: &Node, storage: &SimStorage, options: WorkerOptions) -> Aggregator {
    let directory = node.directory();
    let source_of = move |_: &StoreSpec| Ok(DirectorySource::new(directory.clone()));
    let specs = [StoreSpec::at("file:///data/store-a")];
    Aggregator::start_from(storage, &specs, options, Arc::new(source_of)).await
}

async fn stocked() -> Node {
    let node = Node::start("store-a").await;
    node.stop();
    node.commit(&[("mug", create(10, "Mug")), ("cup", create(5, "Cup"))]);
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_counts_when_a_later_one_covers_it() {
    let (node, storage) = (stocked().await, SimStorage::new(1));
    let aggregator = beside(&node, &storage, fast()).await;
    // In the file, but a power cut could still take it: told as lag, and not shown.
    let is_behind = |store: &Value| store["lagEvents"] == 2 && store["nodeSeq"] == 2;
    let store = aggregator.wait("store-a", "two events behind", is_behind).await;
    assert_eq!((&store["seq"], &store["verified"]), (&0.into(), &false.into()));
    assert_eq!(aggregator.get("/api/inventory/mug").await.status, 404);
    node.checkpoint();
    aggregator.wait_verified("store-a", 2).await;
    for _ in 0..9 {
        node.commit(&[("mug", sell(1))]);
    }
    aggregator.wait("store-a", "at the last covered frame", |store| store["seq"] == 10).await;
    node.checkpoint();
    aggregator.wait_verified("store-a", 11).await;
    aggregator.assert_holds("store-a", &node);
    aggregator.stop().await;
    assert_eq!(saved_seqs(&storage), [("store-a".to_owned(), 11)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_beside_the_node() {
    let (node, storage) = (stocked().await, SimStorage::new(1));
    node.checkpoint();
    let directory = node.directory();
    let before = (directory.op_count(), directory.contents());
    let aggregator = beside(&node, &storage, fast()).await;
    aggregator.wait_verified("store-a", 2).await;
    aggregator.stop().await;
    assert_eq!((directory.op_count(), directory.contents()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_resumes_and_another_log_is_fenced() {
    let (node, storage) = (stocked().await, SimStorage::new(1));
    node.checkpoint();
    let aggregator = beside(&node, &storage, fast()).await;
    aggregator.wait_verified("store-a", 2).await;
    aggregator.stop().await;
    node.commit(&[("mug", sell(1))]);
    node.checkpoint();
    let aggregator = beside(&node, &storage, fast()).await;
    aggregator.wait_verified("store-a", 3).await;
    aggregator.assert_holds("store-a", &node);
    aggregator.stop().await;
    node.replace_log();
    node.commit(&[("mug", create(1, "Mug"))]);
    node.checkpoint();
    let aggregator = beside(&node, &storage, fast()).await;
    let store = aggregator.wait_state("store-a", "quarantined").await;
    assert!(store["reason"].as_str().unwrap().contains("another log"), "{store}");
    let part = aggregator.get("/api/inventory/mug").await.json();
    assert_eq!(part["total"]["stock"], 9, "its last good state stays: {part}");
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_log_is_begun_from_the_directorys_snapshot() {
    let (node, storage) = (stocked().await, SimStorage::new(1));
    node.commit(&[("mug", sell(1))]);
    node.checkpoint();
    node.snapshot();
    // A newer file that only looks like a snapshot doesn't count.
    let false_name = format!("snapshots/{0:020}-{0:020}.snap", 99);
    node.directory().put(&false_name, b"no snapshot");
    let options = WorkerOptions { snapshot_events_min: 1, ..fast() };
    let aggregator = beside(&node, &storage, options).await;
    // Nothing came after the snapshot: the digest of where it ends proves it.
    aggregator.wait_verified("store-a", 3).await;
    aggregator.assert_holds("store-a", &node);
    node.commit(&[("mug", sell(1))]);
    node.checkpoint();
    aggregator.wait_verified("store-a", 4).await;
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_directory_is_no_contact_and_hurts_nothing() {
    let (node, storage) = (stocked().await, SimStorage::new(1));
    node.checkpoint();
    let aggregator = beside(&node, &storage, fast()).await;
    aggregator.wait_verified("store-a", 2).await;
    aggregator.stop().await;
    let segment = "00000000000000000001.log";
    node.directory().set_unreadable(segment, true);
    let aggregator = beside(&node, &storage, fast()).await;
    let says_why =
        |store: &Value| store["reason"].as_str().is_some_and(|text| text.contains("failed"));
    let store = aggregator.wait("store-a", "unreachable with its reason", says_why).await;
    assert_eq!(store["state"], "unreachable");
    aggregator.assert_holds("store-a", &node);
    node.directory().set_unreadable(segment, false);
    node.commit(&[("mug", sell(1))]);
    node.checkpoint();
    aggregator.wait_verified("store-a", 3).await;
    aggregator.stop().await;
}
