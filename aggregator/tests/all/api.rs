//! The exact JSON of the API's examples, its lists, its errors.

use event_log::storage::sim::SimStorage;
use serde_json::{Value, json};
use shared::command::{Action, ItemPatch};
use shared::{OrderId, Quantity};

use crate::node::{Node, create, sell};
use crate::world::Aggregator;

fn reserve(order: &str, quantity: u64) -> Action {
    Action::Reserve {
        order_id: OrderId::new(order).unwrap(),
        quantity: Quantity::new(quantity).unwrap(),
        expires_in_seconds: None,
    }
}

/// The stores of the examples: the second is out of reach.
async fn examples() -> (Node, Node, Aggregator) {
    let (a, b) = (Node::start("store-a").await, Node::start("store-b").await);
    a.commit(&[("PROD-001", create(100, "Mug")), ("PROD-002", create(3, "Cup"))]);
    a.commit(&[
        ("PROD-001", sell(2)),
        ("PROD-001", reserve("order-456", 5)),
        ("PROD-001", sell(2)),
    ]);
    a.commit(&[("PROD-002", reserve("order-457", 1))]);
    b.commit(&[("PROD-001", create(40, "Mug")), ("PROD-001", sell(10))]);
    let aggregator = Aggregator::start(&SimStorage::new(1), &[&a, &b]).await;
    aggregator.wait_verified("store-a", 6).await;
    aggregator.wait_verified("store-b", 2).await;
    b.stop();
    aggregator.wait("store-b", "refused", |store| store["reason"] == "connection refused").await;
    (a, b, aggregator)
}

/// The text with everything that is a time, an age, a rate, an id or an address made plain.
fn plain(text: &str) -> String {
    let mut plain = text.to_owned();
    for (name, instead) in [
        ("\"asOf\":\"", "T"),
        ("\"lastContactAt\":\"", "T"),
        ("\"url\":\"", "U"),
        ("\"logId\":\"", "L"),
    ] {
        plain = replace_after(&plain, name, |character| character != '"', instead);
    }
    for name in ["\"ageMs\":", "\"lagMs\":", "\"worstLagMs\":", "\"eventsPerSecond\":"] {
        plain = replace_after(&plain, name, |character| character.is_ascii_digit(), "0");
    }
    plain
}

fn replace_after(
    text: &str,
    name: &str,
    is_value: impl Fn(char) -> bool + Copy,
    instead: &str,
) -> String {
    let mut pieces = text.split(name);
    let mut replaced = pieces.next().unwrap_or("").to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(is_value);
        assert_ne!(rest.len(), piece.len(), "{name} has no value in {text}");
        replaced.push_str(name);
        replaced.push_str(instead);
        replaced.push_str(rest);
    }
    replaced
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_are_answered_to_the_letter() {
    let (_a, _b, aggregator) = examples().await;
    let item = aggregator.get("/api/inventory/PROD-001").await;
    assert_eq!(
        (item.status, item.headers["content-type"].to_str().unwrap()),
        (200, "application/json")
    );
    let expected = r#"{"sku":"PROD-001","name":"Mug","unit":"each","conflicts":[],"total":{"stock":126,"reserved":5,"sold":14,"availableStock":121},"stores":[{"storeId":"store-a","stock":96,"reserved":5,"sold":4,"availableStock":91,"version":4,"seq":5,"asOf":"T","ageMs":0,"state":"live","verified":true},{"storeId":"store-b","stock":30,"reserved":0,"sold":10,"availableStock":30,"version":2,"seq":2,"asOf":"T","ageMs":0,"state":"unreachable","verified":true}],"oversold":0}"#;
    assert_eq!(plain(&item.text), expected);

    let status = aggregator.get("/api/sync/status").await;
    let expected = r#"{"asOf":"T","global":{"stores":2,"live":1,"worstLagMs":0,"worstLagEvents":0,"eventsPerSecond":0,"deadLetters":0,"allVerified":true},"stores":[{"storeId":"store-a","url":"U","state":"live","reason":null,"logId":"L","epoch":1,"seq":6,"nodeSeq":6,"lagEvents":0,"lagMs":0,"lastContactAt":"T","verified":true,"verifiedSeq":6,"deadLetters":0},{"storeId":"store-b","url":"U","state":"unreachable","reason":"connection refused","logId":"L","epoch":1,"seq":2,"nodeSeq":null,"lagEvents":null,"lagMs":0,"lastContactAt":"T","verified":true,"verifiedSeq":2,"deadLetters":0}],"nextCursor":null}"#;
    assert_eq!(plain(&status.text), expected);

    let summary = aggregator.get("/api/summary").await;
    let expected = r#"{"asOf":"T","total":{"items":2,"stock":129,"reserved":6,"sold":14,"availableStock":123,"lowStock":1,"outOfStock":0,"availabilityPercent":95.35},"stores":[{"storeId":"store-a","items":2,"stock":99,"reserved":6,"sold":4,"availableStock":93,"lowStock":1,"outOfStock":0,"availabilityPercent":93.94},{"storeId":"store-b","items":1,"stock":30,"reserved":0,"sold":10,"availableStock":30,"lowStock":0,"outOfStock":0,"availabilityPercent":100.0}]}"#;
    assert_eq!(plain(&summary.text), expected);
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_units_that_differ_are_told() {
    let (a, b) = (Node::start("store-a").await, Node::start("store-b").await);
    a.commit(&[("tea", create(1, "Tea"))]);
    b.commit(&[("tea", create(2, "Tea"))]);
    let unit =
        ItemPatch { unit: Some("g".into()), name: Some("Tee".into()), ..ItemPatch::default() };
    b.commit(&[("tea", Action::update(unit))]);
    let aggregator = Aggregator::start(&SimStorage::new(1), &[&a, &b]).await;
    aggregator.wait_verified("store-a", 1).await;
    aggregator.wait_verified("store-b", 2).await;
    let item = aggregator.get("/api/inventory/tea").await.json();
    assert_eq!(
        (&item["name"], &item["unit"], &item["total"]),
        (&"Tee".into(), &"g".into(), &Value::Null)
    );
    let conflicts = json!([
        {"storeId": "store-a", "field": "name", "value": "Tea"},
        {"storeId": "store-a", "field": "unit", "value": "each"},
    ]);
    assert_eq!(item["conflicts"], conflicts);
    aggregator.stop().await;
}

async fn skus(aggregator: &Aggregator, path: &str) -> Vec<String> {
    let answer = aggregator.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    let page = answer.json();
    let rows = page["items"].as_array().unwrap();
    rows.iter().map(|row| row["sku"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_filter_sort_and_page() {
    let (_a, _b, aggregator) = examples().await;
    for (query, expected) in [
        ("", vec!["PROD-001", "PROD-002"]),
        ("?sku=PROD-002&sku=PROD-009", vec!["PROD-002"]),
        ("?storeId=store-b", vec!["PROD-001"]),
        ("?lowStock=true", vec!["PROD-002"]),
        ("?lowStock=true&storeId=store-b", vec![]),
        ("?outOfStock=true", vec![]),
        ("?minAvailable=100", vec!["PROD-001"]),
        ("?maxAvailable=100&storeId=store-a", vec!["PROD-001", "PROD-002"]),
        ("?q=CUP", vec!["PROD-002"]),
        ("?category=kitchen&active=true", vec!["PROD-001", "PROD-002"]),
        ("?prefix=PROD-002", vec!["PROD-002"]),
        ("?sort=availableStock", vec!["PROD-002", "PROD-001"]),
        ("?sort=-availableStock", vec!["PROD-001", "PROD-002"]),
        ("?sort=-sku", vec!["PROD-002", "PROD-001"]),
    ] {
        assert_eq!(skus(&aggregator, &format!("/api/inventory{query}")).await, expected, "{query}");
    }
    let first = aggregator.get("/api/inventory?limit=1").await;
    assert_eq!(first.json()["nextCursor"], "UFJPRC0wMDE");
    let link = first.headers["link"].to_str().unwrap();
    assert_eq!(link, "</api/inventory?limit=1&cursor=UFJPRC0wMDE>; rel=\"next\"");
    let second = aggregator.get("/api/inventory?limit=1&cursor=UFJPRC0wMDE").await;
    assert_eq!(
        (&second.json()["items"][0]["sku"], &second.json()["nextCursor"]),
        (&"PROD-002".into(), &Value::Null)
    );
    let csv = aggregator.call("GET", "/api/inventory", &[("accept", "text/csv")], "").await;
    let expected = "sku,name,unit,stock,reserved,sold,availableStock,stores,oversold\r\n\
                    PROD-001,Mug,each,126,5,14,121,2,0\r\nPROD-002,Cup,each,3,1,0,2,1,0\r\n";
    assert_eq!(csv.text, expected);
    let states = aggregator.get("/api/sync/status?state=unreachable").await.json();
    assert_eq!(
        (&states["stores"][0]["storeId"], &states["global"]["stores"]),
        (&"store-b".into(), &2.into())
    );
    let page = aggregator.get("/api/sync/status?limit=1").await.json();
    let next = format!("/api/sync/status?cursor={}", page["nextCursor"].as_str().unwrap());
    assert_eq!(aggregator.get(&next).await.json()["stores"][0]["storeId"], "store-b");
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_basket_is_answered_with_who_could_serve_it() {
    let (_a, _b, aggregator) = examples().await;
    let basket =
        json!({"items": [{"sku": "PROD-001", "quantity": 90}, {"sku": "PROD-002", "quantity": 2}]});
    let answer =
        aggregator.call("POST", "/api/availability", &[], &basket.to_string()).await.json();
    let expected = json!({
        "items": [
            {"sku": "PROD-001", "quantity": 90, "available": true, "availableStock": 121, "stores": ["store-a"]},
            {"sku": "PROD-002", "quantity": 2, "available": true, "availableStock": 2, "stores": ["store-a"]},
        ],
        "stores": ["store-a"],
    });
    assert_eq!(answer, expected);
    for (path, bad, expected) in [
        (
            "/api/availability",
            r#"{"items":[{"sku":"","quantity":0,"unit":"g"}],"bogus":1}"#,
            &["#/items/0/sku", "#/items/0/quantity", "#/items/0/unit", "#/bogus"][..],
        ),
        ("/api/dlq/retry", r#"{"storeid":"a","sku":7}"#, &["#/storeid", "#/sku"]),
    ] {
        let refused = aggregator.call("POST", path, &[], bad).await;
        assert_eq!((refused.status, &refused.json()["error"]), (400, &"ValidationError".into()));
        let refused = refused.json();
        let errors = refused["errors"].as_array().unwrap().iter();
        let mut found: Vec<&str> = errors.map(|error| error["pointer"].as_str().unwrap()).collect();
        found.sort_by_key(|pointer| expected.iter().position(|known| known == pointer));
        assert_eq!(found, expected, "{path}");
    }
    aggregator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_problems_and_every_answer_names_its_request() {
    let (_a, _b, aggregator) = examples().await;
    for (method, path, status, error) in [
        ("GET", "/api/inventory/PROD-404", 404, "UnknownSku"),
        ("GET", "/api/inventory/%20", 404, "UnknownSku"),
        ("GET", "/api/nothing", 404, "NotFound"),
        ("GET", "/", 404, "NotFound"),
        ("POST", "/api/summary", 405, "MethodNotAllowed"),
        ("GET", "/api/inventory?limit=0&bogus=1", 400, "ValidationError"),
        ("GET", "/api/inventory?cursor=!", 400, "InvalidCursor"),
        ("GET", "/api/inventory?storeId=store-x", 404, "UnknownStore"),
        ("POST", "/api/sync/stores/store-x/pause", 404, "UnknownStore"),
        ("GET", "/api/jobs/none", 404, "NotFound"),
        ("GET", "/api/dlq/store-a:9", 404, "NotFound"),
        ("GET", "/api/dlq/nonsense", 404, "NotFound"),
        ("POST", "/api/availability", 400, "MalformedJson"),
    ] {
        let answer = aggregator.call(method, path, &[("x-request-id", "till-7:42")], "").await;
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (status, Some(error)),
            "{path}"
        );
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
        assert_eq!(
            (&answer.json()["instance"], &answer.headers["x-request-id"]),
            (&"till-7:42".into(), &"till-7:42".parse().unwrap())
        );
    }
    let answer = aggregator
        .call("GET", "/api/health/live", &[("x-request-id", "not sane \u{e9}")], "")
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["x-request-id"].len(), 36, "an insane id is replaced");
    let health = aggregator.get("/api/health").await.json();
    assert_eq!(
        (&health["status"], &health["live"], &health["stores"]),
        (&"degraded".into(), &1.into(), &2.into())
    );
    assert_eq!(aggregator.get("/api/health/sync").await.json()["states"]["unreachable"], 1);
    assert_eq!(aggregator.get("/api/health/ready").await.status, 200, "one store doesn't matter");
    aggregator.stop().await;
}

#[tokio::test]
async fn the_type_of_an_error_leads_to_a_page_about_it() {
    let aggregator = Aggregator::start(&SimStorage::new(1), &[]).await;
    let refused = aggregator.get("/api/inventory/NONE").await;
    let page = aggregator.get(refused.json()["type"].as_str().unwrap()).await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert_eq!(page.headers["content-type"], "text/plain; charset=utf-8");
    assert!(page.text.starts_with("UnknownSku\n404 Unknown SKU\n"), "{}", page.text);
    assert!(aggregator.get("/docs/problems").await.text.contains("404 UnknownSku: "));
    assert_eq!(aggregator.get("/docs/problems/Nonsense").await.status, 404);
    aggregator.stop().await;
}
