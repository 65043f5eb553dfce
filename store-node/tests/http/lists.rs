//! Lists: filters, orders, pages.

use serde_json::{Value, json};

use super::world::World;

async fn shop() -> World {
    let world = World::new();
    let items = [
        json!({"sku": "BOWL-1", "stock": 0, "name": "Bowl", "category": "kitchen"}),
        json!({"sku": "MUG-1", "stock": 5, "name": "Blue mug", "category": "kitchen", "location": "A"}),
        json!({"sku": "MUG-2", "stock": 50, "name": "Red mug", "category": "kitchen", "location": "B"}),
        json!({"sku": "mug-3", "stock": 50, "name": "Green mug", "category": "garden"}),
        json!({"sku": "OLD", "stock": 0}),
    ];
    for item in items {
        world.post("/api/inventory", &item.to_string()).await.expect(201);
    }
    world.call("DELETE", "/api/inventory/OLD", &[], "").await.expect(200);
    world
}

async fn skus(world: &World, query: &str) -> Vec<String> {
    let page = world.get(&format!("/api/inventory{query}")).await.expect(200);
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["sku"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn filters_and_orders() {
    let world = shop().await;
    let cases: [(&str, &[&str]); 14] = [
        ("", &["BOWL-1", "MUG-1", "MUG-2", "OLD", "mug-3"]),
        ("?prefix=MUG", &["MUG-1", "MUG-2"]),
        ("?category=kitchen", &["BOWL-1", "MUG-1", "MUG-2"]),
        ("?location=B", &["MUG-2"]),
        ("?active=false", &["OLD"]),
        ("?active=true&outOfStock=true", &["BOWL-1"]),
        ("?lowStock=true&active=true", &["BOWL-1", "MUG-1"]),
        ("?minAvailable=5&maxAvailable=5", &["MUG-1"]),
        ("?q=mug", &["MUG-1", "MUG-2", "mug-3"]),
        ("?q=RED", &["MUG-2"]),
        ("?sku=mug-3&sku=BOWL-1&sku=none", &["BOWL-1", "mug-3"]),
        ("?sort=-availableStock", &["MUG-2", "mug-3", "MUG-1", "BOWL-1", "OLD"]),
        ("?sort=-sku&limit=2", &["mug-3", "OLD"]),
        ("?q=nothing%20here", &[]),
    ];
    for (query, expected) in cases {
        assert_eq!(skus(&world, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn pages_join_up_in_every_order() {
    let world = shop().await;
    for query in
        ["?limit=2", "?limit=2&sort=-availableStock", "?limit=1&sort=stock", "?limit=2&sort=-sku"]
    {
        let base = query.replace("limit=1", "limit=1000").replace("limit=2", "limit=1000");
        let whole = skus(&world, &base).await;
        let mut joined = Vec::new();
        let mut path = format!("/api/inventory{query}");
        for _ in 0..10 {
            let answer = world.get(&path).await;
            let page = answer.expect(200);
            let items = page["items"].as_array().unwrap();
            joined.extend(items.iter().map(|item| item["sku"].as_str().unwrap().to_owned()));
            let Some(link) = answer.header("link") else {
                assert_eq!(page["nextCursor"], Value::Null);
                break;
            };
            path = link.split(['<', '>']).nth(1).unwrap().to_owned();
        }
        assert_eq!(joined, whole, "{query}");
    }
}

#[tokio::test]
async fn a_cursor_belongs_to_its_order() {
    let world = shop().await;
    let page = world.get("/api/inventory?limit=1&sort=stock").await.expect(200);
    let cursor = page["nextCursor"].as_str().unwrap();
    world.get(&format!("/api/inventory?cursor={cursor}")).await.problem(400, "InvalidCursor");
    let page = world.get("/api/inventory?limit=1").await.expect(200);
    let cursor = page["nextCursor"].as_str().unwrap();
    let other = world.get(&format!("/api/inventory?sort=stock&cursor={cursor}")).await;
    other.problem(400, "InvalidCursor");
    for (order, others) in
        [("stock", ["-stock", "availableStock", "createdAt"]), ("-sku", ["sku", "stock", "-stock"])]
    {
        let page = world.get(&format!("/api/inventory?limit=1&sort={order}")).await.expect(200);
        let cursor = page["nextCursor"].as_str().unwrap();
        for other in others {
            let path = format!("/api/inventory?sort={other}&cursor={cursor}");
            world.get(&path).await.problem(400, "InvalidCursor");
        }
    }
}
