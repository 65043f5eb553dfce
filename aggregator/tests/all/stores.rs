//! Which stores are followed, changed while it runs: put, moved, removed, configured anew; all of it
//! outlives a restart.

use aggregator::hub::StoreSpec;
use event_log::storage::sim::SimStorage;
use serde_json::{Value, json};

use crate::node::{Node, create, sell};
use crate::world::{Aggregator, Answer, fast, saved_seqs, spec, until};

const STORE_A: &str = "/api/sync/stores/store-a";

async fn stocked(store_id: &str) -> Node {
    let node = Node::start(store_id).await;
    node.commit(&[("mug", create(10, "Mug")), ("cup", create(5, "Cup"))]);
    node
}

/// The same node under another URL.
fn elsewhere(node: &Node) -> String {
    node.url().replace("127.0.0.1", "localhost")
}

async fn put(aggregator: &Aggregator, path: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    aggregator.call("PUT", path, &headers, &body.to_string()).await
}

async fn restarted(aggregator: Aggregator, storage: &SimStorage, nodes: &[&Node]) -> Aggregator {
    aggregator.stop().await;
    Aggregator::start(storage, nodes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_put_is_followed_now_and_after_a_restart() {
    let (node, storage) = (stocked("store-a").await, SimStorage::new(1));
    let aggregator = Aggregator::start(&storage, &[]).await;
    let body = json!({"url": node.url(), "name": "Mitte", "timezone": "europe/berlin"});
    let answer = put(&aggregator, STORE_A, &body).await;
    assert_eq!((answer.status, &answer.headers["location"]), (201, &STORE_A.parse().unwrap()));
    let shown = answer.json();
    assert_eq!((&shown["storeId"], &shown["name"]), (&"store-a".into(), &"Mitte".into()));
    aggregator.wait_verified("store-a", 2).await;
    let aggregator = restarted(aggregator, &storage, &[]).await;
    aggregator.wait_verified("store-a", 2).await;
    aggregator.assert_holds("store-a", &node);
    let shown = aggregator.get(STORE_A).await.json();
    let named = [&shown["url"], &shown["name"], &shown["timezone"], &shown["verifiedSeq"]];
    let expected = json!([node.url(), "Mitte", "Europe/Berlin", 2]);
    assert_eq!(json!(named), expected);
    // What isn't said is none; a store that is only called otherwise is followed as before.
    let streams = node.asked().streams_after.len();
    let answer = put(&aggregator, STORE_A, &json!({"url": node.url()})).await;
    assert_eq!((answer.status, &answer.json()["name"]), (200, &Value::Null));
    node.commit(&[("mug", sell(1))]);
    aggregator.wait_verified("store-a", 3).await;
    assert_eq!(node.asked().streams_after.len(), streams, "the stream wasn't touched");
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_moved_goes_on_where_it_was() {
    let (node, storage) = (stocked("store-a").await, SimStorage::new(1));
    let aggregator = Aggregator::start(&storage, &[&node]).await;
    aggregator.wait_verified("store-a", 2).await;
    let answer = put(&aggregator, STORE_A, &json!({"url": elsewhere(&node)})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let part = aggregator.get("/api/inventory/mug").await.json();
    assert_eq!(part["total"]["stock"], 10, "it never left the view: {part}");
    node.commit(&[("mug", sell(1))]);
    aggregator.wait_verified("store-a", 3).await;
    aggregator.assert_holds("store-a", &node);
    // The flag still names the old URL, which is known to mean this store.
    let aggregator = restarted(aggregator, &storage, &[&node]).await;
    let store = aggregator.wait_verified("store-a", 3).await;
    assert_eq!(store["url"], elsewhere(&node));
    assert_eq!(aggregator.get("/api/sync/status").await.json()["global"]["stores"], 1);
    let asked = node.asked();
    assert_eq!((asked.streams_after, asked.deregistered), (vec![0, 2, 3], 0));
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_url_is_mended_by_the_right_one() {
    let (a, b) = (stocked("store-a").await, stocked("store-b").await);
    let storage = SimStorage::new(1);
    let aggregator = Aggregator::start(&storage, &[&a]).await;
    aggregator.wait_verified("store-a", 2).await;
    put(&aggregator, STORE_A, &json!({"url": b.url()})).await;
    let store = aggregator.wait_state("store-a", "quarantined").await;
    assert_eq!(store["reason"], "the node is store-b, not store-a");
    aggregator.assert_holds("store-a", &a);
    assert_eq!(put(&aggregator, STORE_A, &json!({"url": a.url()})).await.status, 200);
    aggregator.wait_verified("store-a", 2).await;
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_belongs_to_one_store() {
    let (node, storage) = (stocked("store-a").await, SimStorage::new(1));
    let aggregator = Aggregator::start(&storage, &[&node]).await;
    aggregator.wait_verified("store-a", 2).await;
    let body = json!({"url": node.url()});
    let answer = put(&aggregator, "/api/sync/stores/store-b", &body).await;
    let problem = answer.json();
    assert_eq!((answer.status, &problem["error"]), (409, &"AlreadyExists".into()));
    assert_eq!(problem["storeId"], "store-a");
    assert_eq!(aggregator.get("/api/sync/stores/store-b").await.status, 404);
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_durable_is_refused_and_changes_nothing() {
    let (node, storage) = (stocked("store-a").await, SimStorage::new(1));
    let aggregator = Aggregator::start(&storage, &[]).await;
    storage.set_capacity(Some(0));
    let answer = put(&aggregator, STORE_A, &json!({"url": node.url()})).await;
    assert_eq!((answer.status, &answer.json()["error"]), (503, &"ReadOnly".into()));
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(aggregator.get(STORE_A).await.status, 404);
    storage.set_capacity(None);
    assert_eq!(put(&aggregator, STORE_A, &json!({"url": node.url()})).await.status, 201);
    aggregator.wait_verified("store-a", 2).await;
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_store_leaves_view_disk_and_node() {
    let (node, storage) = (stocked("store-a").await, SimStorage::new(1));
    let aggregator = Aggregator::start(&storage, &[&node]).await;
    aggregator.wait_verified("store-a", 2).await;
    until("it to be saved", || !saved_seqs(&storage).is_empty()).await;
    assert_eq!(aggregator.call("DELETE", STORE_A, &[], "").await.status, 204);
    assert_eq!(aggregator.get("/api/inventory/mug").await.status, 404);
    assert_eq!(aggregator.get(STORE_A).await.status, 404);
    assert_eq!(aggregator.call("DELETE", STORE_A, &[], "").await.status, 404);
    assert_eq!((saved_seqs(&storage), node.asked().deregistered), (Vec::new(), 1));
    // The flag goes on naming it: an operator's word outlives a restart.
    let streams = node.asked().streams_after.len();
    let aggregator = restarted(aggregator, &storage, &[&node]).await;
    aggregator.hub.reconcile(&[spec(&node)]).await;
    assert_eq!(aggregator.get("/api/sync/status").await.json()["global"]["stores"], 0);
    assert_eq!(node.asked().streams_after.len(), streams, "nobody asked the node again");
    // Until it is put, or taken out of the configuration and put in again.
    assert_eq!(put(&aggregator, STORE_A, &json!({"url": node.url()})).await.status, 201);
    aggregator.wait_verified("store-a", 2).await;
    assert_eq!(aggregator.call("DELETE", STORE_A, &[], "").await.status, 204);
    aggregator.hub.reconcile(&[]).await;
    aggregator.hub.reconcile(&[spec(&node)]).await;
    aggregator.wait_verified("store-a", 2).await;
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_configured_again_goes_on_where_it_was() {
    let (node, storage) = (stocked("store-a").await, SimStorage::new(1));
    let aggregator = Aggregator::start(&storage, &[&node]).await;
    aggregator.wait_verified("store-a", 2).await;
    aggregator.hub.reconcile(&[]).await;
    assert_eq!(aggregator.get("/api/inventory/mug").await.status, 404);
    assert_eq!((saved_seqs(&storage).len(), node.asked().deregistered), (1, 1));
    node.commit(&[("mug", sell(1))]);
    aggregator.hub.reconcile(&[spec(&node)]).await;
    aggregator.wait_verified("store-a", 3).await;
    assert_eq!(node.asked().streams_after, [0, 2], "what was saved was taken up");
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_may_name_store_and_time_zone_too() {
    let (node, storage) = (stocked("store-a").await, SimStorage::new(1));
    let named = StoreSpec {
        store_id: shared::StoreId::new("store-a").ok(),
        name: Some("Mitte".to_owned()),
        ..spec(&node)
    };
    let aggregator = Aggregator::start_with(&storage, std::slice::from_ref(&named), fast()).await;
    aggregator.wait_verified("store-a", 2).await;
    assert_eq!(aggregator.get(STORE_A).await.json()["name"], "Mitte");
    aggregator.hub.reconcile(&[StoreSpec { name: Some("Nord".to_owned()), ..named }]).await;
    let shown = aggregator.get(STORE_A).await.json();
    assert_eq!((&shown["name"], &shown["state"]), (&"Nord".into(), &"live".into()));
    assert_eq!(node.asked().streams_after, [0]);
    aggregator.stop().await;
}
