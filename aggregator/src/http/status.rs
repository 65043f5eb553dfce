//! The summary and the state of the sync.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::wire::global::{StoreSummary, Summary, SummaryRow};
use shared::wire::global_sync::{GlobalSync, StoreSync, SyncState, SyncStatus};
use shared::wire::problem::ErrorCode;

use super::ApiState;
use super::answer::{ApiError, json};
use super::params::Params;
use crate::hub::Hub;
use crate::view::{MemoryView, Sums};

pub(super) async fn summary(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let view = state.hub().view().clone();
    let now = (state.hub().clock())();
    let (total, stores) = state.query(move || summary_of(&view)).await?;
    Ok(json(StatusCode::OK, &Summary { as_of: now, total, stores }))
}

fn summary_of(view: &MemoryView) -> (SummaryRow, Vec<StoreSummary>) {
    let mut total = SummaryRow::default();
    let mut stores = Vec::new();
    for slot in view.visible().iter() {
        let row = row_of(&view.sums(slot));
        total.stock = total.stock.saturating_add(row.stock);
        total.reserved = total.reserved.saturating_add(row.reserved);
        total.sold = total.sold.saturating_add(row.sold);
        total.available_stock = total.available_stock.saturating_add(row.available_stock);
        stores.push(StoreSummary { store_id: slot.store_id.clone(), row });
    }
    (total.items, total.low_stock, total.out_of_stock) = view.distinct();
    (total.with_percent(), stores)
}

fn row_of(sums: &Sums) -> SummaryRow {
    let clamp = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
    SummaryRow {
        items: sums.items,
        stock: clamp(sums.stock),
        reserved: clamp(sums.reserved),
        sold: clamp(sums.sold),
        available_stock: clamp(sums.available),
        low_stock: sums.low_stock,
        out_of_stock: sums.out_of_stock,
        availability_percent: 0.0,
    }
    .with_percent()
}

pub(super) async fn sync_status(
    State(state): State<ApiState>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let mut params = Params::new(pairs, &["state", "limit", "cursor"], &[]);
    let wanted = params.parse("state", |text| {
        let names = SyncState::ALL.map(SyncState::name).join(", ");
        SyncState::parse(text).ok_or_else(|| format!("must be one of {names}"))
    });
    let limit = params.limit();
    let cursor = params.text("cursor");
    params.finish()?;
    let after = match cursor {
        None => None,
        Some(text) => Some(decode_cursor(&text)?),
    };
    let as_of = (state.hub().clock())();
    let all: Vec<StoreSync> =
        state.hub().stores().iter().map(|store| store.shared.view(as_of)).collect();
    let global = global(state.hub(), &all);
    let is_wanted = |store: &StoreSync| {
        wanted.is_none_or(|wanted| store.state == wanted)
            && after.as_ref().is_none_or(|after| sort_key(store) > *after)
    };
    let mut stores: Vec<StoreSync> = all.into_iter().filter(is_wanted).collect();
    let has_more = stores.len() > limit;
    stores.truncate(limit);
    let last = stores.last().filter(|_| has_more);
    let next_cursor = last.map(|store| URL_SAFE_NO_PAD.encode(sort_key(store)));
    Ok(json(StatusCode::OK, &SyncStatus { as_of, global, stores, next_cursor }))
}

/// Orders stores as the hub does: by id, those never reached last, by URL.
fn sort_key(store: &StoreSync) -> String {
    match &store.store_id {
        Some(id) => format!("0{id}"),
        None => format!("1{}", store.url),
    }
}

fn decode_cursor(text: &str) -> Result<String, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    bytes.ok_or_else(|| {
        ApiError::new(ErrorCode::InvalidCursor, "cursor is not one that a list returned")
    })
}

/// All stores together.
pub(super) fn global(hub: &Hub, stores: &[StoreSync]) -> GlobalSync {
    let lags: Option<Vec<i64>> = stores.iter().map(|store| store.lag_ms).collect();
    GlobalSync {
        stores: stores.len() as u64,
        live: stores.iter().filter(|store| store.state == SyncState::Live).count() as u64,
        worst_lag_ms: lags.map(|lags| lags.into_iter().max().unwrap_or(0)),
        worst_lag_events: stores.iter().filter_map(|store| store.lag_events).max().unwrap_or(0),
        events_per_second: hub.events_per_second(),
        dead_letters: stores.iter().map(|store| store.dead_letters).sum(),
        all_verified: stores.iter().all(|store| store.verified),
    }
}
