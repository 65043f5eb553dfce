//! `/api/inventory/{sku}/reserve`, `extend`, `release`, `deduct`, and `GET /api/reservations`: the
//! live ones. What is listed must be durable, all of it.

use std::sync::Arc;

use axum::Router;
use axum::http::header::LINK;
use axum::routing::MethodFilter;
use event_log::storage::Storage;
use shared::ids::IdError;
use shared::wire::cursor::ReservationCursor;
use shared::wire::node::reservations::{DeductBody, ExtendBody, ReleaseBody, ReserveBody};
use shared::wire::node::reserved::{ReservationPage, ReservationView};
use shared::wire::problem::ErrorCode;
use shared::{OrderId, Sku, Timestamp};

use super::app::App;
use super::call::{Call, Outcome, route};
use super::execute::asked;
use super::failure::Failure;
use super::list::{LIMIT_DEFAULT, next_link};
use super::metrics::Endpoint;
use super::movements::verb;
use super::query::Query;
use super::{reply, settle};
use crate::ledger::{LIST_LIMIT_MAX, ReservedQuery};

const PARAMETERS: [&str; 5] = ["orderId", "sku", "expiresBefore", "limit", "cursor"];

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new()
        .route("/api/reservations", route(MethodFilter::GET, Endpoint::Reservations, list))
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

async fn list<S: Storage>(call: Call<S>) -> Outcome {
    let query = read_query(&call)?;
    let app = call.app();
    let page = if query.is_bounded() {
        app.ledger().reserved(&query, app.now())
    } else {
        app.search(move |app| app.ledger().reserved(&query, app.now())).await?
    };
    settle::read(app, page.settle).await?;
    let last = page.rows.last().filter(|_| page.more);
    let next_cursor = last.map(|row| {
        ReservationCursor { sku: row.sku.clone(), order_id: row.order_id.clone() }.encode()
    });
    let link = next_cursor.as_deref().map(|cursor| next_link(&call, cursor));
    let rows = page.rows.iter();
    let items = rows.map(|row| ReservationView::new(&row.sku, &row.order_id, &row.reservation));
    let mut response = reply::ok(&ReservationPage { items: items.collect(), next_cursor });
    if let Some(link) = link {
        response.headers_mut().insert(LINK, reply::text_value(link));
    }
    Ok(response)
}

fn read_query<S: Storage>(call: &Call<S>) -> Result<ReservedQuery, Failure> {
    let mut query = Query::parse(call.uri(), &PARAMETERS, &[]);
    let order_id = query.owned("orderId").and_then(|text| {
        let parsed = OrderId::new(&text);
        parsed.map_err(|error| query.error("orderId", id_code(error), error.to_string())).ok()
    });
    let sku = query.owned("sku").and_then(|text| {
        let parsed = Sku::new(&text);
        parsed.map_err(|error| query.error("sku", error.code(), error.to_string())).ok()
    });
    let expires_before = query.owned("expiresBefore").and_then(|text| {
        let parsed = Timestamp::parse(&text);
        parsed.map_err(|error| query.error("expiresBefore", "time", error.to_string())).ok()
    });
    let limit = query.number("limit", 1, LIST_LIMIT_MAX as u64).unwrap_or(LIMIT_DEFAULT);
    let limit = usize::try_from(limit).unwrap_or(LIST_LIMIT_MAX);
    let cursor = query.owned("cursor");
    query.finish()?;
    let after = cursor.map(|text| ReservationCursor::decode(&text)).transpose();
    let after = after
        .map_err(|error| Failure::new(ErrorCode::InvalidCursor, format!("the cursor {error}")))?;
    let after = after.map(|cursor| (cursor.sku, cursor.order_id));
    Ok(ReservedQuery { order_id, sku, expires_before, after, limit })
}

fn id_code(error: IdError) -> &'static str {
    match error {
        IdError::Empty => "min_length",
        IdError::TooLong { .. } => "max_length",
        IdError::BadCharacter(_) => "control_character",
    }
}
