//! A node that only looks: it shows what there is, says where the damage is, refuses every write
//! and writes nothing.

use std::time::Duration;

use serde_json::Value;

use super::world::World;

const SELL: &str = r#"{"quantity":1}"#;

/// Everything a caller may ask of a node that only looks.
async fn ask_everything(world: &World) {
    for (path, body) in [
        ("/api/inventory", r#"{"sku":"N","stock":1}"#),
        ("/api/inventory/A/sell", SELL),
        ("/api/inventory/A/reserve", r#"{"orderId":"o-9","quantity":1}"#),
        ("/api/batch", r#"{"atomic":true,"operations":[{"op":"sell","sku":"A","quantity":1}]}"#),
        ("/api/admin/snapshot", ""),
        ("/api/admin/compact", ""),
    ] {
        world.post(path, body).await.problem(503, "ReadOnly");
    }
    let chain = world.app.log().tip().chain.to_string();
    let seq = world.app.log().tip().seq.get();
    let cursor = serde_json::json!({ "seq": seq, "chain": chain }).to_string();
    world.call("PUT", "/api/log/consumers/c", &[], cursor).await.problem(503, "ReadOnly");
    world.call("DELETE", "/api/log/consumers/c", &[], "").await.problem(503, "ReadOnly");
    for path in [
        "/api/inventory",
        "/api/sync/status",
        "/api/admin/log",
        "/api/jobs",
        "/api/log/consumers",
        "/api/health",
        "/api/health/live",
        "/api/metrics",
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let availability = r#"{"items":[{"sku":"A","quantity":1}]}"#;
    world.post("/api/availability", availability).await.expect(200);
}

/// A disk with item A (10, a reservation of 4 that ends after a minute), its node gone.
async fn disk() -> event_log::storage::sim::SimStorage {
    let world = World::new();
    world.create("A", 10).await;
    let reserve = r#"{"orderId":"o-1","quantity":4,"expiresInSeconds":60}"#;
    world.post("/api/inventory/A/reserve", reserve).await.expect(200);
    world.create("B", 3).await;
    world.storage.crashed(1)
}

#[tokio::test]
async fn it_refuses_writes_and_writes_nothing() {
    let storage = disk().await;
    let (before, operations) = (storage.contents(), storage.op_count());
    let world = World::looking(storage.clone());
    ask_everything(&world).await;
    let ready = world.get("/api/health/ready").await;
    assert_eq!((ready.status, ready.header("retry-after")), (503, Some("1")));
    let reason = ready.json()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("opened for reading only"), "{reason}");
    let health = world.get("/api/health").await.expect(200);
    assert_eq!((&health["ready"], &health["readOnly"]), (&false.into(), &true.into()));
    assert_eq!((&health["status"], &health["disk"]["status"]), (&"degraded".into(), &"ok".into()));
    let status = world.get("/api/sync/status").await.expect(200);
    assert_eq!((&status["state"], &status["damages"]), (&"readOnly".into(), &Value::Array(vec![])));
    world.app.log().close().unwrap();
    assert_eq!(storage.op_count(), operations, "{:?}", storage.operation(operations));
    assert!(storage.contents() == before, "looking changed something");
}

#[tokio::test]
async fn reads_show_what_is_settled_and_expire_nothing() {
    let world = World::looking(disk().await);
    world.pass(Duration::from_mins(2));
    let item = world.get("/api/inventory/A").await.expect(200);
    assert_eq!((&item["reserved"], &item["availableStock"]), (&4.into(), &6.into()));
    let last = world.last_seq();
    ask_everything(&world).await;
    assert_eq!(world.last_seq(), last);
}

#[tokio::test]
async fn it_says_where_the_damage_is() {
    let storage = disk().await;
    let segment = "00000000000000000001.log";
    let (_, bytes) = storage.contents().into_iter().find(|(file, _)| file == segment).unwrap();
    let blocks = (4096..bytes.len()).step_by(512);
    let frames: Vec<usize> = blocks.filter(|at| bytes[*at..].starts_with(b"OHFR")).collect();
    // The reservation's frame.
    storage.flip_bit(segment, frames[1] as u64 + 140, 1).unwrap();
    let world = World::looking(storage);
    ask_everything(&world).await;
    assert_eq!(world.get("/api/inventory/A").await.expect(200)["reserved"], 0);
    world.get("/api/inventory/B").await.problem(404, "UnknownSku");
    for path in ["/api/health/log", "/api/sync/status"] {
        let answer = world.get(path).await.expect(200);
        let damage = &answer["damages"][0];
        assert_eq!((&damage["file"], &damage["offset"]), (&segment.into(), &frames[1].into()));
        assert_eq!(damage["firstSeq"], 2, "{damage}");
    }
    let stream = world.get("/api/log?after=0&follow=false").await;
    assert_eq!(stream.status, 200);
    assert!(stream.body == bytes[frames[0]..frames[0] + stream.body.len()]);
    assert!(stream.body.len() <= frames[1] - frames[0] && !stream.body.is_empty());
}

#[tokio::test]
async fn a_snapshot_alone_is_served() {
    let world = World::new();
    world.create("A", 10).await;
    world.create("B", 3).await;
    let now = world.app.now();
    world.app.ledger().snapshot(now, &mut event_log::go_on).unwrap();
    world.post("/api/inventory/A/sell", SELL).await.expect(200);
    let storage = world.storage.crashed(1);
    let segment = "00000000000000000001.log";
    storage.flip_bit(segment, 100, 1).unwrap();
    let world = World::looking(storage);
    assert_eq!(world.get("/api/inventory/A").await.expect(200)["stock"], 10);
    assert_eq!(world.get("/api/inventory?limit=5").await.expect(200)["items"][1]["sku"], "B");
    let health = world.get("/api/health/log").await.expect(200);
    assert_eq!(health["damages"][0]["file"], segment, "{health}");
    let snapshot = world.get("/api/log/snapshot").await;
    assert_eq!((snapshot.status, snapshot.header("x-snapshot-lo")), (200, Some("2")));
    ask_everything(&world).await;
}
