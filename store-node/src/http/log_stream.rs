//! `GET /api/log`: the stored frames behind a cursor, up to the watermark and then following it,
//! with a keep-alive every second in which nothing happened. Nothing that isn't durable may leave.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use axum::routing::MethodFilter;
use event_log::planted;
use event_log::storage::Storage;
use event_log::{
    Chain, Cursor, FORMAT_VERSION, FrameReader, LogId, ReadError, Seq, Tip, keep_alive,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::app::App;
use super::call::{Call, Outcome, route};
use super::failure::Failure;
use super::metrics::Endpoint;
use super::query::Query;
use super::reply;

/// The media type of the stream.
const FRAMES: &str = "application/vnd.onhand.frames";
/// Frames are sent in pieces of at least one frame and about so many bytes.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// A reader so many seqs behind reads on a thread where waiting for the disk is fine.
const CATCHING_UP_SEQS: u64 = 4096;
/// How often an idle stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new().route("/api/log", route(MethodFilter::GET, Endpoint::LogStream, stream))
}

async fn stream<S: Storage>(call: Call<S>) -> Outcome {
    let mut query = Query::parse(call.uri(), &["after", "chain", "follow", "consumer"], &[]);
    let after = Seq::new(query.number("after", 0, u64::MAX).unwrap_or(0));
    let follow = query.boolean("follow").unwrap_or(true);
    let chain: Option<Chain> = match query.text("chain").map(str::parse) {
        Some(Ok(chain)) => Some(chain),
        Some(Err(_)) => {
            query.error("chain", "hex", "must be 64 hexadecimal digits");
            None
        }
        None if after > Seq::ZERO => {
            query.error("chain", "required", "is required, unless after is 0");
            None
        }
        None => None,
    };
    let consumer = query.owned("consumer");
    query.finish()?;
    let app = Arc::clone(call.app());
    let place = app.load.begin_log_stream()?;
    let opening = Arc::clone(&app);
    let cursor = Cursor { seq: after, chain };
    let reader = app.blocking(move || opening.log().reader(cursor)).await??;
    let consumer = consumer.as_deref().unwrap_or("");
    tracing::info!(consumer, after = after.get(), follow, "log stream");
    let log_id = app.log().log_id();
    let tail = Tail {
        reader: Some(reader),
        last: Delivered {
            seq: after,
            chain: chain.unwrap_or_else(|| Chain::genesis(log_id)),
            digest: None,
        },
        log_id,
        epoch: app.log().epoch().counter,
        follow,
        keep_alive_at: Instant::now(),
        app: Arc::clone(&app),
        _place: place,
    };
    let pieces = futures_util::stream::unfold(tail, |mut tail| async {
        let piece = tail.next_piece().await?;
        Some((piece, tail))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FRAMES));
    set_identity(&mut response, &app);
    Ok(response)
}

/// Says whose log this is.
pub(super) fn set_identity<S: Storage>(response: &mut Response, app: &App<S>) {
    let log = app.log();
    let headers = response.headers_mut();
    let mut set =
        |name, text| headers.insert(HeaderName::from_static(name), reply::text_value(text));
    set("x-store-id", app.store_id().to_string());
    set("x-log-id", log.log_id().to_string());
    set("x-log-epoch", log.epoch().counter.to_string());
    set("x-log-format", FORMAT_VERSION.to_string());
}

/// A stream on its way.
struct Tail<S: Storage> {
    app: Arc<App<S>>,
    /// `None` only while another thread has it.
    reader: Option<FrameReader<S>>,
    last: Delivered,
    log_id: LogId,
    epoch: u64,
    follow: bool,
    keep_alive_at: Instant,
    /// One of the places that there are for streams, until this one ends.
    _place: OwnedSemaphorePermit,
}

/// Where the other side is, once it has taken everything sent.
#[derive(Clone, Copy)]
struct Delivered {
    seq: Seq,
    chain: Chain,
    digest: Option<u128>,
}

impl<S: Storage> Tail<S> {
    /// The next bytes; `None` at the end of the stream, which only comes when it doesn't follow or
    /// the log is closed and delivered.
    async fn next_piece(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            let leaving = self.app.is_closed();
            match self.read().await {
                Ok(bytes) if !bytes.is_empty() => {
                    self.keep_alive_at = Instant::now() + KEEP_ALIVE;
                    return Some(Ok(bytes));
                }
                Ok(_) if leaving || !self.follow => return None,
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "a log stream ended early");
                    return Some(Err(io::Error::other(error)));
                }
            }
            if Instant::now() >= self.keep_alive_at
                && let Some(frame) = self.keep_alive()
            {
                self.keep_alive_at = Instant::now() + KEEP_ALIVE;
                return Some(Ok(frame));
            }
            self.wait().await;
        }
    }

    /// Waits for the next record, the next keep-alive or the end of the log.
    async fn wait(&self) {
        let next = self.app.log().wait(self.last.seq.next());
        let pause =
            tokio::time::sleep_until(self.keep_alive_at.max(Instant::now() + SHORTEST_PAUSE));
        tokio::select! {
            biased;
            durable = next => if durable.is_err() {
                // Nothing more will become durable: keep the other side informed at its pace.
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(KEEP_ALIVE) => {}
                    () = self.app.until_closed() => {}
                }
            },
            () = pause => {}
            () = self.app.until_closed() => {}
        }
    }

    /// The frames that are there now, about [`PIECE_BYTES_MAX`] of them.
    async fn read(&mut self) -> Result<Bytes, ReadError> {
        let Some(mut reader) = self.reader.take() else {
            return Ok(Bytes::new());
        };
        let mut last = self.last;
        let behind = self.app.log().durable().get().saturating_sub(last.seq.get());
        if behind < CATCHING_UP_SEQS {
            let piece = read_piece(&mut reader, &mut last);
            self.reader = Some(reader);
            self.last = last;
            return piece;
        }
        let read = self.app.blocking(move || {
            let piece = read_piece(&mut reader, &mut last);
            (reader, last, piece)
        });
        match read.await {
            Ok((reader, last, piece)) => {
                self.reader = Some(reader);
                self.last = last;
                piece
            }
            Err(error) => {
                Err(ReadError::Io { file: "the log".to_owned(), source: io::Error::other(error) })
            }
        }
    }

    /// A keep-alive for where the other side is, if the state digest there is known.
    fn keep_alive(&self) -> Option<Bytes> {
        let tip = self.app.log().tip();
        let at_tip = (tip.seq == self.last.seq).then_some(tip.digest);
        let digest = self.last.digest.or(at_tip)?;
        let logged_at_us = self.app.now().as_micros();
        let tip = Tip { seq: self.last.seq, chain: self.last.chain, digest, logged_at_us };
        Some(keep_alive(self.log_id, self.epoch, &tip).into())
    }
}

/// Between two looks at the log at least.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

fn read_piece<S: Storage>(
    reader: &mut FrameReader<S>,
    last: &mut Delivered,
) -> Result<Bytes, ReadError> {
    let mut piece = Vec::new();
    while piece.len() < PIECE_BYTES_MAX
        && let Some(frame) = reader.next()?
    {
        if piece.is_empty() || !planted::is("drop the last frame of a batch") {
            piece.extend_from_slice(&frame.stored);
        }
        *last = Delivered {
            seq: frame.header.last_seq(),
            chain: frame.header.chain,
            digest: Some(frame.header.state_digest),
        };
    }
    Ok(piece.into())
}

impl From<tokio::task::JoinError> for Failure {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(error)
    }
}
