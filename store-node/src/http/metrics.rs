//! `GET /api/metrics` and what is counted. Every handle is made once, so that counting a request is
//! a few atomic additions; figures that others keep are read when they are asked for.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::MethodFilter;
use event_log::storage::Storage;
use metrics::{Counter, Gauge, Histogram, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use shared::wire::problem::ErrorCode;

use super::app::App;
use super::call::{Call, Outcome, route};
use super::query;

macro_rules! endpoints {
    ($($name:ident = $label:literal,)*) => {
        /// What a request is counted under.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Endpoint { $($name,)* }

        impl Endpoint {
            const LABELS: &[&str] = &[$($label,)*];
        }
    };
}

endpoints! {
    Create = "create",
    List = "list",
    Get = "get",
    Update = "update",
    Deactivate = "deactivate",
    Receive = "receive",
    Sell = "sell",
    Return = "return",
    Adjust = "adjust",
    Reserve = "reserve",
    Extend = "extend",
    Release = "release",
    Deduct = "deduct",
    Reservations = "reservations",
    Batch = "batch",
    Availability = "availability",
    LogStream = "log_stream",
    LogSnapshot = "log_snapshot",
    Consumers = "consumers",
    SyncStatus = "sync_status",
    Admin = "admin",
    Jobs = "jobs",
    Health = "health",
    Metrics = "metrics",
    Problems = "problems",
    Unmatched = "unmatched",
}

/// 2xx to 5xx.
const STATUS_CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];
/// Upper bounds of the request durations, in seconds.
const DURATION_BUCKETS: [f64; 14] =
    [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 10.0];

/// The handles.
pub(super) struct Metrics {
    handle: PrometheusHandle,
    requests: Vec<[Counter; STATUS_CLASSES.len()]>,
    durations: Vec<Histogram>,
    problems: Vec<Counter>,
    gauges: Gauges,
}

/// Figures that are read when they are asked for.
struct Gauges {
    in_flight: Gauge,
    connections: Gauge,
    log_streams: Gauge,
    snapshot_downloads: Gauge,
    batch_streams: Gauge,
    searches: Gauge,
    load_percent: Gauge,
    items: Gauge,
    keys: Gauge,
    key_bytes: Gauge,
    keys_evicted: Counter,
    reservations_live: Gauge,
    reservations_closed: Gauge,
    log_last_seq: Counter,
    log_durable_seq: Counter,
    log_writable: Gauge,
    log_damages: Gauge,
    scrub_rounds: Counter,
    scrub_bytes: Counter,
    disk_available: Gauge,
    consumer_lag_worst: Gauge,
    ready: Gauge,
}

impl Metrics {
    /// All handles, on a recorder of their own.
    pub(super) fn new() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&DURATION_BUCKETS)
            .expect("the buckets are not empty")
            .build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || Self::register(handle))
    }

    fn register(handle: PrometheusHandle) -> Self {
        describe();
        let labels = Endpoint::LABELS.iter();
        let requests = labels
            .clone()
            .map(|endpoint| {
                STATUS_CLASSES.map(|class| {
                    metrics::counter!(
                        "onhand_http_requests_total", "endpoint" => *endpoint, "status" => class
                    )
                })
            })
            .collect();
        let durations = labels
            .map(|endpoint| {
                metrics::histogram!("onhand_http_request_seconds", "endpoint" => *endpoint)
            })
            .collect();
        let problems = ErrorCode::ALL
            .iter()
            .map(|code| metrics::counter!("onhand_http_problems_total", "error" => code.name()))
            .collect();
        let gauges = Gauges {
            in_flight: metrics::gauge!("onhand_http_requests_in_flight"),
            connections: metrics::gauge!("onhand_http_connections"),
            log_streams: metrics::gauge!("onhand_log_streams"),
            snapshot_downloads: metrics::gauge!("onhand_snapshot_downloads"),
            batch_streams: metrics::gauge!("onhand_batch_streams"),
            searches: metrics::gauge!("onhand_searches"),
            load_percent: metrics::gauge!("onhand_load_percent"),
            items: metrics::gauge!("onhand_items"),
            keys: metrics::gauge!("onhand_idempotency_keys"),
            key_bytes: metrics::gauge!("onhand_idempotency_key_bytes"),
            keys_evicted: metrics::counter!("onhand_idempotency_keys_evicted_total"),
            reservations_live: metrics::gauge!("onhand_reservations_live"),
            reservations_closed: metrics::gauge!("onhand_reservations_closed"),
            log_last_seq: metrics::counter!("onhand_log_last_seq"),
            log_durable_seq: metrics::counter!("onhand_log_durable_seq"),
            log_writable: metrics::gauge!("onhand_log_writable"),
            log_damages: metrics::gauge!("onhand_log_damages"),
            scrub_rounds: metrics::counter!("onhand_scrub_rounds_total"),
            scrub_bytes: metrics::counter!("onhand_scrub_read_bytes_total"),
            disk_available: metrics::gauge!("onhand_disk_available_bytes"),
            consumer_lag_worst: metrics::gauge!("onhand_consumer_lag_events_worst"),
            ready: metrics::gauge!("onhand_ready"),
        };
        Self { handle, requests, durations, problems, gauges }
    }

    /// Counts an answered request.
    pub(super) fn request(&self, endpoint: Endpoint, status: StatusCode, elapsed: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(2);
        let counters = self.requests.get(endpoint as usize);
        if let Some(counter) = counters.and_then(|counters| counters.get(class)) {
            counter.increment(1);
        }
        if let Some(durations) = self.durations.get(endpoint as usize) {
            durations.record(elapsed.as_secs_f64());
        }
    }

    /// Counts a problem.
    pub(super) fn problem(&self, code: ErrorCode) {
        if let Some(counter) = self.problems.get(code as usize) {
            counter.increment(1);
        }
    }

    /// Folds the recorded durations into their buckets.
    pub(super) fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn describe() {
    metrics::describe_counter!("onhand_http_requests_total", "Answered requests.");
    metrics::describe_histogram!(
        "onhand_http_request_seconds",
        Unit::Seconds,
        "Time from a request's head to its answer, durability included."
    );
    metrics::describe_counter!("onhand_http_problems_total", "Error answers by their error.");
    metrics::describe_gauge!("onhand_http_requests_in_flight", "Requests being worked on.");
    metrics::describe_gauge!("onhand_http_connections", "Open connections.");
    metrics::describe_gauge!("onhand_log_streams", "Open log streams.");
    metrics::describe_gauge!("onhand_snapshot_downloads", "Snapshots being downloaded.");
    metrics::describe_gauge!("onhand_batch_streams", "Batches being streamed as NDJSON.");
    metrics::describe_gauge!("onhand_searches", "Searches that run or wait.");
    metrics::describe_gauge!(
        "onhand_load_percent",
        "The fuller of requests in flight and the log's next batch; from 80 on lists are put off."
    );
    metrics::describe_gauge!("onhand_items", "Items, deactivated ones included.");
    metrics::describe_gauge!("onhand_idempotency_keys", "Idempotency keys remembered.");
    metrics::describe_gauge!("onhand_idempotency_key_bytes", Unit::Bytes, "Memory of the keys.");
    metrics::describe_counter!(
        "onhand_idempotency_keys_evicted_total",
        "Keys forgotten before their time because the table was full: an alarm if not zero."
    );
    metrics::describe_gauge!("onhand_reservations_live", "Live reservations.");
    metrics::describe_gauge!("onhand_reservations_closed", "Closed reservations remembered.");
    metrics::describe_counter!("onhand_log_last_seq", "The highest seq given out.");
    metrics::describe_counter!("onhand_log_durable_seq", "The highest seq that is durable.");
    metrics::describe_gauge!("onhand_log_writable", "1 while the log takes writes.");
    metrics::describe_gauge!(
        "onhand_log_damages",
        "Damaged ranges known on disk (at most 100 are listed): an alarm if not zero."
    );
    metrics::describe_counter!("onhand_scrub_rounds_total", "Finished rounds of the scrub.");
    metrics::describe_counter!(
        "onhand_scrub_read_bytes_total",
        Unit::Bytes,
        "Bytes read by finished rounds of the scrub."
    );
    metrics::describe_gauge!(
        "onhand_disk_available_bytes",
        Unit::Bytes,
        "Free space where the log lives; 0 where it can't be told."
    );
    metrics::describe_gauge!(
        "onhand_consumer_lag_events_worst",
        "Events that the slowest consumer has not acknowledged."
    );
    metrics::describe_gauge!("onhand_ready", "1 while /api/health/ready is green.");
}

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new().route("/api/metrics", route(MethodFilter::GET, Endpoint::Metrics, render))
}

async fn render<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    let app = call.app();
    refresh(app);
    app.metrics.run_upkeep();
    let mut response = Response::new(Body::from(app.metrics.handle.render()));
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

/// Takes over the figures of this moment.
fn refresh<S: Storage>(app: &App<S>) {
    let gauges = &app.metrics.gauges;
    let stats = app.ledger().stats();
    gauges.in_flight.set(app.in_flight() as f64);
    gauges.connections.set(app.connections() as f64);
    gauges.log_streams.set(app.load.log_streams() as f64);
    gauges.snapshot_downloads.set(app.load.snapshot_downloads() as f64);
    gauges.batch_streams.set(app.load.batch_streams() as f64);
    gauges.searches.set(app.load.searches() as f64);
    gauges.load_percent.set(f64::from(app.load.percent(app.in_flight())));
    gauges.items.set(stats.items as f64);
    gauges.keys.set(stats.keys as f64);
    gauges.key_bytes.set(stats.key_bytes as f64);
    gauges.keys_evicted.absolute(stats.keys_evicted);
    gauges.reservations_live.set(stats.reservations_live as f64);
    gauges.reservations_closed.set(stats.reservations_closed as f64);
    let log = app.log();
    let durable = log.durable();
    gauges.log_last_seq.absolute(log.last().get());
    gauges.log_durable_seq.absolute(durable.get());
    gauges.log_damages.set(super::health::damages(app).len() as f64);
    let (rounds, read_bytes) = app.scrubs.totals();
    gauges.scrub_rounds.absolute(rounds);
    gauges.scrub_bytes.absolute(read_bytes);
    gauges.log_writable.set(f64::from(u8::from(super::health::is_writable(app))));
    gauges.disk_available.set(log.storage().available_bytes().unwrap_or(0) as f64);
    let slowest = log.consumers().iter().map(|consumer| consumer.seq).min().unwrap_or(durable);
    gauges.consumer_lag_worst.set(durable.get().saturating_sub(slowest.get()) as f64);
    gauges.ready.set(f64::from(u8::from(super::health::not_ready(app).is_none())));
}
