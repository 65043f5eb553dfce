//! The dead letter queue: list, look, retry, discard.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use event_log::Seq;
use garde::Validate;
use serde::{Deserialize, Serialize};
use shared::wire::body;
use shared::wire::global::Page;
use shared::wire::global_sync::DeadLetterView;
use shared::wire::problem::{ErrorCode, Problem};
use tokio::sync::oneshot;

use super::ApiState;
use super::answer::{ApiError, json};
use super::inventory::unknown_store;
use super::params::Params;
use crate::follower::Retried;
use crate::hub::StoreHandle;
use crate::sync_worker::Control;

/// Letters that one request retries.
const RETRIES_MAX: usize = 1000;

pub(super) async fn list(
    State(state): State<ApiState>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let mut params = Params::new(pairs, &["storeId", "sku", "state", "limit", "cursor"], &[]);
    let (store_id, sku) = (params.text("storeId"), params.text("sku"));
    let wanted = params.parse("state", |text| match text {
        "open" | "healed" => Ok(text == "open"),
        _ => Err("must be open or healed".to_owned()),
    });
    let limit = params.limit();
    let cursor = params.text("cursor");
    params.finish()?;
    let after = match cursor {
        None => None,
        Some(text) => Some(decode_cursor(&text)?),
    };
    let mut items = Vec::new();
    for store in state.hub().stores() {
        let Some(id) = store.store_id() else { continue };
        if store_id.as_ref().is_some_and(|wanted| *wanted != id.as_str()) {
            continue;
        }
        let letters = store.shared.letters.lock();
        let fitting = letters.iter().filter(|letter| {
            let is_after = after.as_ref().is_none_or(|(after_id, after_seq)| {
                (id.as_str(), letter.seq.get()) > (after_id.as_str(), *after_seq)
            });
            is_after
                && wanted.is_none_or(|wanted| letter.is_open() == wanted)
                && sku.as_ref().is_none_or(|sku| letter.sku.as_str() == sku)
        });
        let room = limit + 1 - items.len();
        items.extend(fitting.take(room).map(|letter| letter.view(&id)));
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| has_more);
    let next_cursor = last.map(|letter: &DeadLetterView| URL_SAFE_NO_PAD.encode(&letter.id));
    Ok(json(StatusCode::OK, &Page { items, next_cursor }))
}

pub(super) async fn one(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (store, seq) = find(&state, &id)?;
    let store_id = store.store_id().ok_or_else(|| unknown(&id))?;
    let letters = store.shared.letters.lock();
    let letter = letters.get(seq).ok_or_else(|| unknown(&id))?;
    let record = Some(STANDARD.encode(&letter.record));
    Ok(json(StatusCode::OK, &DeadLetterView { record, ..letter.view(&store_id) }))
}

pub(super) async fn discard(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (store, seq) = find(&state, &id)?;
    let (reply, done) = oneshot::channel();
    store.tell(Control::Discard { seq, reply })?;
    match done.await {
        Ok(true) => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(false) | Err(_) => Err(unknown(&id)),
    }
}

/// What became of a retry.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RetryView {
    id: String,
    /// `healed`, `marked` (readable now, waits for a digest or others) or `refused`.
    outcome: &'static str,
    reason: Option<String>,
}

pub(super) async fn retry(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (store, seq) = find(&state, &id)?;
    let outcome = retry_one(&store, seq).await?.ok_or_else(|| unknown(&id))?;
    Ok(json(StatusCode::OK, &view(id, outcome)))
}

/// Which letters to retry; all open ones where nothing is said.
#[derive(Deserialize, Validate, Default)]
#[serde(rename = "a retry", deny_unknown_fields, rename_all = "camelCase", default)]
#[garde(allow_unvalidated)]
struct RetryFilter<'a> {
    #[serde(borrow)]
    store_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sku: Option<Cow<'a, str>>,
    /// What the letter's reason must hold.
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
}

pub(super) async fn retry_many(
    State(state): State<ApiState>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let filter: RetryFilter<'_> = if bytes.is_empty() {
        RetryFilter::default()
    } else {
        body::parse(&bytes).map_err(|error| ApiError(Box::new(Problem::from(error))))?
    };
    let mut items = Vec::new();
    for store in state.hub().stores() {
        let Some(store_id) = store.store_id() else {
            continue;
        };
        if filter.store_id.as_ref().is_some_and(|wanted| *wanted != store_id.as_str()) {
            continue;
        }
        let seqs: Vec<Seq> = {
            let letters = store.shared.letters.lock();
            let chosen = letters.iter().filter(|letter| {
                letter.is_open()
                    && filter.sku.as_ref().is_none_or(|sku| letter.sku.as_str() == sku)
                    && filter.reason.as_ref().is_none_or(|reason| letter.reason.contains(&**reason))
            });
            chosen.map(|letter| letter.seq).take(RETRIES_MAX - items.len()).collect()
        };
        for seq in seqs {
            if let Some(outcome) = retry_one(&store, seq).await? {
                items.push(view(format!("{store_id}:{seq}"), outcome));
            }
        }
    }
    Ok(json(StatusCode::OK, &Page { items, next_cursor: None }))
}

async fn retry_one(store: &StoreHandle, seq: Seq) -> Result<Option<Retried>, ApiError> {
    let (reply, done) = oneshot::channel();
    store.tell(Control::Retry { seq, reply })?;
    done.await.map_err(|_| ApiError::new(ErrorCode::ShuttingDown, "the store's worker has ended"))
}

fn view(id: String, outcome: Retried) -> RetryView {
    let (outcome, reason) = match outcome {
        Retried::Healed => ("healed", None),
        Retried::StillMarked => ("marked", None),
        Retried::StillRefused(reason) => ("refused", Some(reason)),
    };
    RetryView { id, outcome, reason }
}

fn unknown(id: &str) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("there is no dead letter {id}"))
}

/// The store and the seq of a letter's id, `<store id>:<seq>`.
fn find(state: &ApiState, id: &str) -> Result<(Arc<StoreHandle>, Seq), ApiError> {
    let (store_id, seq) = parse_id(id).ok_or_else(|| unknown(id))?;
    let store = state.hub().store(&store_id).ok_or_else(|| unknown_store(&store_id))?;
    Ok((store, Seq::new(seq)))
}

fn parse_id(id: &str) -> Option<(String, u64)> {
    let (store_id, seq) = id.rsplit_once(':')?;
    Some((store_id.to_owned(), seq.parse().ok()?))
}

fn decode_cursor(text: &str) -> Result<(String, u64), ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let parsed = bytes.and_then(|id| parse_id(&id));
    parsed.ok_or_else(|| {
        ApiError::new(ErrorCode::InvalidCursor, "cursor is not one that a list returned")
    })
}
