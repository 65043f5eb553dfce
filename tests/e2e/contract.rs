//! The API's examples, word for word: ids, seqs and times aside, every member of every answer.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tests::http::Client;
use tests::world::World;

/// Members whose values differ from run to run; that they are there is checked.
const VARYING: [&str; 9] = [
    "seq",
    "recordedAt",
    "createdAt",
    "updatedAt",
    "expiresAt",
    "instance",
    "asOf",
    "ageMs",
    "nextCursor",
];

/// The value with every varying member (that isn't null) replaced.
fn masked(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let masked = members.iter().map(|(name, value)| {
                let varies = VARYING.contains(&name.as_str()) && !value.is_null();
                let value = if varies { json!("varies") } else { masked(value) };
                (name.clone(), value)
            });
            Value::Object(masked.collect::<Map<_, _>>())
        }
        Value::Array(values) => Value::Array(values.iter().map(masked).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

async fn expect(client: &Client, path: &str, body: &str, status: u16, answer: &str) -> Result<()> {
    let reply = client.send(Method::POST, path, &[], Some(body.to_owned())).await?;
    let expected: Value = serde_json::from_str(answer).context("the example is JSON")?;
    let found = reply.json()?;
    assert_eq!(masked(&found), masked(&expected), "POST {path} {body}\nanswered {found:#}");
    assert_eq!(reply.status, status, "POST {path} {body}");
    assert!(reply.header("x-request-id").is_some(), "every answer has an id");
    if status >= 400 {
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_examples_are_answered_word_for_word() -> Result<()> {
    let world = World::new()?;
    let node = world.node("store-a").await?;
    let client = node.client();
    expect(client, "/api/inventory",
        r#"{"sku":"PROD-001","stock":100,"name":"Mug","category":"kitchen","location":"warehouse-A"}"#, 201,
        r#"{"storeId":"store-a","sku":"PROD-001","name":"Mug","category":"kitchen","location":"warehouse-A","unit":"each","active":true,"stock":100,"reserved":0,"sold":0,"availableStock":100,"incoming":0,"inTransitOut":0,"reorderPoint":10,"safetyStock":0,"version":1,"seq":1,"createdAt":"t","updatedAt":"t"}"#).await?;
    expect(client, "/api/inventory/PROD-001/sell", r#"{"quantity":2,"reference":"basket-77"}"#, 200,
        r#"{"storeId":"store-a","sku":"PROD-001","stock":98,"reserved":0,"sold":2,"availableStock":98,"version":2,"seq":3,"changed":true,"recordedAt":"t"}"#).await?;
    expect(client, "/api/inventory/PROD-001/reserve", r#"{"orderId":"order-456","quantity":5,"expiresInSeconds":900}"#, 200,
        r#"{"storeId":"store-a","sku":"PROD-001","stock":98,"reserved":5,"sold":2,"availableStock":93,"version":3,"seq":4,"changed":true,"recordedAt":"t","reservation":{"orderId":"order-456","quantity":5,"expiresAt":"t"}}"#).await?;
    client.post("/api/inventory", &json!({"sku": "PROD-002", "stock": 3})).await?.ok()?;
    let batch = |atomic: bool, quantity: u64| {
        json!({"atomic": atomic, "operations": [
            {"op": "sell", "sku": "PROD-001", "quantity": 2},
            {"op": "reserve", "sku": "PROD-002", "quantity": quantity, "orderId": "order-457"}]})
        .to_string()
    };
    expect(client, "/api/batch", &batch(true, 1), 200,
        r#"{"success":true,"atomic":true,"applied":2,"failed":0,"failedItems":[],"results":[{"index":0,"status":200,"sku":"PROD-001","stock":96,"reserved":5,"sold":4,"availableStock":91,"version":4,"seq":5},{"index":1,"status":200,"sku":"PROD-002","stock":3,"reserved":1,"sold":0,"availableStock":2,"version":2,"seq":6}]}"#).await?;
    let other = batch(true, 9).replace("order-457", "order-459");
    expect(client, "/api/batch", &other, 409,
        r#"{"type":"/docs/problems/BatchRejected","title":"Batch rejected","status":409,"detail":"1 of 2 operations refused, nothing applied","instance":"i","error":"BatchRejected","message":"1 of 2 operations refused, nothing applied","success":false,"atomic":true,"applied":0,"failed":1,"failedItems":["PROD-002"],"results":[{"index":0,"status":424,"sku":"PROD-001","error":"NotApplied"},{"index":1,"status":409,"sku":"PROD-002","error":"InsufficientStockError","message":"Insufficient stock for SKU PROD-002. Available: 2, Required: 9","available":2,"required":9}]}"#).await?;
    let other = batch(false, 9).replace("order-457", "order-459");
    expect(client, "/api/batch", &other, 200,
        r#"{"success":false,"atomic":false,"applied":1,"failed":1,"failedItems":["PROD-002"],"message":"1 of 2 operations refused: PROD-002","results":[{"index":0,"status":200,"sku":"PROD-001","stock":94,"reserved":5,"sold":6,"availableStock":89,"version":5,"seq":7},{"index":1,"status":409,"sku":"PROD-002","error":"InsufficientStockError","message":"Insufficient stock for SKU PROD-002. Available: 2, Required: 9","available":2,"required":9}]}"#).await?;
    expect(client, "/api/inventory/PROD-001/reserve", r#"{"orderId":"order-460","quantity":500}"#, 409,
        r#"{"type":"/docs/problems/InsufficientStockError","title":"Insufficient stock","status":409,"detail":"PROD-001 has 89 available, 500 required","instance":"i","error":"InsufficientStockError","message":"Insufficient stock for SKU PROD-001. Available: 89, Required: 500","sku":"PROD-001","available":89,"required":500,"currentVersion":5}"#).await?;
    expect(client, "/api/inventory/PROD-001/sell", r#"{"quantity":0,"bogus":1}"#, 400,
        r##"{"type":"/docs/problems/ValidationError","title":"Invalid request","status":400,"detail":"2 fields are invalid","instance":"i","error":"ValidationError","message":"2 fields are invalid","errors":[{"pointer":"#/quantity","code":"min","message":"must be at least 1"},{"pointer":"#/bogus","code":"unknown_field","message":"is not a field of sell"}]}"##).await?;
    let page = client.get("/api/inventory?limit=1").await?.ok()?.json()?;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1));
    assert!(page["nextCursor"].is_string(), "{page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aggregators_examples_have_every_member() -> Result<()> {
    let world = World::new()?;
    let (a, b) = (world.node("store-a").await?, world.node("store-b").await?);
    let aggregator = world.aggregator(&[&a, &b]).await?;
    a.client()
        .post("/api/inventory", &json!({"sku": "PROD-001", "stock": 96, "name": "Mug"}))
        .await?
        .ok()?;
    b.client()
        .post("/api/inventory", &json!({"sku": "PROD-001", "stock": 30, "name": "Mug"}))
        .await?
        .ok()?;
    crate::support::expect_equal(aggregator.client(), &[&a, &b]).await?;
    let item = crate::support::item(aggregator.client(), "PROD-001").await?;
    let part = |store: &str, stock: u64| {
        json!({"storeId": store, "stock": stock, "reserved": 0, "sold": 0, "availableStock": stock,
            "version": 1, "seq": 1, "asOf": "t", "ageMs": 1, "state": "live", "verified": true})
    };
    let expected = json!({"sku": "PROD-001", "name": "Mug", "unit": "each", "conflicts": [],
        "total": {"stock": 126, "reserved": 0, "sold": 0, "availableStock": 126},
        "stores": [part("store-a", 96), part("store-b", 30)], "oversold": 0});
    assert_eq!(masked(&item), masked(&expected), "{item:#}");
    let summary = aggregator.client().get("/api/summary").await?.ok()?.json()?;
    let row = |stock: u64| {
        json!({"items": 1, "stock": stock, "reserved": 0, "sold": 0, "availableStock": stock,
            "lowStock": 0, "outOfStock": 0, "availabilityPercent": 100.0})
    };
    assert_eq!(summary["total"], row(126), "{summary:#}");
    let status = aggregator.client().get("/api/sync/status").await?.ok()?.json()?;
    let members = |value: &Value| {
        let mut names: Vec<String> =
            value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(members(&status), "asOf global nextCursor stores");
    assert_eq!(
        members(&status["global"]),
        "allVerified deadLetters eventsPerSecond live stores worstLagEvents worstLagMs"
    );
    assert_eq!(
        members(&status["stores"][0]),
        "deadLetters epoch lagEvents lagMs lastContactAt logId nodeSeq reason seq state storeId url verified verifiedSeq"
    );
    Ok(())
}
