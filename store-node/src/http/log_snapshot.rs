//! `GET /api/log/snapshot`: the newest verified snapshot, byte for byte, for a consumer that begins
//! or begins again. While it downloads, nothing behind the snapshot may be compacted. There may never
//! be more downloads at a time than `load.rs` has places for.

use std::io::{self, Read};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use axum::routing::MethodFilter;
use event_log::SnapshotInfo;
use event_log::snapshot::SnapshotReadError;
use event_log::storage::Storage;
use shared::wire::problem::ErrorCode;

use super::app::App;
use super::call::{Call, Outcome, route};
use super::failure::Failure;
use super::log_stream::set_identity;
use super::metrics::Endpoint;
use super::query::Query;
use super::settle;

/// The media type of the answer.
const SNAPSHOT: &str = "application/vnd.onhand.snapshot";
/// How long the log behind the snapshot stays for this consumer, in µs: an hour.
const PIN_US: i64 = 3600 * 1_000_000;
/// Bytes of one read.
const PIECE_BYTES: usize = 256 << 10;

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new()
        .route("/api/log/snapshot", route(MethodFilter::GET, Endpoint::LogSnapshot, snapshot))
}

async fn snapshot<S: Storage>(call: Call<S>) -> Outcome {
    let query = Query::parse(call.uri(), &["consumer"], &[]);
    let consumer = query.owned("consumer");
    query.finish()?;
    let app = Arc::clone(call.app());
    // Before a snapshot is looked for: that may mean to read one whole, or to take one.
    let place = app.load.begin_snapshot_download()?;
    let pin = consumer.unwrap_or_else(|| format!("download-{}", call.request_id()));
    let info = newest(&app).await?;
    let opening = Arc::clone(&app);
    let (info, file) = app.blocking(move || open(&opening, info, &pin)).await??;
    let reading = (Some(file), Arc::clone(&app), place);
    let pieces = futures_util::stream::unfold(reading, |(file, app, place)| async {
        let (piece, file) = read_piece(&app, file?).await;
        piece.map(|piece| (piece, (file, app, place)))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    set_identity(&mut response, &app);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(SNAPSHOT));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(info.footer.file_bytes));
    headers.insert(HeaderName::from_static("x-snapshot-lo"), HeaderValue::from(info.lo().get()));
    headers.insert(HeaderName::from_static("x-snapshot-hi"), HeaderValue::from(info.hi().get()));
    Ok(response)
}

/// The newest snapshot, taken now if there is none.
async fn newest<S: Storage>(app: &Arc<App<S>>) -> Result<SnapshotInfo, Failure> {
    let looking = Arc::clone(app);
    let latest = app.blocking(move || looking.log().latest_snapshot()).await?;
    if let Some(info) = latest.map_err(Failure::internal)? {
        return Ok(info);
    }
    if app.log().read_only().is_some() {
        let detail = "there is no snapshot, and a node started read-only takes none";
        return Err(Failure::new(ErrorCode::ReadOnly, detail));
    }
    let drawing = Arc::clone(app);
    let drawn =
        app.blocking(move || drawing.ledger().draw_snapshot(drawing.now(), &mut event_log::go_on));
    let pending = drawn.await?.map_err(Failure::internal)?;
    settle::read(app, pending.hi()).await?;
    app.blocking(move || pending.finish()).await?.map_err(Failure::internal)
}

/// Pins what follows the snapshot for this consumer and opens its file.
fn open<S: Storage>(
    app: &App<S>,
    info: SnapshotInfo,
    pin: &str,
) -> Result<(SnapshotInfo, impl Read + Send + use<S>), Failure> {
    app.log().pin(pin, info.lo(), app.now().as_micros() + PIN_US)?;
    let file = app.log().open_snapshot_file(&info)?;
    Ok((info, file))
}

/// The next bytes of the file, and the file, unless that was the end.
async fn read_piece<S: Storage, R: Read + Send + 'static>(
    app: &App<S>,
    mut file: R,
) -> (Option<io::Result<Bytes>>, Option<R>) {
    let read = app.blocking(move || {
        let mut piece = vec![0; PIECE_BYTES];
        let mut filled = 0;
        while filled < piece.len() {
            match file.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), file),
            }
        }
        piece.truncate(filled);
        (Ok(piece), file)
    });
    match read.await {
        Ok((Ok(piece), _)) if piece.is_empty() => (None, None),
        Ok((Ok(piece), file)) => (Some(Ok(piece.into())), Some(file)),
        Ok((Err(error), _)) => (Some(Err(error)), None),
        Err(error) => (Some(Err(io::Error::other(error))), None),
    }
}

impl From<SnapshotReadError> for Failure {
    fn from(error: SnapshotReadError) -> Self {
        Self::internal(error)
    }
}
