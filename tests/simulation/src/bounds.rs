//! What a world may still hold weeks after its last busy day: what is alive, and little else. Memory
//! (keys, closed reservations, waiters, requests), the office's connections, files and bytes.
//!
//! The bounds are written down here, from what is alive; nothing here may ask the product what it
//! would like to keep.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use event_log::parse_segment_file_name;
use tests::audit::{Faults, Promise};
use tokio::time::sleep;

use crate::mischief::Mischief;
use crate::network::Network;
use crate::node::{Death, Node};
use crate::run::World;

/// Longer than a key, a closed reservation or an archived segment is kept.
const LATER_US: i64 = 40 * 24 * 3600 * 1_000_000;
/// Weeks later the world has so many quiet turns to become small.
const TURNS_MAX: u32 = 20;
/// A quiet turn: long enough for the office to save and to acknowledge.
const TURN: Duration = Duration::from_secs(3);
/// The segment that is written, the one that the floor is in, and one whose end a cursor names.
const SEGMENTS_MAX: usize = 3;
/// Segments prepared for later, and the one kept for repairs.
const SPARES_MAX: usize = 3;
/// Snapshots, and generations of a store's file at the office.
const VERSIONS_MAX: usize = 2;
/// Bytes of a file besides what it holds for items and reservations.
const FILE_BYTES: u64 = 4096;
/// Bytes of an item in a file.
const ITEM_BYTES: u64 = 1024;
/// Bytes of a live reservation in a file.
const RESERVATION_BYTES: u64 = 256;
/// Connections that the office has to a node, each of which may wait for the watermark: a stream,
/// and a question now and then.
const CONNECTIONS_MAX: usize = 2;

/// Lets weeks pass and looks at what is left.
pub async fn check(world: &mut World, mischief: &mut Mischief, faults: &mut Faults) {
    world.trace.note("weeks later");
    for node in &mut world.nodes {
        node.end(Death::Stop).await;
        *node.clock_error_us.lock() += LATER_US;
    }
    let mut over = Vec::new();
    for _ in 0..TURNS_MAX {
        mischief.revive(world).await;
        for node in &world.nodes {
            touch(&world.network, &node.options.name).await;
        }
        sleep(TURN).await;
        for node in &world.nodes {
            node.snapshot().await;
            node.compact();
        }
        over = excess(world);
        if over.is_empty() {
            return;
        }
    }
    for what in over {
        faults.note(Promise::Bounded, what);
    }
}

/// Something happens at a store, so that there is something new to keep.
async fn touch(network: &Network, store: &str) {
    for (path, body) in [
        ("/api/inventory", r#"{"sku":"audited","stock":1}"#),
        ("/api/inventory/audited/receive", r#"{"quantity":1}"#),
    ] {
        let request = Request::post(path).header("host", store);
        let request = request.header("content-type", "application/json");
        if let Ok(request) = request.body(Bytes::from_static(body.as_bytes()))
            && let Ok(response) = network.send("auditor", store, request).await
        {
            let _answer = response.into_body().collect().await;
        }
    }
}

/// Everything that is beyond its bound.
fn excess(world: &World) -> Vec<String> {
    let mut over = Vec::new();
    let mut items = 0;
    for node in &world.nodes {
        let Some(app) = node.app() else {
            over.push(format!("{} doesn't run", node.options.name));
            continue;
        };
        let stats = app.ledger().stats();
        items += stats.items as u64;
        let waiters = app.log().status().waiters;
        let held = [
            ("idempotency keys", stats.keys, 0),
            ("keys forgotten too early", stats.keys_evicted as usize, 0),
            ("closed reservations", stats.reservations_closed, 0),
            ("requests", app.in_flight(), 0),
            ("waiters", waiters, CONNECTIONS_MAX),
            ("connections", world.office.connections(&node.options.name), CONNECTIONS_MAX),
        ];
        for (what, count, most) in held {
            check_count(&node.options.name, what, count, most, &mut over);
        }
        let live = stats.items as u64 * ITEM_BYTES + stats.reservations_live * RESERVATION_BYTES;
        check_disk(node, FILE_BYTES + live, &mut over);
    }
    let office = world.office.disk.contents();
    let stores = world.nodes.len();
    let views = office.iter().filter(|(path, _)| path.starts_with("stores/"));
    check_count(
        "the office",
        "files of stores",
        views.count(),
        stores * (VERSIONS_MAX + 1),
        &mut over,
    );
    check_count("the office", "files", office.len(), stores * (VERSIONS_MAX + 1) + 2, &mut over);
    let most = (VERSIONS_MAX as u64 + 1) * (stores as u64 * FILE_BYTES + items * ITEM_BYTES);
    let bytes: u64 = office.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    check_count("the office", "bytes", bytes as usize, (most + 2 * FILE_BYTES) as usize, &mut over);
    over
}

/// Files and bytes of a store, whose whole state takes so many bytes in a file at most.
fn check_disk(node: &Node, state_bytes: u64, over: &mut Vec<String>) {
    let name = &node.options.name;
    let files = node.disk.contents();
    let of = |test: &dyn Fn(&str) -> bool| files.iter().filter(|(path, _)| test(path)).count();
    let is_spare = |path: &str| path.starts_with("spare-");
    let kinds = [
        ("segments", of(&|path| parse_segment_file_name(path).is_some()), SEGMENTS_MAX),
        ("archived segments", of(&|path| path.starts_with("archive/")), SEGMENTS_MAX),
        ("spares", of(&is_spare), SPARES_MAX),
        ("snapshots", of(&|path| path.starts_with("snapshots/")), VERSIONS_MAX),
        ("files", files.len(), 2 * SEGMENTS_MAX + SPARES_MAX + VERSIONS_MAX + 1),
    ];
    for (what, count, most) in kinds {
        check_count(name, what, count, most, over);
    }
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let segments = (2 * SEGMENTS_MAX + SPARES_MAX) as u64 * node.options.segment_bytes;
    let most = segments + VERSIONS_MAX as u64 * state_bytes + FILE_BYTES;
    check_count(name, "bytes", bytes as usize, most as usize, over);
}

fn check_count(whose: &str, what: &str, count: usize, most: usize, over: &mut Vec<String>) {
    if count > most {
        over.push(format!("{whose}: {count} {what}, at most {most}"));
    }
}
