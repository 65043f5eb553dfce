//! Admin jobs, health, metrics, request ids.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{REQUEST_ID, World};

pub(crate) async fn finished(world: &World, path: &str) -> Value {
    for _ in 0..500 {
        let job = world.get(path).await.expect(200);
        if job["state"] != "running" {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{path} never ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_and_compactions_are_jobs() {
    let world = World::new();
    world.create("A", 10).await;
    for (path, kind) in [("/api/admin/snapshot", "snapshot"), ("/api/admin/compact", "compact")] {
        let started = world.call("POST", path, &[], "").await;
        let job = started.expect(202);
        assert_eq!(job["kind"], kind);
        let location = started.header("location").unwrap();
        assert_eq!(location, format!("/api/jobs/{}", job["id"].as_str().unwrap()));
        let job = finished(&world, location).await;
        assert_eq!((&job["state"], &job["error"]), (&json!("done"), &Value::Null), "{job}");
    }
    let jobs = world.get("/api/jobs").await.expect(200);
    let kinds: Vec<_> = jobs["items"].as_array().unwrap().iter().map(|job| &job["kind"]).collect();
    assert_eq!(kinds, ["compact", "snapshot"]);
    world.get("/api/jobs/job-77").await.problem(404, "NotFound");
    let body = world.call("POST", "/api/admin/snapshot", &[], r#"{"now":true}"#).await;
    assert_eq!(body.field_errors(), ["# unsupported"]);
    let log = world.get("/api/admin/log").await.expect(200);
    assert_eq!((&log["items"], &log["state"]), (&json!(1), &json!("writable")));
}

#[tokio::test]
async fn health_tells_who_and_how() {
    let world = World::new();
    let health = world.get("/api/health").await.expect(200);
    assert_eq!(health["status"], "ok");
    assert_eq!(health["ready"], true);
    assert_eq!(health["storeId"], "store-a");
    assert_eq!(health["format"], 1);
    let commit = health["commit"].as_str().unwrap();
    let is_hash = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    let checkout = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../.git");
    assert!(is_hash || (commit == "unknown" && !checkout.exists()), "{commit}");
    for part in ["live", "ready", "log", "disk", "sync"] {
        let check = world.get(&format!("/api/health/{part}")).await.expect(200);
        assert_eq!(check, json!({"status": "ok"}), "{part}");
    }
    world.app.drain();
    let ready = world.get("/api/health/ready").await;
    assert_eq!(ready.expect(503)["reason"], "this node is leaving");
    assert_eq!(ready.header("retry-after"), Some("1"));
    world.get("/api/health/live").await.expect(200);
}

#[tokio::test]
async fn metrics_count_requests_and_problems() {
    let world = World::new();
    world.create("A", 10).await;
    world.get("/api/inventory/Z").await.problem(404, "UnknownSku");
    world.get("/nowhere").await.problem(404, "NotFound");
    let answer = world.get("/api/metrics").await;
    assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
    let lines = [
        "onhand_http_requests_total{endpoint=\"create\",status=\"2xx\"} 1",
        "onhand_http_requests_total{endpoint=\"get\",status=\"4xx\"} 1",
        "onhand_http_requests_total{endpoint=\"unmatched\",status=\"4xx\"} 1",
        "onhand_http_problems_total{error=\"UnknownSku\"} 1",
        "onhand_http_request_seconds_count{endpoint=\"create\"} 1",
        "onhand_items 1",
        "onhand_log_durable_seq 1",
        "onhand_ready 1",
    ];
    for line in lines {
        assert!(answer.text().contains(line), "{line} is not in\n{}", answer.text());
    }
}

#[tokio::test]
async fn request_ids_come_back_and_are_logged() {
    let world = World::new();
    world.create("A", 10).await;
    let answer = world.get("/api/inventory/A").await;
    assert_eq!(answer.header("x-request-id"), Some(REQUEST_ID));
    let insane = world.call("GET", "/api/inventory/Z", &[("x-request-id", "a b")], "").await;
    let id = insane.header("x-request-id").unwrap().to_owned();
    assert_eq!(id.len(), 16);
    assert_eq!(insane.problem(404, "UnknownSku")["instance"], id);
    let record = world.app.log().read_records(event_log::Seq::new(1), 1).unwrap();
    let shared::codec::Record::Event(event) = shared::codec::decode_record(&record[0]).unwrap()
    else {
        panic!("not an event");
    };
    assert_eq!(event.context.request_id.as_deref(), Some(REQUEST_ID));
}
