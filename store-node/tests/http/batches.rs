//! Batches in their other two forms: in bytes, and as a stream of lines.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Request;
use event_log::storage::sim::SimStorage;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::world::{Answer, World};

const COMPACT: &str = "application/vnd.onhand.batch.v1";
const NDJSON: &str = "application/x-ndjson";

/// Sales in bytes, as `docs/batches.md` lays them out: (SKU, quantity below 64).
fn sales(atomic: bool, lines: &[(&str, i8)]) -> Vec<u8> {
    let mut bytes = b"OHBATCH1".to_vec();
    bytes.extend_from_slice(&[u8::from(atomic), 0, 0, 0]);
    bytes.extend_from_slice(&(lines.len() as u32).to_le_bytes());
    for (sku, quantity) in lines {
        bytes.extend_from_slice(&[5, sku.len() as u8]);
        bytes.extend_from_slice(sku.as_bytes());
        bytes.extend_from_slice(&[1, 0, ((quantity << 1) ^ (quantity >> 7)).cast_unsigned()]);
    }
    sealed(bytes)
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// A LEB128 number, and what follows it.
fn varint(bytes: &[u8]) -> (usize, &[u8]) {
    let end = bytes.iter().position(|byte| byte & 128 == 0).unwrap();
    let digits = bytes[..=end].iter().rev();
    (digits.fold(0, |number, byte| number << 7 | usize::from(byte & 127)), &bytes[end + 1..])
}

async fn send(world: &World, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    world.call("POST", "/api/batch", headers, body).await
}

/// The lines of a streamed answer.
#[track_caller]
fn verdicts(answer: &Answer) -> Vec<Value> {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(NDJSON)));
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_batch_in_bytes_does_and_answers_what_json_would() {
    let world = World::new();
    world.create("A", 10).await;
    world.create("B", 1).await;
    let lines = [("A", 3), ("B", 2), ("A", 0), ("NONE", 1), ("A", 1)];
    let answer = send(&world, &[("content-type", COMPACT)], sales(false, &lines)).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(COMPACT)));
    let (body, crc) = answer.body.split_at(answer.body.len() - 4);
    assert_eq!(crc, crc32fast::hash(body).to_le_bytes());
    assert_eq!(&body[..8], b"OHBATCA1");
    let number = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().unwrap());
    assert_eq!((body[8], number(12), number(16), number(20), number(24)), (0, 5, 2, 3, 2));
    // Status 200 · version 2 · stock 7 · reserved 0 · sold 3 · the first seq after the base.
    assert_eq!(body[32..39], [200, 0, 2, 7, 0, 3, 1]);
    let mut rest = &body[39..];
    let json_lines = json!({"atomic": false, "operations": [
        {"op": "sell", "sku": "A", "quantity": 3}, {"op": "sell", "sku": "B", "quantity": 2},
        {"op": "sell", "sku": "A", "quantity": 0}, {"op": "sell", "sku": "NONE", "quantity": 1},
    ]});
    let other = World::new();
    other.create("A", 10).await;
    other.create("B", 1).await;
    let same = other.post("/api/batch", &json_lines.to_string()).await.expect(200);
    for index in 1..4 {
        let status = u16::from_le_bytes([rest[0], rest[1]]);
        let (length, text) = varint(&rest[2..]);
        let line: Value = serde_json::from_slice(&text[..length]).unwrap();
        assert_eq!(line, same["results"][index]);
        assert_eq!(line["status"], status);
        rest = &text[length..];
    }
    assert_eq!(rest, [200, 0, 3, 6, 0, 4, 2]);
    assert_eq!(world.get("/api/inventory/A").await.expect(200)["stock"], 6);

    let wanted = [("content-type", COMPACT), ("accept", "application/json")];
    let json = send(&world, &wanted, sales(true, &[("A", 1)])).await.expect(200);
    assert_eq!(json["results"][0]["stock"], 5);
    let wanted = [("accept", COMPACT)];
    let body = r#"{"atomic":true,"operations":[{"op":"sell","sku":"A","quantity":1}]}"#;
    let bytes = send(&world, &wanted, body).await;
    assert_eq!(
        (bytes.header("content-type"), &bytes.body[..9]),
        (Some(COMPACT), &b"OHBATCA1\x03"[..])
    );
}

#[tokio::test]
async fn a_batch_in_bytes_happens_once_for_its_key_and_whole_or_not_at_all() {
    let world = World::new();
    world.create("A", 10).await;
    let headers = [("content-type", COMPACT), ("idempotency-key", "k")];
    let first = send(&world, &headers, sales(true, &[("A", 1), ("A", 2)])).await;
    let again = send(&world, &headers, sales(true, &[("A", 1), ("A", 2)])).await;
    assert_eq!((first.status, &first.body), (200, &again.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let other = send(&world, &headers, sales(true, &[("A", 2), ("A", 2)])).await;
    other.problem(422, "IdempotencyKeyReused");
    let before = world.last_seq();
    let plain = [("content-type", COMPACT)];
    let refused = send(&world, &plain, sales(true, &[("A", 1), ("A", 60)])).await;
    let second = refused.problem(409, "BatchRejected")["results"][1].clone();
    assert_eq!(
        (&second["error"], &second["status"]),
        (&json!("InsufficientStockError"), &json!(409))
    );
    let invalid = send(&world, &plain, sales(true, &[("A", 1), ("A", -1)])).await;
    assert_eq!(invalid.field_errors(), ["#/operations/1/quantity min"]);
    let mut damaged = sales(true, &[("A", 1)]);
    damaged[20] ^= 1;
    send(&world, &plain, damaged).await.problem(400, "MalformedBatch");
    send(&world, &plain, "{}").await.problem(400, "MalformedBatch");
    let unknown = send(&world, &[("content-type", "application/vnd.onhand.batch.v2")], "").await;
    unknown.problem(415, "UnsupportedMediaType");
    assert_eq!(world.last_seq(), before, "nothing of these has happened");
}

#[tokio::test]
async fn a_stream_gives_every_line_its_verdict_and_sums_them_up() {
    let world = World::new();
    let long = format!(r#"{{"op":"sell","sku":"A","quantity":1,"note":"{}"}}"#, "x".repeat(65_536));
    let lines = [
        r#"{"op":"create","sku":"A","stock":10}"#,
        r#"{"op":"sell","sku":"A","quantity":3}"#,
        "",
        r#"{"sku":"A","quantity":30,"op":"sell"}"#,
        r#"{"op":"sell","sku":"A","quantity":0,"x":1}"#,
        r#"{"op":"sell","sku":"A","quantity":"#,
        &long,
        "  {\"op\":\"reserve\",\"sku\":\"A\",\"orderId\":\"o\",\"quantity\":2}\r",
        r#"{"op":"reserve","sku":"A","orderId":"o","quantity":2}"#,
        r#"{"op":"sell","sku":"A","quantity":1,"idempotencyKey":""}"#,
        "[]",
    ];
    let answer = send(&world, &[("content-type", NDJSON)], lines.join("\n")).await;
    let found = verdicts(&answer);
    let (last, found) = found.split_last().unwrap();
    let words: Vec<String> = found
        .iter()
        .map(|line| format!("{} {} {}", line["index"], line["status"], line["error"]))
        .collect();
    assert_eq!(
        words,
        [
            "0 201 null",
            "1 200 null",
            "3 409 \"InsufficientStockError\"",
            "4 400 \"ValidationError\"",
            "5 400 \"MalformedJson\"",
            "6 413 \"PayloadTooLarge\"",
            "7 200 null",
            "8 200 null",
            "9 400 \"ValidationError\"",
            "10 400 \"ValidationError\"",
        ]
    );
    let pointers: Vec<&Value> =
        found[3]["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["#/quantity", "#/x"]);
    assert_eq!((&found[7]["changed"], &found[7]["seq"]), (&json!(false), &Value::Null));
    let summary = json!({"lines": 10, "applied": 4, "failed": 6, "complete": true});
    assert_eq!(last, &json!({ "summary": summary }));
    assert_eq!(world.get("/api/inventory/A").await.expect(200)["availableStock"], 5);
}

#[tokio::test]
async fn a_streamed_line_happens_once_for_its_key() {
    let world = World::new();
    world.create("A", 10).await;
    let line = |key: &str, quantity| {
        json!({"op": "sell", "sku": "A", "quantity": quantity, "idempotencyKey": key}).to_string()
    };
    let lines = [line("k1", 1), line("k2", 2), line("k1", 1), line("k1", 5), line("k3", 90)];
    for round in 0..2 {
        let found = verdicts(&send(&world, &[("content-type", NDJSON)], lines.join("\n")).await);
        let statuses: Vec<u64> = found[..5].iter().map(|v| v["status"].as_u64().unwrap()).collect();
        assert_eq!(statuses, [200, 200, 200, 422, 409]);
        assert_eq!(found[3]["error"], "IdempotencyKeyReused");
        assert_eq!(found[2]["replayed"], true);
        for line in [0, 1, 4] {
            assert_eq!(found[line]["replayed"], if round == 0 { Value::Null } else { json!(true) });
        }
        assert_eq!(found[0]["seq"], found[2]["seq"]);
    }
    assert_eq!(world.get("/api/inventory/A").await.expect(200)["stock"], 7);
    let bad = [line("", 1), line("\u{e9}", 1), line(&"k".repeat(129), 1)];
    let found = verdicts(&send(&world, &[("content-type", NDJSON)], bad.join("\n")).await);
    let codes: Vec<&Value> = found[..3].iter().map(|line| &line["errors"][0]["code"]).collect();
    assert_eq!(codes, ["min_length", "printable", "max_length"]);
    let keyed = [("content-type", NDJSON), ("idempotency-key", "k")];
    let refused = send(&world, &keyed, line("k4", 1)).await;
    assert_eq!(refused.field_errors(), ["header:Idempotency-Key unsupported"]);
}

/// A body that is sent line by line, and the answer to it.
struct Dialogue {
    lines: mpsc::UnboundedSender<Result<Bytes, std::io::Error>>,
    answer: axum::body::BodyDataStream,
}

impl Dialogue {
    async fn open(world: &World) -> Self {
        let (lines, sent) = mpsc::unbounded_channel();
        let sent = futures_util::stream::unfold(sent, |mut sent| async {
            let line: Result<Bytes, std::io::Error> = sent.recv().await?;
            Some((line, sent))
        });
        let request = Request::post("/api/batch").header("content-type", NDJSON);
        let response = world.respond(request.body(Body::from_stream(sent)).unwrap()).await;
        assert_eq!(response.status(), 200);
        Self { lines, answer: response.into_body().into_data_stream() }
    }

    fn say(&self, line: &str) {
        self.lines.send(Ok(Bytes::from(format!("{line}\n")))).unwrap();
    }

    async fn hear(&mut self) -> Value {
        let piece = self.answer.next().await.unwrap().unwrap();
        serde_json::from_slice(&piece).unwrap()
    }
}

const SALE: &str = r#"{"op":"sell","sku":"A","quantity":1}"#;

#[tokio::test]
async fn verdicts_come_while_lines_are_still_sent_and_not_before_they_are_durable() {
    let world = World::stalled(SimStorage::new(7), |_| {});
    let mut dialogue = Dialogue::open(&world).await;
    dialogue.say(r#"{"op":"create","sku":"A","stock":5}"#);
    for _ in 0..100 {
        assert!(dialogue.answer.next().now_or_never().is_none(), "nothing is durable");
        tokio::task::yield_now().await;
    }
    assert_eq!(world.last_seq(), 1, "it is decided all the same");
    world.app.log().start().unwrap();
    assert_eq!(dialogue.hear().await["status"], 201);
    dialogue.say(SALE);
    assert_eq!(dialogue.hear().await["stock"], 4);
    drop(dialogue.lines);
    let last = dialogue.answer.next().await.unwrap().unwrap();
    let last: Value = serde_json::from_slice(&last).unwrap();
    assert_eq!(last["summary"]["applied"], 2);
    assert!(dialogue.answer.next().await.is_none());
}

#[tokio::test]
async fn a_stream_that_ends_early_says_where_to_go_on() {
    let quick = |options: &mut store_node::http::AppOptions| {
        options.reply_deadline = Duration::from_millis(20);
    };
    let world = World::stalled(SimStorage::new(7), quick);
    let create = r#"{"op":"create","sku":"A","stock":5}"#;
    let answer = send(&world, &[("content-type", NDJSON)], format!("\n{create}\n{SALE}\n")).await;
    let found = verdicts(&answer);
    let summary = &found[0]["summary"];
    assert_eq!(
        (found.len(), &summary["complete"], &summary["resumeAt"]),
        (1, &json!(false), &json!(0))
    );
    assert_eq!(summary["problem"]["error"], "OutcomeUnknown");

    let world = World::new();
    world.create("A", 5).await;
    let mut dialogue = Dialogue::open(&world).await;
    dialogue.say(SALE);
    assert_eq!(dialogue.hear().await["stock"], 4);
    world.app.log().close().unwrap();
    dialogue.say(SALE);
    let summary = dialogue.hear().await["summary"].clone();
    assert_eq!((&summary["lines"], &summary["resumeAt"]), (&json!(1), &json!(1)));
    assert_eq!(summary["problem"]["error"], "ShuttingDown");
}

#[tokio::test]
async fn a_body_that_stops_or_breaks_ends_its_stream() {
    let quick = |options: &mut store_node::http::AppOptions| {
        options.body_deadline = Duration::from_millis(20);
    };
    let world = World::with(quick);
    world.create("A", 5).await;
    let mut dialogue = Dialogue::open(&world).await;
    dialogue.say(SALE);
    assert_eq!(dialogue.hear().await["stock"], 4);
    let slow = dialogue.hear().await["summary"].clone();
    assert_eq!(
        (&slow["resumeAt"], &slow["problem"]["error"]),
        (&json!(1), &json!("RequestTimeout"))
    );

    let mut dialogue = Dialogue::open(&world).await;
    dialogue.lines.send(Err(std::io::Error::other("the line went dead"))).unwrap();
    let broken = dialogue.hear().await["summary"].clone();
    assert_eq!(broken["problem"]["error"], "MalformedJson");

    world.app.drain();
    let mut dialogue = Dialogue::open(&world).await;
    let leaving = dialogue.hear().await["summary"].clone();
    assert_eq!(leaving["complete"], false);
}

#[tokio::test]
async fn streams_have_a_bounded_number_of_places() {
    let world = World::with(|options| options.load.batch_streams_max = 1);
    let first = Dialogue::open(&world).await;
    let metrics = world.get("/api/metrics").await;
    assert!(metrics.text().contains("onhand_batch_streams 1"), "{}", metrics.text());
    let refused = send(&world, &[("content-type", NDJSON)], SALE).await;
    refused.problem(503, "Overloaded");
    drop(first);
    assert_eq!(verdicts(&send(&world, &[("content-type", NDJSON)], SALE).await).len(), 2);
}
