//! From a node's snapshot to a slot and a follower's state. The snapshot is fuzzy: nothing is
//! verified until a frame's digest at or beyond its `hi` matches, and nothing here may claim it is.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use event_log::Seq;
use event_log::snapshot::SnapshotStream;
use shared::codec::{VarintReader, decode_item};
use shared::digest::item_digest;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::follower::{FollowerState, Position};
use crate::offload::{has_threads, spawn_blocking};
use crate::source::{ByteStream, Identity, SourceError};
use crate::view::{Held, ViewStore};

/// The kind of the sections that hold a node's items; others are not for the view.
pub const ITEMS_SECTION_KIND: u16 = 1;
/// Pieces of a download that may wait for the reader.
const PIECES_MAX: usize = 16;

/// Reads a snapshot while it is downloaded, or, without a thread to spare, once it is there.
pub(super) async fn load_snapshot<V: ViewStore>(
    view: V,
    download: impl ByteStream,
    identity: Identity,
) -> Result<(V::Slot, FollowerState), SourceError> {
    let room = if has_threads() { PIECES_MAX } else { Semaphore::MAX_PERMITS };
    let (sender, receiver) = mpsc::channel(room);
    let mut pump = AbortOnDrop(tokio::spawn(pump(download, sender)));
    if !has_threads() {
        let _ended = (&mut pump.0).await;
    }
    let reader = Pieces { receiver, current: Bytes::new(), error: None };
    let reading = spawn_blocking(move || read_snapshot(&view, reader, &identity));
    reading.await.map_err(|error| SourceError::Damaged(error.to_string()))?
}

async fn pump(mut download: impl ByteStream, sender: mpsc::Sender<Result<Bytes, SourceError>>) {
    loop {
        let piece = match download.next().await {
            Ok(None) => return,
            Ok(Some(bytes)) => Ok(bytes),
            Err(error) => Err(error),
        };
        let is_last = piece.is_err();
        if sender.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

fn read_snapshot<V: ViewStore>(
    view: &V,
    mut pieces: Pieces,
    identity: &Identity,
) -> Result<(V::Slot, FollowerState), SourceError> {
    let slot = view.open_slot();
    let state = read_items(view, &slot, &mut pieces, identity);
    // What broke the download says more than what its reader made of it.
    match pieces.error.take() {
        Some(error) => Err(error),
        None => state.map(|state| (slot, state)),
    }
}

fn read_items<V: ViewStore>(
    view: &V,
    slot: &V::Slot,
    pieces: &mut Pieces,
    identity: &Identity,
) -> Result<FollowerState, SourceError> {
    let damaged = |what: &dyn ToString| SourceError::Damaged(what.to_string());
    let mut stream = SnapshotStream::new(pieces, "download").map_err(|error| damaged(&error))?;
    let header = stream.header().clone();
    if header.log_id != identity.log_id || header.owner != identity.store_id.as_str().as_bytes() {
        return Err(damaged(&"a snapshot of another log"));
    }
    let mut digest = 0_u128;
    while let Some(section) = stream.next_section().map_err(|error| damaged(&error))? {
        if section.kind != ITEMS_SECTION_KIND {
            continue;
        }
        let mut bytes = VarintReader::new(&section.bytes);
        while !bytes.rest().is_empty() {
            let item = decode_item(&mut bytes).map_err(|error| damaged(&error))?;
            let cell = *item.item.cell();
            let metadata_at = item.item.updated_at();
            let held = Held { cell, seq: item.last_seq, metadata_at };
            if view.held(slot, &item.sku).is_held() {
                return Err(damaged(&"an item twice"));
            }
            digest = digest.wrapping_add(item_digest(&item.sku, &cell));
            view.put(slot, &item.sku, &held, Some(item.item.metadata()));
        }
    }
    let footer = *stream.footer().ok_or_else(|| damaged(&"no footer"))?;
    if footer.items_digest != digest {
        return Err(damaged(&"its items don't make its digest"));
    }
    let mut state = FollowerState::at_beginning(header.log_id);
    state.position = Position { seq: header.lo, chain: header.chain };
    state.digest = digest;
    state.trusted_from = footer.hi;
    state.epoch = identity.epoch;
    state.logged_at = shared::Timestamp::from_micros(header.logged_at_us);
    Ok(state)
}

/// The pieces of a download as one reader, for a thread that may block.
struct Pieces {
    receiver: mpsc::Receiver<Result<Bytes, SourceError>>,
    current: Bytes,
    error: Option<SourceError>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receive() {
                Some(Ok(piece)) => self.current = piece,
                Some(Err(error)) => {
                    let text = error.to_string();
                    self.error = Some(error);
                    return Err(io::Error::other(text));
                }
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Pieces {
    fn receive(&mut self) -> Option<Result<Bytes, SourceError>> {
        if has_threads() { self.receiver.blocking_recv() } else { self.receiver.try_recv().ok() }
    }
}

/// Whether the follower has passed everything that its snapshot left uncertain.
pub(super) fn is_past_snapshot(state: &FollowerState) -> bool {
    state.position.seq >= state.trusted_from || state.trusted_from == Seq::ZERO
}

/// A task that ends with whoever waits for it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
