//! Items over all stores: one, a page, and who could serve a basket.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::wire::body;
use shared::wire::global::{GlobalItem, Page};
use shared::wire::node::availability::AvailabilityBody;
use shared::wire::problem::{ErrorCode, Problem};
use shared::{Sku, StoreId};

use super::ApiState;
use super::answer::{ApiError, json};
use super::params::{encode_cursor, page_request};
use super::present::Stores;

pub(super) async fn one(
    State(state): State<ApiState>,
    Path(sku): Path<String>,
) -> Result<Response, ApiError> {
    let unknown = || {
        ApiError::new(ErrorCode::UnknownSku, format!("no store has {sku}"))
            .with("sku", sku.as_str())
    };
    // What can't be a SKU isn't one that any store has.
    let parsed = Sku::new(&sku).map_err(|_| unknown())?;
    let row = state.hub().view().item(&parsed).ok_or_else(unknown)?;
    let item = Stores::of(state.hub()).item(&row).ok_or_else(unknown)?;
    Ok(json(StatusCode::OK, &item))
}

pub(super) async fn list(
    State(state): State<ApiState>,
    Query(pairs): Query<Vec<(String, String)>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let request = page_request(pairs)?;
    if let Some(store_id) = &request.filter.store_id
        && state.hub().store(store_id.as_str()).is_none()
    {
        return Err(unknown_store(store_id.as_str()));
    }
    let view = state.hub().view().clone();
    let (rows, next_cursor) = state
        .query(move || {
            let (rows, place) = view.page(&request);
            (rows, place.map(|place| encode_cursor(&place, &request)))
        })
        .await?;
    let stores = Stores::of(state.hub());
    let items: Vec<GlobalItem> = rows.iter().filter_map(|row| stores.item(row)).collect();
    let link = next_cursor.as_deref().and_then(|cursor| next_link(&uri, cursor));
    let wants_csv = headers.get_all(header::ACCEPT).iter().any(|accept| {
        accept
            .to_str()
            .is_ok_and(|accept| accept.split(',').any(|one| one.trim().starts_with("text/csv")))
    });
    let mut response = if wants_csv {
        let media_type = HeaderValue::from_static("text/csv; charset=utf-8");
        ([(header::CONTENT_TYPE, media_type)], csv(&items)).into_response()
    } else {
        json(StatusCode::OK, &Page { items, next_cursor })
    };
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Which stores could serve each line, and which the whole basket.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Availability {
    items: Vec<AvailabilityLine>,
    stores: Vec<StoreId>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AvailabilityLine {
    sku: Sku,
    quantity: u64,
    available: bool,
    available_stock: u64,
    stores: Vec<StoreId>,
}

pub(super) async fn availability(
    State(state): State<ApiState>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let basket: AvailabilityBody<'_> =
        body::parse(&bytes).map_err(|error| ApiError(Box::new(Problem::from(error))))?;
    let view = state.hub().view().clone();
    let mut items = Vec::with_capacity(basket.items.len());
    for line in &basket.items {
        let (sku, quantity) = (line.sku(), line.quantity().get());
        let parts = view.item(&sku).map(|row| row.parts).unwrap_or_default();
        let available =
            |part: &crate::view::query::ItemPart| part.held.cell.quantities.available().get();
        let available_stock: u64 = parts.iter().map(&available).sum();
        let can_serve = parts.iter().filter(|part| available(part) >= quantity);
        let stores: Vec<StoreId> = can_serve.map(|part| part.store_id.clone()).collect();
        let is_available = available_stock >= quantity;
        items.push(AvailabilityLine {
            sku,
            quantity,
            available: is_available,
            available_stock,
            stores,
        });
    }
    let mut stores: Vec<StoreId> =
        items.first().map(|line| line.stores.clone()).unwrap_or_default();
    stores.retain(|store| items.iter().all(|line| line.stores.contains(store)));
    Ok(json(StatusCode::OK, &Availability { items, stores }))
}

pub(super) fn unknown_store(id: &str) -> ApiError {
    ApiError::new(ErrorCode::UnknownStore, format!("no store {id} is followed")).with("storeId", id)
}

/// The same request with the next cursor.
fn next_link(uri: &Uri, cursor: &str) -> Option<HeaderValue> {
    let kept = uri
        .query()
        .unwrap_or("")
        .split('&')
        .filter(|pair| !pair.is_empty() && *pair != "cursor" && !pair.starts_with("cursor="));
    let mut pairs: Vec<&str> = kept.collect();
    let cursor = format!("cursor={cursor}");
    pairs.push(&cursor);
    HeaderValue::from_str(&format!("<{}?{}>; rel=\"next\"", uri.path(), pairs.join("&"))).ok()
}

/// RFC 4180: one line an item, totals empty where units differ.
fn csv(items: &[GlobalItem]) -> String {
    let mut text =
        String::from("sku,name,unit,stock,reserved,sold,availableStock,stores,oversold\r\n");
    for item in items {
        let totals = item.total.map_or(
            [String::new(), String::new(), String::new(), String::new()],
            |total| {
                [total.stock, total.reserved, total.sold, total.available_stock]
                    .map(|number| number.to_string())
            },
        );
        let name = item.name.as_deref().unwrap_or("");
        let unit = item.unit.as_deref().unwrap_or("");
        let [stock, reserved, sold, available] = totals;
        let (stores, oversold) = (item.stores.len().to_string(), item.oversold.to_string());
        let fields = [
            item.sku.as_str(),
            name,
            unit,
            &stock,
            &reserved,
            &sold,
            &available,
            &stores,
            &oversold,
        ];
        text.push_str(&fields.map(csv_field).join(","));
        text.push_str("\r\n");
    }
    text
}

fn csv_field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
