//! The aggregator's HTTP API: routes and nothing of the business. Handlers ask the view and the hub;
//! nothing here may wait for a store.

mod answer;
mod dead_letters;
mod health;
mod inventory;
mod middleware;
mod operators;
mod params;
mod present;
mod problems;
pub mod server;
mod status;
mod stores;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use shared::wire::problem::ErrorCode;
use tokio::sync::Semaphore;

use crate::hub::Hub;

pub use answer::ApiError;

/// Lists, searches and summaries that may run at once; they hold a core.
pub const QUERIES_RUNNING_MAX: usize = 16;
/// Those that may wait for that; more are refused.
pub const QUERIES_WAITING_MAX: usize = 100;
/// Bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// What every handler sees.
#[derive(Clone)]
pub struct ApiState {
    inner: Arc<Inner>,
}

struct Inner {
    hub: Arc<Hub>,
    metrics: Option<PrometheusHandle>,
    request_timeout: Duration,
    started: Instant,
    is_leaving: AtomicBool,
    queries: Semaphore,
    queries_admitted: Semaphore,
}

impl ApiState {
    /// The state of an API over `hub`.
    pub fn new(
        hub: Arc<Hub>,
        metrics: Option<PrometheusHandle>,
        request_timeout: Duration,
    ) -> Self {
        let inner = Inner {
            hub,
            metrics,
            request_timeout,
            started: Instant::now(),
            is_leaving: AtomicBool::new(false),
            queries: Semaphore::new(QUERIES_RUNNING_MAX),
            queries_admitted: Semaphore::new(QUERIES_RUNNING_MAX + QUERIES_WAITING_MAX),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Turns readiness red: the process is about to stop accepting.
    pub fn leave(&self) {
        self.inner.is_leaving.store(true, Ordering::Relaxed);
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.inner.hub
    }

    /// Runs a question that holds a core where it holds up no other request; refuses it when too
    /// many wait already.
    async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let overloaded =
            || ApiError::new(ErrorCode::Overloaded, "too many lists are running: try again");
        let _admitted = self.inner.queries_admitted.try_acquire().map_err(|_| overloaded())?;
        let _running = self.inner.queries.acquire().await.map_err(|_| overloaded())?;
        let asked = crate::offload::spawn_blocking(ask).await;
        asked.map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))
    }

    fn is_leaving(&self) -> bool {
        self.inner.is_leaving.load(Ordering::Relaxed)
    }
}

/// All routes.
pub fn router(state: ApiState) -> Router {
    let routes = Router::new()
        .route("/api/inventory", get(inventory::list))
        .route("/api/inventory/{sku}", get(inventory::one))
        .route("/api/availability", post(inventory::availability))
        .route("/api/summary", get(status::summary))
        .route("/api/sync/status", get(status::sync_status))
        .route("/api/sync/stores/{id}", get(stores::one).put(stores::put).delete(stores::remove))
        .route("/api/sync/stores/{id}/pause", post(operators::pause))
        .route("/api/sync/stores/{id}/resume", post(operators::resume))
        .route("/api/sync/stores/{id}/resync", post(operators::resync))
        .route("/api/sync/stores/{id}/rebind", post(operators::rebind))
        .route("/api/sync/rebuild", post(operators::rebuild))
        .route("/api/jobs", get(operators::jobs))
        .route("/api/jobs/{id}", get(operators::job).delete(operators::cancel))
        .route("/api/dlq", get(dead_letters::list))
        .route("/api/dlq/retry", post(dead_letters::retry_many))
        .route("/api/dlq/{id}", get(dead_letters::one).delete(dead_letters::discard))
        .route("/api/dlq/{id}/retry", post(dead_letters::retry))
        .route("/api/health", get(health::overview))
        .route("/api/health/live", get(health::live))
        .route("/api/health/ready", get(health::ready))
        .route("/api/health/sync", get(health::sync))
        .route("/api/health/disk", get(health::disk))
        .route("/api/metrics", get(health::metrics))
        .route("/docs/problems", get(problems::index))
        .route("/docs/problems/{name}", get(problems::page));
    middleware::wrap(routes, state)
}
