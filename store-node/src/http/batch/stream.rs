//! `POST /api/batch` as NDJSON: each line for itself, its verdict once it is durable, and a summary
//! as the last line. While verdicts wait for the disk the next lines are decided. It must never
//! hold more than a bounded part of either body, nor give a verdict that a crash could undo.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use compact_str::CompactString;
use event_log::Seq;
use event_log::storage::Storage;
use serde::Serialize;
use shared::wire::node::stream::NDJSON_MEDIA_TYPE;
use shared::wire::problem::{ErrorCode, Problem};
use tokio::sync::OwnedSemaphorePermit;

use super::LONG_BATCH_BYTES;
use super::lines::{Chunk, Lines};
use super::verdicts::Verdicts;
use crate::http::app::{App, InFlight};
use crate::http::call::{Call, Outcome};
use crate::http::execute::require_writable;
use crate::http::failure::Failure;
use crate::http::{body, headers, reply, settle};

/// Chunks of lines that are decided and wait for the disk, at most.
const PENDING_CHUNKS_MAX: usize = 4;

/// Takes a stream of lines and answers with one of verdicts.
pub(super) fn stream<S: Storage>(mut call: Call<S>) -> Outcome {
    headers::refuse_encoding(call.headers())?;
    headers::refuse_if_match(call.headers())?;
    headers::refuse_request_key(call.headers(), "give each line its own idempotencyKey")?;
    require_writable(&call)?;
    let app = Arc::clone(call.app());
    let stream = BatchStream {
        place: app.load.begin_batch_stream()?,
        in_flight: app.enter(),
        request_id: call.request_id().clone(),
        lines: Lines::new(call.take_body()),
        pending: VecDeque::with_capacity(PENDING_CHUNKS_MAX),
        summary: Summary::default(),
        state: State::Reading,
        app,
    };
    let pieces = futures_util::stream::unfold(stream, |mut stream| async {
        let piece = stream.next_piece().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), stream))
    });
    Ok(reply::bytes(NDJSON_MEDIA_TYPE, Body::from_stream(pieces)))
}

/// Lines that were decided together.
struct Pending {
    first_index: u64,
    settle: Seq,
    applied: u64,
    failed: u64,
    text: Bytes,
}

/// The last line.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    /// Lines with a verdict.
    lines: u64,
    /// Lines that were applied or had been already.
    applied: u64,
    /// Lines that were not.
    failed: u64,
    /// Whether every line has a verdict.
    complete: bool,
    /// The first line without a verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    resume_at: Option<u64>,
    /// Why the stream ended there.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Box<Problem>>,
}

#[derive(Serialize)]
struct LastLine<'a> {
    summary: &'a Summary,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// More lines may come.
    Reading,
    /// Nothing more is read: verdicts and the summary are due.
    Ending,
    /// The summary was given.
    Ended,
}

/// A stream on its way.
struct BatchStream<S: Storage> {
    app: Arc<App<S>>,
    request_id: CompactString,
    lines: Lines,
    pending: VecDeque<Pending>,
    summary: Summary,
    state: State,
    /// Leaving waits for it, as for any other request.
    #[expect(dead_code, reason = "held as long as the stream lasts")]
    in_flight: InFlight<S>,
    #[expect(dead_code, reason = "held as long as the stream lasts")]
    place: OwnedSemaphorePermit,
}

impl<S: Storage> BatchStream<S> {
    /// The next verdicts, in the end the summary; `None` after it.
    async fn next_piece(&mut self) -> Option<Bytes> {
        loop {
            let durable = self.app.log().durable();
            let next = self.pending.front().map(|pending| pending.settle);
            match (self.state, next) {
                (_, Some(settle)) if settle <= durable => return self.deliver(),
                (State::Ended, _) => return None,
                (State::Ending, None) => return Some(self.last_line()),
                (State::Ending, Some(settle)) => self.settle(settle).await,
                (State::Reading, Some(settle)) if self.pending.len() == PENDING_CHUNKS_MAX => {
                    self.settle(settle).await;
                }
                (State::Reading, next) => match self.lines.take() {
                    Some(chunk) => self.decide(chunk).await,
                    None if self.lines.is_finished() => self.state = State::Ending,
                    None => self.read(next).await,
                },
            }
        }
    }

    fn deliver(&mut self) -> Option<Bytes> {
        let pending = self.pending.pop_front()?;
        self.summary.lines += pending.applied + pending.failed;
        self.summary.applied += pending.applied;
        self.summary.failed += pending.failed;
        Some(pending.text)
    }

    /// Waits for more of the body, or for the first verdicts to become durable.
    async fn read(&mut self, next: Option<Seq>) {
        let app = Arc::clone(&self.app);
        let deadline = app.options().body_deadline;
        let settled = async {
            match next {
                Some(settle) => settle::write(&app, settle).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            settled = settled => {
                if let Err(failure) = settled {
                    self.unsettled(failure);
                }
            }
            read = tokio::time::timeout(deadline, self.lines.fill()) => match read {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let detail = format!("the body broke off: {error}");
                    self.end(Failure::new(ErrorCode::MalformedJson, detail));
                }
                Err(_) => self.end(too_slow(deadline)),
            },
            () = body::cut_off(&app) => {
                let detail = "this node is leaving, and the body was not complete";
                self.end(Failure::new(ErrorCode::ShuttingDown, detail));
            }
        }
    }

    async fn settle(&mut self, settle: Seq) {
        if let Err(failure) = settle::write(&self.app, settle).await {
            self.unsettled(failure);
        }
    }

    /// Decides a chunk, a long one where nobody else of the lane has to wait for it.
    async fn decide(&mut self, chunk: Chunk) {
        let first_index = chunk.first_index();
        let is_long = chunk.len() >= LONG_BATCH_BYTES;
        let deciding = decided(Arc::clone(&self.app), self.request_id.clone(), chunk);
        let decided = if is_long {
            self.app.long_work(deciding).await
        } else {
            let decided = deciding.await;
            // However many chunks are there already, others have their turn.
            tokio::task::yield_now().await;
            Ok(decided)
        };
        let (pending, ended) = match decided {
            Ok(decided) => decided,
            Err(failure) => return self.end_at(first_index, failure),
        };
        self.pending.extend(pending);
        if let Err((index, failure)) = ended {
            self.end_at(index, failure);
        }
    }

    /// The decided lines don't become durable in time or at all: what became of them isn't known.
    fn unsettled(&mut self, failure: Failure) {
        let index = self.pending.front().map_or(self.lines.next_index(), |next| next.first_index);
        self.pending.clear();
        self.end_at(index, failure);
    }

    fn end(&mut self, failure: Failure) {
        self.end_at(self.lines.next_index(), failure);
    }

    fn end_at(&mut self, index: u64, failure: Failure) {
        if let Some(cause) = failure.cause() {
            tracing::error!(request_id = %self.request_id, cause, "a batch stream failed");
        }
        self.app.metrics.problem(failure.code());
        self.summary.resume_at = Some(index);
        self.summary.problem = Some(failure.into_problem(&self.request_id));
        self.state = State::Ending;
    }

    fn last_line(&mut self) -> Bytes {
        self.state = State::Ended;
        self.summary.complete = self.summary.problem.is_none();
        let line = LastLine { summary: &self.summary };
        let mut text = serde_json::to_vec(&line).expect("a summary has only text keys");
        text.push(b'\n');
        text.into()
    }
}

/// Decides a chunk: what waits for the disk now, if it has any lines, and where it met the log.
async fn decided<S: Storage>(
    app: Arc<App<S>>,
    request_id: CompactString,
    chunk: Chunk,
) -> (Option<Pending>, Result<(), (u64, Failure)>) {
    let first_index = chunk.first_index();
    let mut verdicts = Verdicts::new(&app, &request_id);
    let ended = match &chunk {
        Chunk::TooLong { index } => {
            verdicts.too_long(*index);
            Ok(())
        }
        Chunk::Lines { first_index, bytes } => verdicts.decide(*first_index, bytes).await,
    };
    let (applied, failed, settle, text) = verdicts.finish();
    let pending = Pending { first_index, settle, applied, failed, text };
    ((applied + failed > 0).then_some(pending), ended)
}

fn too_slow(deadline: Duration) -> Failure {
    let detail = format!("nothing of the body came for {} ms", deadline.as_millis());
    Failure::new(ErrorCode::RequestTimeout, detail)
}
