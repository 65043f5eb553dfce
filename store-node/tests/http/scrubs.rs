//! The scrub as operators see it, and jobs that are told to stop.

use serde_json::{Value, json};

use super::operators::finished;
use super::world::World;

const SEGMENT: &str = "00000000000000000001.log";

async fn scrub(world: &World) -> Value {
    let started = world.post("/api/admin/scrub", "").await;
    started.expect(202);
    finished(world, started.header("location").unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrub_says_what_it_read_and_found() {
    let world = World::new();
    for sku in ["A", "B", "C"] {
        world.create(sku, 10).await;
    }
    let job = scrub(&world).await;
    assert_eq!((&job["kind"], &job["state"]), (&json!("scrub"), &json!("done")), "{job}");
    let result = &job["result"];
    assert_eq!((&result["sound"], &result["damages"]), (&json!(true), &json!([])), "{job}");
    assert!(result["records"].as_u64().unwrap() >= 3 && result["segments"] == 1, "{job}");
    assert!(result["readBytes"].as_u64().unwrap() >= 1 << 20, "{job}");

    let bytes = world.storage.contents();
    let (_, bytes) = bytes.iter().find(|(file, _)| file == SEGMENT).unwrap();
    let offset = (4096..).step_by(512).find(|at| bytes[*at..].starts_with(b"OHFR")).unwrap();
    world.storage.flip_bit(SEGMENT, offset as u64 + 140, 1).unwrap();
    let result = scrub(&world).await["result"].clone();
    assert_eq!((&result["sound"], &result["damageCount"]), (&json!(false), &json!(1)), "{result}");
    let log = world.get("/api/health/log").await.expect(200);
    let status = world.get("/api/sync/status").await.expect(200);
    for answer in [&result, &log, &status] {
        let damage = &answer["damages"][0];
        assert_eq!((&damage["file"], &damage["offset"]), (&json!(SEGMENT), &json!(offset)));
        assert_eq!((&damage["firstSeq"], &damage["lastSeq"]), (&json!(1), &json!(1)), "{damage}");
    }
    assert_eq!(log["status"], "degraded", "{log}");
    assert_eq!(world.get("/api/health").await.expect(200)["status"], "degraded");
    let metrics = world.get("/api/metrics").await;
    assert!(metrics.text().contains("onhand_log_damages 1"), "{}", metrics.text());
    assert!(metrics.text().contains("onhand_scrub_rounds_total 2"), "{}", metrics.text());

    // The shop goes on: what is damaged is the past, and what is in memory was checked.
    world.get("/api/health/ready").await.expect(200);
    world.post("/api/inventory/A/sell", r#"{"quantity":1}"#).await.expect(200);
    // Restored, it is sound again.
    world.storage.flip_bit(SEGMENT, offset as u64 + 140, 1).unwrap();
    assert_eq!(scrub(&world).await["result"]["sound"], true);
    assert_eq!(world.get("/api/health/log").await.expect(200), json!({"status": "ok"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_can_be_cancelled_and_others_say_why_not() {
    // At a byte a second it runs until it is told to stop.
    let world = World::with(|options| options.scrub_bytes_per_second = 1);
    world.create("A", 10).await;
    let started = world.post("/api/admin/scrub", "").await;
    started.expect(202);
    let place = started.header("location").unwrap();
    world.post("/api/admin/scrub", "").await.problem(409, "JobRunning");
    // Nobody waits for it.
    world.post("/api/inventory/A/sell", r#"{"quantity":1}"#).await.expect(200);
    let asked = world.call("DELETE", place, &[], "").await;
    assert_eq!(asked.expect(202)["id"], place.rsplit('/').next().unwrap());
    let job = finished(&world, place).await;
    assert_eq!((&job["state"], &job["result"]), (&json!("cancelled"), &Value::Null), "{job}");
    assert!(job["finishedAt"].is_string(), "{job}");
    assert_eq!(world.call("DELETE", place, &[], "").await.expect(200), job, "again is as good");
    assert_eq!(world.get("/api/admin/log").await.expect(200)["lastScrub"], Value::Null);

    let started = world.post("/api/admin/snapshot", "").await;
    let place = started.header("location").unwrap();
    assert_eq!(finished(&world, place).await["state"], "done");
    let refused = world.call("DELETE", place, &[], "").await;
    assert_eq!(refused.problem(409, "JobFinished")["jobId"], place.rsplit('/').next().unwrap());
    world.call("DELETE", "/api/jobs/job-77", &[], "").await.problem(404, "NotFound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_stops_the_jobs() {
    let world = World::with(|options| options.scrub_bytes_per_second = 1);
    world.create("A", 10).await;
    let started = world.post("/api/admin/scrub", "").await;
    world.app.drain();
    let place = started.header("location").unwrap();
    assert_eq!(finished(&world, place).await["state"], "cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_only_looks_scrubs_too() {
    let world = World::new();
    world.create("A", 10).await;
    world.create("B", 10).await;
    let storage = world.storage.crashed(1);
    storage.flip_bit(SEGMENT, 4096 + 140, 1).unwrap();
    let operations = storage.op_count();
    let looking = World::looking(storage.clone());
    let job = scrub(&looking).await;
    assert_eq!(job["result"]["damages"][0]["firstSeq"], 1, "{job}");
    assert_eq!(storage.op_count(), operations, "a scrub writes nothing");
}
