//! Deciding lines of a stream and writing their verdicts, in the order of the lines. Lines without
//! a key are decided together, as one append; a line with a key is a request of its own.

use axum::body::Bytes;
use event_log::Seq;
use event_log::storage::Storage;
use serde::Serialize;
use shared::wire::node::answers::LineAnswer;
use shared::wire::node::batch::{InvalidLine, Operation};
use shared::wire::node::stream::{LineError, STREAM_LINE_BYTES_MAX, StreamLine, parse_stream_line};
use shared::wire::problem::{ErrorCode, Problem};
use shared::{Change, Command, Context, Sku};

use super::answer::{changed_status, of_outcome};
use super::batch_line;
use crate::http::app::App;
use crate::http::failure::Failure;
use crate::http::{headers, settle};
use crate::ledger::{Answer, BatchRequest, Executed, LedgerError, Refused, Request, RequestKey};

/// How often a line is tried again whose first answer is still on its way to the disk.
const UNSETTLED_TRIES_MAX: usize = 3;
/// Room for a usual verdict.
const VERDICT_BYTES: usize = 160;

/// Verdicts in the making.
pub(super) struct Verdicts<'a, S: Storage> {
    app: &'a App<S>,
    request_id: &'a str,
    text: Vec<u8>,
    settle: Seq,
    applied: u64,
    failed: u64,
}

/// A line that waits to be decided with its neighbours.
type Waiting<'a> = (u64, Result<Operation<'a>, LineError>);

impl<'a, S: Storage> Verdicts<'a, S> {
    pub(super) fn new(app: &'a App<S>, request_id: &'a str) -> Self {
        Self { app, request_id, text: Vec::new(), settle: Seq::ZERO, applied: 0, failed: 0 }
    }

    /// How many lines were applied and failed, when that is durable, and the verdicts.
    pub(super) fn finish(self) -> (u64, u64, Seq, Bytes) {
        (self.applied, self.failed, self.settle, self.text.into())
    }

    /// The verdict on a line that was not even kept.
    pub(super) fn too_long(&mut self, index: u64) {
        let detail = format!("the line is over {STREAM_LINE_BYTES_MAX} bytes");
        let problem = Problem::new(ErrorCode::PayloadTooLarge, detail);
        self.put_unread(index, problem);
    }

    /// Decides whole lines. An error says at which line it met the log; lines from there on have
    /// no verdict, and nothing of them has happened.
    pub(super) async fn decide(
        &mut self,
        first_index: u64,
        bytes: &[u8],
    ) -> Result<(), (u64, Failure)> {
        let mut waiting: Vec<Waiting<'_>> = Vec::new();
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        for (index, line) in (first_index..).zip(text.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            match parse_stream_line(line) {
                Ok(StreamLine { operation, idempotency_key: Some(key) }) => {
                    self.together(&mut waiting)?;
                    let key = headers::line_key(&key, line);
                    let decided = self.alone(index, &operation, key).await;
                    decided.map_err(|failure| (index, failure))?;
                }
                Ok(StreamLine { operation, idempotency_key: None }) => {
                    waiting.push((index, Ok(operation)));
                }
                Err(error) => waiting.push((index, Err(error))),
            }
        }
        self.together(&mut waiting)
    }

    /// Decides what waits, as one append.
    fn together(&mut self, waiting: &mut Vec<Waiting<'_>>) -> Result<(), (u64, Failure)> {
        let Some((first_index, _)) = waiting.first() else {
            return Ok(());
        };
        let lines = waiting.iter().map(|(_, line)| batch_line(line));
        let context = Context { request_id: Some(self.request_id.into()), ..Context::default() };
        let request = BatchRequest { atomic: false, lines: lines.collect(), key: None, context };
        let executed = self.app.ledger().execute_batch(&request, self.app.now());
        let executed = executed.map_err(|error| (*first_index, Failure::from(error)))?;
        self.settle = self.settle.max(executed.settle);
        self.text.reserve(waiting.len() * VERDICT_BYTES);
        for ((index, line), outcome) in waiting.drain(..).zip(&executed.lines) {
            match (of_outcome(index as usize, outcome), line) {
                (Some(answer), _) => self.put(&answer, false),
                (None, Err(error)) => self.put_error(index, error),
                (None, Ok(_)) => self.put_unread(index, Problem::validation(&[])),
            }
        }
        Ok(())
    }

    /// Decides a line that has a key.
    async fn alone(
        &mut self,
        index: u64,
        operation: &Operation<'_>,
        key: RequestKey,
    ) -> Result<(), Failure> {
        let mut context = operation.context();
        context.request_id = Some(self.request_id.into());
        let command = operation.command();
        match self.execute(Request { command: command.clone(), context, key: Some(key) }).await {
            Ok(executed) => {
                self.settle = self.settle.max(executed.settle);
                self.put_executed(index, &command, &executed);
                Ok(())
            }
            Err(LedgerError::KeyReused) => {
                let problem = Failure::from(LedgerError::KeyReused).into_problem("");
                self.put(&of_problem(index, &command.sku, &problem), false);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn execute(&self, request: Request) -> Result<Executed, LedgerError> {
        for _ in 1..UNSETTLED_TRIES_MAX {
            match self.app.ledger().execute(request.clone(), self.app.now()) {
                Err(LedgerError::Unsettled { settle }) => {
                    // Whether that worked shows at the next try.
                    let _settled = settle::write(self.app, settle).await;
                }
                other => return other,
            }
        }
        self.app.ledger().execute(request, self.app.now())
    }

    fn put_executed(&mut self, index: u64, command: &Command, executed: &Executed) {
        let index = index as usize;
        let answer = match &executed.outcome {
            Ok(Answer::Changed { seq, event }) => {
                let status = changed_status(matches!(event.change, Change::Created { .. }));
                let (sku, version) = (&event.sku, event.version);
                LineAnswer::applied(index, status, sku, version, &event.after, Some(seq.get()))
            }
            Ok(Answer::Unchanged { sku, version, quantities, .. }) => {
                LineAnswer::applied(index, 200, sku, *version, quantities, None)
            }
            Err(Refused { rejection, .. }) => LineAnswer::refused(index, &command.sku, rejection),
        };
        self.put(&answer, executed.replayed);
    }

    fn put_error(&mut self, index: u64, error: LineError) {
        match error {
            LineError::Malformed(detail) => {
                self.put_unread(index, Problem::new(ErrorCode::MalformedJson, detail));
            }
            LineError::Invalid(InvalidLine { sku, errors }) => {
                self.put(&LineAnswer::invalid(index as usize, sku.as_ref(), &errors), false);
            }
        }
    }

    /// The verdict on a line of which nothing could be read.
    fn put_unread(&mut self, index: u64, problem: Problem) {
        let answer = LineAnswer::Invalid {
            index: index as usize,
            status: problem.status,
            sku: None,
            error: problem.error,
            message: problem.message,
            errors: &[],
        };
        self.put(&answer, false);
    }

    fn put(&mut self, answer: &LineAnswer<'_>, replayed: bool) {
        match answer {
            LineAnswer::Applied { .. } => self.applied += 1,
            LineAnswer::Refused { .. } | LineAnswer::Invalid { .. } => self.failed += 1,
        }
        let written = if replayed {
            serde_json::to_writer(&mut self.text, &Replayed { answer, replayed })
        } else {
            serde_json::to_writer(&mut self.text, answer)
        };
        written.expect("verdicts have text keys and go to memory");
        self.text.push(b'\n');
    }
}

/// A verdict that was given before.
#[derive(Serialize)]
struct Replayed<'a> {
    #[serde(flatten)]
    answer: &'a LineAnswer<'a>,
    replayed: bool,
}

/// A verdict that only a request of its own can have.
fn of_problem<'a>(index: u64, sku: &'a Sku, problem: &Problem) -> LineAnswer<'a> {
    LineAnswer::Refused {
        index: index as usize,
        status: problem.status,
        sku: sku.as_str(),
        error: problem.error,
        message: Some(problem.message.clone()),
        extra: problem.extra.clone(),
    }
}
