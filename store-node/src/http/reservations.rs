//! `/api/inventory/{sku}/reserve`, `extend`, `release`, `deduct`.

use std::sync::Arc;

use axum::Router;
use event_log::storage::Storage;
use shared::wire::node::reservations::{DeductBody, ExtendBody, ReleaseBody, ReserveBody};

use super::app::App;
use super::execute::asked;
use super::metrics::Endpoint;
use super::movements::verb;

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new()
        .route(
            "/api/inventory/{sku}/reserve",
            verb(Endpoint::Reserve, |body| asked::<ReserveBody<'_>>(body)),
        )
        .route(
            "/api/inventory/{sku}/extend",
            verb(Endpoint::Extend, |body| asked::<ExtendBody<'_>>(body)),
        )
        .route(
            "/api/inventory/{sku}/release",
            verb(Endpoint::Release, |body| asked::<ReleaseBody<'_>>(body)),
        )
        .route(
            "/api/inventory/{sku}/deduct",
            verb(Endpoint::Deduct, |body| asked::<DeductBody<'_>>(body)),
        )
}
