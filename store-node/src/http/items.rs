//! `/api/inventory` and `/api/inventory/{sku}`: create, get, update, deactivate. (`list` has the
//! list, `movements` and `reservations` the verbs.)

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::MethodFilter;
use event_log::storage::Storage;
use shared::wire::body::parse;
use shared::wire::node::answers::{ItemAnswer, VerbAnswer};
use shared::wire::node::items::{CreateBody, DeactivateBody, UpdateBody};
use shared::{Rejection, Sku};

use super::app::App;
use super::body::{self, BODY_BYTES_MAX};
use super::call::{Call, Outcome, route};
use super::execute::{Asked, Settled, asked, execute};
use super::failure::Failure;
use super::metrics::Endpoint;
use super::{headers, list, percent, query, reply, settle};
use crate::ledger::{Answer, Refused};

/// The media type of a merge patch (RFC 7396), as good as plain JSON.
const MERGE_PATCH: &str = "application/merge-patch+json";

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new()
        .route(
            "/api/inventory",
            route(MethodFilter::POST, Endpoint::Create, create).merge(route(
                MethodFilter::GET,
                Endpoint::List,
                list::list,
            )),
        )
        .route(
            "/api/inventory/{sku}",
            route(MethodFilter::GET, Endpoint::Get, get)
                .merge(route(MethodFilter::PATCH, Endpoint::Update, update))
                .merge(route(MethodFilter::DELETE, Endpoint::Deactivate, deactivate)),
        )
}

/// The path of an item.
pub(super) fn path_of(sku: &Sku) -> String {
    format!("/api/inventory/{}", percent::encode(sku.as_str()))
}

async fn create<S: Storage>(mut call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    let bytes = body::read_json(&mut call, BODY_BYTES_MAX).await?;
    let (sku, asked) = {
        let body: CreateBody<'_> = parse(&bytes)?;
        (body.sku(), Asked::of(&body))
    };
    let settled = execute(call, sku, asked, bytes)?.await?;
    let mut response = item_answer(&settled, StatusCode::CREATED)?;
    if let Answer::Changed { event, .. } = &settled.answer {
        reply::set_location(&mut response, path_of(&event.sku));
    }
    Ok(response)
}

async fn get<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    let sku = call.sku()?;
    let app = call.app();
    let Some(read) = app.ledger().read(&sku, app.now())? else {
        return Err(Failure::refused(&Refused { sku, rejection: Rejection::UnknownSku }));
    };
    settle::read(app, read.settle).await?;
    let version = read.item.cell().version.get();
    let mut response = if headers::has_version(call.headers(), version) {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let seq = Some(read.settle.get());
        reply::ok(&ItemAnswer::of_item(app.store_id(), &sku, &read.item, seq))
    };
    reply::set_etag(&mut response, version);
    Ok(response)
}

async fn update<S: Storage>(mut call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    let sku = call.sku()?;
    headers::require_json(call.headers(), Some(MERGE_PATCH))?;
    let bytes = body::read(&mut call, BODY_BYTES_MAX).await?;
    let asked = asked::<UpdateBody<'_>>(&bytes)?;
    item_answer(&execute(call, sku, asked, bytes)?.await?, StatusCode::OK)
}

/// The body of `DELETE` may be empty.
async fn deactivate<S: Storage>(mut call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    let sku = call.sku()?;
    let bytes = body::read(&mut call, BODY_BYTES_MAX).await?;
    let asked = if bytes.is_empty() {
        Asked::of(&DeactivateBody::default())
    } else {
        headers::require_json(call.headers(), None)?;
        asked::<DeactivateBody>(&bytes)?
    };
    item_answer(&execute(call, sku, asked, bytes)?.await?, StatusCode::OK)
}

/// The full item after a create, update or deactivate; its quantities alone where a repeated
/// request had changed nothing and the item has moved on since.
fn item_answer<S: Storage>(settled: &Settled<S>, status: StatusCode) -> Outcome {
    let store = settled.app.store_id();
    let (mut response, version) = match &settled.answer {
        Answer::Changed { seq, event } => {
            let answer = ItemAnswer::of_event(store, event, seq.get()).ok_or_else(|| {
                Failure::internal(format!("{} made no item", event.change.name()))
            })?;
            let answer = if status == StatusCode::CREATED { answer } else { answer.changed(true) };
            (reply::json(status, &answer), event.version)
        }
        Answer::Unchanged { sku, version, item: Some(item), .. } => {
            let answer = ItemAnswer::of_item(store, sku, item, None).changed(false);
            (reply::ok(&answer), *version)
        }
        Answer::Unchanged { sku, version, quantities, item: None, .. } => {
            (reply::ok(&VerbAnswer::unchanged(store, sku, *version, quantities)), *version)
        }
    };
    reply::set_etag(&mut response, version.get());
    reply::set_replayed(&mut response, settled.replayed);
    Ok(response)
}
