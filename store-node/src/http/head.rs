//! What is refused before a route is looked for: heads without a host, connections over the bound,
//! heads that can't be read. Every refusal is a problem with a request id, and is counted.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, HOST, HeaderValue};
use axum::http::{HeaderMap, Request, StatusCode, Version};
use axum::response::Response;
use event_log::storage::Storage;
use shared::wire::problem::{ErrorCode, PROBLEM_MEDIA_TYPE};

use super::app::App;
use super::failure::Failure;
use super::metrics::Endpoint;
use super::reply;
use super::request_id::REQUEST_ID_HEADER;

const HOST_POINTER: &str = "header:Host";
/// What is answered however many connections there are.
const ALWAYS_ANSWERED: [&str; 2] = ["/api/health", "/api/metrics"];

/// The refusal of a head that HTTP forbids: HTTP/1.1 asks for exactly one `Host` (RFC 9112,
/// section 3.2).
pub fn refuse_head<S: Storage, B>(app: &Arc<App<S>>, request: &Request<B>) -> Option<Response> {
    let failure = host_failure(request.version(), request.headers())?;
    Some(refused(app, request.headers(), failure))
}

/// The refusal of a request on a connection over the bound; health and metrics are answered.
pub fn refuse_overflow<S: Storage, B>(app: &Arc<App<S>>, request: &Request<B>) -> Option<Response> {
    let path = request.uri().path();
    if ALWAYS_ANSWERED.iter().any(|always| path.starts_with(always)) {
        return None;
    }
    let detail = "too many connections are open, try again in a moment";
    Some(refused(app, request.headers(), Failure::new(ErrorCode::Overloaded, detail)))
}

/// The header lines and the body of the answer to a head that can't be read.
pub fn word_refusal<S: Storage>(app: &App<S>, code: ErrorCode) -> (String, Vec<u8>) {
    let request_id = app.request_ids.of(&HeaderMap::new());
    let detail = match code {
        ErrorCode::UriTooLong => "the request's target is too long",
        ErrorCode::HeadersTooLarge => "the request has too many headers, or too large ones",
        _ => "the request's head is not HTTP/1.1",
    };
    count(app, code);
    let body = Failure::new(code, detail).into_body(&request_id);
    let length = body.len();
    let lines = format!(
        "content-type: {PROBLEM_MEDIA_TYPE}\r\ncontent-length: {length}\r\n\
         {REQUEST_ID_HEADER}: {request_id}\r\n"
    );
    (lines, body)
}

fn host_failure(version: Version, headers: &HeaderMap) -> Option<Failure> {
    let mut hosts = headers.get_all(HOST).iter();
    let refused = |code, message| Some(Failure::field(HOST_POINTER, code, message));
    match (hosts.next(), hosts.next()) {
        (None, _) if version < Version::HTTP_11 => None,
        (None, _) => refused("required", "is required"),
        (Some(_), Some(_)) => refused("duplicate_field", "is given more than once"),
        (Some(host), None) if is_host(host) => None,
        (Some(_), None) => refused("format", "must be a host, with a port or without"),
    }
}

/// Whether only characters are there that a host may have (RFC 3986, section 3.2.2), or none.
fn is_host(host: &HeaderValue) -> bool {
    let is_good = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(byte);
    host.as_bytes().iter().all(is_good)
}

fn refused<S: Storage>(app: &App<S>, headers: &HeaderMap, failure: Failure) -> Response {
    let request_id = app.request_ids.of(headers);
    count(app, failure.code());
    let mut response = failure.into_response(&request_id);
    response.headers_mut().insert(REQUEST_ID_HEADER, reply::copied_value(&request_id));
    debug_assert!(response.headers().contains_key(CONTENT_TYPE), "a problem says what it is");
    response
}

fn count<S: Storage>(app: &App<S>, code: ErrorCode) {
    app.metrics.problem(code);
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::BAD_REQUEST);
    app.metrics.request(Endpoint::Unmatched, status, Duration::ZERO);
}
