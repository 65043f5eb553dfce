//! A full disk, a failing disk, a log that is closed: what callers are told, and what still works.

use std::time::Duration;

use event_log::storage::sim::{Fault, SimStorage};
use store_node::http::AppOptions;

use super::world::World;

const SELL: &str = r#"{"quantity":1}"#;

#[tokio::test]
async fn a_closed_log_is_a_node_that_leaves() {
    let world = World::new();
    world.create("A", 10).await;
    world.app.log().close().unwrap();
    world.post("/api/inventory/A/sell", SELL).await.problem(503, "ShuttingDown");
    world.get("/api/inventory/A").await.expect(200);
}

#[tokio::test]
async fn a_failing_disk_leaves_the_outcome_open_and_then_refuses() {
    let world = World::new();
    world.create("A", 10).await;
    world.create("B", 10).await;
    // The preallocator may take the next few operations: whichever the committer meets fails.
    let next = world.storage.op_count();
    (next..next + 100).for_each(|operation| world.storage.fail_at(operation, Fault::Eio));
    let answer = world.post("/api/inventory/A/sell", SELL).await;
    answer.problem(504, "OutcomeUnknown");
    world.post("/api/inventory/A/sell", SELL).await.problem(503, "LogPoisoned");
    world.post("/api/inventory/B/sell", SELL).await.problem(503, "LogPoisoned");
    world.get("/api/inventory/A").await.problem(503, "Unsettled");
    world.get("/api/inventory/B").await.expect(200);
    let health = world.get("/api/health").await.expect(200);
    assert_eq!((&health["status"], &health["ready"]), (&"failed".into(), &false.into()));
    assert_eq!(world.get("/api/health/log").await.status, 503);
    world.get("/api/health/live").await.expect(200);
}

#[tokio::test]
async fn what_is_not_durable_in_time_is_unknown() {
    let short = |options: &mut AppOptions| options.reply_deadline = Duration::from_millis(20);
    let world = World::stalled(SimStorage::new(7), short);
    world.app.log().preallocate_once().unwrap();
    let key = [("idempotency-key", "k")];
    let body = r#"{"sku":"A","stock":1}"#;
    let created = world.call("POST", "/api/inventory", &key, body).await;
    created.problem(504, "OutcomeUnknown");
    world.get("/api/inventory/A").await.problem(503, "Unsettled");
    world.get("/api/inventory").await.problem(503, "Unsettled");
    world.app.log().commit_once().unwrap();
    world.get("/api/inventory/A").await.expect(200);
    let again = world.call("POST", "/api/inventory", &key, body).await;
    again.expect(201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}

#[tokio::test]
async fn a_body_that_never_ends_is_a_timeout() {
    let world = World::with(|options| options.body_deadline = Duration::from_millis(20));
    world.create("A", 10).await;
    let body =
        axum::body::Body::from_stream(futures_util::stream::pending::<std::io::Result<Vec<u8>>>());
    let answer = world.call("POST", "/api/inventory/A/sell", &[], body).await;
    answer.problem(408, "RequestTimeout");
    assert_eq!(world.last_seq(), 1);
}

#[tokio::test]
async fn a_full_disk_stops_writes_and_comes_back_by_itself() {
    let world = World::new();
    world.create("A", 1 << 20).await;
    let used: usize = world.storage.contents().iter().map(|(_, bytes)| bytes.len()).sum();
    world.storage.set_capacity(Some(used as u64 + 1000));
    let note = "n".repeat(1024);
    let lines = vec![format!(r#"{{"op":"receive","sku":"A","quantity":1,"note":"{note}"}}"#); 300];
    let batch = format!(r#"{{"atomic":true,"operations":[{}]}}"#, lines.join(","));
    let mut refused = None;
    for _ in 0..100 {
        let answer = world.post("/api/batch", &batch).await;
        if answer.status != 200 && answer.json()["error"] != "Overloaded" {
            refused = Some(answer);
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    refused.unwrap().problem(503, "ReadOnly");
    world.get("/api/inventory/A").await.expect(200);
    assert_eq!(world.get("/api/health/ready").await.status, 503);
    assert_eq!(world.get("/api/health/disk").await.status, 503);
    world.storage.set_capacity(None);
    for _ in 0..500 {
        if world.post("/api/batch", &batch).await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the node stays read-only");
}
