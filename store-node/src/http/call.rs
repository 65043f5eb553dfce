//! One request from its arrival to its response: what every endpoint has in common is done here,
//! once. Neither a panic nor a cause of a defect may leave as anything but `Internal`.

use std::future::{Future, ready};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, Uri};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, any, on};
use compact_str::CompactString;
use event_log::storage::Storage;
use futures_util::FutureExt;
use futures_util::future::Either;
use parking_lot::Mutex;
use shared::Sku;
use tracing::Level;

use super::app::App;
use super::failure::Failure;
use super::metrics::Endpoint;
use super::request_id::REQUEST_ID_HEADER;
use super::{percent, reply};

/// Where a caller says which trace a request belongs to.
const TRACE_HEADER: HeaderName = HeaderName::from_static("traceparent");

/// What a handler comes to.
pub(super) type Outcome = Result<Response, Failure>;

/// A request on its way through its handler.
pub(super) struct Call<S: Storage> {
    app: Arc<App<S>>,
    request_id: CompactString,
    parts: Parts,
    /// Never locked: the mutex only makes calls shareable while they wait.
    body: Mutex<Option<Body>>,
}

impl<S: Storage> Call<S> {
    /// What the handlers of its lane share.
    pub(super) fn app(&self) -> &Arc<App<S>> {
        &self.app
    }

    /// The request's id.
    pub(super) fn request_id(&self) -> &CompactString {
        &self.request_id
    }

    /// The request's method.
    pub(super) fn method(&self) -> &Method {
        &self.parts.method
    }

    /// The request's target.
    pub(super) fn uri(&self) -> &Uri {
        &self.parts.uri
    }

    /// The request's headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Gives the request up: its head and body lie in the connection's buffer, which can't be used
    /// again before that.
    pub(super) fn release(self) -> Arc<App<S>> {
        self.app
    }

    /// The body, the first time.
    pub(super) fn take_body(&mut self) -> Body {
        self.body.get_mut().take().unwrap_or_default()
    }

    /// A segment of the path, decoded; segments count from 0 after the leading slash.
    pub(super) fn segment(&self, index: usize, name: &str) -> Result<String, Failure> {
        let raw = self.uri().path().split('/').nth(index + 1).unwrap_or_default();
        match percent::decode(raw, false) {
            Some(text) => Ok(text.into_owned()),
            None => Err(Failure::field(&format!("#/{name}"), "utf8", "must be UTF-8")),
        }
    }

    /// The SKU of `/api/inventory/{sku}…`.
    pub(super) fn sku(&self) -> Result<Sku, Failure> {
        let raw = self.uri().path().split('/').nth(3).unwrap_or_default();
        let Some(text) = percent::decode(raw, false) else {
            return Err(Failure::field("#/sku", "utf8", "must be UTF-8"));
        };
        Sku::new(&text).map_err(|error| Failure::field("#/sku", error.code(), error.to_string()))
    }
}

/// A route for one method.
pub(super) fn route<S, F, Fut>(
    method: MethodFilter,
    endpoint: Endpoint,
    handler: F,
) -> MethodRouter<Arc<App<S>>>
where
    S: Storage,
    F: Fn(Call<S>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    on(method, move |State(app): State<Arc<App<S>>>, request: Request| {
        run(app, endpoint, request, handler.clone())
    })
}

/// A handler for whatever no route takes.
pub(super) fn on_any<S, F, Fut>(endpoint: Endpoint, handler: F) -> MethodRouter<Arc<App<S>>>
where
    S: Storage,
    F: Fn(Call<S>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    any(move |State(app): State<Arc<App<S>>>, request: Request| {
        run(app, endpoint, request, handler.clone())
    })
}

/// Runs a handler and makes its outcome a response. What is done before the first wait is done at
/// once, so that the future holds no more than it needs: it is moved, byte by byte, into its box.
pub(super) fn run<S, F, Fut>(
    app: Arc<App<S>>,
    endpoint: Endpoint,
    request: Request,
    handler: F,
) -> impl Future<Output = Response> + use<S, F, Fut>
where
    S: Storage,
    F: Fn(Call<S>) -> Fut,
    Fut: Future<Output = Outcome>,
{
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let request_id = app.request_ids.of(&parts.headers);
    // Copied: what is shared keeps the connection's buffer.
    let seen = Seen {
        method: parts.method.clone(),
        path: CompactString::new(parts.uri.path()),
        trace: parts
            .headers
            .get(TRACE_HEADER)
            .and_then(|value| value.to_str().ok())
            .map(CompactString::new),
        request_id: request_id.clone(),
    };
    let in_flight = app.enter();
    let handling = if let Some(refusal) = app.load.put_off(endpoint, app.in_flight()) {
        Either::Left(ready(Err(refusal)))
    } else {
        let body = Mutex::new(Some(body));
        Either::Right(handler(Call { app: Arc::clone(&app), request_id, parts, body }))
    };
    AssertUnwindSafe(handling).catch_unwind().map(move |caught| {
        let outcome =
            caught.unwrap_or_else(|panic| Err(Failure::internal(panic_text(panic.as_ref()))));
        let response = seen.respond(&app, endpoint, outcome, started);
        drop(in_flight);
        response
    })
}

/// What a log line says about a request.
struct Seen {
    method: Method,
    path: CompactString,
    trace: Option<CompactString>,
    request_id: CompactString,
}

impl Seen {
    /// The response to an outcome, counted and logged.
    fn respond<S: Storage>(
        &self,
        app: &App<S>,
        endpoint: Endpoint,
        outcome: Outcome,
        started: Instant,
    ) -> Response {
        let mut cause = None;
        let mut response = outcome.unwrap_or_else(|failure| {
            app.metrics.problem(failure.code());
            if failure.code().status() >= 500 {
                cause = Some((failure.code().name(), failure.cause().unwrap_or("").to_owned()));
            }
            failure.into_response(&self.request_id)
        });
        let elapsed = started.elapsed();
        app.metrics.request(endpoint, response.status(), elapsed);
        let status = response.status().as_u16();
        if let Some((error, cause)) = cause {
            self.failed(status, error, &cause);
        } else if elapsed > app.options().slow_request {
            self.slow(status, elapsed.as_millis() as u64);
        } else if tracing::enabled!(Level::DEBUG) {
            self.answered(status, elapsed.as_micros() as u64);
        }
        let request_id = reply::copied_value(&self.request_id);
        response.headers_mut().insert(REQUEST_ID_HEADER, request_id);
        response
    }

    fn trace(&self) -> &str {
        self.trace.as_deref().unwrap_or("")
    }

    fn failed(&self, status: u16, error: &str, cause: &str) {
        let (method, path, traceparent) = (&self.method, &*self.path, self.trace());
        let request_id = &*self.request_id;
        tracing::error!(request_id, %method, path, status, error, cause, traceparent, "failed");
    }

    fn slow(&self, status: u16, elapsed_ms: u64) {
        let (method, path, traceparent) = (&self.method, &*self.path, self.trace());
        let request_id = &*self.request_id;
        tracing::warn!(request_id, %method, path, status, elapsed_ms, traceparent, "slow");
    }

    fn answered(&self, status: u16, elapsed_us: u64) {
        let (method, path, traceparent) = (&self.method, &*self.path, self.trace());
        let request_id = &*self.request_id;
        tracing::debug!(request_id, %method, path, status, elapsed_us, traceparent, "answered");
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
pub(super) mod tests;
