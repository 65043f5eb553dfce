//! The examples of the contract, byte for byte, in their order.

use super::world::World;

const CREATED: &str = r#"{"storeId":"store-a","sku":"PROD-001","name":"Mug","category":"kitchen","location":"warehouse-A","unit":"each","active":true,"stock":100,"reserved":0,"sold":0,"availableStock":100,"incoming":0,"inTransitOut":0,"reorderPoint":10,"safetyStock":0,"version":1,"seq":1,"createdAt":"2026-11-21T10:00:00.000000Z","updatedAt":"2026-11-21T10:00:00.000000Z"}"#;
const SOLD: &str = r#"{"storeId":"store-a","sku":"PROD-001","stock":98,"reserved":0,"sold":2,"availableStock":98,"version":2,"seq":3,"changed":true,"recordedAt":"2026-11-21T10:00:00.000000Z"}"#;
const RESERVED: &str = r#"{"storeId":"store-a","sku":"PROD-001","stock":98,"reserved":5,"sold":2,"availableStock":93,"version":3,"seq":4,"changed":true,"recordedAt":"2026-11-21T10:00:00.000000Z","reservation":{"orderId":"order-456","quantity":5,"expiresAt":"2026-11-21T10:15:00.000000Z"}}"#;
const BATCH: &str = r#"{"success":true,"atomic":true,"applied":2,"failed":0,"failedItems":[],"results":[{"index":0,"status":200,"sku":"PROD-001","stock":96,"reserved":5,"sold":4,"availableStock":91,"version":4,"seq":5},{"index":1,"status":200,"sku":"PROD-002","stock":3,"reserved":1,"sold":0,"availableStock":2,"version":2,"seq":6}]}"#;
const BATCH_REJECTED: &str = r#"{"type":"/docs/problems/BatchRejected","title":"Batch rejected","status":409,"detail":"1 of 2 operations refused, nothing applied","instance":"0193b2c4","error":"BatchRejected","message":"1 of 2 operations refused, nothing applied","success":false,"atomic":true,"applied":0,"failed":1,"failedItems":["PROD-002"],"results":[{"index":0,"status":424,"sku":"PROD-001","error":"NotApplied"},{"index":1,"status":409,"sku":"PROD-002","error":"InsufficientStockError","message":"Insufficient stock for SKU PROD-002. Available: 2, Required: 9","available":2,"required":9}]}"#;
const RESERVE_REFUSED: &str = r#"{"type":"/docs/problems/InsufficientStockError","title":"Insufficient stock","status":409,"detail":"PROD-001 has 91 available, 500 required","instance":"0193b2c4","error":"InsufficientStockError","message":"Insufficient stock for SKU PROD-001. Available: 91, Required: 500","sku":"PROD-001","available":91,"required":500,"currentVersion":4}"#;
const BATCH_BEST_EFFORT: &str = r#"{"success":false,"atomic":false,"applied":1,"failed":1,"failedItems":["PROD-002"],"message":"1 of 2 operations refused: PROD-002","results":[{"index":0,"status":200,"sku":"PROD-001","stock":94,"reserved":5,"sold":6,"availableStock":89,"version":5,"seq":7},{"index":1,"status":409,"sku":"PROD-002","error":"InsufficientStockError","message":"Insufficient stock for SKU PROD-002. Available: 2, Required: 9","available":2,"required":9}]}"#;
const SELL_INVALID: &str = r##"{"type":"/docs/problems/ValidationError","title":"Invalid request","status":400,"detail":"2 fields are invalid","instance":"0193b2c4","error":"ValidationError","message":"2 fields are invalid","errors":[{"pointer":"#/quantity","code":"min","message":"must be at least 1"},{"pointer":"#/bogus","code":"unknown_field","message":"is not a field of sell"}]}"##;

#[tokio::test]
async fn are_answered_to_the_letter() {
    let world = World::new();
    let body = r#"{"sku":"PROD-001","stock":100,"name":"Mug","category":"kitchen","location":"warehouse-A"}"#;
    let created = world.post("/api/inventory", body).await;
    assert_eq!((created.status, created.text()), (201, CREATED));
    assert_eq!(created.header("location"), Some("/api/inventory/PROD-001"));
    assert_eq!(created.header("etag"), Some("\"1\""));
    assert_eq!(created.header("content-type"), Some("application/json"));
    world.create("PROD-002", 3).await;

    let path = "/api/inventory/PROD-001";
    let sold =
        world.post(&format!("{path}/sell"), r#"{"quantity":2,"reference":"basket-77"}"#).await;
    assert_eq!((sold.status, sold.text(), sold.header("etag")), (200, SOLD, Some("\"2\"")));

    let body = r#"{"orderId":"order-456","quantity":5,"expiresInSeconds":900}"#;
    let reserved = world.post(&format!("{path}/reserve"), body).await;
    assert_eq!((reserved.status, reserved.text()), (200, RESERVED));
    assert_eq!(reserved.header("etag"), Some("\"3\""));

    let body = r#"{"atomic":true,"operations":[{"op":"sell","sku":"PROD-001","quantity":2},{"op":"reserve","sku":"PROD-002","quantity":1,"orderId":"order-457"}]}"#;
    let batch = world.post("/api/batch", body).await;
    assert_eq!((batch.status, batch.text()), (200, BATCH));

    let body = r#"{"orderId":"order-999","quantity":500}"#;
    let refused = world.post(&format!("{path}/reserve"), body).await;
    assert_eq!((refused.status, refused.text()), (409, RESERVE_REFUSED));

    let nine = r#"{"atomic":true,"operations":[{"op":"sell","sku":"PROD-001","quantity":2},{"op":"reserve","sku":"PROD-002","quantity":9,"orderId":"order-460"}]}"#;
    let before = world.last_seq();
    let rejected = world.post("/api/batch", nine).await;
    assert_eq!((rejected.status, rejected.text()), (409, BATCH_REJECTED));
    assert_eq!(world.last_seq(), before, "nothing was applied");

    let best_effort = world.post("/api/batch", &nine.replace("true", "false")).await;
    assert_eq!((best_effort.status, best_effort.text()), (200, BATCH_BEST_EFFORT));

    let invalid = world.post(&format!("{path}/sell"), r#"{"quantity":0,"bogus":1}"#).await;
    assert_eq!((invalid.status, invalid.text()), (400, SELL_INVALID));
}

#[tokio::test]
async fn lists_page_by_the_cursor_of_the_example() {
    let world = World::new();
    let body = r#"{"sku":"PROD-001","stock":100,"name":"Mug","category":"kitchen","location":"warehouse-A"}"#;
    world.post("/api/inventory", body).await.expect(201);
    world.create("PROD-002", 3).await;
    let first = world.get("/api/inventory?limit=1").await;
    let expected = format!(r#"{{"items":[{CREATED}],"nextCursor":"UFJPRC0wMDE"}}"#);
    assert_eq!((first.status, first.text()), (200, expected.as_str()));
    let link = "</api/inventory?limit=1&cursor=UFJPRC0wMDE>; rel=\"next\"";
    assert_eq!(first.header("link"), Some(link));
    let last = world.get("/api/inventory?limit=1&cursor=UFJPRC0wMDE").await;
    let page = last.expect(200);
    assert_eq!(page["items"][0]["sku"], "PROD-002");
    assert_eq!(page["nextCursor"], serde_json::Value::Null);
    assert_eq!(last.header("link"), None);
}
