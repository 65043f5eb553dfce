//! What must be refused, with what, and that nothing changes by it.

use super::world::{Answer, World};
use axum::body::Body;

async fn node() -> World {
    let world = World::new();
    world.create("A", 10).await;
    world
}

/// Sends `body` to a verb and checks the field errors (`pointer code`) of the answer.
async fn check(verb: &str, body: &str, expected: &[&str]) {
    let world = node().await;
    let before = world.last_seq();
    let answer = world.post(&format!("/api/inventory/A/{verb}"), body).await;
    assert_eq!(answer.field_errors(), expected, "{verb} {body}");
    assert_eq!(world.last_seq(), before, "{verb} {body} left a record");
}

#[tokio::test]
async fn quantities_are_whole_numbers_in_their_range() {
    let huge = format!("1{}", "0".repeat(400));
    let cases = [
        ("0", "min"),
        ("-1", "min"),
        ("-9223372036854775809", "min"),
        ("9007199254740993", "max"),
        ("18446744073709551616", "max"),
        (huge.as_str(), "max"),
        ("1.5", "type"),
        ("1.0", "type"),
        ("1e3", "type"),
        ("1e400", "type"),
        ("\"5\"", "type"),
        ("null", "type"),
        ("true", "type"),
        ("[]", "type"),
        ("{}", "type"),
    ];
    for (quantity, code) in cases {
        let expected = format!("#/quantity {code}");
        for verb in ["receive", "sell", "return"] {
            check(verb, &format!("{{\"quantity\":{quantity}}}"), &[&expected]).await;
        }
    }
    check("adjust", r#"{"quantity":0,"reason":"found"}"#, &["#/quantity non_zero"]).await;
    check("adjust", r#"{"quantity":1}"#, &["#/reason required"]).await;
    check("adjust", r#"{"quantity":-9007199254740993,"reason":"theft"}"#, &["#/quantity min"])
        .await;
}

#[tokio::test]
async fn fields_are_known_required_and_single() {
    check("sell", "{}", &["#/quantity required"]).await;
    check("sell", r#"{"quantity":1,"fact":true}"#, &["#/fact unknown_field"]).await;
    check("sell", r#"{"quantity":1,"quantity":1}"#, &["#/quantity duplicate_field"]).await;
    check("reserve", r#"{"quantity":1}"#, &["#/orderId required"]).await;
    check("reserve", r#"{"quantity":1,"orderId":""}"#, &["#/orderId min_length"]).await;
    check("reserve", r#"{"quantity":1,"orderId":"a\nb"}"#, &["#/orderId control_character"]).await;
    check(
        "reserve",
        r#"{"quantity":1,"orderId":"o","expiresInSeconds":0}"#,
        &["#/expiresInSeconds min"],
    )
    .await;
    check("release", r#"{"orderId":"o","quantity":0}"#, &["#/quantity min"]).await;
    check("extend", r#"{"orderId":"o","quantity":1}"#, &["#/quantity unknown_field"]).await;
    check("sell", r#"{"quantity":1,"expectedVersion":0}"#, &["#/expectedVersion min"]).await;
    check("sell", r#"{"quantity":1,"occurredAt":"yesterday"}"#, &["#/occurredAt time"]).await;
    check("sell", "[1]", &["# type"]).await;
}

#[tokio::test]
async fn creates_are_checked_as_a_whole() {
    let world = node().await;
    let sixty_five = "x".repeat(65);
    let cases = [
        (r#"{"sku":"B"}"#.to_owned(), vec!["#/stock required"]),
        (r#"{"stock":1}"#.to_owned(), vec!["#/sku required"]),
        (r#"{"sku":"","stock":-1}"#.to_owned(), vec!["#/sku min_length", "#/stock min"]),
        (r#"{"sku":" B","stock":1}"#.to_owned(), vec!["#/sku outer_white_space"]),
        (r#"{"sku":"B\t","stock":1}"#.to_owned(), vec!["#/sku control_character"]),
        (format!(r#"{{"sku":"{sixty_five}","stock":1}}"#), vec!["#/sku max_length"]),
        (r#"{"sku":"B","stock":9007199254740993}"#.to_owned(), vec!["#/stock max"]),
        (r#"{"sku":"B","stock":1,"reorderPoint":-1}"#.to_owned(), vec!["#/reorderPoint min"]),
        (r#"{"sku":"B","stock":1,"name":7}"#.to_owned(), vec!["#/name type"]),
        (r#"{"sku":"B","stock":1,"price":7}"#.to_owned(), vec!["#/price unknown_field"]),
    ];
    for (body, expected) in cases {
        let before = world.last_seq();
        let answer = world.post("/api/inventory", &body).await;
        assert_eq!(answer.field_errors(), expected, "{body}");
        assert_eq!(world.last_seq(), before);
    }
}

#[tokio::test]
async fn texts_say_something_and_hold_no_control_characters() {
    let world = node().await;
    let before = world.last_seq();
    let create =
        r#"{"sku":"B","stock":1,"name":"a\u0000b","category":"\n","location":"  ","unit":"k\tg"}"#;
    let all = [
        "#/name control_character",
        "#/category control_character",
        "#/location blank",
        "#/unit control_character",
    ];
    assert_eq!(world.post("/api/inventory", create).await.field_errors(), all);
    let lines = format!(r#"{{"atomic":true,"operations":[{{"op":"create",{}]}}"#, &create[1..]);
    let of_line = all.map(|error| error.replace("#/", "#/operations/0/"));
    assert_eq!(world.post("/api/batch", &lines).await.field_errors(), of_line);
    let long = "\u{1}".repeat(257);
    let body = serde_json::json!({"sku": "B", "stock": 1, "name": long}).to_string();
    let both = ["#/name control_character", "#/name max_length"];
    assert_eq!(world.post("/api/inventory", &body).await.field_errors(), both);
    for (body, expected) in [
        (r#"{"name":""}"#, "#/name blank"),
        (r#"{"location":"\u00a0 "}"#, "#/location blank"),
        (r#"{"unit":"\u007f"}"#, "#/unit control_character"),
    ] {
        let answer = world.call("PATCH", "/api/inventory/A", &[], body).await;
        assert_eq!(answer.field_errors(), [expected], "{body}");
    }
    for verb in ["receive", "sell", "return", "release"] {
        let body = r#"{"quantity":1,"orderId":"o","reason":"\u0000","reference":"a\nb","note":"\u001b[2J"}"#;
        let body = if verb == "release" { body } else { &body.replace(r#""orderId":"o","#, "") };
        let expected = ["reason", "reference", "note"].map(|f| format!("#/{f} control_character"));
        let answer = world.post(&format!("/api/inventory/A/{verb}"), body).await;
        assert_eq!(answer.field_errors(), expected, "{verb}");
    }
    check("adjust", r#"{"quantity":1,"reason":"found","note":" "}"#, &["#/note blank"]).await;
    assert_eq!(world.last_seq(), before, "refused texts leave no record");
    let letter = r#"{"quantity":1,"note":"two\nlines,\tand é"}"#;
    world.post("/api/inventory/A/sell", letter).await.expect(200);
    world.call("PATCH", "/api/inventory/A", &[], r#"{"location":null}"#).await.expect(200);
}

#[tokio::test]
async fn broken_bodies_are_malformed() {
    let world = node().await;
    let deep = format!("{{\"note\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_objects = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b" ".to_vec(),
        b"{".to_vec(),
        b"{\"quantity\":1".to_vec(),
        b"{\"quantity\":1}x".to_vec(),
        b"{'quantity':1}".to_vec(),
        b"{\"quantity\":1,}".to_vec(),
        b"{\"quantity\":+1}".to_vec(),
        b"{\"quantity\":NaN}".to_vec(),
        b"{\"quantity\":1,\"note\":\"\xff\"}".to_vec(),
        b"{\"quantity\":1,\"note\":\"\\ud800\"}".to_vec(),
        b"\xef\xbb\xbf{\"quantity\":1}".to_vec(),
        deep.into_bytes(),
        deep_objects.into_bytes(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let before = world.last_seq();
        let answer = world.call("POST", "/api/inventory/A/sell", &[], body).await;
        assert_eq!(answer.status, 400, "{shown}");
        answer.problem(400, "MalformedJson");
        assert_eq!(world.last_seq(), before);
    }
}

#[tokio::test]
async fn media_types_other_than_json_are_refused() {
    let world = node().await;
    let good = [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
    ];
    let bad = [
        "",
        "text/plain",
        "application/jsonx",
        "application/x-ndjson",
        "application/json; charset=latin1",
    ];
    for (media_type, status) in good.map(|m| (m, 200)).into_iter().chain(bad.map(|m| (m, 415))) {
        let headers = [("content-type", media_type)];
        let answer =
            world.call("POST", "/api/inventory/A/receive", &headers, r#"{"quantity":1}"#).await;
        assert_eq!(answer.status, status, "{media_type:?}");
        if status == 415 {
            answer.problem(415, "UnsupportedMediaType");
        }
    }
    let twice = [("content-type", "application/json"), ("content-type", "application/json")];
    let packed = [("content-encoding", "gzip")];
    for headers in [&twice[..], &packed[..]] {
        let before = world.last_seq();
        let answer =
            world.call("POST", "/api/inventory/A/receive", headers, r#"{"quantity":1}"#).await;
        answer.problem(415, "UnsupportedMediaType");
        assert_eq!(world.last_seq(), before);
    }
    let patch = [("content-type", "application/merge-patch+json")];
    world.call("PATCH", "/api/inventory/A", &patch, r#"{"name":"x"}"#).await.expect(200);
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let world = node().await;
    let padded = |bytes: usize| format!("{{\"quantity\":1{}}}", " ".repeat(bytes - 14));
    world.post("/api/inventory/A/sell", &padded(1 << 20)).await.expect(200);
    let before = world.last_seq();
    let over = world.post("/api/inventory/A/sell", &padded((1 << 20) + 1)).await;
    over.problem(413, "PayloadTooLarge");
    let piece = |_| Ok::<_, std::io::Error>(vec![b' '; 1 << 16]);
    let chunks = futures_util::stream::iter((0..17).map(piece));
    let body = Body::from_stream(chunks);
    world.call("POST", "/api/inventory/A/sell", &[], body).await.problem(413, "PayloadTooLarge");
    let batch = " ".repeat((16 << 20) + 1);
    world.post("/api/batch", &batch).await.problem(413, "PayloadTooLarge");
    assert_eq!(world.last_seq(), before);
}

#[tokio::test]
async fn batches_name_the_bad_lines() {
    let world = node().await;
    let before = world.last_seq();
    let lines = r#"[{"op":"sell","sku":"A","quantity":1},{"op":"sell","sku":"A","quantity":0},{"op":"count","sku":"A","counted":1},{"sku":"A"}]"#;
    let atomic =
        world.post("/api/batch", &format!(r#"{{"atomic":true,"operations":{lines}}}"#)).await;
    let expected =
        ["#/operations/1/quantity min", "#/operations/2/op one_of", "#/operations/3/op required"];
    assert_eq!(atomic.field_errors(), expected);
    assert_eq!(world.last_seq(), before);

    let body = format!(r#"{{"atomic":false,"operations":{lines}}}"#);
    let answer = world.post("/api/batch", &body).await.expect(200);
    assert_eq!(answer["applied"], 1);
    assert_eq!(answer["failed"], 3);
    assert_eq!(answer["failedItems"], serde_json::json!(["A"]));
    let line = &answer["results"][1];
    assert_eq!((&line["status"], &line["error"]), (&400.into(), &"ValidationError".into()));
    assert_eq!(line["errors"][0]["pointer"], "#/operations/1/quantity");
    assert_eq!(world.last_seq(), before + 1);

    let frame = |answer: Answer| answer.field_errors();
    assert_eq!(
        frame(world.post("/api/batch", "{}").await),
        ["#/atomic required", "#/operations required"]
    );
    let none = world.post("/api/batch", r#"{"atomic":true,"operations":[]}"#).await;
    assert_eq!(frame(none), ["#/operations min_items"]);
    let many = vec![r#"{"op":"receive","sku":"A","quantity":1}"#; 10_001].join(",");
    let many =
        world.post("/api/batch", &format!(r#"{{"atomic":true,"operations":[{many}]}}"#)).await;
    assert_eq!(frame(many), ["#/operations max_items"]);
    assert_eq!(world.last_seq(), before + 1);
}

#[tokio::test]
async fn idempotency_keys_are_printable_short_and_single() {
    let world = node().await;
    let long = "k".repeat(129);
    for (key, code) in [
        ("", "min_length"),
        (long.as_str(), "max_length"),
        ("a\tb", "printable"),
        ("é", "printable"),
    ] {
        let headers = [("idempotency-key", key)];
        let answer =
            world.call("POST", "/api/inventory/A/sell", &headers, r#"{"quantity":1}"#).await;
        assert_eq!(answer.field_errors(), [format!("header:Idempotency-Key {code}")]);
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "a")];
    let answer = world.call("POST", "/api/inventory/A/sell", &twice, r#"{"quantity":1}"#).await;
    assert_eq!(answer.field_errors(), ["header:Idempotency-Key duplicate_field"]);
}
