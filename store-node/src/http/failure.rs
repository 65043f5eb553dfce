//! Why a request isn't answered as asked: a problem for the caller and, for defects, the cause for
//! the operator's log. A cause must never reach the caller.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use event_log::{AppendError, ReadError};
use shared::wire::body::BodyError;
use shared::wire::problem::{ErrorCode, FieldError, PROBLEM_MEDIA_TYPE, Problem};
use shared::{Rejection, Sku};

use super::reply;
use crate::ledger::{LedgerError, Refused};

/// How long a caller waits before it tries again after a 503, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;

/// A problem on its way to the caller.
#[derive(Debug)]
pub(super) struct Failure {
    problem: Box<Problem>,
    cause: Option<String>,
    replayed: bool,
}

impl Failure {
    /// A problem without more to say than its detail.
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    /// A defect or damage: the caller sees `Internal`, the log sees the cause.
    pub(super) fn internal(cause: impl std::fmt::Display) -> Self {
        let mut failure = Self::new(ErrorCode::Internal, "an internal error, which was logged");
        failure.cause = Some(cause.to_string());
        failure
    }

    /// One broken rule.
    pub(super) fn field(
        pointer: &str,
        code: &'static str,
        message: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Self {
        let error = FieldError { pointer: pointer.to_owned(), code, message: message.into() };
        Problem::validation(&[error]).into()
    }

    /// A command that the item's state refuses.
    pub(super) fn refused(refused: &Refused) -> Self {
        Problem::of_rejection(&refused.sku, &refused.rejection).into()
    }

    /// A version conflict that came from `If-Match`.
    pub(super) fn precondition(sku: &Sku, rejection: &Rejection) -> Self {
        let conflict = Problem::of_rejection(sku, rejection);
        let current = conflict.extra.get("currentVersion").cloned().unwrap_or_default();
        let detail = format!("{sku} is at version {current}");
        let mut problem = Problem::new(ErrorCode::PreconditionFailed, detail);
        problem.extra = conflict.extra;
        problem.extra.shift_remove("expectedVersion");
        problem.into()
    }

    /// The same, given before to the same idempotency key or not.
    #[must_use]
    pub(super) fn replayed(mut self, replayed: bool) -> Self {
        self.replayed = replayed;
        self
    }

    /// The error that the caller sees.
    pub(super) fn code(&self) -> ErrorCode {
        self.problem.code
    }

    /// What only the operator's log may see.
    pub(super) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The problem as a response to the request of this id.
    pub(super) fn into_response(self, request_id: &str) -> Response {
        let (status, replayed) = (self.problem.status, self.replayed);
        let mut response = Response::new(self.into_body(request_id).into());
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
        if matches!(status, 429 | 503) {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        reply::set_replayed(&mut response, replayed);
        response
    }

    /// The body of the response to the request of this id.
    pub(super) fn into_body(self, request_id: &str) -> Vec<u8> {
        serde_json::to_vec(&self.into_problem(request_id)).expect("a problem has only text keys")
    }

    /// The problem of the request of this id.
    pub(super) fn into_problem(self, request_id: &str) -> Box<Problem> {
        let mut problem = self.problem;
        request_id.clone_into(&mut problem.instance);
        problem
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), cause: None, replayed: false }
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        Problem::from(error).into()
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Busy => {
                Self::new(ErrorCode::Overloaded, "the log's queue is full, try again in a moment")
            }
            AppendError::NoSpace => {
                Self::new(ErrorCode::ReadOnly, "the disk is full: reads go on, writes don't")
            }
            AppendError::ReadOnly { reason } => {
                let mut failure = Self::new(ErrorCode::ReadOnly, "the log can't take writes now");
                failure.cause = Some(reason);
                failure
            }
            AppendError::TooLarge { bytes, max } => Self::new(
                ErrorCode::PayloadTooLarge,
                format!("the events would take {bytes} bytes, at most {max} fit: split the batch"),
            ),
            AppendError::Poisoned { reason } => {
                let detail = "the log failed; this node takes writes again after a restart";
                let mut failure = Self::new(ErrorCode::LogPoisoned, detail);
                failure.cause = Some(reason);
                failure
            }
            AppendError::Closed => Self::new(ErrorCode::ShuttingDown, "this node is leaving"),
            AppendError::Empty => Self::internal("an append without records"),
        }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::KeyReused => Self::new(
                ErrorCode::IdempotencyKeyReused,
                "this Idempotency-Key was used for another request",
            ),
            LedgerError::Append(error) => error.into(),
            LedgerError::Read(error) => error.into(),
            LedgerError::Answer { .. } => Self::internal(error),
            LedgerError::Unsettled { .. } => {
                Self::new(ErrorCode::Unsettled, "the first answer to this key is not durable yet")
            }
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::internal(error)
    }
}
