//! `/docs/problems`: what the `type` of an error answer leads to.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use axum::routing::MethodFilter;
use event_log::storage::Storage;
use shared::wire::problem::{ErrorCode, PAGE_MEDIA_TYPE};

use super::app::App;
use super::call::{Call, Outcome, route};
use super::failure::Failure;
use super::metrics::Endpoint;

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new()
        .route("/docs/problems", route(MethodFilter::GET, Endpoint::Problems, index))
        .route("/docs/problems/{name}", route(MethodFilter::GET, Endpoint::Problems, page))
}

async fn index<S: Storage>(_call: Call<S>) -> Outcome {
    Ok(text(ErrorCode::index()))
}

async fn page<S: Storage>(call: Call<S>) -> Outcome {
    let name = call.segment(2, "name")?;
    let code = ErrorCode::named(&name);
    let code = code.ok_or_else(|| Failure::new(ErrorCode::NotFound, "there is no such error"))?;
    Ok(text(code.page()))
}

fn text(page: String) -> Response {
    let mut response = Response::new(Body::from(page));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PAGE_MEDIA_TYPE));
    response
}
