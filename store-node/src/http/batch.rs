//! `POST /api/batch`: many lines, one append. An answer says of each line what became of it, in
//! JSON or (`application/vnd.onhand.batch.v1`) in bytes; both are made from the same outcomes. As
//! NDJSON it is a stream without an end of its own.

mod answer;
mod lines;
mod stream;
mod verdicts;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::routing::MethodFilter;
use event_log::Seq;
use event_log::storage::Storage;
use shared::Context;
use shared::wire::node::batch::{Batch, Operation, parse_batch};
use shared::wire::node::compact::{COMPACT_MEDIA_TYPE, parse_compact};
use shared::wire::node::stream::NDJSON_MEDIA_TYPE;
use shared::wire::problem::Problem;

use super::app::App;
use super::body::{self, BATCH_BODY_BYTES_MAX};
use super::call::{Call, Outcome, route};
use super::execute::require_writable;
use super::failure::Failure;
use super::headers::{self, JSON_MEDIA_TYPE};
use super::metrics::Endpoint;
use super::{query, reply, settle};
use crate::ledger::{BatchLine, BatchRequest, ExecutedBatch, LedgerError};

/// How often a batch is tried again whose first answer is still on its way to the disk.
const UNSETTLED_TRIES_MAX: usize = 3;

/// From so many bytes on a batch is decided on a thread of its own: it takes longer than the other
/// requests of its lane should wait. Few bytes can be many lines, all of them wrong.
pub(super) const LONG_BATCH_BYTES: usize = 4 << 10;

/// What a batch may be sent as.
const MEDIA_TYPES: [&str; 3] = [JSON_MEDIA_TYPE, NDJSON_MEDIA_TYPE, COMPACT_MEDIA_TYPE];

/// How a batch, or its answer, is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Compact,
}

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new().route("/api/batch", route(MethodFilter::POST, Endpoint::Batch, batch))
}

async fn batch<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    match headers::media_type(call.headers(), &MEDIA_TYPES)? {
        NDJSON_MEDIA_TYPE => stream::stream(call),
        COMPACT_MEDIA_TYPE => whole(call, Form::Compact).await,
        _ => whole(call, Form::Json).await,
    }
}

/// A batch that is one body and one append.
async fn whole<S: Storage>(mut call: Call<S>, form: Form) -> Outcome {
    let bytes = body::read(&mut call, BATCH_BODY_BYTES_MAX).await?;
    let app = Arc::clone(call.app());
    let is_long = bytes.len() >= LONG_BATCH_BYTES;
    let whole = Arc::new(Whole { call, form, bytes });
    let mut unsettled = Seq::ZERO;
    for _ in 0..UNSETTLED_TRIES_MAX {
        let decided = if is_long {
            let whole = Arc::clone(&whole);
            app.long_work(async move { whole.decide() }).await?
        } else {
            whole.decide()
        };
        match decided? {
            Decided::Answered { settle, answer } => {
                drop(whole);
                settle::write(&app, settle).await?;
                return answer;
            }
            Decided::Unsettled { settle } => {
                settle::write(&app, settle).await?;
                unsettled = settle;
            }
        }
    }
    Err(LedgerError::Unsettled { settle: unsettled }.into())
}

/// A batch as it arrived.
struct Whole<S: Storage> {
    call: Call<S>,
    form: Form,
    bytes: Bytes,
}

/// What became of a batch.
enum Decided {
    /// This is its answer, once the log is durable up to there.
    Answered { settle: Seq, answer: Outcome },
    /// It was decided before, and can be answered once that is durable.
    Unsettled { settle: Seq },
}

impl<S: Storage> Whole<S> {
    fn decide(&self) -> Result<Decided, Failure> {
        let Self { call, form, bytes } = self;
        let batch = parse(*form, bytes)?;
        if batch.atomic && batch.lines.iter().any(Result::is_err) {
            return Err(Problem::validation(&batch.errors()).into());
        }
        require_writable(call)?;
        headers::refuse_if_match(call.headers())?;
        let key = headers::request_key(call.headers(), call.method(), call.uri(), bytes)?;
        let lines = batch.lines.iter().map(batch_line);
        let context = Context { request_id: Some(call.request_id().clone()), ..Context::default() };
        let request = BatchRequest { atomic: batch.atomic, lines: lines.collect(), key, context };
        match call.app().ledger().execute_batch(&request, call.app().now()) {
            Ok(executed) => {
                let answer = self.answer(&batch, &executed);
                Ok(Decided::Answered { settle: executed.settle, answer })
            }
            Err(LedgerError::Unsettled { settle }) => Ok(Decided::Unsettled { settle }),
            Err(error) => Err(error.into()),
        }
    }

    /// What is answered once it is durable.
    fn answer(&self, batch: &Batch<'_>, executed: &ExecutedBatch) -> Outcome {
        if batch.atomic && !executed.is_success() {
            return Err(answer::rejected(batch, executed).replayed(executed.replayed));
        }
        let mut response = match answer_form(self.call.headers(), self.form) {
            Form::Json => reply::ok(&answer::json(batch, executed)),
            Form::Compact => reply::bytes(COMPACT_MEDIA_TYPE, answer::compact(batch, executed)),
        };
        reply::set_replayed(&mut response, executed.replayed);
        Ok(response)
    }
}

/// A line as the ledger takes it: of one that isn't valid it knows no more than that.
fn batch_line<E>(line: &Result<Operation<'_>, E>) -> BatchLine {
    match line {
        Ok(operation) => BatchLine::command(operation.command(), operation.context()),
        Err(_) => BatchLine::Invalid,
    }
}

fn parse(form: Form, bytes: &Bytes) -> Result<Batch<'_>, Failure> {
    match form {
        Form::Json => Ok(parse_batch(bytes)?),
        Form::Compact => parse_compact(bytes).map_err(|error| Problem::from(error).into()),
    }
}

/// As the request was written, unless `Accept` names the other one alone.
fn answer_form(headers: &HeaderMap, sent: Form) -> Form {
    let accepts = |name: &str| {
        let lists = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut types = lists.flat_map(|list| list.split(',')).map(|one| one.split(';').next());
        types.any(|one| one.is_some_and(|one| one.trim().eq_ignore_ascii_case(name)))
    };
    match (accepts(JSON_MEDIA_TYPE), accepts(COMPACT_MEDIA_TYPE)) {
        (true, false) => Form::Json,
        (false, true) => Form::Compact,
        (true, true) | (false, false) => sent,
    }
}
