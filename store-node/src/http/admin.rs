//! `/api/admin/*`: what operators start and look at. Long work answers 202 and goes on as a job.

use std::sync::Arc;

use axum::Router;
use axum::routing::MethodFilter;
use event_log::CompactionError;
use event_log::storage::Storage;
use serde_json::{Value, json};
use shared::wire::problem::{ErrorCode, Problem};

use super::app::App;
use super::body::{self, BODY_BYTES_MAX};
use super::call::{Call, Outcome, route};
use super::execute::require_writable;
use super::failure::Failure;
use super::jobs::{self, Job, JobEnd, JobKind, Jobs, Running};
use super::metrics::Endpoint;
use super::{query, reply, sync_status};
use crate::damage;
use crate::ledger::LedgerSnapshotError;
use crate::scrub::{Round, ScrubError, scrub as scrub_once};

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new()
        .route("/api/admin/snapshot", route(MethodFilter::POST, Endpoint::Admin, snapshot))
        .route("/api/admin/compact", route(MethodFilter::POST, Endpoint::Admin, compact))
        .route("/api/admin/scrub", route(MethodFilter::POST, Endpoint::Admin, scrub))
        .route("/api/admin/log", route(MethodFilter::GET, Endpoint::Admin, log))
}

async fn snapshot<S: Storage>(call: Call<S>) -> Outcome {
    require_writable(&call)?;
    start(call, JobKind::Snapshot, take_snapshot).await
}

async fn compact<S: Storage>(call: Call<S>) -> Outcome {
    require_writable(&call)?;
    start(call, JobKind::Compact, compact_log).await
}

/// It writes nothing, so a node that only looks does it too.
async fn scrub<S: Storage>(call: Call<S>) -> Outcome {
    start(call, JobKind::Scrub, scrub_disk).await
}

/// Starts a round of the scrub as a job; false if one is running already.
pub(super) fn start_scrub<S: Storage>(app: &Arc<App<S>>) -> bool {
    Jobs::start(app, JobKind::Scrub, scrub_disk).is_ok()
}

/// Starts what operators would do by hand every so many events: a snapshot, then a compaction.
/// False if a snapshot is being taken already.
pub(super) fn start_maintenance<S: Storage>(app: &Arc<App<S>>) -> bool {
    let work = |app: &App<S>, running: &Running| {
        let snapshot = take_snapshot(app, running)?;
        let compaction = compact_log(app, running)?;
        Ok(json!({ "snapshot": snapshot, "compaction": compaction }))
    };
    Jobs::start(app, JobKind::Snapshot, work).is_ok()
}

fn take_snapshot<S: Storage>(app: &App<S>, running: &Running) -> Result<Value, JobEnd> {
    let info = app
        .ledger()
        .snapshot(app.now(), &mut |done, total| running.progress(done, total))
        .map_err(|error| match error {
        LedgerSnapshotError::Cancelled => JobEnd::Cancelled,
        LedgerSnapshotError::Snapshot(_) | LedgerSnapshotError::Wait(_) => JobEnd::failed(error),
    })?;
    Ok(json!({
        "file": info.file,
        "lo": info.lo().get(),
        "hi": info.hi().get(),
        "bytes": info.footer.file_bytes,
    }))
}

fn compact_log<S: Storage>(app: &App<S>, running: &Running) -> Result<Value, JobEnd> {
    let progress = &mut |done, total| running.progress(done, total);
    let compacted = app.log().compact(&app.options().retention, app.now().as_micros(), progress);
    let report = match compacted {
        Ok(report) => report,
        Err(CompactionError::Cancelled) => return Err(JobEnd::Cancelled),
        Err(error) => return Err(JobEnd::failed(error)),
    };
    let dropped = report.consumers_dropped.iter().map(|consumer| consumer.id.as_str());
    Ok(json!({
        "floor": report.floor.get(),
        "floorHeldBy": report.floor_held_by,
        "archived": report.archived.len(),
        "deleted": report.deleted.len(),
        "archivesDeleted": report.archives_deleted.len(),
        "snapshotsDeleted": report.snapshots_deleted.len(),
        "consumersDropped": dropped.collect::<Vec<_>>(),
        "bytesBefore": report.bytes_before,
        "bytesAfter": report.bytes_after,
    }))
}

fn scrub_disk<S: Storage>(app: &App<S>, running: &Running) -> Result<Value, JobEnd> {
    let progress = &mut |done, total| {
        let _stops_by_itself = running.progress(done, total);
    };
    let rate = app.options().scrub_bytes_per_second;
    let storage = app.log().storage();
    let scrubbed = scrub_once(storage, rate, running.stop(), &|| app.now(), progress);
    let round = match scrubbed {
        Ok(round) => app.scrubs.take(round),
        Err(ScrubError::Cancelled) => return Err(JobEnd::Cancelled),
        Err(error @ ScrubError::Verify(_)) => return Err(JobEnd::failed(error)),
    };
    Ok(round_json(&round))
}

/// A finished round of the scrub as it is shown.
pub(super) fn round_json(round: &Round) -> Value {
    let report = &round.report;
    let damages: Vec<_> = report.damages.iter().map(damage::view).collect();
    json!({
        "finishedAt": round.finished_at,
        "segments": report.segments,
        "archived": report.archived,
        "snapshots": report.snapshots,
        "frames": report.frames,
        "records": report.records,
        "readBytes": round.read_bytes,
        "sound": report.is_sound(),
        "damageCount": report.damage_count,
        "damages": damages,
    })
}

/// Starts a job; these POSTs have no fields, and need no body.
async fn start<S: Storage>(
    mut call: Call<S>,
    kind: JobKind,
    work: impl FnOnce(&App<S>, &Running) -> Result<Value, JobEnd> + Send + 'static,
) -> Outcome {
    query::require_none(call.uri())?;
    let body = body::read(&mut call, BODY_BYTES_MAX).await?;
    let blank = body.trim_ascii();
    if !blank.is_empty() && blank != b"{}" {
        return Err(Failure::field("#", "unsupported", "this needs no body"));
    }
    match Jobs::start(call.app(), kind, work) {
        Ok(job) => Ok(jobs::accepted(&job)),
        Err(running) => Err(conflict(&running)),
    }
}

fn conflict(running: &Job) -> Failure {
    let detail = format!("{} does this already", running.id);
    Problem::new(ErrorCode::JobRunning, detail).with("jobId", running.id.as_str()).into()
}

async fn log<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    Ok(reply::ok(&sync_status::log_details(call.app())))
}
