//! `/api/log/consumers`: who tails this log and how far each has durably applied it. A cursor is
//! taken over only where the log really has that chain.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::MethodFilter;
use event_log::storage::Storage;
use event_log::{AcknowledgeError, Chain, CursorError, Seq};
use shared::Timestamp;
use shared::wire::body::parse;
use shared::wire::node::log::{AcknowledgeBody, ConsumerList, ConsumerView};
use shared::wire::problem::{ErrorCode, Problem};

use super::app::App;
use super::body::{self, BODY_BYTES_MAX};
use super::call::{Call, Outcome, route};
use super::failure::Failure;
use super::metrics::Endpoint;
use super::{query, reply};

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new()
        .route("/api/log/consumers", route(MethodFilter::GET, Endpoint::Consumers, list))
        .route(
            "/api/log/consumers/{id}",
            route(MethodFilter::PUT, Endpoint::Consumers, acknowledge).merge(route(
                MethodFilter::DELETE,
                Endpoint::Consumers,
                deregister,
            )),
        )
}

/// The consumers as they are shown.
pub(super) fn views<S: Storage>(app: &App<S>) -> Vec<ConsumerView> {
    let durable = app.log().durable().get();
    let now = app.now();
    let view = |consumer: event_log::Consumer| {
        let acknowledged_at = Timestamp::from_micros(consumer.acknowledged_at_us);
        let lag_events = durable.saturating_sub(consumer.seq.get());
        let silent_ms = now.micros_since(acknowledged_at).unsigned_abs() / 1000;
        let pinned_until = app.log().pinned_until(&consumer.id, now.as_micros());
        ConsumerView {
            lag_bytes: app.log().lag_bytes(consumer.seq),
            pinned_until: pinned_until.map(Timestamp::from_micros),
            id: consumer.id,
            seq: consumer.seq.get(),
            chain: consumer.chain.to_string(),
            acknowledged_at,
            lag_events,
            lag_ms: if lag_events == 0 { 0 } else { silent_ms },
        }
    };
    app.log().consumers().into_iter().map(view).collect()
}

async fn list<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    Ok(reply::ok(&ConsumerList { consumers: views(call.app()) }))
}

async fn acknowledge<S: Storage>(mut call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    let id = call.segment(3, "id")?;
    let bytes = body::read_json(&mut call, BODY_BYTES_MAX).await?;
    let (seq, chain) = {
        let body: AcknowledgeBody<'_> = parse(&bytes)?;
        let chain: Chain = body.chain.parse().map_err(Failure::internal)?;
        (Seq::new(body.seq.unsigned_abs()), chain)
    };
    let app = Arc::clone(call.app());
    let named = id.clone();
    let now_us = app.now().as_micros();
    let acknowledge = move || app.log().acknowledge(&named, seq, chain, now_us);
    call.app().blocking(acknowledge).await??;
    let views = views(call.app());
    match views.into_iter().find(|consumer| consumer.id == id) {
        Some(view) => Ok(reply::ok(&view)),
        None => Err(unknown(&id)),
    }
}

async fn deregister<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    let id = call.segment(3, "id")?;
    let app = Arc::clone(call.app());
    let named = id.clone();
    if !call.app().blocking(move || app.log().deregister(&named)).await?? {
        return Err(unknown(&id));
    }
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

fn unknown(id: &str) -> Failure {
    Failure::new(ErrorCode::NotFound, format!("there is no consumer {id}"))
}

impl From<AcknowledgeError> for Failure {
    fn from(error: AcknowledgeError) -> Self {
        match error {
            AcknowledgeError::Id => Self::field("#/id", "max_length", error.to_string()),
            AcknowledgeError::TooMany => Self::new(ErrorCode::Overloaded, error.to_string()),
            AcknowledgeError::Cursor(error) => error.into(),
            AcknowledgeError::ReadOnly => Self::new(ErrorCode::ReadOnly, error.to_string()),
            AcknowledgeError::Unreadable { .. } | AcknowledgeError::Io(_) => Self::internal(error),
        }
    }
}

impl From<CursorError> for Failure {
    fn from(error: CursorError) -> Self {
        let detail = error.to_string();
        match error {
            CursorError::Compacted { resume_from } => Problem::new(ErrorCode::Compacted, detail)
                .with("resumeFrom", resume_from.get())
                .into(),
            CursorError::Rewritten { at } => {
                Problem::new(ErrorCode::LogRewritten, detail).with("seq", at.get()).into()
            }
            CursorError::Ahead { last } => {
                Problem::new(ErrorCode::LogAhead, detail).with("lastSeq", last.get()).into()
            }
            CursorError::NotAFrameEnd { seq, frame_end } => {
                let problem = Problem::new(ErrorCode::InvalidCursor, detail);
                problem.with("seq", seq.get()).with("frameEnd", frame_end.get()).into()
            }
            CursorError::Read(error) => error.into(),
        }
    }
}
