//! The headers that carry meaning: `If-Match`, `If-None-Match`, `Idempotency-Key`, `Content-Type`.
//! A header that can't be honoured must be refused, never ignored.

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, Method, Uri};
use shared::Version;
use shared::wire::node::stream::check_idempotency_key;
use shared::wire::problem::ErrorCode;

use super::failure::Failure;
use crate::ledger::RequestKey;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The media type of nearly all bodies.
pub(super) const JSON_MEDIA_TYPE: &str = "application/json";
const KEY_POINTER: &str = "header:Idempotency-Key";
const MATCH_POINTER: &str = "header:If-Match";

/// Which version of the item the caller wants to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precondition {
    /// Any.
    None,
    /// Any that exists (`If-Match: *`).
    Exists,
    /// This one, said in the body: else 409.
    Expected(Version),
    /// This one, said in `If-Match`: else 412.
    Matching(Version),
    /// A tag that no version of ours has: 412 whatever happens.
    Never,
}

impl Precondition {
    /// What `If-Match` and the body's `expectedVersion` say together.
    pub(super) fn read(headers: &HeaderMap, expected: Option<Version>) -> Result<Self, Failure> {
        let Some(tag) = single(headers, &IF_MATCH, MATCH_POINTER)? else {
            return Ok(expected.map_or(Self::None, Self::Expected));
        };
        let matched = Self::of_tag(tag.trim())?;
        let differs = match (matched, expected) {
            (Self::Matching(version), Some(expected)) => version != expected,
            (Self::Never, Some(_)) => true,
            _ => false,
        };
        if differs {
            let message = "differs from the If-Match header";
            return Err(Failure::field("#/expectedVersion", "conflict", message));
        }
        Ok(match (matched, expected) {
            (Self::Exists, Some(expected)) => Self::Expected(expected),
            _ => matched,
        })
    }

    /// The version that the ledger must find.
    pub(super) fn version(self) -> Option<Version> {
        match self {
            Self::Expected(version) | Self::Matching(version) => Some(version),
            Self::None | Self::Exists | Self::Never => None,
        }
    }

    fn of_tag(tag: &str) -> Result<Self, Failure> {
        if tag == "*" {
            return Ok(Self::Exists);
        }
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        let inner = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match inner {
            Some(inner) if !inner.contains('"') && !opaque.is_empty() => {
                let version = version_of(inner).filter(|_| !tag.starts_with("W/"));
                Ok(version.map_or(Self::Never, Self::Matching))
            }
            Some(_) | None => {
                let message = "must be * or one entity tag such as \"3\"";
                Err(Failure::field(MATCH_POINTER, "format", message))
            }
        }
    }
}

fn version_of(tag: &str) -> Option<Version> {
    let digits = !tag.starts_with('0') && tag.bytes().all(|byte| byte.is_ascii_digit());
    tag.parse().ok().filter(|_| digits).map(Version::new)
}

/// Refuses `If-Match` where there is no single item that it could be about.
pub(super) fn refuse_if_match(headers: &HeaderMap) -> Result<(), Failure> {
    if headers.contains_key(IF_MATCH) {
        return Err(Failure::field(MATCH_POINTER, "unsupported", "does not apply here"));
    }
    Ok(())
}

/// Whether the caller has this version already (`If-None-Match`, compared weakly).
pub(super) fn has_version(headers: &HeaderMap, version: u64) -> bool {
    let own = format!("\"{version}\"");
    let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == own
    })
}

/// The idempotency key, if one was sent, with the fingerprint of all that the request says.
pub(super) fn request_key(
    headers: &HeaderMap,
    method: &Method,
    uri: &Uri,
    body: &[u8],
) -> Result<Option<RequestKey>, Failure> {
    let Some(key) = single(headers, &IDEMPOTENCY_KEY, KEY_POINTER)? else {
        return Ok(None);
    };
    if let Err((code, message)) = check_idempotency_key(key) {
        return Err(Failure::field(KEY_POINTER, code, message));
    }
    let if_match = headers.get(IF_MATCH).map_or(&b""[..], |value| value.as_bytes());
    Ok(Some(key_of(key, [method.as_str().as_bytes(), uri.path().as_bytes(), if_match, body])))
}

/// The key of a line of a streamed batch, with the fingerprint of all that the line says.
pub(super) fn line_key(key: &str, line: &[u8]) -> RequestKey {
    key_of(key, [b"POST", b"/api/batch", b"", line])
}

fn key_of(key: &str, said: [&[u8]; 4]) -> RequestKey {
    let mut hasher = blake3::Hasher::new();
    for part in said {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let fingerprint = first_half(hasher.finalize());
    RequestKey { key_hash: first_half(blake3::hash(key.as_bytes())), fingerprint }
}

/// Refuses an idempotency key where one can't hold for the whole request.
pub(super) fn refuse_request_key(
    headers: &HeaderMap,
    instead: &'static str,
) -> Result<(), Failure> {
    if headers.contains_key(IDEMPOTENCY_KEY) {
        return Err(Failure::field(KEY_POINTER, "unsupported", instead));
    }
    Ok(())
}

fn first_half(hash: blake3::Hash) -> u128 {
    let mut half = [0_u8; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_le_bytes(half)
}

/// A header's only value, in printable ASCII.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    pointer: &str,
) -> Result<Option<&'a str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Failure::field(pointer, "duplicate_field", "is given more than once"));
    }
    let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte != b'\t'));
    text.map(Some).ok_or_else(|| Failure::field(pointer, "printable", "must be printable ASCII"))
}

/// Refuses compressed bodies: they are taken as they are.
pub(super) fn refuse_encoding(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(coding) = headers.get(CONTENT_ENCODING) else {
        return Ok(());
    };
    if coding.as_bytes().eq_ignore_ascii_case(b"identity") {
        return Ok(());
    }
    let detail = "send the body without Content-Encoding";
    Err(Failure::new(ErrorCode::UnsupportedMediaType, detail))
}

/// Requires a JSON media type; `extra` is one more that is as good.
pub(super) fn require_json(
    headers: &HeaderMap,
    extra: Option<&'static str>,
) -> Result<(), Failure> {
    let known = [JSON_MEDIA_TYPE, extra.unwrap_or(JSON_MEDIA_TYPE)];
    media_type(headers, &known).map(drop)
}

/// Which of the `known` media types the body has; what a 415 advises is the first of them.
pub(super) fn media_type(
    headers: &HeaderMap,
    known: &[&'static str],
) -> Result<&'static str, Failure> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let sent = values.next().and_then(|value| value.to_str().ok()).unwrap_or("");
    if values.next().is_some() {
        let detail = "Content-Type is given more than once";
        return Err(Failure::new(ErrorCode::UnsupportedMediaType, detail));
    }
    let (media_type, parameters) = sent.split_once(';').unwrap_or((sent, ""));
    let found = known.iter().find(|name| media_type.trim().eq_ignore_ascii_case(name));
    let charset = parameters.trim().to_ascii_lowercase();
    let is_utf8 = !charset.starts_with("charset=") || charset[8..].trim_matches('"') == "utf-8";
    if let Some(found) = found
        && is_utf8
    {
        return Ok(found);
    }
    let detail = match sent {
        "" => "send Content-Type: application/json".to_owned(),
        _ => format!("send Content-Type: application/json, not {sent}"),
    };
    Err(Failure::new(ErrorCode::UnsupportedMediaType, detail))
}
