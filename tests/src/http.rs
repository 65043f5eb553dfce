//! A small HTTP client over one base address, with keep-alive. It must never retry or follow by
//! itself: what a service answered (or that it didn't) is what the caller gets to see.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// How long any one request may take before it counts as unanswered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The most pages a list is followed for; a cursor that goes round in circles ends here.
const PAGES_MAX: usize = 100_000;

/// Speaks to one service.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    inner: reqwest::Client,
}

/// A whole answer: status, headers and body.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's bytes.
    pub body: Bytes,
}

impl Client {
    /// A client of `http://host:port` (no slash at the end).
    pub fn new(base: impl Into<String>) -> Result<Self> {
        let inner = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .tcp_nodelay(true)
            .build()
            .context("building the HTTP client")?;
        Ok(Self { base: base.into(), inner })
    }

    /// The base address, `http://host:port`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// GET `path` (begins with a slash; may carry a query).
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.send(Method::GET, path, &[], None).await
    }

    /// POST `body` as JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send(Method::POST, path, &[], Some(body.to_string())).await
    }

    /// POST `body` as JSON with an Idempotency-Key.
    pub async fn post_keyed(&self, path: &str, key: &str, body: &Value) -> Result<Reply> {
        let headers = [("idempotency-key", key)];
        self.send(Method::POST, path, &headers, Some(body.to_string())).await
    }

    /// Any request; a body is sent as `application/json` unless `headers` say otherwise. An error
    /// means that no whole answer came back: the request may or may not have been carried out.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Reply> {
        self.send_body(method, path, headers, body.map(Into::into)).await
    }

    /// POST `body` as what `media_type` says it is.
    pub async fn post_bytes(&self, path: &str, media_type: &str, body: Vec<u8>) -> Result<Reply> {
        let headers = [("content-type", media_type)];
        self.send_body(Method::POST, path, &headers, Some(body.into())).await
    }

    async fn send_body(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<reqwest::Body>,
    ) -> Result<Reply> {
        let mut request = self.inner.request(method.clone(), format!("{}{path}", self.base));
        let own_type = headers.iter().any(|(name, _)| *name == "content-type");
        if body.is_some() && !own_type {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let context = || format!("{method} {}{path}", self.base);
        let response = request.send().await.with_context(context)?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.bytes().await.with_context(context)?;
        Ok(Reply { status, headers, body })
    }

    /// All rows of a list: follows `nextCursor` from page to page. `path` may carry a query.
    pub async fn list_all(&self, path: &str) -> Result<Vec<Value>> {
        let glue = if path.contains('?') { '&' } else { '?' };
        let mut rows = Vec::new();
        let mut cursor = None::<String>;
        for _ in 0..PAGES_MAX {
            let mut page_path = format!("{path}{glue}limit=1000");
            if let Some(cursor) = &cursor {
                let _ = write!(page_path, "&cursor={}", percent_encode(cursor));
            }
            let mut page = self.get(&page_path).await?.ok()?.json()?;
            match page["items"].take() {
                Value::Array(items) => rows.extend(items),
                other => bail!("{page_path} has no items array but {other}"),
            }
            match page["nextCursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(rows),
            }
        }
        bail!("{path} has more than {PAGES_MAX} pages");
    }
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("not JSON (status {}): {}", self.status, self.text()))
    }

    /// The body as text, broken UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The `error` code of a problem answer, or the empty text.
    pub fn error_code(&self) -> String {
        let code = self.json().ok().and_then(|body| Some(body["error"].as_str()?.to_owned()));
        code.unwrap_or_default()
    }

    /// Itself, if the status is 2xx.
    pub fn ok(self) -> Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        bail!("status {}: {}", self.status, self.text())
    }
}

/// Percent-encodes everything but the unreserved characters, for one path segment or query value.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::percent_encode;

    #[test]
    fn encodes_what_real_skus_hold() {
        assert_eq!(percent_encode("BANK CHARGES"), "BANK%20CHARGES");
        assert_eq!(percent_encode("a/b?é"), "a%2Fb%3F%C3%A9");
        assert_eq!(percent_encode("gift_0001_20"), "gift_0001_20");
    }
}
