//! One store of the sync: look at it, follow it from now on, stop following it. What is said here is
//! durable before it is answered; how it goes together with the configuration is `registry`'s rule.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use garde::Validate;
use serde::Deserialize;
use shared::StoreId;
use shared::wire::body::{self, BodyError, rule_error};
use shared::wire::problem::{ErrorCode, FieldError, Problem};

use super::ApiState;
use super::answer::{ApiError, json};
use super::inventory::unknown_store;
use crate::address::NodeAddress;
use crate::hub::{ChangeError, StoreSpec};
use crate::registry::NAME_BYTES_MAX;
use crate::timezone::TimeZoneName;

/// The body of `PUT /api/sync/stores/{id}`: all that is said of the store; what isn't sent is none.
#[derive(Debug, Deserialize, Validate)]
#[serde(rename = "a store", rename_all = "camelCase", deny_unknown_fields)]
struct StoreBody<'a> {
    /// Where its node answers: `http://host:port`.
    #[serde(borrow)]
    #[garde(custom(node_url))]
    url: Cow<'a, str>,
    /// What people call it.
    #[serde(borrow, default)]
    #[garde(length(bytes, min = 1, max = NAME_BYTES_MAX))]
    name: Option<Cow<'a, str>>,
    /// Its IANA time zone.
    #[serde(borrow, default)]
    #[garde(inner(custom(time_zone)))]
    timezone: Option<Cow<'a, str>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde passes a reference to its context")]
fn node_url(text: &str, (): &()) -> garde::Result {
    http_url(text).map(drop).map_err(|problem| rule_error("url", problem))
}

/// Which paths of this machine are read is for the configuration to say, not for callers.
fn http_url(text: &str) -> Result<String, String> {
    match NodeAddress::parse(text)? {
        NodeAddress::Http(url) => Ok(url),
        NodeAddress::Directory(_) => Err("must begin with http://".to_owned()),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde passes a reference to its context")]
fn time_zone(text: &str, (): &()) -> garde::Result {
    TimeZoneName::parse(text).map(drop).map_err(|error| rule_error("time_zone", error))
}

pub(super) async fn one(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    show(&state, StatusCode::OK, &id)
}

pub(super) async fn put(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let (store_id, spec) = read(&id, &bytes)?;
    let is_new = state.hub().put(store_id, spec).await.map_err(|error| refusal(&error, &id))?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = show(&state, status, &id)?;
    if is_new && let Ok(location) = HeaderValue::from_str(&format!("/api/sync/stores/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

pub(super) async fn remove(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let store_id = StoreId::new(&id).map_err(|_| unknown_store(&id))?;
    state.hub().remove(store_id).await.map_err(|error| refusal(&error, &id))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn show(state: &ApiState, status: StatusCode, id: &str) -> Result<Response, ApiError> {
    Ok(json(status, &state.find(id)?.answer((state.hub().clock())())))
}

/// Whom and what, with all that is wrong at once.
fn read(id: &str, bytes: &[u8]) -> Result<(StoreId, StoreSpec), ApiError> {
    let store_id = StoreId::new(id).map_err(|error| FieldError {
        pointer: "path:id".to_owned(),
        code: "invalid",
        message: error.to_string().into(),
    });
    let body = body::parse::<StoreBody<'_>>(bytes);
    match (store_id, body) {
        (Ok(store_id), Ok(body)) => {
            // The body's rules checked both.
            let timezone = body.timezone.and_then(|text| TimeZoneName::parse(&text).ok());
            let url = http_url(&body.url).unwrap_or_default();
            let name = body.name.map(Cow::into_owned);
            Ok((store_id.clone(), StoreSpec { url, store_id: Some(store_id), name, timezone }))
        }
        (Err(error), Err(BodyError::Invalid(mut errors))) => {
            errors.insert(0, error);
            Err(ApiError::validation(&errors))
        }
        (Err(error), Ok(_)) => Err(ApiError::validation(&[error])),
        (_, Err(error)) => Err(ApiError(Box::new(Problem::from(error)))),
    }
}

fn refusal(error: &ChangeError, id: &str) -> ApiError {
    let code = match error {
        ChangeError::Unknown => return unknown_store(id),
        ChangeError::UrlTaken(other) => {
            let other = other.as_str();
            return ApiError::new(ErrorCode::AlreadyExists, error.to_string())
                .with("storeId", other);
        }
        ChangeError::Full => ErrorCode::Overloaded,
        ChangeError::NotDurable(_) => ErrorCode::ReadOnly,
        ChangeError::NotFollowed(_) => ErrorCode::Internal,
    };
    ApiError::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: &str, body: &str) -> Result<StoreSpec, String> {
        read(id, body.as_bytes()).map(|(_, spec)| spec).map_err(|error| {
            let Some(errors) = error.0.extra.get("errors").and_then(|errors| errors.as_array())
            else {
                return error.0.error.to_owned();
            };
            let words = errors.iter().map(|error| {
                let text = |name: &str| error[name].as_str().unwrap_or("?").to_owned();
                format!("{} {}", text("pointer"), text("code"))
            });
            words.collect::<Vec<_>>().join(", ")
        })
    }

    #[test]
    fn a_store_is_read_and_spelt_one_way() {
        let body = r#"{"url":"http://a:1/","name":"Mitte","timezone":"europe/berlin"}"#;
        let spec = check("store-a", body).unwrap();
        assert_eq!((spec.url.as_str(), spec.name.as_deref()), ("http://a:1", Some("Mitte")));
        assert_eq!(spec.timezone.unwrap().as_str(), "Europe/Berlin");
        assert_eq!(check("store-a", r#"{"url":"http://a:1"}"#).unwrap().name, None);
    }

    #[test]
    fn all_errors_of_a_store_are_told_at_once() {
        for (id, body, errors) in [
            (
                "../x",
                r#"{"url":"ftp://a","name":"","timezone":"Mars","nmae":"x"}"#,
                "path:id invalid, #/url url, #/name min_length, #/timezone time_zone, #/nmae unknown_field",
            ),
            ("a", "{}", "#/url required"),
            ("a", r#"{"url":"http://a?x=1","name":7}"#, "#/url url, #/name type"),
            ("a", r#"{"url":"file:///etc"}"#, "#/url url"),
            ("..", r#"{"url":"http://a"}"#, "path:id invalid"),
            ("a", "{", "MalformedJson"),
        ] {
            let mut found: Vec<String> =
                check(id, body).unwrap_err().split(", ").map(str::to_owned).collect();
            let mut expected: Vec<String> = errors.split(", ").map(str::to_owned).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{id} {body}");
        }
    }
}
