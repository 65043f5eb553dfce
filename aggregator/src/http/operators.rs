//! What operators may tell the sync. Long work answers 202 with where its job is to be seen.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use shared::wire::global::Page;
use shared::wire::problem::ErrorCode;

use super::ApiState;
use super::answer::{ApiError, json};
use super::inventory::unknown_store;
use crate::hub::{StoreHandle, TellError};
use crate::jobs::JobKind;
use crate::sync_worker::Control;

impl From<TellError> for ApiError {
    fn from(error: TellError) -> Self {
        let code = match error {
            TellError::Busy => ErrorCode::Overloaded,
            TellError::Ended => ErrorCode::ShuttingDown,
        };
        Self::new(code, error.to_string())
    }
}

impl ApiState {
    pub(super) fn find(&self, id: &str) -> Result<Arc<StoreHandle>, ApiError> {
        self.hub().store(id).ok_or_else(|| unknown_store(id))
    }

    fn begin(&self, kind: JobKind, store: Option<&StoreHandle>) -> Result<Response, ApiError> {
        let id = self.hub().bootstrap(kind, store)?;
        let job = self.hub().jobs().get(&id);
        let mut response = json(StatusCode::ACCEPTED, &job);
        if let Ok(location) = HeaderValue::from_str(&format!("/api/jobs/{id}")) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    }
}

pub(super) async fn pause(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let store = state.find(&id)?;
    store.tell(Control::Pause)?;
    Ok(StatusCode::ACCEPTED.into_response())
}

pub(super) async fn resume(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let store = state.find(&id)?;
    store.tell(Control::Resume)?;
    Ok(StatusCode::ACCEPTED.into_response())
}

pub(super) async fn resync(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    state.begin(JobKind::Resync, Some(&*state.find(&id)?))
}

pub(super) async fn rebind(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    state.begin(JobKind::Rebind, Some(&*state.find(&id)?))
}

pub(super) async fn rebuild(State(state): State<ApiState>) -> Result<Response, ApiError> {
    state.begin(JobKind::Rebuild, None)
}

pub(super) async fn jobs(State(state): State<ApiState>) -> Response {
    let page = Page { items: state.hub().jobs().list(), next_cursor: None };
    json(StatusCode::OK, &page)
}

pub(super) async fn job(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let job = state.hub().jobs().get(&id).ok_or_else(|| unknown_job(&id))?;
    Ok(json(StatusCode::OK, &job))
}

/// Stops what is left of a job; its stores stay as they are.
pub(super) async fn cancel(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    if !state.hub().cancel(&id) {
        return Err(unknown_job(&id));
    }
    let job = state.hub().jobs().get(&id).ok_or_else(|| unknown_job(&id))?;
    Ok(json(StatusCode::ACCEPTED, &job))
}

fn unknown_job(id: &str) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("no job {id} is remembered"))
}
