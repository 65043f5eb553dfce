//! What every request goes through: its id, its trace, its deadline, its metrics, and for errors the
//! problem's body. It must never look into what a handler does.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use shared::wire::problem::ErrorCode;
use tokio::time::timeout;
use tracing::Instrument;

use super::answer::{ApiError, problem_body};
use super::{ApiState, BODY_BYTES_MAX};

/// The longest request id that is taken over from a caller.
const REQUEST_ID_BYTES_MAX: usize = 64;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(super) fn wrap(routes: Router<ApiState>, state: ApiState) -> Router {
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("there is no route {}", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    let detail = format!("{} doesn't answer {method}", uri.path());
    ApiError::new(ErrorCode::MethodNotAllowed, detail)
}

async fn observe(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let request_id = request_id(request.headers());
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let trace_id = trace_id(request.headers()).unwrap_or_default();
    let span = tracing::info_span!("request", request_id, trace_id, %method, route);
    let work = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone());
    let response = match timeout(state.inner.request_timeout, work).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            ApiError::new(ErrorCode::Internal, "a defect of the aggregator").into_response()
        }
        Err(_) => {
            let detail = "the answer took too long: narrow the query, or try again";
            ApiError::new(ErrorCode::Overloaded, detail).into_response()
        }
    };
    let mut response = finish(response, &request_id);
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let took = begun.elapsed();
    let status = response.status().as_u16();
    metrics::counter!("aggregator_http_requests_total", "method" => method.to_string(), "route" => route.clone(), "status" => status.to_string())
        .increment(1);
    metrics::histogram!("aggregator_http_request_seconds", "route" => route).record(took);
    span.in_scope(|| {
        let took_us = took.as_micros() as u64;
        if status >= 500 {
            tracing::warn!(status, took_us, "answered");
        } else {
            tracing::debug!(status, took_us, "answered");
        }
    });
    response
}

/// Gives errors their body, those of the framework too.
fn finish(mut response: Response, request_id: &str) -> Response {
    let error = match response.extensions_mut().remove::<ApiError>() {
        Some(error) => error,
        None if response.status().is_client_error() || response.status().is_server_error() => {
            let code = match response.status().as_u16() {
                400 => ErrorCode::MalformedJson,
                404 => ErrorCode::NotFound,
                405 => ErrorCode::MethodNotAllowed,
                413 => ErrorCode::PayloadTooLarge,
                415 => ErrorCode::UnsupportedMediaType,
                503 => return response,
                _ => ErrorCode::Internal,
            };
            ApiError::new(code, code.title())
        }
        None => return response,
    };
    let (media_type, body) = problem_body(error, request_id);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(body);
    response
}

/// The caller's own id if it is sane, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let own = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_sane = |id: &&str| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    own.filter(is_sane).map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

/// The trace that the request belongs to, by W3C's `traceparent`.
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (_, trace_id) = (parts.next()?, parts.next()?);
    let is_trace_id = trace_id.len() == 32 && trace_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_trace_id.then(|| trace_id.to_owned())
}
