//! Lines that break and nodes that lie: each hurts its own store only.

use event_log::storage::sim::SimStorage;
use shared::command::{Action, ItemPatch};

use crate::node::{Node, create, sell};
use crate::world::{Aggregator, saved_seqs, until};

/// Two stores of which the first will be hurt.
async fn pair() -> (Node, Node, SimStorage, Aggregator) {
    let (a, b) = (Node::start("store-a").await, Node::start("store-b").await);
    a.commit(&[("mug", create(10, "Mug")), ("cup", create(5, "Cup"))]);
    b.commit(&[("mug", create(7, "Mug"))]);
    let storage = SimStorage::new(1);
    let aggregator = Aggregator::start(&storage, &[&a, &b]).await;
    aggregator.wait_verified("store-a", 2).await;
    aggregator.wait_verified("store-b", 1).await;
    (a, b, storage, aggregator)
}

/// The first store is fenced for this reason; the second goes on.
async fn assert_fenced(aggregator: &Aggregator, other: &Node, reason: &str) {
    let store = aggregator.wait_state("store-a", "quarantined").await;
    assert!(store["reason"].as_str().unwrap().contains(reason), "{store}");
    assert_eq!(store["lagEvents"], serde_json::Value::Null);
    let seq = other.commit(&[("mug", sell(1))]);
    aggregator.wait_verified("store-b", seq).await;
    aggregator.assert_holds("store-b", other);
    let item = aggregator.get("/api/inventory/mug").await.json();
    assert_eq!(item["stores"][0]["stock"], 10, "its last good state stays: {item}");
    assert_eq!(item["stores"][0]["state"], "quarantined");
    assert_eq!(item["stores"][1]["state"], "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_lines_only_delay() {
    let (a, _b, _storage, aggregator) = pair().await;
    a.misbehave(|knobs| knobs.cut_after_bytes = Some(777));
    a.stop();
    a.restart().await;
    for _ in 0..60 {
        a.commit(&[("mug", Action::Receive { quantity: shared::Quantity::new(1).unwrap() })]);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    aggregator
        .wait("store-a", "at 62", |store| store["seq"] == 62 && store["verified"] == true)
        .await;
    aggregator.assert_holds("store-a", &a);
    assert!(a.asked().streams_after.len() > 5, "{:?}", a.asked().streams_after);
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_in_crumbs_are_put_together() {
    let (a, _b, _storage, aggregator) = pair().await;
    a.misbehave(|knobs| knobs.piece_bytes = Some(7));
    a.stop();
    a.restart().await;
    for _ in 0..20 {
        a.commit(&[("cup", Action::Receive { quantity: shared::Quantity::new(1).unwrap() })]);
    }
    aggregator.wait_verified("store-a", 22).await;
    aggregator.assert_holds("store-a", &a);
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_is_no_contact_and_nothing_of_it_stays() {
    let (a, b, _storage, aggregator) = pair().await;
    a.misbehave(|knobs| knobs.garbage = true);
    a.stop();
    a.restart().await;
    a.commit(&[("mug", sell(1))]);
    let store = aggregator
        .wait("store-a", "damaged", |store| {
            store["reason"].as_str().is_some_and(|reason| reason.contains("damaged"))
        })
        .await;
    assert_eq!(store["state"], "unreachable");
    b.commit(&[("mug", sell(1))]);
    aggregator.wait_verified("store-b", 2).await;
    a.misbehave(|knobs| knobs.garbage = false);
    aggregator.wait_verified("store-a", 3).await;
    aggregator.assert_holds("store-a", &a);
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_digest_fences_its_store_alone_and_stays_so_over_a_restart() {
    let (a, b, storage, aggregator) = pair().await;
    a.commit_bent(&[("mug", sell(3))], |_| {}, 1);
    assert_fenced(&aggregator, &b, "digest mismatch at seq 3").await;
    aggregator.stop().await;
    assert_eq!(saved_seqs(&storage)[0], ("store-a".to_owned(), 2));
    let aggregator = Aggregator::start(&storage, &[&a, &b]).await;
    assert_fenced(&aggregator, &b, "digest mismatch at seq 3").await;
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_is_fenced_until_it_is_rebound() {
    let (a, b, _storage, aggregator) = pair().await;
    let old = a.log_id();
    a.replace_log();
    a.commit(&[("mug", create(100, "Mug"))]);
    a.stop();
    a.restart().await;
    assert_fenced(&aggregator, &b, "another log").await;
    assert_eq!(aggregator.store("store-a").await["logId"], old.as_str());
    let resync = aggregator.run_job("/api/sync/stores/store-a/resync").await;
    assert_eq!(resync["state"], "failed", "a resync binds nothing: {resync}");
    let job = aggregator.run_job("/api/sync/stores/store-a/rebind").await;
    assert_eq!(job["state"], "done", "{job}");
    let store = aggregator.wait_verified("store-a", 1).await;
    assert_eq!(store["logId"], a.log_id().as_str());
    aggregator.assert_holds("store-a", &a);
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_store_at_the_same_url_is_refused_even_by_rebind() {
    let (a, b, _storage, aggregator) = pair().await;
    a.misbehave(|knobs| knobs.store_id = Some("store-x".to_owned()));
    a.stop();
    a.restart().await;
    assert_fenced(&aggregator, &b, "the node is store-x, not store-a").await;
    let job = aggregator.run_job("/api/sync/stores/store-a/rebind").await;
    assert_eq!(job["state"], "failed", "{job}");
    a.misbehave(|knobs| knobs.store_id = None);
    assert_eq!(aggregator.post("/api/sync/stores/store-a/resume").await.status, 202);
    aggregator.wait_verified("store-a", 2).await;
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_store_under_two_urls_is_followed_once() {
    let (a, b, _storage, aggregator) = pair().await;
    b.misbehave(|knobs| knobs.store_id = Some("store-a".to_owned()));
    b.stop();
    b.restart().await;
    let fenced = |index: usize| aggregator.hub.stores()[index].shared.status();
    until("the second to be fenced", || {
        fenced(1).reason.is_some_and(|reason| reason.contains("store-a, not store-b"))
    })
    .await;
    a.commit(&[("mug", sell(1))]);
    aggregator.wait_verified("store-a", 3).await;
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_format_is_fenced() {
    let (a, b, _storage, aggregator) = pair().await;
    a.misbehave(|knobs| knobs.format = Some(9));
    a.stop();
    a.restart().await;
    assert_fenced(&aggregator, &b, "format 9").await;
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_what_was_seen_is_fenced() {
    let (a, b, _storage, aggregator) = pair().await;
    // The same log id, cut back to nothing: as if restored from an old copy.
    let id = a.log_id();
    let fresh = Node::start("store-a").await;
    assert_eq!(fresh.log_id(), id);
    let address = a.url();
    a.stop();
    drop(a);
    fresh.take_over(&address).await;
    assert_fenced(&aggregator, &b, "lost data").await;
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_marks_its_item_until_a_later_event_heals_it() {
    let (a, _b, storage, aggregator) = pair().await;
    a.commit_bent(&[("mug", sell(3))], |record| record.push(0), 0);
    a.commit(&[("cup", sell(1))]);
    let store = aggregator.wait("store-a", "at 4", |store| store["seq"] == 4).await;
    assert_eq!((&store["verified"], &store["deadLetters"]), (&false.into(), &1.into()));
    let item = aggregator.get("/api/inventory/mug").await.json();
    assert_eq!(item["stores"][0]["stock"], 7, "the envelope says what is there: {item}");
    let letters = aggregator.get("/api/dlq").await.json();
    assert_eq!(letters["items"][0]["id"], "store-a:3");
    assert_eq!(letters["items"][0]["sku"], "mug");
    let letter = aggregator.get("/api/dlq/store-a:3").await.json();
    assert!(letter["record"].is_string() && letter["state"] == "open", "{letter}");
    let retried = aggregator.post("/api/dlq/store-a:3/retry").await.json();
    assert_eq!(retried["outcome"], "refused", "{retried}");
    // It survives a restart, which tries it again.
    aggregator.stop().await;
    let aggregator = Aggregator::start(&storage, &[&a]).await;
    let letter = aggregator.get("/api/dlq/store-a:3").await.json();
    assert_eq!((&letter["state"], &letter["tries"]), (&"open".into(), &3.into()), "{letter}");
    let seq = a.commit(&[("mug", sell(1))]);
    let store = aggregator.wait_verified("store-a", seq).await;
    assert_eq!(store["deadLetters"], 0);
    let letter = aggregator.get("/api/dlq/store-a:3").await.json();
    assert_eq!((&letter["state"], &letter["healedBySeq"]), (&"healed".into(), &seq.into()));
    aggregator.assert_holds("store-a", &a);
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resync_heals_what_no_later_event_can() {
    let (a, _b, _storage, aggregator) = pair().await;
    let patch = ItemPatch { name: Some("Becher".into()), ..ItemPatch::default() };
    a.commit_bent(&[("mug", Action::update(patch))], |record| record.push(0), 0);
    let seq = a.commit(&[("mug", sell(1))]);
    aggregator.wait("store-a", "unverified", |s| s["seq"] == seq && s["verified"] == false).await;
    let job = aggregator.run_job("/api/sync/stores/store-a/resync").await;
    assert_eq!(job["state"], "done", "{job}");
    let report = &job["reports"][0];
    assert_eq!((&report["compared"], &report["different"]), (&2.into(), &1.into()), "{job}");
    assert_eq!(report["differences"][0]["sku"], "mug");
    assert_eq!(report["differences"][0]["held"]["name"], "Mug");
    assert_eq!(report["differences"][0]["node"]["name"], "Becher");
    let store = aggregator.wait_verified("store-a", seq).await;
    assert_eq!(store["deadLetters"], 0);
    aggregator.assert_holds("store-a", &a);
    aggregator.stop().await;
}
