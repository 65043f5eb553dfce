//! Answers: JSON, or a problem whose `instance` is filled in on the way out.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::wire::problem::{ErrorCode, FieldError, PROBLEM_MEDIA_TYPE, Problem};

/// Seconds that a refused caller should wait.
const RETRY_AFTER_SECONDS: &str = "1";

/// An error answer.
#[derive(Debug, Clone)]
pub struct ApiError(pub(super) Box<Problem>);

impl ApiError {
    /// An error with what is wrong in words.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(code, detail)))
    }

    /// All broken rules of a request.
    pub fn validation(errors: &[FieldError]) -> Self {
        Self(Box::new(Problem::validation(errors)))
    }

    /// The same with one more member.
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        Self(Box::new(self.0.with(name, value)))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            let seconds = HeaderValue::from_static(RETRY_AFTER_SECONDS);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let media_type = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, media_type)], bytes).into_response()
        }
        Err(error) => ApiError::new(ErrorCode::Internal, error.to_string()).into_response(),
    }
}

/// The bytes of a problem, once its request is known.
pub(super) fn problem_body(error: ApiError, request_id: &str) -> (HeaderValue, Vec<u8>) {
    let mut problem = *error.0;
    request_id.clone_into(&mut problem.instance);
    let media_type = HeaderValue::from_static(PROBLEM_MEDIA_TYPE);
    (media_type, serde_json::to_vec(&problem).unwrap_or_default())
}
