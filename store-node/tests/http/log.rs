//! The frame stream, snapshots and consumers.

use std::time::Duration;

use event_log::{Chain, Frame, FrameKind, LogId, decode_frame, verify_chain};
use http_body_util::BodyExt;
use serde_json::json;

use super::world::World;

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((frame, used)) = decode_frame(bytes, LogId::new([7; 16])).unwrap() {
        frames.push(frame);
        bytes = &bytes[used..];
    }
    assert!(bytes.is_empty(), "{} bytes are left over", bytes.len());
    frames
}

async fn node() -> World {
    let world = World::new();
    world.create("A", 10).await;
    for _ in 0..5 {
        world.post("/api/inventory/A/sell", r#"{"quantity":1}"#).await.expect(200);
    }
    world
}

/// The end of some data frame of the log and the chain there.
async fn a_cursor(world: &World) -> (u64, Chain) {
    let all = frames(&world.get("/api/log?follow=false").await.body);
    let data = all.iter().filter(|frame| frame.header.kind == FrameKind::Data);
    let frame = data.take(2).last().unwrap();
    (frame.header.last_seq().get(), frame.header.chain)
}

#[tokio::test]
async fn the_stream_delivers_the_whole_chain() {
    let world = node().await;
    let answer = world.get("/api/log?after=0&follow=false&consumer=test").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/vnd.onhand.frames"));
    assert_eq!(answer.header("x-store-id"), Some("store-a"));
    assert_eq!(answer.header("x-log-format"), Some("1"));
    assert_eq!(answer.header("x-log-id"), Some(LogId::new([7; 16]).to_string().as_str()));
    let mut chain = Chain::genesis(LogId::new([7; 16]));
    let mut seq = 0;
    for frame in frames(&answer.body) {
        assert!(verify_chain(&chain, &frame));
        chain = frame.header.chain;
        for (record, _) in frame.records() {
            seq += 1;
            assert_eq!(record.get(), seq);
        }
    }
    assert_eq!(seq, 6);
}

#[tokio::test]
async fn the_stream_goes_on_from_a_cursor_and_refuses_others() {
    let world = node().await;
    let (seq, chain) = a_cursor(&world).await;
    let rest = world.get(&format!("/api/log?after={seq}&chain={chain}&follow=false")).await;
    let rest = frames(&rest.body);
    assert!(verify_chain(&chain, &rest[0]));
    assert_eq!(rest[0].header.first_seq.get(), seq + 1);

    let other = "00".repeat(32);
    let rewritten = world.get(&format!("/api/log?after={seq}&chain={other}")).await;
    rewritten.problem(409, "LogRewritten");
    let ahead = world.get(&format!("/api/log?after=700&chain={other}")).await;
    assert_eq!(ahead.problem(409, "LogAhead")["lastSeq"], 6);
}

#[tokio::test]
async fn the_stream_follows_and_keeps_alive() {
    let world = node().await;
    let response = world.open("/api/log").await;
    let mut body = response.into_body();
    let mut chain = Chain::genesis(LogId::new([7; 16]));
    let mut seen = 0;
    let mut kept_alive = false;
    let mut sold = false;
    while seen < 7 || !kept_alive {
        let next = tokio::time::timeout(Duration::from_secs(5), body.frame()).await;
        let piece = next.expect("keep-alives come every second").unwrap().unwrap();
        for frame in frames(&piece.into_data().unwrap()) {
            assert!(verify_chain(&chain, &frame), "{:?}", frame.header);
            chain = frame.header.chain;
            seen = frame.header.last_seq().get();
            kept_alive |= frame.header.kind == FrameKind::KeepAlive;
        }
        if seen == 6 && !sold {
            sold = true;
            kept_alive = false;
            world.post("/api/inventory/A/sell", r#"{"quantity":1}"#).await.expect(200);
        }
    }
    world.app.log().close().unwrap();
    world.app.log_closed();
    let rest = tokio::time::timeout(Duration::from_secs(5), body.collect()).await.unwrap().unwrap();
    let rest = frames(&rest.to_bytes());
    assert_eq!(rest.last().unwrap().header.kind, FrameKind::Close);
}

#[tokio::test]
async fn a_snapshot_is_taken_if_there_is_none_and_can_be_read() {
    let world = node().await;
    let answer = world.get("/api/log/snapshot?consumer=test").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-snapshot-lo"), Some("6"));
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    let stream = event_log::snapshot::SnapshotStream::new(answer.body.as_slice(), "download");
    let mut stream = stream.unwrap();
    assert_eq!(stream.header().lo.get(), 6);
    while stream.next_section().unwrap().is_some() {}
    assert!(stream.footer().is_some());
    let status = world.get("/api/sync/status").await.expect(200);
    assert_eq!(status["snapshots"].as_array().unwrap().len(), 1);
    let again = world.get("/api/log/snapshot?consumer=test").await;
    assert_eq!(again.body, answer.body);
}

#[tokio::test]
async fn consumers_acknowledge_only_what_is_there() {
    let world = node().await;
    let (seq, chain) = a_cursor(&world).await;
    let path = "/api/log/consumers/aggregator";
    let body = json!({"seq": seq, "chain": chain.to_string()}).to_string();
    let view = world.call("PUT", path, &[], body).await.expect(200);
    assert_eq!((&view["id"], &view["seq"]), (&json!("aggregator"), &json!(seq)));
    assert_eq!(view["lagEvents"], 6 - seq);
    let ahead = json!({"seq": 700, "chain": chain.to_string()}).to_string();
    world.call("PUT", path, &[], ahead).await.problem(409, "LogAhead");
    let wrong = json!({"seq": seq, "chain": "00".repeat(32)}).to_string();
    world.call("PUT", path, &[], wrong).await.problem(409, "LogRewritten");
    let bad = world.call("PUT", path, &[], r#"{"seq":-1,"chain":"x"}"#).await;
    assert_eq!(bad.field_errors(), ["#/seq min", "#/chain hex"]);
    let list = world.get("/api/log/consumers").await.expect(200);
    assert_eq!(list["consumers"][0]["seq"], seq);
    let consumer = |list: &serde_json::Value| {
        let row = &list["consumers"][0];
        (row["lagEvents"].clone(), row["lagBytes"].clone(), row["pinnedUntil"].clone())
    };
    let (events_before, bytes_before, pinned) = consumer(&list);
    assert!(pinned.is_null(), "{list}");
    world.create("LATER", 1).await;
    assert_eq!(world.get("/api/log/snapshot?consumer=aggregator").await.status, 200);
    for path in ["/api/log/consumers", "/api/sync/status"] {
        let answer = world.get(path).await.expect(200);
        let (events, bytes, pinned) = consumer(&answer);
        assert_eq!(events.as_u64(), events_before.as_u64().map(|events| events + 1), "{answer}");
        assert!(bytes.as_u64() > bytes_before.as_u64(), "{answer}");
        assert!(pinned.is_string(), "{answer}");
    }
    assert_eq!(world.call("DELETE", path, &[], "").await.status, 204);
    world.call("DELETE", path, &[], "").await.problem(404, "NotFound");
}

#[tokio::test]
async fn the_sync_status_tells_the_tip() {
    let world = node().await;
    let status = world.get("/api/sync/status").await.expect(200);
    let tip = world.app.log().tip();
    assert_eq!(status["storeId"], "store-a");
    assert_eq!((&status["durableSeq"], &status["lastSeq"]), (&json!(6), &json!(6)));
    assert_eq!(status["digest"], format!("{:032x}", tip.digest));
    assert_eq!(status["state"], "writable");
    assert_eq!(status["segments"].as_array().unwrap().len(), 1);
}
