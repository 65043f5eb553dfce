//! What a batch answers, of the outcomes of its lines: as JSON, in bytes, or as the problem of an
//! atomic batch that was refused.

use std::fmt::Write as _;

use serde::Serialize;
use shared::wire::node::answers::{BatchAnswer, LineAnswer};
use shared::wire::node::batch::Batch;
use shared::wire::node::compact::CompactAnswer;
use shared::wire::problem::{ErrorCode, Problem};

use crate::http::failure::Failure;
use crate::ledger::{BatchOutcome, ExecutedBatch, Unchanged};

/// How many SKUs a summary names.
const NAMED_SKUS_MAX: usize = 20;

/// The answer as JSON shows it.
pub(super) fn json<'a>(batch: &'a Batch<'_>, executed: &'a ExecutedBatch) -> BatchAnswer<'a> {
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
    of_outcome(index, outcome).unwrap_or_else(|| match batch.lines.get(index) {
        Some(Err(line)) => LineAnswer::invalid(index, line.sku.as_ref(), &line.errors),
        Some(Ok(_)) | None => LineAnswer::invalid(index, None, &[]),
    })
}

/// The answer to the line of this index; none for an invalid one, of which the ledger knows
/// nothing.
pub(super) fn of_outcome(index: usize, outcome: &BatchOutcome) -> Option<LineAnswer<'_>> {
    Some(match outcome {
        BatchOutcome::Changed { seq, sku, version, quantities, is_created } => {
            let status = changed_status(*is_created);
            LineAnswer::applied(index, status, sku, *version, quantities, Some(seq.get()))
        }
        BatchOutcome::Unchanged(unchanged) => {
            let Unchanged { sku, version, quantities, .. } = &**unchanged;
            LineAnswer::applied(index, 200, sku, *version, quantities, None)
        }
        BatchOutcome::Refused(refused) => {
            LineAnswer::refused(index, &refused.sku, &refused.rejection)
        }
        BatchOutcome::NotApplied { sku } => LineAnswer::not_applied(index, sku),
        BatchOutcome::Invalid => return None,
    })
}

/// The answer in bytes.
pub(super) fn compact(batch: &Batch<'_>, executed: &ExecutedBatch) -> Vec<u8> {
    let seq_of = |outcome: &BatchOutcome| match outcome {
        BatchOutcome::Changed { seq, .. } => Some(seq.get()),
        BatchOutcome::Unchanged(_)
        | BatchOutcome::Refused(_)
        | BatchOutcome::NotApplied { .. }
        | BatchOutcome::Invalid => None,
    };
    let first = executed.lines.iter().filter_map(seq_of).min().unwrap_or(1);
    let mut answer = CompactAnswer::new(executed.atomic, executed.lines.len(), first - 1);
    let mut text = Vec::new();
    for (index, outcome) in executed.lines.iter().enumerate() {
        match outcome {
            BatchOutcome::Changed { seq, version, quantities, is_created, .. } => {
                let status = changed_status(*is_created);
                answer.applied(status, *version, quantities, Some(seq.get()));
            }
            BatchOutcome::Unchanged(unchanged) => {
                answer.applied(200, unchanged.version, &unchanged.quantities, None);
            }
            BatchOutcome::Refused(_) | BatchOutcome::NotApplied { .. } | BatchOutcome::Invalid => {
                let line = line_answer(batch, index, outcome);
                text.clear();
                serde_json::to_writer(&mut text, &line).expect("lines have text keys");
                answer.failed(line.status(), &text);
            }
        }
    }
    answer.finish()
}

/// What an endpoint answers a change.
pub(super) fn changed_status(is_created: bool) -> u16 {
    if is_created { 201 } else { 200 }
}

/// A refused atomic batch: a problem with the members of the answer.
pub(super) fn rejected(batch: &Batch<'_>, executed: &ExecutedBatch) -> Failure {
    let answer = json(batch, executed);
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
