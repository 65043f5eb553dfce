//! `/api/health`: is the process alive, can it take writes, and how are its parts? It must answer
//! without waiting for the disk.

use std::sync::Arc;

use axum::Router;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::MethodFilter;
use event_log::storage::Storage;
use event_log::{FORMAT_VERSION, LogState};
use shared::wire::node::log::{CheckView, DamageView, NodeHealth};

use super::app::App;
use super::call::{Call, Outcome, route};
use super::metrics::Endpoint;
use super::sync_status::state_of;
use super::{consumers, query, reply};
use crate::damage;

/// The commit of this build, where the build was told.
const COMMIT: Option<&str> = option_env!("ONHAND_COMMIT");
/// A consumer that far behind and silent that long makes `sync` degraded.
const LAG_EVENTS_MAX: u64 = 100_000;
/// See [`LAG_EVENTS_MAX`].
const LAG_MS_MAX: u64 = 60_000;

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    let get = MethodFilter::GET;
    Router::new()
        .route("/api/health", route(get, Endpoint::Health, health))
        .route("/api/health/live", route(get, Endpoint::Health, live))
        .route("/api/health/ready", route(get, Endpoint::Health, ready))
        .route("/api/health/log", route(get, Endpoint::Health, log))
        .route("/api/health/disk", route(get, Endpoint::Health, disk))
        .route("/api/health/sync", route(get, Endpoint::Health, sync))
}

/// Whether the log takes writes.
pub(super) fn is_writable<S: Storage>(app: &App<S>) -> bool {
    matches!(app.log().state(), LogState::Writable)
}

fn is_read_only<S: Storage>(app: &App<S>) -> bool {
    matches!(app.log().state(), LogState::ReadOnly { .. } | LogState::LookOnly { .. })
}

/// Why the node takes no writes; none if it does.
pub(super) fn not_ready<S: Storage>(app: &App<S>) -> Option<String> {
    if app.is_draining() {
        return Some("this node is leaving".to_owned());
    }
    let (state, reason) = state_of(&app.log().status().state);
    match state {
        "writable" => None,
        state => Some(reason.map_or_else(
            || format!("the log is {state}"),
            |reason| format!("the log is {state}: {reason}"),
        )),
    }
}

async fn health<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    let app = call.app();
    let checks = [log_check(app), disk_check(app), sync_check(app)];
    let worst = ["failed", "degraded"]
        .into_iter()
        .find(|word| checks.iter().any(|check| check.status == *word));
    let [log, disk, sync] = checks;
    Ok(reply::ok(&NodeHealth {
        status: worst.unwrap_or("ok"),
        ready: not_ready(app).is_none(),
        read_only: is_read_only(app),
        service: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        commit: COMMIT.unwrap_or("unknown"),
        store_id: app.store_id().as_str(),
        log_id: app.log().log_id().to_string(),
        epoch: app.log().epoch().counter,
        format: FORMAT_VERSION,
        as_of: app.now(),
        log,
        disk,
        sync,
    }))
}

async fn live<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    Ok(checked(&CheckView::ok()))
}

async fn ready<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    let check = match not_ready(call.app()) {
        None => CheckView::ok(),
        Some(reason) => CheckView { damages: damages(call.app()), ..CheckView::failed(reason) },
    };
    Ok(checked(&check))
}

async fn log<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    Ok(checked(&log_check(call.app())))
}

async fn disk<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    Ok(checked(&disk_check(call.app())))
}

async fn sync<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    Ok(checked(&sync_check(call.app())))
}

/// 200, or 503 for what failed.
fn checked(check: &CheckView) -> Response {
    if check.status != "failed" {
        return reply::ok(check);
    }
    let mut response = reply::json(StatusCode::SERVICE_UNAVAILABLE, check);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn log_check<S: Storage>(app: &App<S>) -> CheckView {
    let log = app.log().status();
    let (state, reason) = state_of(&log.state);
    let damages = damages(app);
    let shortage = log.shortage.map(|reason| format!("no segment can be made ready: {reason}"));
    let status = match state {
        "writable" if damages.is_empty() && shortage.is_none() => "ok",
        "writable" | "readOnly" => "degraded",
        _ => "failed",
    };
    let found = damages.first().map(|first| format!("damage on disk: {first}"));
    CheckView { status, reason: reason.or(found).or(shortage), damages }
}

/// The damage that is known of: from the last scrub or, before one, from opening to look.
pub(super) fn damages<S: Storage>(app: &App<S>) -> Vec<DamageView> {
    let opening = app.log().read_only();
    let found = match (app.scrubs.last(), opening) {
        (Some(round), _) => round.report.damages.clone(),
        (None, Some(opening)) => opening.damages.clone(),
        (None, None) => Vec::new(),
    };
    found.iter().map(damage::view).collect()
}

fn disk_check<S: Storage>(app: &App<S>) -> CheckView {
    match (app.log().storage().available_bytes(), &app.log().status().state) {
        (Err(error), _) => CheckView::failed(error.to_string()),
        (Ok(_), LogState::ReadOnly { reason }) => CheckView::failed(reason.clone()),
        (
            Ok(_),
            LogState::Writable
            | LogState::Poisoned { .. }
            | LogState::LookOnly { .. }
            | LogState::Closed,
        ) => CheckView::ok(),
    }
}

/// The node itself doesn't need its consumers: at worst they are degraded.
fn sync_check<S: Storage>(app: &App<S>) -> CheckView {
    if let Some(problem) = app.log().consumers_problem() {
        return CheckView::degraded(problem);
    }
    let views = consumers::views(app);
    let late = views
        .iter()
        .find(|consumer| consumer.lag_events > LAG_EVENTS_MAX && consumer.lag_ms > LAG_MS_MAX);
    match late {
        None => CheckView::ok(),
        Some(late) => {
            CheckView::degraded(format!("{} is {} events behind", late.id, late.lag_events))
        }
    }
}
