//! When a store's part is written to disk, and what the node is then told. The node must never be
//! told of a seq that a crash could take from us: only what a finished save holds is acknowledged.

use std::time::Duration;

use event_log::storage::Storage;
use shared::Timestamp;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

use crate::follower::Position;
use crate::persistence::{SaveError, SavedStore, StoreFiles, is_acknowledgeable};
use crate::source::{LogSource, SourceError};
use crate::view::ViewStore;

/// The next save waits so many times as long as the last one took.
const INTERVAL_FACTOR: u32 = 10;
/// Between a failed acknowledgement or save and the next try.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// How long the last acknowledgement may take while the process ends.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What became of a save, and when.
type Finished = (Result<Position, SaveError>, Instant);
type Acknowledging = JoinHandle<(Position, Result<(), SourceError>)>;

/// The saves and acknowledgements of one store.
#[derive(Debug)]
pub(super) struct Saver<L: LogSource, S: Storage> {
    files: StoreFiles<S>,
    source: L,
    interval: Duration,
    is_dirty: bool,
    is_urgent: bool,
    begun_at: Instant,
    took: Duration,
    finishing: Option<JoinHandle<Finished>>,
    durable: Option<Position>,
    acknowledged: Option<Position>,
    acknowledging: Option<Acknowledging>,
    acknowledge_after: Instant,
}

impl<L: LogSource, S: Storage> Saver<L, S> {
    pub(super) fn new(files: StoreFiles<S>, source: L, interval: Duration) -> Self {
        let now = Instant::now();
        Self {
            files,
            source,
            interval,
            is_dirty: false,
            is_urgent: false,
            begun_at: now,
            took: Duration::ZERO,
            finishing: None,
            durable: None,
            acknowledged: None,
            acknowledging: None,
            acknowledge_after: now,
        }
    }

    /// Something changed that the disk doesn't know.
    pub(super) fn mark_dirty(&mut self) {
        self.is_dirty = true;
    }

    /// Something changed that shouldn't wait.
    pub(super) fn mark_urgent(&mut self) {
        self.is_dirty = true;
        self.is_urgent = true;
    }

    /// What is on disk is of another log, or goes back: forget what the node was told.
    pub(super) fn forget_acknowledged(&mut self) {
        self.durable = None;
        self.acknowledged = None;
    }

    /// Whether it is time to write.
    pub(super) fn is_due(&self) -> bool {
        let wait = self.interval.max(self.took * INTERVAL_FACTOR);
        self.is_dirty
            && self.finishing.is_none()
            && (self.is_urgent || self.begun_at.elapsed() >= wait)
    }

    /// Writes the store's cells, which must not change until this returns; the rest goes on beside
    /// the sync. Returns why it failed, if it did.
    pub(super) async fn begin<V: ViewStore>(
        &mut self,
        view: V,
        slot: V::Slot,
        saved: SavedStore,
        now: Timestamp,
    ) -> Option<String> {
        self.begun_at = Instant::now();
        let mut files = self.files.clone();
        let written = spawn_blocking(move || {
            let pending = files.write(&view, &slot, &saved, now);
            (files, pending)
        });
        self.is_urgent = false;
        let error = match written.await {
            Ok((files, Ok(pending))) => {
                self.files = files;
                self.is_dirty = false;
                self.finishing = Some(spawn_blocking(move || (pending.finish(), Instant::now())));
                return None;
            }
            Ok((_, Err(error))) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        self.took = self.took.max(RETRY_INTERVAL / INTERVAL_FACTOR);
        Some(error)
    }

    /// Looks after finished saves and acknowledgements; tells the node if it may be told. Returns
    /// what became of a save that ended.
    pub(super) async fn tend(&mut self, may_acknowledge: bool) -> Option<Result<(), String>> {
        let mut ended = None;
        if let Some(finishing) = self.finishing.take_if(|finishing| finishing.is_finished()) {
            ended = Some(self.take_finished(finishing.await));
        }
        if let Some(done) = self.acknowledging.take_if(|done| done.is_finished()) {
            match done.await {
                Ok((position, Ok(()))) => self.acknowledged = Some(position),
                Ok((_, Err(error))) => {
                    tracing::debug!(%error, "the node took no acknowledgement");
                    self.acknowledge_after = Instant::now() + RETRY_INTERVAL;
                }
                Err(_) => self.acknowledge_after = Instant::now() + RETRY_INTERVAL,
            }
        }
        let is_time = Instant::now() >= self.acknowledge_after;
        if may_acknowledge && is_time && self.acknowledging.is_none() {
            self.acknowledging = self.acknowledgement();
        }
        ended
    }

    /// Waits for the running save, so that another may begin.
    pub(super) async fn settle(&mut self) -> Option<Result<(), String>> {
        let finishing = self.finishing.take()?;
        Some(self.take_finished(finishing.await))
    }

    /// The last acknowledgement of the process.
    pub(super) async fn last_word(&mut self) {
        if let Some(acknowledging) = self.acknowledgement() {
            let _ = timeout(LAST_WORD, acknowledging).await;
        }
    }

    /// Whether anything waits to be written.
    pub(super) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// The source, to leave the node's list of consumers.
    pub(super) fn files(&self) -> &StoreFiles<S> {
        &self.files
    }

    fn acknowledgement(&self) -> Option<Acknowledging> {
        let position = self.durable.filter(is_acknowledgeable)?;
        if self.acknowledged == Some(position) {
            return None;
        }
        let source = self.source.clone();
        Some(tokio::spawn(async move {
            (position, source.acknowledge(position.seq, position.chain).await)
        }))
    }

    fn take_finished(
        &mut self,
        finished: Result<Finished, tokio::task::JoinError>,
    ) -> Result<(), String> {
        let error = match finished {
            Ok((Ok(position), at)) => {
                self.took = at.duration_since(self.begun_at);
                self.durable = Some(position);
                return Ok(());
            }
            Ok((Err(error), _)) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        self.is_dirty = true;
        Err(error)
    }
}
