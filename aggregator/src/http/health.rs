//! Health and metrics. Readiness must never depend on a single store: the view of the others is as
//! good as ever.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::wire::global_sync::{StoreSync, SyncState};
use shared::wire::problem::ErrorCode;

use super::ApiState;
use super::answer::{ApiError, json};
use super::status::global;

/// Version and commit of this build.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const COMMIT: Option<&str> = option_env!("ONHAND_COMMIT");

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Overview {
    status: &'static str,
    service: &'static str,
    version: &'static str,
    commit: &'static str,
    uptime_ms: u64,
    stores: u64,
    live: u64,
    all_verified: bool,
    dead_letters: u64,
    unsaved: Vec<Unsaved>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Unsaved {
    store: String,
    error: String,
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
}

pub(super) async fn overview(State(state): State<ApiState>) -> Response {
    let stores = stores(&state);
    let global = global(state.hub(), &stores);
    let unsaved = unsaved(&state);
    let is_well = global.live == global.stores && global.all_verified && unsaved.is_empty();
    let overview = Overview {
        status: if is_well { "ok" } else { "degraded" },
        service: "aggregator",
        version: VERSION,
        commit: COMMIT.unwrap_or("unknown"),
        uptime_ms: state.inner.started.elapsed().as_millis() as u64,
        stores: global.stores,
        live: global.live,
        all_verified: global.all_verified,
        dead_letters: global.dead_letters,
        unsaved,
    };
    json(StatusCode::OK, &overview)
}

pub(super) async fn live() -> Response {
    json(StatusCode::OK, &Status { status: "ok" })
}

pub(super) async fn ready(State(state): State<ApiState>) -> Result<Response, ApiError> {
    if state.is_leaving() {
        return Err(ApiError::new(ErrorCode::ShuttingDown, "the aggregator is about to stop"));
    }
    Ok(json(StatusCode::OK, &Status { status: "ok" }))
}

/// How many stores are in each state.
#[derive(Serialize)]
struct SyncHealth {
    status: &'static str,
    states: std::collections::BTreeMap<&'static str, u64>,
}

pub(super) async fn sync(State(state): State<ApiState>) -> Response {
    let stores = stores(&state);
    let mut states = std::collections::BTreeMap::new();
    for known in SyncState::ALL {
        let count = stores.iter().filter(|store| store.state == known).count();
        states.insert(known.name(), count as u64);
    }
    let is_well = stores.iter().all(|store| store.state == SyncState::Live && store.verified);
    json(StatusCode::OK, &SyncHealth { status: if is_well { "ok" } else { "degraded" }, states })
}

#[derive(Serialize)]
struct DiskHealth {
    status: &'static str,
    unsaved: Vec<Unsaved>,
}

pub(super) async fn disk(State(state): State<ApiState>) -> Response {
    let unsaved = unsaved(&state);
    let status = if unsaved.is_empty() { "ok" } else { "degraded" };
    json(StatusCode::OK, &DiskHealth { status, unsaved })
}

pub(super) async fn metrics(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let handle = state.inner.metrics.as_ref();
    let handle = handle.ok_or_else(|| ApiError::new(ErrorCode::NotFound, "metrics are off"))?;
    let media_type = HeaderValue::from_static("text/plain; version=0.0.4");
    Ok(([(header::CONTENT_TYPE, media_type)], handle.render()).into_response())
}

fn stores(state: &ApiState) -> Vec<StoreSync> {
    let now = (state.hub().clock())();
    state.hub().stores().iter().map(|store| store.shared.view(now)).collect()
}

fn unsaved(state: &ApiState) -> Vec<Unsaved> {
    let failed = |store: &std::sync::Arc<crate::hub::StoreHandle>| {
        let error = store.shared.status().save_error?;
        let store = store.store_id().map_or_else(|| store.url().to_owned(), |id| id.to_string());
        Some(Unsaved { store, error })
    };
    state.hub().stores().iter().filter_map(failed).collect()
}
