//! `GET /api/inventory`: filters, order, pages. What is listed must be durable, all of it.

use axum::http::header::LINK;
use event_log::storage::Storage;
use shared::wire::cursor::PageCursor;
use shared::wire::node::answers::{ItemAnswer, ItemPage};
use shared::wire::problem::ErrorCode;
use shared::{QUANTITY_MAX, Sku};

use super::call::{Call, Outcome};
use super::failure::Failure;
use super::query::Query;
use super::{percent, reply, settle};
use crate::ledger::{LIST_LIMIT_MAX, ListCursor, ListQuery, Sort, SortKey, SortValue};

/// Rows of a page that doesn't say how many.
pub(super) const LIMIT_DEFAULT: u64 = 100;

const PARAMETERS: [&str; 12] = [
    "prefix",
    "category",
    "location",
    "active",
    "lowStock",
    "outOfStock",
    "minAvailable",
    "maxAvailable",
    "q",
    "sort",
    "limit",
    "cursor",
];

/// What a list can be sorted by, as `sort` says it.
const SORT_KEYS: [(&str, SortKey); 7] = [
    ("sku", SortKey::Sku),
    ("stock", SortKey::Stock),
    ("availableStock", SortKey::Available),
    ("reserved", SortKey::Reserved),
    ("sold", SortKey::Sold),
    ("updatedAt", SortKey::UpdatedAt),
    ("createdAt", SortKey::CreatedAt),
];

pub(super) async fn list<S: Storage>(call: Call<S>) -> Outcome {
    let query = read_query(&call)?;
    let app = call.app();
    let sort = query.sort;
    let page = if query.is_bounded() {
        app.ledger().list(&query, app.now())
    } else {
        app.search(move |app| app.ledger().list(&query, app.now())).await?
    };
    settle::read(app, page.settle).await?;
    let next_cursor = page.next.as_ref().map(|place| encode_cursor(place, sort));
    let link = next_cursor.as_deref().map(|cursor| next_link(&call, cursor));
    let store = app.store_id();
    let rows = page.rows.iter();
    let items = rows.map(|(sku, item, seq)| ItemAnswer::of_item(store, sku, item, Some(seq.get())));
    let mut response = reply::ok(&ItemPage { items: items.collect(), next_cursor });
    if let Some(link) = link {
        response.headers_mut().insert(LINK, reply::text_value(link));
    }
    Ok(response)
}

fn read_query<S: Storage>(call: &Call<S>) -> Result<ListQuery, Failure> {
    let mut query = Query::parse(call.uri(), &PARAMETERS, &["sku"]);
    let mut skus = Vec::new();
    for text in query.list("sku") {
        match Sku::new(&text) {
            Ok(sku) => skus.push(sku),
            Err(error) => query.error("sku", error.code(), error.to_string()),
        }
    }
    let limit = query.number("limit", 1, LIST_LIMIT_MAX as u64).unwrap_or(LIMIT_DEFAULT);
    let limit = usize::try_from(limit).unwrap_or(LIST_LIMIT_MAX);
    let sort = read_sort(&mut query);
    let list = ListQuery {
        skus,
        prefix: query.owned("prefix"),
        category: query.owned("category"),
        location: query.owned("location"),
        active: query.boolean("active"),
        low_stock: query.boolean("lowStock"),
        out_of_stock: query.boolean("outOfStock"),
        available_min: query.number("minAvailable", 0, QUANTITY_MAX),
        available_max: query.number("maxAvailable", 0, QUANTITY_MAX),
        text: query.owned("q"),
        sort,
        after: None,
        limit,
    };
    let cursor = query.owned("cursor");
    query.finish()?;
    let after = cursor.map(|text| decode_cursor(&text, sort)).transpose()?;
    Ok(ListQuery { after, ..list })
}

/// What `sort` says for this order.
fn sort_text(sort: Sort) -> String {
    let known = SORT_KEYS.iter().find(|(_, key)| *key == sort.key);
    let name = known.map_or("", |(name, _)| name);
    format!("{}{name}", if sort.descending { "-" } else { "" })
}

fn read_sort(query: &mut Query<'_>) -> Sort {
    let Some(text) = query.text("sort") else {
        return Sort::default();
    };
    let (name, descending) = match text.strip_prefix('-') {
        Some(name) => (name, true),
        None => (text, false),
    };
    if let Some((_, key)) = SORT_KEYS.iter().find(|(known, _)| *known == name) {
        return Sort { key: *key, descending };
    }
    let names = SORT_KEYS.map(|(name, _)| name).join(", ");
    let message = format!("must be one of {names}, with - before it for descending");
    query.error("sort", "one_of", message);
    Sort::default()
}

/// The place, and after a dot the order that it is a place of; lists by SKU alone need none.
fn encode_cursor(place: &ListCursor, sort: Sort) -> String {
    let rank = match &place.value {
        SortValue::None | SortValue::Text(_) => None,
        SortValue::Number(number) => Some(*number as i64),
    };
    let sku = place.sku.clone();
    let place = PageCursor { rank, sku }.encode();
    if sort == Sort::default() { place } else { format!("{place}.{}", sort_text(sort)) }
}

/// A cursor belongs to the order of its list.
fn decode_cursor(text: &str, sort: Sort) -> Result<ListCursor, Failure> {
    let refused = |detail: String| Failure::new(ErrorCode::InvalidCursor, detail);
    let (place, order) = match text.split_once('.') {
        Some((place, order)) => (place, order.to_owned()),
        None => (text, sort_text(Sort::default())),
    };
    let cursor =
        PageCursor::decode(place).map_err(|error| refused(format!("the cursor {error}")))?;
    let other = || refused("the cursor is of a list with another sort".to_owned());
    if order != sort_text(sort) {
        return Err(other());
    }
    let value = match (sort.key, cursor.rank) {
        (SortKey::Sku, None) => SortValue::None,
        (SortKey::Sku, Some(_)) | (_, None) => return Err(other()),
        (_, Some(rank)) => SortValue::Number(rank.unsigned_abs()),
    };
    let sku = cursor.sku;
    Ok(ListCursor { value, sku })
}

/// The same list after the cursor.
pub(super) fn next_link<S: Storage>(call: &Call<S>, cursor: &str) -> String {
    let others = call.uri().query().unwrap_or_default().split('&');
    let mut query: Vec<String> = others
        .filter(|part| !part.is_empty() && !part.starts_with("cursor="))
        .map(str::to_owned)
        .collect();
    query.push(format!("cursor={}", percent::encode(cursor)));
    format!("<{}?{}>; rel=\"next\"", call.uri().path(), query.join("&"))
}
