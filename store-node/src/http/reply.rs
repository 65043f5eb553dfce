//! Answers as responses: JSON into one buffer, ETags, small helpers. Nothing here may decide what
//! is answered.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderName, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

/// Room for a usual answer, so that the buffer doesn't grow.
const ANSWER_BYTES: usize = 448;

/// An answer as JSON.
pub(super) fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    let mut body = Vec::with_capacity(ANSWER_BYTES);
    serde_json::to_writer(&mut body, answer).expect("answers have text keys and go to memory");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// An answer as JSON, 200.
pub(super) fn ok(answer: &impl Serialize) -> Response {
    json(StatusCode::OK, answer)
}

/// An answer of another media type, 200.
pub(super) fn bytes(media_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Sets `ETag: "<version>"`.
pub(super) fn set_etag(response: &mut Response, version: u64) {
    response.headers_mut().insert(ETAG, text_value(format!("\"{version}\"")));
}

/// Sets `Location`.
pub(super) fn set_location(response: &mut Response, path: String) {
    response.headers_mut().insert(LOCATION, text_value(path));
}

/// Says that the answer was given before.
pub(super) fn set_replayed(response: &mut Response, replayed: bool) {
    if replayed {
        let name = HeaderName::from_static("idempotent-replayed");
        response.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
}

/// A short header value, copied; what can't be one is `invalid`.
pub(super) fn copied_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

/// A header of our own making, which is always visible ASCII.
pub(super) fn text_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}
