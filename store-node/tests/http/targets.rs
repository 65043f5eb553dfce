//! Paths and queries: what is decoded, what isn't there, and that nothing sent is ignored.

use shared::wire::problem::{ErrorCode, Problem};

use super::world::World;

async fn node() -> World {
    let world = World::new();
    world.create("A", 10).await;
    world
}

#[tokio::test]
async fn skus_in_paths_are_decoded_and_checked() {
    let world = World::new();
    let sixty_four = "x".repeat(64);
    let skus = ["a b", "a/b", "🍎", "a%b", "a+b", "a?b", "é", "M", "m", &sixty_four];
    for sku in skus {
        world.create(sku, 1).await;
    }
    let paths = [
        "a%20b",
        "a%2Fb",
        "%F0%9F%8D%8E",
        "a%25b",
        "a+b",
        "a%3Fb",
        "%C3%A9",
        "M",
        "m",
        &sixty_four,
    ];
    for (sku, path) in skus.iter().zip(paths) {
        let got = world.get(&format!("/api/inventory/{path}")).await.expect(200);
        assert_eq!(got["sku"], *sku);
        let sold = world.post(&format!("/api/inventory/{path}/sell"), r#"{"quantity":1}"#).await;
        assert_eq!(sold.expect(200)["sku"], *sku);
    }
    let before = world.last_seq();
    let bad = [
        ("x".repeat(65), "#/sku max_length"),
        ("%FF".to_owned(), "#/sku utf8"),
        ("%0A".to_owned(), "#/sku control_character"),
        ("%20a".to_owned(), "#/sku outer_white_space"),
    ];
    for (path, expected) in bad {
        for answer in [
            world.get(&format!("/api/inventory/{path}")).await,
            world.post(&format!("/api/inventory/{path}/sell"), r#"{"quantity":1}"#).await,
        ] {
            assert_eq!(answer.field_errors(), [expected]);
        }
    }
    world.get("/api/inventory/nothing").await.problem(404, "UnknownSku");
    assert_eq!(world.last_seq(), before);
}

#[tokio::test]
async fn routes_and_methods_that_are_not_there_are_problems() {
    let world = node().await;
    for path in [
        "/",
        "/api",
        "/api/inventory/",
        "/api/inventory/A/steal",
        "/api/inventory/A/sell/x",
        "/apo",
    ] {
        world.get(path).await.problem(404, "NotFound");
    }
    let wrong = [
        ("PUT", "/api/inventory", "GET,HEAD,POST"),
        ("POST", "/api/inventory/A", "GET,HEAD,PATCH,DELETE"),
        ("GET", "/api/inventory/A/sell", "POST"),
        ("DELETE", "/api/batch", "POST"),
        ("POST", "/api/health", "GET,HEAD"),
    ];
    for (method, path, allowed) in wrong {
        let answer = world.call(method, path, &[], "{}").await;
        answer.problem(405, "MethodNotAllowed");
        let mut allow: Vec<&str> = answer.header("allow").unwrap().split(',').collect();
        allow.sort_unstable();
        let mut expected: Vec<&str> = allowed.split(',').collect();
        expected.sort_unstable();
        assert_eq!(allow, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn parameters_are_known_single_and_of_their_type() {
    let world = node().await;
    let cases = [
        ("/api/inventory?colour=red", vec!["query:colour unknown_field"]),
        ("/api/inventory?limit=1&limit=2", vec!["query:limit duplicate_field"]),
        ("/api/inventory?limit=0", vec!["query:limit min"]),
        ("/api/inventory?limit=-1", vec!["query:limit min"]),
        ("/api/inventory?limit=1001", vec!["query:limit max"]),
        ("/api/inventory?limit=99999999999999999999999", vec!["query:limit max"]),
        (
            "/api/inventory?limit=ten&active=maybe&x",
            vec!["query:x unknown_field", "query:limit type", "query:active type"],
        ),
        ("/api/inventory?sort=price", vec!["query:sort one_of"]),
        ("/api/inventory?sku=%20x", vec!["query:sku outer_white_space"]),
        ("/api/inventory?q=%ff", vec!["query:q utf8"]),
        ("/api/inventory/A?x=1", vec!["query:x unknown_field"]),
        ("/api/log?after=1", vec!["query:chain required"]),
        ("/api/log?after=x&chain=zz", vec!["query:after type", "query:chain hex"]),
    ];
    for (path, expected) in cases {
        let mut found = world.get(path).await.field_errors();
        let mut expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{path}");
    }
    let sell = world.post("/api/inventory/A/sell?force=true", r#"{"quantity":1}"#).await;
    assert_eq!(sell.field_errors(), ["query:force unknown_field"]);
    for cursor in ["!", "UFJPRC0wMDE=", "N8KfQQ"] {
        let answer = world.get(&format!("/api/inventory?cursor={cursor}")).await;
        answer.problem(400, "InvalidCursor");
    }
}

#[tokio::test]
async fn the_type_of_every_error_leads_to_a_page_about_it() {
    let world = World::new();
    let refused = world.get("/api/inventory/NONE").await.problem(404, "UnknownSku");
    let page = world.get(refused["type"].as_str().unwrap()).await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/plain; charset=utf-8"))
    );
    assert!(
        page.text().starts_with("UnknownSku\n404 Unknown SKU\n\nNo such item"),
        "{}",
        page.text()
    );
    let index = world.get("/docs/problems").await;
    for code in ErrorCode::ALL {
        let page = world.get(&Problem::new(*code, "").problem_type).await;
        assert_eq!(page.status, 200, "{}", code.name());
        assert!(page.text().contains(code.meaning()) && index.text().contains(code.name()));
    }
    world.get("/docs/problems/Nonsense").await.problem(404, "NotFound");
}
