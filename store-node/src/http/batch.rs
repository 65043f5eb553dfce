//! `POST /api/batch`: many lines, one append. An answer says of each line what became of it.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::routing::MethodFilter;
use event_log::storage::Storage;
use serde::Serialize;
use shared::wire::node::answers::{BatchAnswer, LineAnswer};
use shared::wire::node::batch::{Batch, parse_batch};
use shared::wire::problem::{ErrorCode, Problem};
use shared::{Change, Context};

use super::app::App;
use super::body::{self, BATCH_BODY_BYTES_MAX};
use super::call::{Call, Outcome, route};
use super::execute::require_writable;
use super::failure::Failure;
use super::metrics::Endpoint;
use super::{headers, query, reply, settle};
use crate::ledger::{
    BatchLine, BatchOutcome, BatchRequest, ExecutedBatch, LedgerError, RequestKey,
};

/// How often a batch is tried again whose first answer is still on its way to the disk.
const UNSETTLED_TRIES_MAX: usize = 3;
/// How many SKUs a summary names.
const NAMED_SKUS_MAX: usize = 20;

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new().route("/api/batch", route(MethodFilter::POST, Endpoint::Batch, batch))
}

async fn batch<S: Storage>(mut call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    let bytes = body::read_json(&mut call, BATCH_BODY_BYTES_MAX).await?;
    let batch = parse_batch(&bytes)?;
    if batch.atomic && batch.lines.iter().any(Result::is_err) {
        return Err(Problem::validation(&batch.errors()).into());
    }
    require_writable(&call)?;
    headers::refuse_if_match(call.headers())?;
    let key = headers::request_key(call.headers(), call.method(), call.uri(), &bytes)?;
    let executed = run(&call, &batch, key).await?;
    settle::write(call.app(), executed.settle).await?;
    let answer = answer(&batch, &executed);
    if batch.atomic && !answer.success {
        return Err(rejected(&answer).replayed(executed.replayed));
    }
    let mut response = reply::ok(&answer);
    reply::set_replayed(&mut response, executed.replayed);
    Ok(response)
}

async fn run<S: Storage>(
    call: &Call<S>,
    batch: &Batch<'_>,
    key: Option<RequestKey>,
) -> Result<ExecutedBatch, Failure> {
    let app = call.app();
    let mut unsettled = None;
    for _ in 0..UNSETTLED_TRIES_MAX {
        let lines = batch.lines.iter().map(|line| match line {
            Ok(operation) => BatchLine::Command(operation.command(), operation.context()),
            Err(_) => BatchLine::Invalid,
        });
        let context = Context { request_id: Some(call.request_id().clone()), ..Context::default() };
        let request = BatchRequest { atomic: batch.atomic, lines: lines.collect(), key, context };
        match app.ledger().execute_batch(request, app.now()) {
            Err(LedgerError::Unsettled { settle }) => {
                settle::write(app, settle).await?;
                unsettled = Some(LedgerError::Unsettled { settle });
            }
            other => return other.map_err(Failure::from),
        }
    }
    Err(unsettled.map_or_else(|| Failure::internal("no try was made"), Failure::from))
}

fn answer<'a>(batch: &'a Batch<'_>, executed: &'a ExecutedBatch) -> BatchAnswer<'a> {
    let lines = executed.lines.iter().enumerate();
    let results: Vec<LineAnswer<'a>> =
        lines.map(|(index, outcome)| line_answer(batch, index, outcome)).collect();
    let is_failed = |line: &LineAnswer<'_>| match line {
        LineAnswer::Applied { .. } | LineAnswer::Refused { status: 424, .. } => false,
        LineAnswer::Refused { .. } | LineAnswer::Invalid { .. } => true,
    };
    let failed = results.iter().filter(|line| is_failed(line)).count();
    let applied = results.iter().filter(|line| matches!(line, LineAnswer::Applied { .. })).count();
    let mut failed_items: Vec<&str> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for sku in results.iter().filter_map(LineAnswer::failed_sku) {
        if seen.insert(sku) {
            failed_items.push(sku);
        }
    }
    let message = (failed > 0).then(|| summary(failed, results.len(), batch.atomic, &failed_items));
    BatchAnswer {
        success: failed == 0,
        atomic: executed.atomic,
        applied,
        failed,
        failed_items,
        message,
        results,
    }
}

fn summary(failed: usize, lines: usize, atomic: bool, skus: &[&str]) -> String {
    if atomic {
        return format!("{failed} of {lines} operations refused, nothing applied");
    }
    let mut summary = format!("{failed} of {lines} operations refused");
    for (index, sku) in skus.iter().take(NAMED_SKUS_MAX).enumerate() {
        summary.push_str(if index == 0 { ": " } else { ", " });
        summary.push_str(sku);
    }
    if skus.len() > NAMED_SKUS_MAX {
        let _ = write!(summary, " and {} more", skus.len() - NAMED_SKUS_MAX);
    }
    summary
}

fn line_answer<'a>(
    batch: &'a Batch<'_>,
    index: usize,
    outcome: &'a BatchOutcome,
) -> LineAnswer<'a> {
    match outcome {
        BatchOutcome::Changed { seq, event } => {
            let status = if matches!(event.change, Change::Created { .. }) { 201 } else { 200 };
            let seq = Some(seq.get());
            LineAnswer::applied(index, status, &event.sku, event.version, &event.after, seq)
        }
        BatchOutcome::Unchanged { sku, version, quantities, .. } => {
            LineAnswer::applied(index, 200, sku, *version, quantities, None)
        }
        BatchOutcome::Refused(refused) => {
            LineAnswer::refused(index, &refused.sku, &refused.rejection)
        }
        BatchOutcome::NotApplied { sku } => LineAnswer::not_applied(index, sku),
        BatchOutcome::Invalid => match batch.lines.get(index) {
            Some(Err(line)) => LineAnswer::invalid(index, line.sku.as_ref(), &line.errors),
            Some(Ok(_)) | None => LineAnswer::invalid(index, None, &[]),
        },
    }
}

/// A refused atomic batch: a problem with the members of the answer.
fn rejected(answer: &BatchAnswer<'_>) -> Failure {
    let detail = answer.message.clone().unwrap_or_default();
    let mut problem = Problem::new(ErrorCode::BatchRejected, detail);
    let members = answer.serialize(serde_json::value::Serializer);
    if let Ok(serde_json::Value::Object(members)) = members {
        for (name, value) in members {
            if name != "message" {
                problem.extra.insert(name, value);
            }
        }
    }
    problem.into()
}
