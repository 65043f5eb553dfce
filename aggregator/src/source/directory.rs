//! A node's data directory on the same machine or a shared disk, read beside the node. It takes no
//! lock, not even for a moment, and writes nothing: the node never notices.
//!
//! A frame counts only when a later watermark or segment covers it: what is merely in a file, a
//! power cut could still take from the node. While a node runs, that is the next frame or the
//! checkpoint a second after it; behind a node that was killed, the last frame waits for its
//! restart, and is told as lag.
//!
//! There is nobody to acknowledge to: the node doesn't know this reader and may compact away what
//! wasn't read yet. Then the newest verified snapshot of the directory is where to begin again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use event_log::frame::{Frame, decode_frame, keep_alive};
use event_log::snapshot::newest_in_directory;
use event_log::storage::{OpenMode, Storage, StorageFile};
use event_log::{Chain, Cursor, CursorError, DirectoryReader, DirectoryTip, LogId, ReadError, Seq};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shared::StoreId;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};

use super::{ByteStream, FrameStream, Identity, LogSource, NodeStatus, SourceError};
use crate::follower::Position;

/// How often the directory is looked at while nothing new is in it.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Between words that everything was read.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// How long the disk may take to answer.
const DISK_PATIENCE: Duration = Duration::from_secs(10);
/// Frames that are read ahead.
const FRAMES_AHEAD_MAX: usize = 64;
/// Bytes of frames that are read ahead; one frame more may fit in.
const BYTES_AHEAD_MAX: usize = 4 << 20;
/// Bytes of a snapshot that are read at once.
const PIECE_BYTES: usize = 1 << 20;

/// The log in one data directory.
#[derive(Debug, Clone)]
pub struct DirectorySource<S> {
    storage: S,
    /// One look at the disk at a time: a disk that hangs holds one thread, not more and more.
    turn: Arc<Semaphore>,
}

impl<S: Storage> DirectorySource<S> {
    /// The log in this directory.
    pub fn new(storage: S) -> Self {
        Self { storage, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Reads from the disk where that holds up nobody.
    async fn read<T: Send + 'static>(
        self,
        work: impl FnOnce(S) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let silent = || SourceError::Unreachable("the disk doesn't answer".to_owned());
        let turn = timeout(DISK_PATIENCE, self.turn.acquire_owned()).await;
        let turn = turn.map_err(|_| silent())?.map_err(|_| silent())?;
        let storage = self.storage;
        let reading = spawn_blocking(move || {
            let _turn = turn;
            work(storage)
        });
        let read = timeout(DISK_PATIENCE, reading).await.map_err(|_| silent())?;
        read.map_err(|error| SourceError::Unreachable(error.to_string()))?
    }
}

impl<S: Storage> LogSource for DirectorySource<S> {
    type Stream = DirectoryFrames<S>;
    type Snapshot = DirectorySnapshot<S>;

    async fn status(&self) -> Result<NodeStatus, SourceError> {
        self.clone().read(|storage| status_of(&storage)).await
    }

    async fn follow(
        &self,
        after: Option<Position>,
    ) -> Result<(Identity, DirectoryFrames<S>), SourceError> {
        let cursor = after
            .map_or(Cursor::START, |Position { seq, chain }| Cursor { seq, chain: Some(chain) });
        let opened = self.clone().read(move |storage| {
            let NodeStatus { identity, .. } = status_of(&storage)?;
            let reader = DirectoryReader::open(storage, cursor).map_err(cursor_error)?;
            Ok((identity, reader))
        });
        let (identity, reader) = opened.await?;
        let (log_id, epoch) = (identity.log_id, identity.epoch);
        let frames = DirectoryFrames {
            source: self.clone(),
            tail: Some(Tail { reader, log_id, epoch }),
            reading: None,
            ready: VecDeque::new(),
            look_at: Instant::now(),
            say_at: Instant::now(),
        };
        Ok((identity, frames))
    }

    async fn snapshot(&self) -> Result<(Identity, DirectorySnapshot<S>), SourceError> {
        let opened = self.clone().read(|storage| {
            let NodeStatus { identity, durable_seq, .. } = status_of(&storage)?;
            let owner = identity.store_id.as_str().as_bytes();
            let newest = newest_in_directory(&storage, identity.log_id, owner, durable_seq);
            let info =
                newest.map_err(|error| unreachable(&error))?.ok_or(SourceError::NoSnapshot)?;
            let file = storage.open(&info.file, OpenMode::Read);
            Ok((identity, file.map_err(|error| unreachable(&error))?, info.footer.file_bytes))
        });
        let (identity, file, length) = opened.await?;
        let file = Arc::new(file);
        Ok((identity, DirectorySnapshot { source: self.clone(), file, offset: 0, length }))
    }

    async fn acknowledge(&self, _: Seq, _: Chain) -> Result<(), SourceError> {
        Ok(())
    }

    async fn deregister(&self) -> Result<(), SourceError> {
        Ok(())
    }
}

/// A place in the log, and what is expected there.
struct Tail<S: Storage> {
    reader: DirectoryReader<S>,
    log_id: LogId,
    epoch: u64,
}

/// The frames of a directory.
pub struct DirectoryFrames<S: Storage> {
    source: DirectorySource<S>,
    /// None while it is read from, and for good after an error.
    tail: Option<Tail<S>>,
    reading: Option<BoxFuture<'static, Result<Batch<S>, SourceError>>>,
    ready: VecDeque<Frame>,
    look_at: Instant,
    say_at: Instant,
}

struct Batch<S: Storage> {
    tail: Tail<S>,
    frames: VecDeque<Frame>,
}

impl<S: Storage> FrameStream for DirectoryFrames<S> {
    async fn next(&mut self) -> Result<Frame, SourceError> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(frame);
            }
            sleep_until(self.look_at).await;
            if let Some(tail) = self.tail.take() {
                let read = self.source.clone().read(move |_| tail.read_ahead());
                self.reading = Some(read.boxed());
            }
            let Some(reading) = &mut self.reading else {
                return Err(SourceError::Unreachable("reading has ended".to_owned()));
            };
            let read = reading.await;
            self.reading = None;
            let Batch { tail, frames } = read?;
            self.ready = frames;
            let now = Instant::now();
            if self.ready.is_empty() {
                self.look_at = now + POLL_INTERVAL;
                if now >= self.say_at {
                    self.ready.extend(tail.keep_alive());
                }
            }
            if !self.ready.is_empty() {
                self.say_at = now + KEEP_ALIVE_INTERVAL;
            }
            self.tail = Some(tail);
        }
    }
}

impl<S: Storage> Tail<S> {
    fn read_ahead(mut self) -> Result<Batch<S>, SourceError> {
        let mut frames = VecDeque::new();
        let mut bytes = 0;
        while frames.len() < FRAMES_AHEAD_MAX && bytes < BYTES_AHEAD_MAX {
            let Some(frame) = self.reader.next_covered().map_err(read_error)? else { break };
            bytes += frame.stored.len();
            self.epoch = frame.header.epoch_counter;
            frames.push_back(frame.clone());
        }
        if self.reader.log_id() != self.log_id {
            // Whoever asks again who is there will see it.
            return Err(SourceError::Unreachable("another log is in the directory".to_owned()));
        }
        Ok(Batch { tail: self, frames })
    }

    /// Says how far the log is: where we are, or, with records that don't count yet, where those
    /// end, which is nothing to compare a digest with.
    fn keep_alive(&self) -> Option<Frame> {
        let mut tip = *self.reader.tip();
        if let Some(unproven) = self.reader.unproven() {
            tip = event_log::Tip { logged_at_us: tip.logged_at_us, ..unproven };
        }
        let bytes = keep_alive(self.log_id, self.epoch, &tip);
        decode_frame(&bytes, self.log_id).ok().flatten().map(|(frame, _)| frame)
    }
}

/// A snapshot's file.
pub struct DirectorySnapshot<S: Storage> {
    source: DirectorySource<S>,
    file: Arc<S::File>,
    offset: u64,
    length: u64,
}

impl<S: Storage> ByteStream for DirectorySnapshot<S> {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let (file, offset) = (self.file.clone(), self.offset);
        let left = usize::try_from(self.length - offset).unwrap_or(PIECE_BYTES);
        let wanted = left.min(PIECE_BYTES);
        if wanted == 0 {
            return Ok(None);
        }
        let read = self.source.clone().read(move |_| {
            let mut bytes = vec![0; wanted];
            let count = file.read_at(&mut bytes, offset).map_err(|error| unreachable(&error))?;
            bytes.truncate(count);
            Ok(bytes)
        });
        let bytes = read.await?;
        if bytes.is_empty() {
            return Err(SourceError::Damaged("the snapshot is cut short".to_owned()));
        }
        self.offset += bytes.len() as u64;
        Ok(Some(Bytes::from(bytes)))
    }
}

fn status_of<S: Storage>(storage: &S) -> Result<NodeStatus, SourceError> {
    let tip = DirectoryTip::read(storage).map_err(read_error)?;
    let owner = std::str::from_utf8(&tip.owner).ok().and_then(|text| StoreId::new(text).ok());
    let store_id =
        owner.ok_or_else(|| SourceError::Damaged("the log's owner is no store".to_owned()))?;
    Ok(NodeStatus {
        identity: Identity { store_id, log_id: tip.log_id, epoch: tip.epoch_counter },
        durable_seq: tip.last,
        snapshot_count: tip.snapshot_count,
    })
}

fn unreachable(error: &dyn std::error::Error) -> SourceError {
    SourceError::Unreachable(error.to_string())
}

fn read_error(error: ReadError) -> SourceError {
    match error {
        ReadError::UnsupportedVersion { found, .. } => SourceError::UnsupportedFormat(found),
        ReadError::Compacted { resume_from } => {
            SourceError::Compacted { resume_from: resume_from.get() }
        }
        ReadError::Corrupt(damage) => SourceError::Damaged(damage.to_string()),
        ReadError::NotALog { .. } | ReadError::Io { .. } => unreachable(&error),
    }
}

fn cursor_error(error: CursorError) -> SourceError {
    match error {
        CursorError::Compacted { resume_from } => {
            SourceError::Compacted { resume_from: resume_from.get() }
        }
        CursorError::Rewritten { .. } | CursorError::NotAFrameEnd { .. } => {
            SourceError::Rewritten(error.to_string())
        }
        CursorError::Ahead { .. } => SourceError::Ahead(error.to_string()),
        CursorError::Read(error) => read_error(error),
    }
}
