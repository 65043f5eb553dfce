//! The same key: the same answer, once.

use super::world::{Answer, World};

async fn keyed(world: &World, method: &str, path: &str, key: &str, body: &str) -> Answer {
    world.call(method, path, &[("idempotency-key", key)], body.to_owned()).await
}

#[tokio::test]
async fn a_repeated_request_gets_its_first_answer() {
    let world = World::new();
    world.create("A", 10).await;
    let requests = [
        ("POST", "/api/inventory", r#"{"sku":"B","stock":5,"name":"Bowl"}"#),
        ("POST", "/api/inventory/A/sell", r#"{"quantity":2}"#),
        ("POST", "/api/inventory/A/sell", r#"{"quantity":200}"#),
        (
            "POST",
            "/api/inventory/A/reserve",
            r#"{"quantity":2,"orderId":"o","expiresInSeconds":60}"#,
        ),
        ("POST", "/api/inventory/A/reserve", r#"{"quantity":2,"orderId":"o"}"#),
        ("POST", "/api/inventory/A/extend", r#"{"orderId":"o","expiresInSeconds":90}"#),
        ("PATCH", "/api/inventory/A", r#"{"name":"Apple"}"#),
        (
            "POST",
            "/api/batch",
            r#"{"atomic":false,"operations":[{"op":"sell","sku":"A","quantity":1},{"op":"sell","sku":"A","quantity":0},{"op":"sell","sku":"Z","quantity":1}]}"#,
        ),
        (
            "POST",
            "/api/batch",
            r#"{"atomic":true,"operations":[{"op":"sell","sku":"A","quantity":1},{"op":"sell","sku":"A","quantity":100}]}"#,
        ),
    ];
    for (index, (method, path, body)) in requests.iter().enumerate() {
        let key = format!("key-{index}");
        let first = keyed(&world, method, path, &key, body).await;
        assert_eq!(first.header("idempotent-replayed"), None);
        let seq = world.last_seq();
        for _ in 0..2 {
            let again = keyed(&world, method, path, &key, body).await;
            assert_eq!((again.status, again.text()), (first.status, first.text()), "{path} {body}");
            assert_eq!(again.header("etag"), first.header("etag"));
            assert_eq!(again.header("location"), first.header("location"));
            assert_eq!(again.header("idempotent-replayed"), Some("true"), "{path} {body}");
        }
        assert_eq!(world.last_seq(), seq, "{path} {body} happened again");
    }
}

#[tokio::test]
async fn another_request_with_the_key_is_refused() {
    let world = World::new();
    world.create("A", 10).await;
    world.create("B", 10).await;
    keyed(&world, "POST", "/api/inventory/A/sell", "k", r#"{"quantity":2}"#).await.expect(200);
    let others = [
        ("/api/inventory/A/sell", r#"{"quantity":3}"#),
        ("/api/inventory/A/sell", r#"{"quantity":2 }"#),
        ("/api/inventory/B/sell", r#"{"quantity":2}"#),
        ("/api/inventory/A/receive", r#"{"quantity":2}"#),
        ("/api/batch", r#"{"atomic":true,"operations":[{"op":"sell","sku":"A","quantity":2}]}"#),
    ];
    let before = world.last_seq();
    for (path, body) in others {
        let answer = keyed(&world, "POST", path, "k", body).await;
        answer.problem(422, "IdempotencyKeyReused");
    }
    let headers = [("idempotency-key", "k"), ("if-match", "\"2\"")];
    let answer = world.call("POST", "/api/inventory/A/sell", &headers, r#"{"quantity":2}"#).await;
    answer.problem(422, "IdempotencyKeyReused");
    assert_eq!(world.last_seq(), before);
}

#[tokio::test]
async fn refusals_of_form_are_not_remembered() {
    let world = World::new();
    world.create("A", 10).await;
    let path = "/api/inventory/A/sell";
    keyed(&world, "POST", path, "k", r#"{"quantity":0}"#).await.problem(400, "ValidationError");
    keyed(&world, "POST", path, "k", r#"{"quantity":1}"#).await.expect(200);
}

#[tokio::test]
async fn answers_survive_a_restart() {
    let world = World::new();
    world.create("A", 10).await;
    let path = "/api/inventory/A/sell";
    let first = keyed(&world, "POST", path, "k", r#"{"quantity":2}"#).await;
    world.app.log().close().unwrap();
    let storage = world.storage.clone();
    drop(world);
    let world = World::on(storage, |_| {});
    let again = keyed(&world, "POST", path, "k", r#"{"quantity":2}"#).await;
    assert_eq!((again.status, again.text()), (first.status, first.text()));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_with_one_key_happen_once() {
    let world = std::sync::Arc::new(World::new());
    world.create("A", 1000).await;
    let mut tasks = Vec::new();
    for _ in 0..64 {
        let world = std::sync::Arc::clone(&world);
        tasks.push(tokio::spawn(async move {
            let path = "/api/inventory/A/sell";
            let answer = keyed(&world, "POST", path, "k", r#"{"quantity":7}"#).await;
            (answer.expect(200), answer.header("idempotent-replayed").is_some())
        }));
    }
    let mut fresh = 0;
    for task in tasks {
        let (answer, replayed) = task.await.unwrap();
        assert_eq!((&answer["stock"], &answer["seq"]), (&993.into(), &2.into()));
        fresh += usize::from(!replayed);
    }
    assert_eq!((fresh, world.last_seq()), (1, 2));
}
