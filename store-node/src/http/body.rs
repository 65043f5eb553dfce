//! Reading bodies: bounded in bytes and in time, and more so once the node leaves. A body over its bound is read to its end (within
//! another bound) before the refusal, so that the refusal arrives.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::EXPECT;
use bytes::BytesMut;
use event_log::storage::Storage;
use http_body_util::BodyExt;
use shared::wire::problem::ErrorCode;

use super::app::App;
use super::call::Call;
use super::failure::Failure;
use super::headers;

/// The largest body of a usual request, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;
/// The largest body of a batch, in bytes.
pub(super) const BATCH_BODY_BYTES_MAX: usize = 16 << 20;
/// How much of a body that is too large is read and thrown away before the refusal, in bytes.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
/// How long that may take.
const DISCARD_DEADLINE: Duration = Duration::from_secs(5);

/// The JSON body of a request.
pub(super) async fn read_json<S: Storage>(
    call: &mut Call<S>,
    bytes_max: usize,
) -> Result<Bytes, Failure> {
    headers::require_json(call.headers(), None)?;
    read(call, bytes_max).await
}

/// The body of a request.
pub(super) async fn read<S: Storage>(
    call: &mut Call<S>,
    bytes_max: usize,
) -> Result<Bytes, Failure> {
    headers::refuse_encoding(call.headers())?;
    let deadline = call.app().options().body_deadline;
    // A caller that waits for `100 Continue` is answered before it sends what is too much.
    let is_asking = call.headers().contains_key(EXPECT);
    let mut body = call.take_body();
    let read = {
        let mut reading = std::pin::pin!(read_bounded(&mut body, bytes_max));
        if let Some(read) = promptly(reading.as_mut()).await {
            Ok(read)
        } else {
            // In a box: the clocks are large, and most requests never need them.
            let app = call.app();
            Box::pin(async move {
                tokio::select! {
                    biased;
                    read = tokio::time::timeout(deadline, reading) => Ok(read),
                    () = cut_off(app) => {
                        let detail = "this node is leaving, and the body was not complete";
                        Err(Failure::new(ErrorCode::ShuttingDown, detail))
                    }
                }
            })
            .await?
        }
    };
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Unread::TooLarge)) => {
            if !is_asking {
                let (app, body) = (call.app(), &mut body);
                Box::pin(async move {
                    tokio::select! {
                        biased;
                        _ = tokio::time::timeout(DISCARD_DEADLINE, discard(body)) => {}
                        () = cut_off(app) => {}
                    }
                })
                .await;
            }
            let detail = format!("the body is over {bytes_max} bytes");
            Err(Failure::new(ErrorCode::PayloadTooLarge, detail))
        }
        Ok(Err(Unread::Broken(error))) => {
            let detail = format!("the body broke off: {error}");
            Err(Failure::new(ErrorCode::MalformedJson, detail))
        }
        Err(_) => {
            let detail = format!("the body took longer than {} ms", deadline.as_millis());
            Err(Failure::new(ErrorCode::RequestTimeout, detail))
        }
    }
}

/// What comes of `work` if it is ready at the second look at the latest; the first look is what
/// makes the connection hand over a body that came with its head. For most requests no clock has
/// to be set then.
async fn promptly<F: Future>(mut work: Pin<&mut F>) -> Option<F::Output> {
    let mut is_second = false;
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if is_second => Poll::Ready(None),
        Poll::Pending => {
            is_second = true;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// Resolves when a node that leaves waits for bodies no longer.
pub(super) async fn cut_off<S: Storage>(app: &App<S>) {
    app.until_draining().await;
    tokio::time::sleep(app.options().drain_body_deadline).await;
}

enum Unread {
    TooLarge,
    Broken(axum::Error),
}

/// Reads a body; one that arrives in one piece isn't copied.
async fn read_bounded(body: &mut Body, bytes_max: usize) -> Result<Bytes, Unread> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Unread::TooLarge);
    }
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Unread::Broken)?.into_data() else {
            continue;
        };
        if first.len().max(joined.len()) + data.len() > bytes_max {
            return Err(Unread::TooLarge);
        }
        if first.is_empty() && joined.is_empty() {
            first = data;
            continue;
        }
        if joined.is_empty() {
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

async fn discard(body: &mut Body) {
    let mut discarded = 0;
    while discarded < DISCARDED_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        discarded += frame.data_ref().map_or(0, Bytes::len);
    }
}
