//! `GET /api/sync/status` and the operators' view of the log.

use std::sync::Arc;

use axum::Router;
use axum::routing::MethodFilter;
use event_log::LogState;
use event_log::storage::Storage;
use serde_json::{Value, json};
use shared::Timestamp;
use shared::wire::node::log::{NodeSyncStatus, SegmentView, SnapshotView};

use super::app::App;
use super::call::{Call, Outcome, route};
use super::consumers;
use super::failure::Failure;
use super::metrics::Endpoint;
use super::{admin, health, query, reply};

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new().route("/api/sync/status", route(MethodFilter::GET, Endpoint::SyncStatus, status))
}

/// The log's state in one word, and why.
pub(super) fn state_of(state: &LogState) -> (&'static str, Option<String>) {
    match state {
        LogState::Writable => ("writable", None),
        LogState::ReadOnly { reason } | LogState::LookOnly { reason } => {
            ("readOnly", Some(reason.clone()))
        }
        LogState::Poisoned { reason } => ("poisoned", Some(reason.clone())),
        LogState::Closed => ("closed", None),
    }
}

async fn status<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    let app = Arc::clone(call.app());
    let listing = Arc::clone(&app);
    // The first look at a snapshot reads it whole.
    let snapshots = app.blocking(move || listing.log().snapshots()).await?;
    let snapshots = snapshots.map_err(Failure::internal)?;
    let log = app.log();
    let status = log.status();
    let tip = log.tip();
    let (state, reason) = state_of(&status.state);
    let segments = status.segments.iter().map(|segment| SegmentView {
        file: segment.file.clone(),
        first: segment.first.get(),
        last: segment.last.get(),
        bytes: segment.bytes,
        archived: segment.archived,
    });
    let snapshots = snapshots.into_iter().map(|info| SnapshotView {
        lo: info.lo().get(),
        hi: info.hi().get(),
        bytes: info.footer.file_bytes,
        created_at: Timestamp::from_micros(info.header.created_at_us),
        file: info.file,
    });
    Ok(reply::ok(&NodeSyncStatus {
        store_id: app.store_id().to_string(),
        log_id: log.log_id().to_string(),
        epoch: log.epoch().counter,
        as_of: app.now(),
        durable_seq: tip.seq.get(),
        last_seq: log.last().get(),
        chain: tip.chain.to_string(),
        digest: format!("{:032x}", tip.digest),
        state,
        reason,
        damages: health::damages(&app),
        segments: segments.collect(),
        snapshots: snapshots.collect(),
        consumers: consumers::views(&app),
    }))
}

/// `GET /api/admin/log`: what an operator needs to judge the log.
pub(super) fn log_details<S: Storage>(app: &App<S>) -> Value {
    let log = app.log();
    let status = log.status();
    let (state, reason) = state_of(&status.state);
    let figures = app.ledger().stats();
    let segment_bytes: u64 = status.segments.iter().map(|segment| segment.bytes).sum();
    json!({
        "logId": log.log_id().to_string(),
        "epoch": log.epoch().counter,
        "state": state,
        "reason": reason,
        "durableSeq": status.durable.get(),
        "lastSeq": status.last.get(),
        "queueBytes": status.queue_bytes,
        "segments": status.segments.len(),
        "segmentBytes": segment_bytes,
        "syncs": status.sync.count,
        "syncMicrosSum": status.sync.sum_us,
        "opened": format!("{:?}", status.opened),
        "items": figures.items,
        "idempotencyKeys": figures.keys,
        "idempotencyKeyBytes": figures.key_bytes,
        "idempotencyKeysEvicted": figures.keys_evicted,
        "reservationsLive": figures.reservations_live,
        "reservationsClosed": figures.reservations_closed,
        "consumersProblem": log.consumers_problem(),
        "lastScrub": app.scrubs.last().map(|round| admin::round_json(&round)),
    })
}
