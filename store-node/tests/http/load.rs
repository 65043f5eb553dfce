//! Too much at once: what is put off, what is refused, and what is answered all the same.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_log::storage::sim::SimStorage;
use store_node::http::{AppOptions, LoadLimits};

use super::process::{Node, PATIENCE};
use super::world::World;

#[tokio::test]
async fn what_can_wait_is_put_off_when_the_node_is_loaded() {
    let five = |options: &mut AppOptions| {
        options.load = LoadLimits { requests_max: 5, ..LoadLimits::default() };
    };
    let world = Arc::new(World::stalled(SimStorage::new(7), five));
    world.app.log().preallocate_once().unwrap();
    let tills: Vec<_> = (0..4)
        .map(|till| {
            let world = Arc::clone(&world);
            let body = format!(r#"{{"sku":"S-{till}","stock":5}}"#);
            tokio::spawn(async move { world.post("/api/inventory", &body).await })
        })
        .collect();
    while world.app.in_flight() < 4 {
        tokio::task::yield_now().await;
    }
    let before = world.last_seq();
    for path in ["/api/inventory", "/api/inventory/S-1"] {
        world.get(path).await.problem(503, "Overloaded");
    }
    for (verb, body) in [
        ("reserve", r#"{"orderId":"o","quantity":1}"#),
        ("receive", r#"{"quantity":1}"#),
        ("extend", r#"{"orderId":"o"}"#),
    ] {
        let answer = world.post(&format!("/api/inventory/S-1/{verb}"), body).await;
        answer.problem(503, "Overloaded");
    }
    assert_eq!(world.last_seq(), before, "what is put off has no effect");
    for verb in ["sell", "return", "release", "deduct"] {
        let answer = world.post(&format!("/api/inventory/S-1/{verb}"), "{").await;
        answer.problem(400, "MalformedJson");
    }
    for path in ["/api/health", "/api/health/live", "/api/metrics", "/api/sync/status"] {
        assert_eq!(world.get(path).await.status, 200, "{path}");
    }
    world.app.log().commit_once().unwrap();
    for till in tills {
        till.await.unwrap().expect(201);
    }
    world.get("/api/inventory").await.expect(200);
}

#[tokio::test]
async fn log_streams_have_a_bound() {
    let two = |options: &mut AppOptions| {
        options.load = LoadLimits { log_streams_max: 2, ..LoadLimits::default() };
    };
    let world = World::with(two);
    let (first, second) = (world.open("/api/log").await, world.open("/api/log").await);
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    let refused = world.get("/api/log").await.problem(503, "Overloaded");
    assert!(refused["detail"].as_str().unwrap().contains("log_streams_max"), "{refused}");
    let metrics = world.get("/api/metrics").await;
    assert!(metrics.text().contains("onhand_log_streams 2"), "{}", metrics.text());
    drop(first);
    assert_eq!(world.open("/api/log").await.status().as_u16(), 200);
    // A stream that ends by itself gives its place back, too.
    drop(second);
    assert_eq!(world.get("/api/log?follow=false").await.status, 200);
    assert_eq!(world.open("/api/log").await.status().as_u16(), 200);
}

#[tokio::test]
async fn snapshot_downloads_have_a_bound() {
    let two = |options: &mut AppOptions| {
        options.load = LoadLimits { snapshot_downloads_max: 2, ..LoadLimits::default() };
    };
    let world = World::with(two);
    world.create("S-1", 5).await;
    let path = "/api/log/snapshot?consumer=view";
    let (first, second) = (world.open(path).await, world.open(path).await);
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    let problem = world.get(path).await.problem(503, "Overloaded");
    assert!(problem["detail"].as_str().unwrap().contains("2 snapshots"), "{problem}");
    let metrics = world.get("/api/metrics").await;
    assert!(metrics.text().contains("onhand_snapshot_downloads 2"), "{}", metrics.text());
    // Whoever goes away gives the place back, and so does a download that comes to its end.
    drop(first);
    assert_eq!(world.get(path).await.status, 200);
    assert_eq!(world.get(path).await.status, 200);
    drop(second);
    let metrics = world.get("/api/metrics").await;
    assert!(metrics.text().contains("onhand_snapshot_downloads 0"), "{}", metrics.text());
}

#[test]
fn connections_over_the_bound_are_told_so_and_health_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("node.toml");
    std::fs::write(&config, "connections_max = 3\n").unwrap();
    let node = Node::start(&dir.path().join("data"), &["--config", config.to_str().unwrap()]);
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(&node.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /api/health/live HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        held.push(stream);
    }
    let (status, problem) = node.call("GET", "/api/inventory", "");
    assert_eq!((status, &problem["error"]), (503, &"Overloaded".into()));
    assert_eq!(node.call("GET", "/api/health/live", "").0, 200);
    // Half a request on a connection over the bound is gone soon.
    let mut half = TcpStream::connect(&node.address).unwrap();
    half.set_read_timeout(Some(PATIENCE)).unwrap();
    half.write_all(b"GET /api").unwrap();
    let started = Instant::now();
    let mut rest = Vec::new();
    let _ = half.read_to_end(&mut rest);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    drop(held);
    let deadline = Instant::now() + PATIENCE;
    while node.call("GET", "/api/inventory", "").0 != 200 {
        assert!(Instant::now() < deadline, "there is room again");
    }
}
