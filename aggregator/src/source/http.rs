//! A node's log over HTTP: one long chunked response of stored frames, its snapshot, its consumers.
//! Every wait has an end: a node that says nothing for [`HttpOptions::silence`] is unreachable.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use event_log::frame::{Frame, decode_frame};
use event_log::{Chain, FORMAT_VERSION, FRAME_BYTES_MAX, LogId, Seq};
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use shared::StoreId;
use tokio::time::timeout;

use super::{ByteStream, FrameStream, Identity, LogSource, NodeStatus, SourceError};
use crate::follower::Position;

/// Bytes of an error answer or a status that are read at most.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The media type of a stream of frames.
pub const FRAMES_MEDIA_TYPE: &str = "application/vnd.onhand.frames";

/// How patient an [`HttpSource`] is.
#[derive(Debug, Clone, Copy)]
pub struct HttpOptions {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until a short answer is there.
    pub answer: Duration,
    /// Between bytes of a stream; keep-alives come every second.
    pub silence: Duration,
    /// Until the head of a snapshot is there: the node may have to take it first.
    pub snapshot: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(10),
            silence: Duration::from_secs(10),
            snapshot: Duration::from_mins(10),
        }
    }
}

/// The log of the node at one URL.
#[derive(Debug, Clone)]
pub struct HttpSource {
    client: Client,
    url: String,
    consumer: String,
    options: HttpOptions,
}

impl HttpSource {
    /// The node at `url` (without a slash at the end), read as `consumer`.
    pub fn new(url: &str, consumer: &str, options: HttpOptions) -> Result<Self, SourceError> {
        let client = Client::builder()
            .connect_timeout(options.connect)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| unreachable(&error))?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { client, url, consumer: consumer.to_owned(), options })
    }

    /// Sends a request and waits for the head of its answer.
    async fn send(&self, request: RequestBuilder) -> Result<Response, SourceError> {
        self.send_within(request, self.options.answer).await
    }

    async fn send_within(
        &self,
        request: RequestBuilder,
        patience: Duration,
    ) -> Result<Response, SourceError> {
        let sent = timeout(patience, request.send()).await;
        let response = sent
            .map_err(|_| SourceError::Unreachable("no answer in time".to_owned()))?
            .map_err(|error| unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = timeout(self.options.answer, read_answer(response)).await;
        Err(refusal(status, &body.unwrap_or_default()))
    }
}

impl LogSource for HttpSource {
    type Stream = HttpFrames;
    type Snapshot = HttpSnapshot;

    async fn status(&self) -> Result<NodeStatus, SourceError> {
        let response = self.send(self.client.get(format!("{}/api/sync/status", self.url))).await?;
        let body = timeout(self.options.answer, read_answer(response)).await.unwrap_or_default();
        parse_status(&body).ok_or_else(|| damaged("its sync status can't be read"))
    }

    async fn follow(&self, after: Option<Position>) -> Result<(Identity, HttpFrames), SourceError> {
        let after = match after {
            Some(Position { seq, chain }) => format!("after={seq}&chain={chain}"),
            None => "after=0".to_owned(),
        };
        let query = format!("consumer={}&{after}", self.consumer);
        let response = self.send(self.client.get(format!("{}/api/log?{query}", self.url))).await?;
        let identity = parse_identity(response.headers())?;
        let silence = self.options.silence;
        let log_id = identity.log_id;
        let frames = HttpFrames { response, log_id, buffer: BytesMut::new(), silence };
        Ok((identity, frames))
    }

    async fn snapshot(&self) -> Result<(Identity, HttpSnapshot), SourceError> {
        let url = format!("{}/api/log/snapshot?consumer={}", self.url, self.consumer);
        let response = self.send_within(self.client.get(url), self.options.snapshot).await?;
        let identity = parse_identity(response.headers())?;
        Ok((identity, HttpSnapshot { response, silence: self.options.silence }))
    }

    async fn acknowledge(&self, seq: Seq, chain: Chain) -> Result<(), SourceError> {
        let url = format!("{}/api/log/consumers/{}", self.url, self.consumer);
        let body = serde_json::json!({ "seq": seq.get(), "chain": chain.to_string() });
        self.send(self.client.put(url).json(&body)).await.map(drop)
    }

    async fn deregister(&self) -> Result<(), SourceError> {
        let url = format!("{}/api/log/consumers/{}", self.url, self.consumer);
        self.send(self.client.delete(url)).await.map(drop)
    }
}

/// A stream of frames over HTTP.
#[derive(Debug)]
pub struct HttpFrames {
    response: Response,
    log_id: LogId,
    /// What has come and isn't a whole frame yet; bounded, since a frame is.
    buffer: BytesMut,
    silence: Duration,
}

impl FrameStream for HttpFrames {
    async fn next(&mut self) -> Result<Frame, SourceError> {
        loop {
            match decode_frame(&self.buffer, self.log_id) {
                Ok(Some((frame, used))) => {
                    let _ = self.buffer.split_to(used);
                    return Ok(frame);
                }
                Ok(None) if self.buffer.len() > FRAME_BYTES_MAX => {
                    return Err(damaged("a frame that never ends"));
                }
                Ok(None) => {}
                Err(error) => {
                    return Err(error.unsupported_version().map_or_else(
                        || SourceError::Damaged(error.to_string()),
                        SourceError::UnsupportedFormat,
                    ));
                }
            }
            let chunk = next_chunk(&mut self.response, self.silence).await?;
            let chunk = chunk
                .ok_or_else(|| SourceError::Unreachable("the node closed the stream".to_owned()))?;
            self.buffer.extend_from_slice(&chunk);
        }
    }
}

/// A download of a snapshot over HTTP.
#[derive(Debug)]
pub struct HttpSnapshot {
    response: Response,
    silence: Duration,
}

impl ByteStream for HttpSnapshot {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        next_chunk(&mut self.response, self.silence).await
    }
}

async fn next_chunk(
    response: &mut Response,
    silence: Duration,
) -> Result<Option<Bytes>, SourceError> {
    match timeout(silence, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(unreachable(&error)),
        Err(_) => Err(SourceError::Unreachable(format!("silent for {} ms", silence.as_millis()))),
    }
}

async fn read_answer(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    body
}

fn damaged(what: &str) -> SourceError {
    SourceError::Damaged(what.to_owned())
}

/// The innermost cause says most: "connection refused" rather than "error sending request".
fn unreachable(error: &reqwest::Error) -> SourceError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    SourceError::Unreachable(first.into_iter().chain(characters).collect())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, SourceError> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| SourceError::Damaged(format!("the answer has no {name}")))
}

fn parse_identity(headers: &HeaderMap) -> Result<Identity, SourceError> {
    let invalid = |name: &str| SourceError::Damaged(format!("the answer's {name} can't be read"));
    if let Ok(format) = header(headers, "x-log-format") {
        let format: u16 = format.parse().map_err(|_| invalid("x-log-format"))?;
        if format != FORMAT_VERSION {
            return Err(SourceError::UnsupportedFormat(format));
        }
    }
    let store_id =
        StoreId::new(header(headers, "x-store-id")?).map_err(|_| invalid("x-store-id"))?;
    let log_id = header(headers, "x-log-id")?.parse().map_err(|_| invalid("x-log-id"))?;
    let epoch = header(headers, "x-log-epoch").ok().and_then(|epoch| epoch.parse().ok());
    Ok(Identity { store_id, log_id, epoch: epoch.unwrap_or(0) })
}

fn parse_status(body: &[u8]) -> Option<NodeStatus> {
    let status: Value = serde_json::from_slice(body).ok()?;
    let identity = Identity {
        store_id: StoreId::new(status["storeId"].as_str()?).ok()?,
        log_id: status["logId"].as_str()?.parse().ok()?,
        epoch: status["epoch"].as_u64().unwrap_or(0),
    };
    Some(NodeStatus {
        identity,
        durable_seq: Seq::new(status["durableSeq"].as_u64()?),
        snapshot_count: status["snapshots"].as_array().map_or(0, Vec::len),
    })
}

fn refusal(status: StatusCode, body: &[u8]) -> SourceError {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("no detail").to_owned();
    match (status, problem["error"].as_str()) {
        (StatusCode::GONE, _) => {
            let resume_from = problem["resumeFrom"].as_u64().unwrap_or(0);
            SourceError::Compacted { resume_from }
        }
        (StatusCode::CONFLICT, Some("LogAhead")) => SourceError::Ahead(detail),
        (StatusCode::CONFLICT, _) | (StatusCode::BAD_REQUEST, Some("InvalidCursor")) => {
            SourceError::Rewritten(detail)
        }
        _ => SourceError::Refused { status: status.as_u16(), detail },
    }
}
