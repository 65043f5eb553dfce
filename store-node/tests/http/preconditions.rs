//! Versions: ETag, If-Match, If-None-Match, expectedVersion.

use super::world::World;

async fn node() -> World {
    let world = World::new();
    world.create("A", 10).await;
    world.post("/api/inventory/A/sell", r#"{"quantity":1}"#).await.expect(200);
    world
}

async fn sell(world: &World, if_match: &[&str], body: &str) -> super::world::Answer {
    let headers: Vec<_> = if_match.iter().map(|tag| ("if-match", *tag)).collect();
    world.call("POST", "/api/inventory/A/sell", &headers, body.to_owned()).await
}

#[tokio::test]
async fn a_stale_if_match_is_412_and_a_stale_expected_version_409() {
    let world = node().await;
    let stale = sell(&world, &["\"1\""], r#"{"quantity":1}"#).await;
    let problem = stale.problem(412, "PreconditionFailed");
    assert_eq!((&problem["currentVersion"], &problem["availableStock"]), (&2.into(), &9.into()));
    let stale = sell(&world, &[], r#"{"quantity":1,"expectedVersion":1}"#).await;
    let problem = stale.problem(409, "VersionConflict");
    assert_eq!(problem["currentVersion"], 2);
    let both = sell(&world, &["\"1\""], r#"{"quantity":1,"expectedVersion":1}"#).await;
    both.problem(412, "PreconditionFailed");
    for tag in ["\"abc\"", "W/\"2\"", "\"02\"", "\"\""] {
        sell(&world, &[tag], r#"{"quantity":1}"#).await.problem(412, "PreconditionFailed");
    }
    assert_eq!(world.last_seq(), 2);
    let fresh = sell(&world, &["\"2\""], r#"{"quantity":1,"expectedVersion":2}"#).await;
    assert_eq!(fresh.expect(200)["version"], 3);
    sell(&world, &["*"], r#"{"quantity":1}"#).await.expect(200);
    sell(&world, &[], r#"{"quantity":1,"expectedVersion":4}"#).await.expect(200);
}

#[tokio::test]
async fn contradictions_and_malformed_tags_are_400() {
    let world = node().await;
    let body = r#"{"quantity":1,"expectedVersion":1}"#;
    let differs = sell(&world, &["\"2\""], body).await;
    assert_eq!(differs.field_errors(), ["#/expectedVersion conflict"]);
    for tag in ["2", "\"2", "\"1\", \"2\"", ""] {
        let answer = sell(&world, &[tag], r#"{"quantity":1}"#).await;
        assert_eq!(answer.field_errors(), ["header:If-Match format"], "{tag:?}");
    }
    let twice = sell(&world, &["\"2\"", "\"2\""], r#"{"quantity":1}"#).await;
    assert_eq!(twice.field_errors(), ["header:If-Match duplicate_field"]);
    let create = world
        .call("POST", "/api/inventory", &[("if-match", "\"1\"")], r#"{"sku":"B","stock":1}"#)
        .await;
    assert_eq!(create.field_errors(), ["header:If-Match unsupported"]);
    assert_eq!(world.last_seq(), 2);
}

#[tokio::test]
async fn if_none_match_saves_the_body() {
    let world = node().await;
    for (tag, status) in
        [("\"2\"", 304), ("W/\"2\"", 304), ("*", 304), ("\"1\", \"2\"", 304), ("\"1\"", 200)]
    {
        let answer = world.call("GET", "/api/inventory/A", &[("if-none-match", tag)], "").await;
        assert_eq!(answer.status, status, "{tag}");
        assert_eq!(answer.header("etag"), Some("\"2\""));
        assert_eq!(answer.body.is_empty(), status == 304);
    }
}

#[tokio::test]
async fn patch_and_delete_take_versions_too() {
    let world = node().await;
    let stale = [("if-match", "\"1\"")];
    let patch = world.call("PATCH", "/api/inventory/A", &stale, r#"{"name":"x"}"#).await;
    patch.problem(412, "PreconditionFailed");
    world.call("DELETE", "/api/inventory/A", &stale, "").await.problem(412, "PreconditionFailed");
    let body = r#"{"expectedVersion":1}"#;
    world.call("DELETE", "/api/inventory/A", &[], body).await.problem(409, "VersionConflict");
    let fresh = [("if-match", "\"2\"")];
    let patched = world.call("PATCH", "/api/inventory/A", &fresh, r#"{"name":"x"}"#).await;
    assert_eq!(patched.header("etag"), Some("\"3\""));
}

#[tokio::test]
async fn versions_can_be_required() {
    let world = World::with(|options| options.require_version = true);
    world.create("A", 10).await;
    let bare = world.post("/api/inventory/A/sell", r#"{"quantity":1}"#).await;
    bare.problem(428, "PreconditionRequired");
    let said = world.post("/api/inventory/A/sell", r#"{"quantity":1,"expectedVersion":1}"#).await;
    said.expect(200);
}
