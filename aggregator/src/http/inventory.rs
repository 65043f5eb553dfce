//! Items over all stores: one, a page, and who could serve a basket.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use shared::wire::global::{GlobalItem, Page};
use shared::wire::problem::{ErrorCode, FieldError};
use shared::{QUANTITY_MAX, Sku, StoreId};

use super::ApiState;
use super::answer::{ApiError, json};
use super::params::{encode_cursor, page_request};
use super::present::Stores;

/// Lines of an availability question.
const AVAILABILITY_LINES_MAX: usize = 1000;

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
    body: Bytes,
) -> Result<Response, ApiError> {
    let lines = parse_basket(&body)?;
    let view = state.hub().view().clone();
    let mut items = Vec::with_capacity(lines.len());
    for (sku, quantity) in lines {
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

/// `{"items":[{"sku","quantity"}]}`, with all that is wrong at once.
fn parse_basket(body: &[u8]) -> Result<Vec<(Sku, u64)>, ApiError> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::new(ErrorCode::MalformedJson, error.to_string()))?;
    let mut errors = Vec::new();
    let mut error = |pointer: String, code: &'static str, message: &'static str| {
        errors.push(FieldError { pointer, code, message: message.into() });
    };
    let unknown = body.as_object().into_iter().flatten().filter(|(name, _)| *name != "items");
    for (name, _) in unknown {
        let message = "is not a field of availability";
        error(format!("#/{name}"), "unknown_field", message);
    }
    let mut lines = Vec::new();
    match body["items"].as_array() {
        None => error("#/items".to_owned(), "required", "must be a list of sku and quantity"),
        Some(items) if !(1..=AVAILABILITY_LINES_MAX).contains(&items.len()) => {
            error("#/items".to_owned(), "max_items", "must have 1 to 1000 lines");
        }
        Some(items) => {
            for (index, line) in items.iter().enumerate() {
                let sku = line["sku"].as_str().and_then(|text| Sku::new(text).ok());
                let quantity =
                    line["quantity"].as_u64().filter(|number| (1..=QUANTITY_MAX).contains(number));
                if sku.is_none() {
                    error(format!("#/items/{index}/sku"), "invalid", "must be a SKU");
                }
                if quantity.is_none() {
                    error(format!("#/items/{index}/quantity"), "min", "must be at least 1");
                }
                lines.extend(sku.zip(quantity));
            }
        }
    }
    if errors.is_empty() { Ok(lines) } else { Err(ApiError::validation(&errors)) }
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
