//! `/docs/problems`: what the `type` of an error answer leads to.

use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use shared::wire::problem::{ErrorCode, PAGE_MEDIA_TYPE};

use super::ApiError;

/// All errors, a line each.
pub(super) async fn index() -> Response {
    ([(CONTENT_TYPE, PAGE_MEDIA_TYPE)], ErrorCode::index()).into_response()
}

/// One error.
pub(super) async fn page(Path(name): Path<String>) -> Result<Response, ApiError> {
    let code = ErrorCode::named(&name);
    let code = code.ok_or_else(|| ApiError::new(ErrorCode::NotFound, "there is no such error"))?;
    Ok(([(CONTENT_TYPE, PAGE_MEDIA_TYPE)], code.page()).into_response())
}
