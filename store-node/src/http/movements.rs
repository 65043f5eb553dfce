//! `/api/inventory/{sku}/receive`, `sell`, `return`, `adjust`, and the way that all verbs on one
//! item go.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodFilter, MethodRouter};
use event_log::storage::Storage;
use shared::wire::body::BodyError;
use shared::wire::node::answers::VerbAnswer;
use shared::wire::node::movements::{AdjustBody, ReceiveBody, ReturnBody, SellBody};

use super::app::App;
use super::body::{self, BODY_BYTES_MAX};
use super::call::{Call, Outcome, route};
use super::execute::{Asked, asked, execute};
use super::metrics::Endpoint;
use super::{query, reply};
use crate::ledger::Answer;

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new()
        .route(
            "/api/inventory/{sku}/receive",
            verb(Endpoint::Receive, |body| asked::<ReceiveBody<'_>>(body)),
        )
        .route(
            "/api/inventory/{sku}/sell",
            verb(Endpoint::Sell, |body| asked::<SellBody<'_>>(body)),
        )
        .route(
            "/api/inventory/{sku}/return",
            verb(Endpoint::Return, |body| asked::<ReturnBody<'_>>(body)),
        )
        .route(
            "/api/inventory/{sku}/adjust",
            verb(Endpoint::Adjust, |body| asked::<AdjustBody<'_>>(body)),
        )
}

/// How a verb's body is read.
pub(super) type Read = fn(&[u8]) -> Result<Asked, BodyError>;

/// The route of a verb.
pub(super) fn verb<S: Storage>(endpoint: Endpoint, read: Read) -> MethodRouter<Arc<App<S>>> {
    route(MethodFilter::POST, endpoint, move |call| apply(call, read))
}

/// Does a verb.
#[expect(clippy::manual_async_fn, reason = "an async fn holds what it is given twice")]
pub(super) fn apply<S: Storage>(
    mut call: Call<S>,
    read: Read,
) -> impl Future<Output = Outcome> + Send {
    async move {
        query::require_none(call.uri())?;
        let sku = call.sku()?;
        let bytes = body::read_json(&mut call, BODY_BYTES_MAX).await?;
        let asked = read(&bytes)?;
        let settled = execute(call, sku, asked, bytes)?.await?;
        let store = settled.app.store_id();
        let (mut response, version) = match &settled.answer {
            Answer::Changed { seq, event } => {
                (reply::ok(&VerbAnswer::of_event(store, event, seq.get())), event.version)
            }
            Answer::Unchanged { sku, version, quantities, reservation, .. } => {
                let answer = VerbAnswer::unchanged(store, sku, *version, quantities)
                    .with_reservation(reservation.as_ref());
                (reply::ok(&answer), *version)
            }
        };
        reply::set_etag(&mut response, version.get());
        reply::set_replayed(&mut response, settled.replayed);
        Ok(response)
    }
}
