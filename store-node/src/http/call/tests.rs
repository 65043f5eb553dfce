//! A handler that panics: the caller learns nothing but that, and the node goes on.

use std::time::Duration;

use event_log::storage::sim::SimStorage;
use event_log::{Log, LogOptions, Retention};
use http_body_util::BodyExt;
use shared::{StoreId, Timestamp};

use super::*;
use crate::http::execute::asked;
use crate::http::movements;
use crate::http::{AppOptions, LoadLimits};
use crate::ledger::{Ledger, LedgerOptions};
use shared::wire::node::movements::SellBody;

/// A node's state on a simulated disk.
pub(in crate::http) fn app(load: LoadLimits) -> Arc<App<SimStorage>> {
    let log = Log::open(SimStorage::new(1), LogOptions::default()).unwrap();
    let store_id = StoreId::new("store-a").unwrap();
    let options = LedgerOptions { keys_max: 10, ..LedgerOptions::default() };
    let opened = Ledger::open(log, store_id, options, Timestamp::EPOCH, &mut |_, _| {});
    let options = AppOptions {
        reply_deadline: Duration::from_secs(1),
        body_deadline: Duration::from_secs(1),
        drain_body_deadline: Duration::from_secs(1),
        slow_request: Duration::from_secs(1),
        load,
        require_version: false,
        retention: Retention {
            archive: true,
            archive_keep_us: i64::MAX,
            snapshots_keep: 2,
            disk_budget_bytes: None,
        },
        scrub_bytes_per_second: 0,
        request_id_seed: 1,
        offloads: true,
    };
    App::new(opened.unwrap().0, Arc::new(|| Timestamp::EPOCH), options)
}

async fn panics<S: Storage>(_: Call<S>) -> Outcome {
    panic!("the secret is 42")
}

#[tokio::test]
async fn a_panic_is_an_internal_error_without_its_text() {
    let app = app(LoadLimits::default());
    let request = Request::get("/").body(Body::empty()).unwrap();
    let response = run(Arc::clone(&app), Endpoint::Get, request, panics).await;
    assert_eq!(response.status(), 500);
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["error"], "Internal");
    assert_eq!(problem["instance"], id);
    assert!(!problem.to_string().contains("42"), "{problem}");
    assert_eq!(app.in_flight(), 0);
}

/// The future of each request is moved into a box, all of its bytes.
#[tokio::test]
async fn the_future_of_a_verb_is_small() {
    let app = app(LoadLimits::default());
    let request = Request::post("/api/inventory/A/sell").body(Body::empty()).unwrap();
    let apply = |call| movements::apply(call, |body| asked::<SellBody<'_>>(body));
    let future = run(app, Endpoint::Sell, request, apply);
    let bytes = std::mem::size_of_val(&future);
    assert!(bytes <= 2_048, "{bytes}");
}
