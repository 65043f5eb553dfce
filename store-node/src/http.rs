//! The HTTP API: bytes into validated commands, answers into bytes; one file for each resource.
//!
//! No rule of the business may live here, and no answer may leave before the log is durable up to
//! what it tells. A handler takes a [`call::Call`] and gives a response or a [`failure::Failure`];
//! [`call::run`] does the rest once for all of them: request id, problem details, panics, metrics,
//! log lines.

mod admin;
mod app;
mod availability;
mod batch;
mod body;
mod call;
mod consumers;
mod execute;
mod failure;
mod head;
mod headers;
mod health;
mod items;
mod jobs;
mod list;
mod load;
mod lobby;
mod log_snapshot;
mod log_stream;
mod metrics;
mod movements;
mod offload;
pub mod percent;
mod problems;
mod query;
mod reply;
mod request_id;
mod reservations;
mod settle;
mod sync_status;

pub use app::{App, AppOptions, Now, Site};
pub use head::{refuse_head, refuse_overflow, word_refusal};
pub use jobs::{Job, JobKind, JobState};
pub use load::{BATCH_STREAMS_MAX, LoadLimits, SNAPSHOT_DOWNLOADS_MAX};

use std::sync::Arc;

use axum::Router;
use event_log::storage::Storage;
use shared::wire::problem::{ErrorCode, Problem};

use call::{Call, Outcome, on_any};
use metrics::Endpoint;

/// All routes of a store node.
pub fn router<S: Storage>(app: Arc<App<S>>) -> Router {
    let routes = Router::new()
        .merge(items::routes())
        .merge(movements::routes())
        .merge(reservations::routes())
        .merge(batch::routes())
        .merge(availability::routes())
        .merge(log_stream::routes())
        .merge(log_snapshot::routes())
        .merge(consumers::routes())
        .merge(sync_status::routes())
        .merge(admin::routes())
        .merge(jobs::routes())
        .merge(health::routes())
        .merge(metrics::routes())
        .merge(problems::routes());
    routes
        .fallback(on_any(Endpoint::Unmatched, unknown_route))
        .method_not_allowed_fallback(on_any(Endpoint::Unmatched, wrong_method))
        .with_state(app)
}

async fn unknown_route<S: Storage>(call: Call<S>) -> Outcome {
    let detail = format!("there is nothing at {}", call.uri().path());
    Err(Problem::new(ErrorCode::NotFound, detail).into())
}

async fn wrong_method<S: Storage>(call: Call<S>) -> Outcome {
    let detail = format!("{} is not a method of {}", call.method(), call.uri().path());
    Err(Problem::new(ErrorCode::MethodNotAllowed, detail).into())
}
