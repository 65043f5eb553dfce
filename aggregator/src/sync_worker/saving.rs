//! When a store's part is written to disk, and what the node is then told. The node must never be
//! told of a seq that a crash could take from us: only what a finished save holds is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use event_log::planted;
use event_log::storage::Storage;
use shared::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout};

use crate::follower::Position;
use crate::offload::spawn_blocking;
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
struct Saved<S: Storage> {
    files: StoreFiles<S>,
    result: Result<Position, SaveError>,
    at: Instant,
}

type Acknowledging = JoinHandle<(Position, Result<(), SourceError>)>;

/// The saves and acknowledgements of one store.
pub(super) struct Saver<L: LogSource, S: Storage> {
    files: StoreFiles<S>,
    source: L,
    /// Places for saves, of all stores together.
    saves: Arc<Semaphore>,
    interval: Duration,
    is_dirty: bool,
    is_urgent: bool,
    begun_at: Instant,
    took: Duration,
    running: Option<JoinHandle<Saved<S>>>,
    /// The node is not to be told of the save that runs.
    is_running_forgotten: bool,
    durable: Option<Position>,
    acknowledged: Option<Position>,
    acknowledging: Option<Acknowledging>,
    acknowledge_after: Instant,
}

impl<L: LogSource, S: Storage> Saver<L, S> {
    pub(super) fn new(
        files: StoreFiles<S>,
        source: L,
        saves: Arc<Semaphore>,
        interval: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            files,
            source,
            saves,
            interval,
            is_dirty: false,
            is_urgent: false,
            begun_at: now,
            took: Duration::ZERO,
            running: None,
            is_running_forgotten: false,
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
        self.is_running_forgotten = self.running.is_some();
    }

    /// A place to write, if it is time and there is one; else the next look finds one.
    pub(super) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        if self.is_due() { Arc::clone(&self.saves).try_acquire_owned().ok() } else { None }
    }

    /// Waits for a place to write.
    pub(super) async fn wait_admitted(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.saves).acquire_owned().await.ok()
    }

    fn is_due(&self) -> bool {
        let wait = self.interval.max(self.took * INTERVAL_FACTOR);
        self.is_dirty
            && self.running.is_none()
            && (self.is_urgent || self.begun_at.elapsed() >= wait)
    }

    /// Begins to write the store's part as it is now, in its place; the store goes on meanwhile.
    /// Nothing waits here for the cells or the disk.
    pub(super) fn begin<V: ViewStore>(
        &mut self,
        place: OwnedSemaphorePermit,
        view: V,
        slot: &V::Slot,
        saved: SavedStore,
        now: Timestamp,
    ) {
        self.begun_at = Instant::now();
        if planted::is("acknowledge before the state is saved") {
            self.durable = Some(saved.state.position);
        }
        self.is_urgent = false;
        self.is_dirty = false;
        let mut files = self.files.clone();
        let cut = view.cut(slot);
        self.running = Some(spawn_blocking(move || {
            let result = files.save(&view, cut, &saved, now);
            drop(place);
            Saved { files, result, at: Instant::now() }
        }));
    }

    /// Looks after finished saves and acknowledgements; tells the node if it may be told. Returns
    /// what became of a save that ended.
    pub(super) async fn tend(&mut self, may_acknowledge: bool) -> Option<Result<(), String>> {
        let mut ended = None;
        if let Some(running) = self.running.take_if(|running| running.is_finished()) {
            ended = Some(self.take_saved(running.await));
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
        let running = self.running.take()?;
        Some(self.take_saved(running.await))
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

    fn take_saved(&mut self, saved: Result<Saved<S>, JoinError>) -> Result<(), String> {
        let is_forgotten = std::mem::take(&mut self.is_running_forgotten);
        let error = match saved {
            Ok(Saved { files, result, at }) => {
                self.files = files;
                match result {
                    Ok(position) => {
                        self.took = at.duration_since(self.begun_at);
                        self.durable = Some(position).filter(|_| !is_forgotten);
                        return Ok(());
                    }
                    Err(error) => error.to_string(),
                }
            }
            Err(panicked) => panicked.to_string(),
        };
        self.is_dirty = true;
        self.took = self.took.max(RETRY_INTERVAL / INTERVAL_FACTOR);
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use event_log::storage::sim::SimStorage;
    use shared::StoreId;

    use super::*;
    use crate::source::directory::DirectorySource;

    #[tokio::test(start_paused = true)]
    async fn a_store_waits_for_a_place_and_gets_it_when_another_is_done() {
        let places = Arc::new(Semaphore::new(1));
        let saver = |name: &str| {
            let storage = SimStorage::new(1);
            let files = StoreFiles::new(storage.clone(), StoreId::new(name).unwrap(), 0);
            let source = DirectorySource::new(storage);
            let mut saver = Saver::new(files, source, Arc::clone(&places), Duration::from_secs(2));
            saver.mark_urgent();
            saver
        };
        let (one, other) = (saver("one"), saver("other"));
        let place = one.admit().expect("a place is free");
        assert!(other.admit().is_none(), "two stores are written at once");
        assert!(timeout(Duration::from_secs(9), other.wait_admitted()).await.is_err());
        drop(place);
        assert!(other.admit().is_some());
        let mut idle = saver("idle");
        idle.is_dirty = false;
        assert!(idle.admit().is_none(), "nothing to write");
    }
}
