//! `GET /api/reservations`: what is promised, to whom, until when.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::World;

/// Three items, five reservations.
async fn world() -> World {
    let world = World::new();
    for sku in ["A", "B", "C"] {
        world.create(sku, 100).await;
    }
    for (sku, order, quantity, seconds) in [
        ("B", "o-2", 2, Some(60)),
        ("A", "o-2", 3, None),
        ("A", "o-10", 1, Some(600)),
        ("C", "o-1", 5, Some(60)),
        ("A", "o-1", 4, Some(30)),
    ] {
        let mut body = json!({"orderId": order, "quantity": quantity});
        if let Some(seconds) = seconds {
            body["expiresInSeconds"] = json!(seconds);
        }
        let path = format!("/api/inventory/{sku}/reserve");
        world.post(&path, &body.to_string()).await.expect(200);
    }
    world
}

/// The rows as `SKU order quantity`.
fn rows(page: &Value) -> Vec<String> {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|row| format!("{} {} {}", text(row, "sku"), text(row, "orderId"), row["quantity"]))
        .collect()
}

async fn check(world: &World, query: &str, expected: &[&str]) {
    let page = world.get(&format!("/api/reservations?{query}")).await.expect(200);
    assert_eq!(rows(&page), expected, "{query}");
    assert_eq!(page["nextCursor"], Value::Null, "{query}");
}

#[tokio::test]
async fn reservations_are_found_by_order_sku_and_end() {
    let world = world().await;
    let all = ["A o-1 4", "A o-10 1", "A o-2 3", "B o-2 2", "C o-1 5"];
    check(&world, "", &all).await;
    check(&world, "orderId=o-2", &["A o-2 3", "B o-2 2"]).await;
    check(&world, "orderId=o", &[]).await;
    check(&world, "sku=A", &all[..3]).await;
    check(&world, "sku=nothing", &[]).await;
    check(&world, "sku=A&orderId=o-2", &["A o-2 3"]).await;
    check(&world, "sku=B&orderId=o-1", &[]).await;
    let in_a_minute = "expiresBefore=2026-11-21T10:01:00Z";
    check(&world, in_a_minute, &["A o-1 4"]).await;
    check(&world, "expiresBefore=2026-11-21T10:01:00.000001Z", &["A o-1 4", "B o-2 2", "C o-1 5"])
        .await;
    check(&world, &format!("{in_a_minute}&orderId=o-1"), &["A o-1 4"]).await;
    let row = world.get("/api/reservations?sku=A&orderId=o-10").await.expect(200);
    let expected = json!({
        "sku": "A", "orderId": "o-10", "quantity": 1, "requested": 1, "released": 0,
        "deducted": 0, "expiresAt": "2026-11-21T10:10:00.000000Z"
    });
    assert_eq!(row["items"][0], expected);
}

#[tokio::test]
async fn what_is_over_is_not_listed() {
    let world = world().await;
    let part = r#"{"orderId":"o-2","quantity":1}"#;
    world.post("/api/inventory/A/deduct", part).await.expect(200);
    world.post("/api/inventory/B/release", r#"{"orderId":"o-2"}"#).await.expect(200);
    check(&world, "orderId=o-2", &["A o-2 2"]).await;
    world.pass(Duration::from_mins(1));
    // Nobody has swept: looking is enough.
    check(&world, "orderId=o-1", &[]).await;
    check(&world, "", &["A o-10 1", "A o-2 2"]).await;
    world.post("/api/inventory/C/reserve", r#"{"orderId":"o-2","quantity":9}"#).await.expect(200);
    check(&world, "orderId=o-2", &["A o-2 2", "C o-2 9"]).await;
    world.app.log().close().unwrap();
    let storage = world.storage.clone();
    drop(world);
    let again = World::on(storage, |_| {});
    again.pass(Duration::from_mins(1));
    check(&again, "orderId=o-2", &["A o-2 2", "C o-2 9"]).await;
    check(&again, "orderId=o-1", &[]).await;
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    let world = World::new();
    world.create("A", 1000).await;
    world.create("B", 1000).await;
    for number in 0..60 {
        let sku = if number % 3 == 0 { "B" } else { "A" };
        let body = json!({"orderId": format!("o {number}/é"), "quantity": 1}).to_string();
        world.post(&format!("/api/inventory/{sku}/reserve"), &body).await.expect(200);
    }
    for filter in ["", "&sku=A"] {
        let whole = rows(&world.get(&format!("/api/reservations?limit=1000{filter}")).await.json());
        let mut path = format!("/api/reservations?limit=7{filter}");
        let mut seen = Vec::new();
        for _ in 0..20 {
            let answer = world.get(&path).await;
            seen.extend(rows(&answer.expect(200)));
            let Some(link) = answer.header("link") else {
                break;
            };
            path = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
        }
        assert_eq!(seen, whole, "{filter}");
        assert!(whole.is_sorted(), "{whole:?}");
    }
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_all_at_once() {
    let world = World::new();
    let path = "/api/reservations?orderId=&sku=%20x&expiresBefore=soon&limit=0&colour=red";
    let expected = [
        "query:colour unknown_field",
        "query:orderId min_length",
        "query:sku outer_white_space",
        "query:expiresBefore time",
        "query:limit min",
    ];
    assert_eq!(world.get(path).await.field_errors(), expected);
    for cursor in ["!", "Hw", "UFJPRC0wMDE"] {
        let answer = world.get(&format!("/api/reservations?cursor={cursor}")).await;
        answer.problem(400, "InvalidCursor");
    }
    let wrong = world.post("/api/reservations", "{}").await;
    wrong.problem(405, "MethodNotAllowed");
}
