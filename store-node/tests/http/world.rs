//! A node in a box: its router, its clock, its disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use axum::response::Response;
use event_log::storage::sim::SimStorage;
use event_log::{Log, LogId, LogOptions, Retention};
use http_body_util::BodyExt;
use serde_json::Value;
use shared::{StoreId, Timestamp};
use store_node::http::{App, AppOptions, LoadLimits, router};
use store_node::ledger::{Ledger, LedgerOptions};
use tower::ServiceExt;

/// The request id that the world's requests carry.
pub(crate) const REQUEST_ID: &str = "0193b2c4";

/// A node and its surroundings.
pub(crate) struct World {
    pub(crate) app: Arc<App<SimStorage>>,
    pub(crate) storage: SimStorage,
    routes: Router,
    now_us: Arc<AtomicI64>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts the status and gives the JSON.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Asserts a problem of this status and error and gives its JSON.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, error: &str) -> Value {
        let json = self.expect(status);
        assert_eq!(json["error"], error, "{json}");
        assert_eq!(json["status"], status);
        assert_eq!(json["type"], format!("/docs/problems/{error}"));
        assert_eq!(json["instance"], self.header("x-request-id").unwrap());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.header("retry-after").is_some(), matches!(status, 429 | 503));
        json
    }

    /// The field errors of a validation problem, as `pointer code`.
    #[track_caller]
    pub(crate) fn field_errors(&self) -> Vec<String> {
        let json = self.problem(400, "ValidationError");
        let errors = json["errors"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        errors.iter().map(|e| format!("{} {}", text(&e["pointer"]), text(&e["code"]))).collect()
    }
}

/// A time of the examples.
pub(crate) fn ten_o_clock() -> Timestamp {
    Timestamp::parse("2026-11-21T10:00:00Z").unwrap()
}

fn log_options() -> LogOptions {
    LogOptions {
        owner: b"store-a".to_vec(),
        segment_bytes: 1 << 20,
        new_log_id: LogId::new([7; 16]),
        epoch_random: 7,
        opened_at_us: ten_o_clock().as_micros(),
        ..LogOptions::default()
    }
}

impl World {
    /// A node with an empty log.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A node with an empty log and other options.
    pub(crate) fn with(change: impl FnOnce(&mut AppOptions)) -> Self {
        Self::on(SimStorage::new(7), change)
    }

    /// A node on a disk that has been used before.
    pub(crate) fn on(storage: SimStorage, change: impl FnOnce(&mut AppOptions)) -> Self {
        let world = Self::stalled(storage, change);
        world.app.log().start().unwrap();
        world
    }

    /// A node that only looks at a disk.
    pub(crate) fn looking(storage: SimStorage) -> Self {
        let log = Log::open_read_only(storage.clone(), log_options()).unwrap();
        Self::over(storage, &log, |_| {})
    }

    /// A node whose log commits nothing by itself.
    pub(crate) fn stalled(storage: SimStorage, change: impl FnOnce(&mut AppOptions)) -> Self {
        let log = Log::open(storage.clone(), log_options()).unwrap();
        Self::over(storage, &log, change)
    }

    fn over(
        storage: SimStorage,
        log: &Arc<Log<SimStorage>>,
        change: impl FnOnce(&mut AppOptions),
    ) -> Self {
        let store_id = StoreId::new("store-a").unwrap();
        let ledger_options = LedgerOptions { keys_max: 1000, ..LedgerOptions::default() };
        let opened =
            Ledger::open(Arc::clone(log), store_id, ledger_options, ten_o_clock(), &mut |_, _| {});
        let (ledger, _) = opened.unwrap();
        let now_us = Arc::new(AtomicI64::new(ten_o_clock().as_micros()));
        let clock = Arc::clone(&now_us);
        let now = Arc::new(move || Timestamp::from_micros(clock.load(Ordering::SeqCst)));
        let mut options = AppOptions {
            reply_deadline: Duration::from_secs(10),
            body_deadline: Duration::from_secs(10),
            drain_body_deadline: Duration::from_secs(1),
            slow_request: Duration::from_secs(10),
            require_version: false,
            load: LoadLimits::default(),
            retention: Retention {
                archive: true,
                archive_keep_us: i64::MAX,
                snapshots_keep: 2,
                disk_budget_bytes: None,
            },
            scrub_bytes_per_second: 0,
            request_id_seed: 7,
            offloads: true,
        };
        change(&mut options);
        let app = App::new(ledger, now, options);
        Self { routes: router(Arc::clone(&app)), app, storage, now_us }
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, duration: Duration) {
        self.now_us.fetch_add(duration.as_micros() as i64, Ordering::SeqCst);
    }

    /// Sends any request.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.respond(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// Asks for a path and gives the response unread.
    pub(crate) async fn open(&self, path: &str) -> Response {
        self.respond(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Sends a request and gives its response unread.
    pub(crate) async fn respond(&self, request: Request<Body>) -> Response {
        self.routes.clone().oneshot(request).await.unwrap()
    }

    /// Sends a request with these headers, `application/json` and the world's request id unless
    /// they say otherwise.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(Method::try_from(method).unwrap()).uri(path);
        let has = |name: &str| headers.iter().any(|(sent, _)| sent.eq_ignore_ascii_case(name));
        if !has("content-type") {
            request = request.header("content-type", "application/json");
        }
        if !has("x-request-id") {
            request = request.header("x-request-id", REQUEST_ID);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, &[], body.to_owned()).await
    }

    /// Creates an item.
    pub(crate) async fn create(&self, sku: &str, stock: u64) {
        let body = serde_json::json!({ "sku": sku, "stock": stock });
        self.post("/api/inventory", &body.to_string()).await.expect(201);
    }

    /// The highest seq given out: nothing has happened while it stays.
    pub(crate) fn last_seq(&self) -> u64 {
        self.app.log().last().get()
    }
}
