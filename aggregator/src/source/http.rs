//! A node's log over HTTP: one long chunked response of stored frames, its snapshot, its consumers.
//! Every wait has an end: a node that says nothing for [`HttpOptions::silence`] is unreachable.

use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use bytes::Bytes;
use event_log::frame::Frame;
use event_log::{Chain, FORMAT_VERSION, Seq};
use serde_json::Value;
use shared::StoreId;
use tokio::time::timeout;

use super::pieces::Pieces;
use super::transport::{TcpBody, TcpTransport, Transport, TransportBody};
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
pub struct HttpSource<T: Transport = TcpTransport> {
    transport: T,
    url: String,
    consumer: String,
    options: HttpOptions,
}

impl HttpSource {
    /// The node at `url` (without a slash at the end), read as `consumer`.
    pub fn new(url: &str, consumer: &str, options: HttpOptions) -> Self {
        Self::over(TcpTransport::new(options.connect), url, consumer, options)
    }
}

impl<T: Transport> HttpSource<T> {
    /// The same over any transport.
    pub fn over(transport: T, url: &str, consumer: &str, options: HttpOptions) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        Self { transport, url, consumer: consumer.to_owned(), options }
    }

    async fn get(&self, path: &str, patience: Duration) -> Result<Response<T::Body>, SourceError> {
        self.send(Method::GET, path, Bytes::new(), patience).await
    }

    /// Sends a request and waits for the head of its answer.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Response<T::Body>, SourceError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(body)
            .map_err(|error| SourceError::Unreachable(format!("{}: {error}", self.url)))?;
        let sent = timeout(patience, self.transport.send(request)).await;
        let response =
            sent.map_err(|_| SourceError::Unreachable("no answer in time".to_owned()))??;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = timeout(self.options.answer, read_answer(response.into_body())).await;
        Err(refusal(status, &body.unwrap_or_default()))
    }

    fn consumer_path(&self) -> String {
        format!("/api/log/consumers/{}", self.consumer)
    }
}

impl<T: Transport> LogSource for HttpSource<T> {
    type Stream = HttpFrames<T::Body>;
    type Snapshot = HttpSnapshot<T::Body>;

    async fn status(&self) -> Result<NodeStatus, SourceError> {
        let response = self.get("/api/sync/status", self.options.answer).await?;
        let body = timeout(self.options.answer, read_answer(response.into_body())).await;
        parse_status(&body.unwrap_or_default())
            .ok_or_else(|| damaged("its sync status can't be read"))
    }

    async fn follow(
        &self,
        after: Option<Position>,
    ) -> Result<(Identity, HttpFrames<T::Body>), SourceError> {
        let after = match after {
            Some(Position { seq, chain }) => format!("after={seq}&chain={chain}"),
            None => "after=0".to_owned(),
        };
        let path = format!("/api/log?consumer={}&{after}", self.consumer);
        let response = self.get(&path, self.options.answer).await?;
        let identity = parse_identity(response.headers())?;
        let silence = self.options.silence;
        let (log_id, body) = (identity.log_id, response.into_body());
        Ok((identity, HttpFrames { body, pieces: Pieces::new(log_id), silence }))
    }

    async fn snapshot(&self) -> Result<(Identity, HttpSnapshot<T::Body>), SourceError> {
        let path = format!("/api/log/snapshot?consumer={}", self.consumer);
        let response = self.get(&path, self.options.snapshot).await?;
        let identity = parse_identity(response.headers())?;
        let silence = self.options.silence;
        Ok((identity, HttpSnapshot { body: response.into_body(), silence }))
    }

    async fn acknowledge(&self, seq: Seq, chain: Chain) -> Result<(), SourceError> {
        let body = serde_json::json!({ "seq": seq.get(), "chain": chain.to_string() });
        let (path, body) = (self.consumer_path(), Bytes::from(body.to_string()));
        self.send(Method::PUT, &path, body, self.options.answer).await.map(drop)
    }

    async fn deregister(&self) -> Result<(), SourceError> {
        let path = self.consumer_path();
        self.send(Method::DELETE, &path, Bytes::new(), self.options.answer).await.map(drop)
    }
}

/// A stream of frames over HTTP.
#[derive(Debug)]
pub struct HttpFrames<B = TcpBody> {
    body: B,
    pieces: Pieces,
    silence: Duration,
}

impl<B: TransportBody> FrameStream for HttpFrames<B> {
    async fn next(&mut self) -> Result<Frame, SourceError> {
        loop {
            match self.pieces.next_frame() {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(error) => {
                    return Err(error.unsupported_version().map_or_else(
                        || SourceError::Damaged(error.to_string()),
                        SourceError::UnsupportedFormat,
                    ));
                }
            }
            let piece = next_chunk(&mut self.body, self.silence).await?;
            let piece = piece
                .ok_or_else(|| SourceError::Unreachable("the node closed the stream".to_owned()))?;
            self.pieces.push(piece);
        }
    }
}

/// A download of a snapshot over HTTP.
#[derive(Debug)]
pub struct HttpSnapshot<B = TcpBody> {
    body: B,
    silence: Duration,
}

impl<B: TransportBody> ByteStream for HttpSnapshot<B> {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        next_chunk(&mut self.body, self.silence).await
    }
}

async fn next_chunk(
    body: &mut impl TransportBody,
    silence: Duration,
) -> Result<Option<Bytes>, SourceError> {
    let chunk = timeout(silence, body.chunk()).await;
    chunk.map_err(|_| SourceError::Unreachable(format!("silent for {} ms", silence.as_millis())))?
}

async fn read_answer(mut body: impl TransportBody) -> Vec<u8> {
    let mut answer = Vec::new();
    while let Ok(Some(chunk)) = body.chunk().await {
        answer.extend_from_slice(&chunk);
        if answer.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    answer
}

fn damaged(what: &str) -> SourceError {
    SourceError::Damaged(what.to_owned())
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
