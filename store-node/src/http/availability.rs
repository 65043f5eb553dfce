//! `POST /api/availability`: can this basket be served? A question only; it reserves nothing.

use std::sync::Arc;

use axum::Router;
use axum::routing::MethodFilter;
use event_log::storage::Storage;
use shared::wire::body::parse;
use shared::wire::node::availability::{
    AvailabilityAnswer, AvailabilityBody, AvailabilityLine, AvailabilityVerdict,
};
use shared::{Quantities, Sku};

use super::app::App;
use super::body::{self, BODY_BYTES_MAX};
use super::call::{Call, Outcome, route};
use super::metrics::Endpoint;
use super::{query, reply, settle};

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new()
        .route("/api/availability", route(MethodFilter::POST, Endpoint::Availability, availability))
}

async fn availability<S: Storage>(mut call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    let bytes = body::read_json(&mut call, BODY_BYTES_MAX).await?;
    let (skus, wanted) = {
        let body: AvailabilityBody<'_> = parse(&bytes)?;
        let skus: Vec<Sku> = body.items.iter().map(AvailabilityLine::sku).collect();
        let wanted: Vec<_> = body.items.iter().map(AvailabilityLine::quantity).collect();
        (skus, wanted)
    };
    let app = call.app();
    let read = app.ledger().availability(&skus, app.now());
    settle::read(app, read.settle).await?;
    let lines = skus.iter().zip(wanted).zip(&read.rows);
    let items: Vec<AvailabilityVerdict<'_>> = lines
        .map(|((sku, quantity), row)| {
            let active = row.as_ref().is_some_and(|row| row.flags.active);
            let quantities = row.as_ref().map_or(Quantities::default(), |row| row.quantities);
            AvailabilityVerdict {
                sku: sku.as_str(),
                quantity,
                available_stock: quantities.available(),
                sellable: quantities.sellable(),
                available: active && quantities.available() >= quantity,
                known: row.is_some(),
            }
        })
        .collect();
    let store_id = app.store_id().as_str();
    let available = items.iter().all(|line| line.available);
    Ok(reply::ok(&AvailabilityAnswer { store_id, available, items }))
}
