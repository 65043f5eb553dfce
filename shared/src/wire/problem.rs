//! Problem details (RFC 9457): the one shape of every error answer of both services.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::rejection::Rejection;
use crate::sku::Sku;

/// The media type of every error answer.
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

macro_rules! error_codes {
    ($(#[doc = $meaning:literal] $name:ident = $status:literal, $title:literal;)*) => {
        /// Every error that the services answer, with its HTTP status and title.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $(#[doc = $meaning] $name,)* }

        impl ErrorCode {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The HTTP status.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The name, as the `error` field shows it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// A short title.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What it means, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning.trim_ascii(),)* }
            }
        }
    };
}

error_codes! {
    /// The body is not JSON, or not UTF-8.
    MalformedJson = 400, "Malformed JSON";
    /// The body is not a compact batch: its layout or its checksum is wrong.
    MalformedBatch = 400, "Malformed batch";
    /// The request's head is not HTTP/1.1.
    MalformedRequest = 400, "Malformed request";
    /// Fields break rules; all of them are listed in `errors`.
    ValidationError = 400, "Invalid request";
    /// The page or log cursor is none that was given out.
    InvalidCursor = 400, "Invalid cursor";
    /// Credentials are missing or wrong.
    Unauthenticated = 401, "Unauthenticated";
    /// The role may not do this.
    Forbidden = 403, "Forbidden";
    /// No such route or thing.
    NotFound = 404, "Not found";
    /// No such item at this store.
    UnknownSku = 404, "Unknown SKU";
    /// No such order.
    UnknownOrder = 404, "Unknown order";
    /// The order has no reservation of this SKU.
    UnknownReservation = 404, "Unknown reservation";
    /// No such store at the aggregator.
    UnknownStore = 404, "Unknown store";
    /// The route has other methods: see `Allow`.
    MethodNotAllowed = 405, "Method not allowed";
    /// The request came too slowly.
    RequestTimeout = 408, "Request timeout";
    /// Another write came first.
    VersionConflict = 409, "Version conflict";
    /// Not enough is free.
    InsufficientStockError = 409, "Insufficient stock";
    /// The reservation holds less.
    InsufficientReservedStockError = 409, "Insufficient reserved stock";
    /// The item exists.
    AlreadyExists = 409, "Already exists";
    /// The order has another quantity reserved.
    ReservationMismatch = 409, "Reservation mismatch";
    /// The order's reservation is closed.
    ReservationClosed = 409, "Reservation closed";
    /// The order's reservation ran out.
    ReservationExpired = 409, "Reservation expired";
    /// The item is out of sale.
    ItemInactive = 409, "Item inactive";
    /// The item has stock or reservations left.
    ItemNotEmpty = 409, "Item not empty";
    /// A quantity would pass 2^53.
    QuantityOverflow = 409, "Quantity overflow";
    /// An atomic batch had refused lines.
    BatchRejected = 409, "Batch rejected";
    /// The cursor's chain is not this log's: it was rewritten.
    LogRewritten = 409, "Log rewritten";
    /// The cursor is ahead of this log: the log lost data.
    LogAhead = 409, "Cursor ahead of the log";
    /// An operator's job of this kind is running.
    JobRunning = 409, "Job running";
    /// The job can't be cancelled any more.
    JobFinished = 409, "Job finished";
    /// The log's beginning is gone: start from a snapshot.
    Compacted = 410, "Compacted";
    /// `If-Match` is stale.
    PreconditionFailed = 412, "Precondition failed";
    /// The body is too large.
    PayloadTooLarge = 413, "Payload too large";
    /// The request's target is too long.
    UriTooLong = 414, "Target too long";
    /// The body is not `application/json`.
    UnsupportedMediaType = 415, "Unsupported media type";
    /// The key was used for another request.
    IdempotencyKeyReused = 422, "Idempotency key reused";
    /// `If-Match` or `expectedVersion` is required here.
    PreconditionRequired = 428, "Precondition required";
    /// The request's headers are too many or too large.
    HeadersTooLarge = 431, "Headers too large";
    /// Too many requests.
    RateLimited = 429, "Rate limited";
    /// A defect of ours.
    Internal = 500, "Internal error";
    /// The queue is full: try again.
    Overloaded = 503, "Overloaded";
    /// The disk is full, or the node was started read-only.
    ReadOnly = 503, "Read-only";
    /// The log failed: the node must be restarted.
    LogPoisoned = 503, "Log poisoned";
    /// The item's last change is not durable and won't be.
    Unsettled = 503, "Unsettled";
    /// The service is leaving.
    ShuttingDown = 503, "Shutting down";
    /// Whether the write happened is not known: retry with the same key.
    OutcomeUnknown = 504, "Outcome unknown";
}

impl ErrorCode {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// Whether sending the request again can help.
    pub fn advice(self) -> &'static str {
        match self.status() {
            408 | 429 | 503 => {
                "Nothing was changed by an answer of 408, 429 or 503 itself. Send the request again, after Retry-After where it is given, with the same Idempotency-Key."
            }
            504 => {
                "Send the request again with the same Idempotency-Key: it will be done once, whatever became of the first."
            }
            409 | 410 | 412 => {
                "Nothing was changed. Look at the present state, then decide what to send."
            }
            500 => {
                "Send the request again with the same Idempotency-Key, and tell whoever runs the service the value of instance: it stands in the log beside the cause."
            }
            _ => "Nothing was changed. The same request will be answered the same: change it.",
        }
    }

    /// What `type` of a problem leads to: its page, as plain text.
    pub fn page(self) -> String {
        let (name, status, title) = (self.name(), self.status(), self.title());
        format!("{name}\n{status} {title}\n\n{}\n{}\n", self.meaning(), self.advice())
    }

    /// The list of all pages, as plain text.
    pub fn index() -> String {
        let line = |code: &Self| format!("{} {}: {}\n", code.status(), code.name(), code.meaning());
        Self::ALL.iter().map(line).collect()
    }
}

/// The media type of the pages about errors.
pub const PAGE_MEDIA_TYPE: &str = "text/plain; charset=utf-8";

/// One broken rule of one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON pointer as a URI fragment (`#/quantity`), or `query:limit`, `header:If-Match`.
    pub pointer: String,
    /// The rule.
    pub code: &'static str,
    /// The rule in words.
    pub message: Cow<'static, str>,
}

/// An error answer: RFC 9457 plus `error`, `message` and what belongs to the error.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Problem {
    /// `/docs/problems/<error>`.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// [`ErrorCode::title`].
    pub title: &'static str,
    /// [`ErrorCode::status`].
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// The request id.
    pub instance: String,
    /// [`ErrorCode::name`].
    pub error: &'static str,
    /// For people; the same as `detail` unless the error has a wording of its own.
    pub message: String,
    /// What belongs to the error.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
    /// The code, for the status line and headers.
    #[serde(skip)]
    pub code: ErrorCode,
}

impl Problem {
    /// A problem; `instance` is filled in where the answer is written.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            problem_type: format!("/docs/problems/{}", code.name()),
            title: code.title(),
            status: code.status(),
            message: detail.clone(),
            detail,
            instance: String::new(),
            error: code.name(),
            extra: Map::new(),
            code,
        }
    }

    /// All broken rules of a request at once.
    pub fn validation(errors: &[FieldError]) -> Self {
        let detail = match errors.len() {
            1 => "1 field is invalid".to_owned(),
            count => format!("{count} fields are invalid"),
        };
        let listed = errors.iter().map(|error| {
            serde_json::json!({
                "pointer": error.pointer,
                "code": error.code,
                "message": error.message,
            })
        });
        Self::new(ErrorCode::ValidationError, detail).with("errors", listed.collect::<Vec<_>>())
    }

    /// The same with another `message`.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// The same with one more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// The answer to a refused command on `sku`.
    pub fn of_rejection(sku: &Sku, rejection: &Rejection) -> Self {
        let problem =
            Self::new(rejection.into(), rejection.describe(sku)).with("sku", sku.as_str());
        match rejection {
            Rejection::UnknownSku | Rejection::ItemInactive | Rejection::QuantityOverflow => {
                problem
            }
            Rejection::AlreadyExists { current } => problem.with("currentVersion", current.get()),
            Rejection::VersionConflict { current, expected, stock, reserved, available } => problem
                .with("currentVersion", current.get())
                .with("expectedVersion", expected.get())
                .with("stock", stock.get())
                .with("reserved", reserved.get())
                .with("availableStock", available.get()),
            Rejection::InsufficientStock { available, required, current } => problem
                .with_message(format!(
                    "Insufficient stock for SKU {sku}. Available: {available}, Required: {required}"
                ))
                .with("available", available.get())
                .with("required", required.get())
                .with("currentVersion", current.get()),
            Rejection::InsufficientReservedStock { order_id, reserved, required }
            | Rejection::ReservationMismatch { order_id, reserved, required } => problem
                .with("orderId", order_id.as_str())
                .with("reserved", reserved.get())
                .with("required", required.get()),
            Rejection::ReservationClosed { order_id }
            | Rejection::ReservationExpired { order_id }
            | Rejection::UnknownReservation { order_id } => {
                problem.with("orderId", order_id.as_str())
            }
            Rejection::ItemNotEmpty { stock, reserved } => {
                problem.with("stock", stock.get()).with("reserved", reserved.get())
            }
        }
    }
}

impl From<&Rejection> for ErrorCode {
    fn from(rejection: &Rejection) -> Self {
        match rejection {
            Rejection::UnknownSku => Self::UnknownSku,
            Rejection::AlreadyExists { .. } => Self::AlreadyExists,
            Rejection::VersionConflict { .. } => Self::VersionConflict,
            Rejection::InsufficientStock { .. } => Self::InsufficientStockError,
            Rejection::InsufficientReservedStock { .. } => Self::InsufficientReservedStockError,
            Rejection::ReservationMismatch { .. } => Self::ReservationMismatch,
            Rejection::ReservationClosed { .. } => Self::ReservationClosed,
            Rejection::ReservationExpired { .. } => Self::ReservationExpired,
            Rejection::UnknownReservation { .. } => Self::UnknownReservation,
            Rejection::ItemInactive => Self::ItemInactive,
            Rejection::ItemNotEmpty { .. } => Self::ItemNotEmpty,
            Rejection::QuantityOverflow => Self::QuantityOverflow,
        }
    }
}
