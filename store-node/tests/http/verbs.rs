//! The verbs besides those of the examples: what they answer and what they leave.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::World;

async fn verb(world: &World, verb: &str, body: Value) -> Value {
    world.post(&format!("/api/inventory/A/{verb}"), &body.to_string()).await.expect(200)
}

fn quantities(answer: &Value) -> [u64; 4] {
    ["stock", "reserved", "sold", "availableStock"].map(|field| answer[field].as_u64().unwrap())
}

#[tokio::test]
async fn stock_moves_as_the_verbs_say() {
    let world = World::new();
    world.create("A", 10).await;
    let steps = [
        ("receive", json!({"quantity": 5, "reference": "delivery-1"}), [15, 0, 0, 15]),
        ("return", json!({"quantity": 1}), [16, 0, 0, 16]),
        ("return", json!({"quantity": 1, "restock": false}), [16, 0, 0, 16]),
        ("adjust", json!({"quantity": -2, "reason": "damage", "note": "fell"}), [14, 0, 0, 14]),
        ("adjust", json!({"quantity": 1, "reason": "found"}), [15, 0, 0, 15]),
        ("reserve", json!({"quantity": 4, "orderId": "o"}), [15, 4, 0, 11]),
        ("release", json!({"quantity": 1, "orderId": "o"}), [15, 3, 0, 12]),
        ("deduct", json!({"quantity": 1, "orderId": "o"}), [14, 2, 1, 12]),
        ("deduct", json!({"orderId": "o"}), [12, 0, 3, 12]),
        ("sell", json!({"quantity": 12, "occurredAt": "2026-11-21T11:00:00+01:00"}), [0, 0, 15, 0]),
    ];
    for (index, (name, body, expected)) in steps.into_iter().enumerate() {
        let answer = verb(&world, name, body).await;
        assert_eq!(quantities(&answer), expected, "{name}");
        assert_eq!(answer["changed"], true);
        assert_eq!(answer["version"], index as u64 + 2);
    }
    let item = world.get("/api/inventory/A").await.expect(200);
    assert_eq!(quantities(&item), [0, 0, 15, 0]);
    assert_eq!((&item["version"], &item["seq"]), (&json!(11), &json!(11)));
}

#[tokio::test]
async fn what_is_done_already_changes_nothing() {
    let world = World::new();
    world.create("A", 10).await;
    let reserve = json!({"quantity": 4, "orderId": "o", "expiresInSeconds": 60});
    verb(&world, "reserve", reserve.clone()).await;
    let seq = world.last_seq();
    let again = verb(&world, "reserve", reserve).await;
    assert_eq!((&again["changed"], &again["seq"]), (&json!(false), &Value::Null));
    assert_eq!(again["reservation"]["expiresAt"], "2026-11-21T10:01:00.000000Z");
    verb(&world, "release", json!({"orderId": "o"})).await;
    let again = verb(&world, "release", json!({"orderId": "o"})).await;
    assert_eq!((&again["changed"], &again["version"]), (&json!(false), &json!(3)));
    assert_eq!(world.last_seq(), seq + 1);
    let patch = world.call("PATCH", "/api/inventory/A", &[], r#"{"name":null}"#).await.expect(200);
    assert_eq!((&patch["changed"], &patch["seq"]), (&json!(false), &Value::Null));
    assert_eq!(patch["unit"], "each");
}

#[tokio::test]
async fn reservations_expire_by_logged_time() {
    let world = World::new();
    world.create("A", 10).await;
    verb(&world, "reserve", json!({"quantity": 4, "orderId": "o", "expiresInSeconds": 60})).await;
    let extended = verb(&world, "extend", json!({"orderId": "o", "expiresInSeconds": 120})).await;
    assert_eq!(extended["reservation"]["expiresAt"], "2026-11-21T10:02:00.000000Z");
    world.pass(Duration::from_secs(119));
    assert_eq!(world.get("/api/inventory/A").await.expect(200)["reserved"], 4);
    world.pass(Duration::from_secs(1));
    let item = world.get("/api/inventory/A").await.expect(200);
    assert_eq!((&item["reserved"], &item["version"]), (&json!(0), &json!(4)));
    let late = world.post("/api/inventory/A/deduct", r#"{"orderId":"o"}"#).await;
    late.problem(409, "ReservationExpired");
}

/// Method, path, body, status, error.
const REFUSALS: [(&str, &str, &str, u16, &str); 14] = [
    ("POST", "/api/inventory", r#"{"sku":"A","stock":1}"#, 409, "AlreadyExists"),
    ("POST", "/api/inventory/Z/sell", r#"{"quantity":1}"#, 404, "UnknownSku"),
    ("PATCH", "/api/inventory/Z", r#"{"name":"z"}"#, 404, "UnknownSku"),
    ("DELETE", "/api/inventory/Z", "", 404, "UnknownSku"),
    ("DELETE", "/api/inventory/A", "", 409, "ItemNotEmpty"),
    ("POST", "/api/inventory/E/sell", r#"{"quantity":1}"#, 409, "ItemInactive"),
    ("POST", "/api/inventory/A/sell", r#"{"quantity":7}"#, 409, "InsufficientStockError"),
    (
        "POST",
        "/api/inventory/A/adjust",
        r#"{"quantity":-7,"reason":"theft"}"#,
        409,
        "InsufficientStockError",
    ),
    (
        "POST",
        "/api/inventory/A/receive",
        r#"{"quantity":9007199254740992}"#,
        409,
        "QuantityOverflow",
    ),
    (
        "POST",
        "/api/inventory/A/reserve",
        r#"{"quantity":5,"orderId":"live"}"#,
        409,
        "ReservationMismatch",
    ),
    (
        "POST",
        "/api/inventory/A/reserve",
        r#"{"quantity":1,"orderId":"closed"}"#,
        409,
        "ReservationClosed",
    ),
    (
        "POST",
        "/api/inventory/A/release",
        r#"{"quantity":5,"orderId":"live"}"#,
        409,
        "InsufficientReservedStockError",
    ),
    ("POST", "/api/inventory/A/deduct", r#"{"orderId":"nobody"}"#, 404, "UnknownReservation"),
    ("POST", "/api/inventory/A/extend", r#"{"orderId":"nobody"}"#, 404, "UnknownReservation"),
];

#[tokio::test]
async fn refusals_name_their_error() {
    let world = World::new();
    world.create("A", 10).await;
    world.create("E", 0).await;
    verb(&world, "reserve", json!({"quantity": 4, "orderId": "live"})).await;
    verb(&world, "reserve", json!({"quantity": 1, "orderId": "closed"})).await;
    verb(&world, "release", json!({"orderId": "closed"})).await;
    world.call("DELETE", "/api/inventory/E", &[], "").await.expect(200);
    let before = world.last_seq();
    for (method, path, body, status, error) in REFUSALS {
        world.call(method, path, &[], body).await.problem(status, error);
    }
    assert_eq!(world.last_seq(), before, "a refusal left a record");
}

#[tokio::test]
async fn items_are_patched_deactivated_and_brought_back() {
    let world = World::new();
    let body = r#"{"sku":"A","stock":0,"name":"Mug","category":"kitchen","unit":"g","reorderPoint":3,"safetyStock":2}"#;
    world.post("/api/inventory", body).await.expect(201);
    let patch = r#"{"name":"Cup","category":null,"unit":null,"reorderPoint":null,"safetyStock":5}"#;
    let patched = world.call("PATCH", "/api/inventory/A", &[], patch).await.expect(200);
    assert_eq!(patched["name"], "Cup");
    assert_eq!(patched["category"], Value::Null);
    assert_eq!(patched["unit"], "each");
    assert_eq!((&patched["reorderPoint"], &patched["safetyStock"]), (&json!(10), &json!(5)));
    assert_eq!((&patched["changed"], &patched["seq"]), (&json!(true), &json!(2)));
    let gone = world.call("DELETE", "/api/inventory/A", &[], "").await.expect(200);
    assert_eq!((&gone["active"], &gone["changed"]), (&json!(false), &json!(true)));
    let again = world.call("DELETE", "/api/inventory/A", &[], "").await.expect(200);
    assert_eq!((&again["active"], &again["changed"]), (&json!(false), &json!(false)));
    let inactive = world.call("PATCH", "/api/inventory/A", &[], r#"{"name":"x"}"#).await;
    inactive.problem(409, "ItemInactive");
    let back = world.call("PATCH", "/api/inventory/A", &[], r#"{"active":true}"#).await.expect(200);
    assert_eq!(back["active"], true);
    assert_eq!(world.get("/api/inventory/A").await.expect(200)["version"], 4);
}

#[tokio::test]
async fn batches_see_their_own_lines() {
    let world = World::new();
    let body = json!({"atomic": true, "operations": [
        {"op": "create", "sku": "A", "stock": 1},
        {"op": "receive", "sku": "A", "quantity": 4, "expectedVersion": 1},
        {"op": "reserve", "sku": "A", "quantity": 5, "orderId": "o"},
        {"op": "reserve", "sku": "A", "quantity": 5, "orderId": "o"},
    ]});
    let answer = world.post("/api/batch", &body.to_string()).await.expect(200);
    assert_eq!(answer["applied"], 4);
    assert_eq!(answer["results"][0]["status"], 201);
    assert_eq!(answer["results"][2]["availableStock"], 0);
    let unchanged = &answer["results"][3];
    assert_eq!((&unchanged["changed"], &unchanged["seq"]), (&json!(false), &Value::Null));
    assert_eq!(world.last_seq(), 3);
}

#[tokio::test]
async fn availability_answers_each_line() {
    let world = World::new();
    world.post("/api/inventory", r#"{"sku":"A","stock":10,"safetyStock":4}"#).await.expect(201);
    let body = r#"{"items":[{"sku":"A","quantity":10},{"sku":"Z","quantity":1}]}"#;
    let answer = world.post("/api/availability", body).await.expect(200);
    assert_eq!(
        answer,
        json!({"storeId": "store-a", "available": false, "items": [
            {"sku": "A", "quantity": 10, "availableStock": 10, "sellable": 6, "available": true, "known": true},
            {"sku": "Z", "quantity": 1, "availableStock": 0, "sellable": 0, "available": false, "known": false},
        ]})
    );
    let bad = world.post("/api/availability", r#"{"items":[{"sku":"A","quantity":0},{}]}"#).await;
    let expected =
        ["#/items/0/quantity min", "#/items/1/sku required", "#/items/1/quantity required"];
    assert_eq!(bad.field_errors(), expected);
    world.post("/api/availability", r#"{"items":[]}"#).await.problem(400, "ValidationError");
}
