//! The log: opening, appending, the watermark and waiting on it.
//!
//! Appending is one short lock and one copy; it must never touch the disk. What commits, reads,
//! snapshots and compacts lies in the neighbouring files.

use std::sync::Arc;

use threading::thread::JoinHandle;
use threading::{Condvar, Mutex};

use crate::catalog::Catalog;
use crate::committer::Committer;
use crate::compaction::SealedSegment;
use crate::consumers::Retained;
use crate::error::{AppendError, CommitError, CursorError, OpenError, WaitError};
use crate::format::{APPEND_BYTES_MAX, FRAME_BYTES_MAX};
use crate::frame::FRAME_HEADER_BYTES;
use crate::leftovers::Leftover;
use crate::queue::{Gate, Queue};
use crate::record::RecordBuffer;
use crate::seq::{Chain, Epoch, LogId, Seq, SeqRange, StateDigest, Tip};
use crate::status::{OpenedAs, ReadOnlyOpening, SyncClock};
use crate::storage::Storage;
use crate::waiters::{Durable, Waiters};

/// How a log is opened. Times, ids and randomness come from the caller.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Who the log belongs to, at most 256 bytes; another owner's log is refused.
    pub owner: Vec<u8>,
    /// The size of a segment file, bytes; at most [`SEGMENT_BYTES_MAX`](crate::SEGMENT_BYTES_MAX).
    pub segment_bytes: u64,
    /// Where frames begin, bytes; none = max(512, the device's physical block).
    pub alignment: Option<u32>,
    /// The id of the log if it has to be made.
    pub new_log_id: LogId,
    /// Names this opening, together with the epoch counter.
    pub epoch_random: u64,
    /// Logged time at opening, µs since 1970.
    pub opened_at_us: i64,
    /// The longest frame, bytes; at most [`FRAME_BYTES_MAX`].
    pub frame_bytes_max: usize,
    /// A checkpoint frame follows the last data frame by this much.
    pub checkpoint_after_ms: u64,
    /// Less free space than this, bytes, and no spare segment is made.
    pub disk_floor_bytes: u64,
    /// How many spare segments are kept ready, one of them in reserve for repair; at least 2.
    pub spare_segments: usize,
    /// Written into `LOCK`: who holds the log.
    pub holder: String,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            owner: Vec::new(),
            segment_bytes: 64 << 20,
            alignment: None,
            new_log_id: LogId::new([0; 16]),
            epoch_random: 0,
            opened_at_us: 0,
            frame_bytes_max: FRAME_BYTES_MAX,
            checkpoint_after_ms: 1000,
            disk_floor_bytes: 0,
            spare_segments: 2,
            holder: format!("process {}", std::process::id()),
        }
    }
}

/// The options that appenders and the committer look at, after checking.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) alignment: u32,
    pub(crate) segment_bytes: u64,
    pub(crate) frame_bytes_max: usize,
    pub(crate) spare_segments: usize,
    pub(crate) disk_floor_bytes: u64,
    pub(crate) checkpoint_after_ms: u64,
}

/// What one commit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// There was nothing to do.
    Nothing,
    /// One frame is durable.
    Frame {
        /// Its seqs; `None` for a frame without records.
        seqs: Option<SeqRange>,
        /// Its bytes on disk, padding included.
        bytes: usize,
    },
}

/// How far readers may look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    /// First seq of the active segment.
    pub(crate) segment: Seq,
    /// End of its durable frames.
    pub(crate) end: u64,
    pub(crate) tip: Tip,
}

/// What all handles, readers and threads of one open log share.
pub(crate) struct Shared<S: Storage> {
    pub(crate) storage: S,
    pub(crate) limits: Limits,
    pub(crate) log_id: LogId,
    pub(crate) owner: Vec<u8>,
    pub(crate) epoch: Epoch,
    pub(crate) queue: Mutex<Queue<S>>,
    /// The committer sleeps here, with the queue's lock.
    pub(crate) work: Condvar,
    /// The preallocator sleeps here, with the queue's lock.
    pub(crate) room: Condvar,
    pub(crate) committer: Mutex<Committer<S>>,
    pub(crate) waiters: Waiters,
    pub(crate) catalog: Mutex<Catalog>,
    pub(crate) published: Mutex<Published>,
    pub(crate) sync_clock: SyncClock,
    pub(crate) opened: OpenedAs,
    pub(crate) unknown_files: Vec<String>,
}

/// An open log. One process at a time; share it as an [`Arc`].
pub struct Log<S: Storage> {
    pub(crate) shared: Arc<Shared<S>>,
    pub(crate) retained: Retained,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
    /// None in a log that was opened for reading only.
    _lock: Option<S::Lock>,
}

impl<S: Storage> Log<S> {
    /// Locks, checks and opens a log, or makes a new one; starts no thread.
    ///
    /// A refusal changes nothing. After an unclean end the torn tail is zeroed and every frame that
    /// nothing later witnesses is written and synced again, before this returns.
    #[expect(clippy::needless_pass_by_value, reason = "options are made for one opening")]
    pub fn open(storage: S, options: LogOptions) -> Result<Arc<Self>, OpenError> {
        let (shared, lock, leftovers) = crate::recovery::open(storage, &options)?;
        let retained = Retained::load(&shared.storage, shared.log_id);
        *retained.leftovers.lock() = leftovers;
        Ok(Arc::new(Self {
            shared: Arc::new(shared),
            retained,
            threads: Mutex::default(),
            _lock: Some(lock),
        }))
    }

    /// Opens a log to look at it, however damaged, held by another process or write-protected its
    /// directory is; writes nothing, takes no lock and starts no thread, now or later.
    ///
    /// What is shown: the newest readable snapshot and the frames behind it up to the first damage;
    /// beside a process that writes, up to the last frame that a later one proves durable. It
    /// stays what it was at this moment. [`Log::read_only`] says where that is and what was found.
    #[expect(clippy::needless_pass_by_value, reason = "options are made for one opening")]
    pub fn open_read_only(storage: S, options: LogOptions) -> Result<Arc<Self>, OpenError> {
        let (shared, base) = crate::look::open(storage, &options)?;
        let retained = Retained::load(&shared.storage, shared.log_id);
        if let OpenedAs::ReadOnly(opening) = &shared.opened {
            retained.leftovers.lock().clone_from(&opening.leftovers);
        }
        if let Some(info) = base {
            retained.remember_snapshot(info);
        }
        Ok(Arc::new(Self {
            shared: Arc::new(shared),
            retained,
            threads: Mutex::default(),
            _lock: None,
        }))
    }

    /// What an opening for reading only found; `None` in a log that was opened for writing.
    pub fn read_only(&self) -> Option<&ReadOnlyOpening> {
        match &self.shared.opened {
            OpenedAs::ReadOnly(opening) => Some(opening),
            OpenedAs::New | OpenedAs::Clean | OpenedAs::Unclean { .. } => None,
        }
    }

    /// Segments that opening found before a gap that nothing needs, and that are there still: tell
    /// operators. They are no part of the log, and compaction removes them.
    pub fn leftovers(&self) -> Vec<Leftover> {
        self.retained.leftovers.lock().clone()
    }

    /// Puts records into the next frame, all of them into the same one, and gives them their seqs.
    ///
    /// `logged_at_us` is their logged time; `digest_delta` is added (wrapping) to the state digest
    /// that the frame will carry. The append is durable once [`Log::wait`] for its last seq says so.
    pub fn append(
        &self,
        records: &RecordBuffer,
        logged_at_us: i64,
        digest_delta: StateDigest,
    ) -> Result<SeqRange, AppendError> {
        let shared = &*self.shared;
        let bytes = records.byte_len();
        let max = APPEND_BYTES_MAX.min(
            shared.limits.frame_bytes_max - FRAME_HEADER_BYTES - shared.limits.alignment as usize,
        );
        if records.is_empty() {
            return Err(AppendError::Empty);
        }
        if bytes > max {
            return Err(AppendError::TooLarge { bytes, max });
        }
        let mut queue = shared.queue.lock();
        let appended = queue.append(records, logged_at_us, digest_delta, &shared.limits);
        let wake = appended.is_ok() && std::mem::take(&mut queue.committer_sleeps);
        drop(queue);
        if wake {
            shared.work.notify_one();
        }
        // Any other refusal is not for the preallocator, which after a shortage waits its time.
        if matches!(appended, Err(AppendError::Busy)) {
            shared.room.notify_one();
        }
        appended
    }

    /// The durable watermark: everything up to it survives any crash.
    pub fn durable(&self) -> Seq {
        self.shared.waiters.durable()
    }

    /// The highest seq given out.
    pub fn last(&self) -> Seq {
        self.shared.queue.lock().last
    }

    /// Waits until `seq` is durable; it may not have been given out yet.
    pub fn wait(&self, seq: Seq) -> Durable<S> {
        Durable::new(Arc::clone(&self.shared), seq)
    }

    /// [`Log::wait`] for a thread: parks, without spinning.
    pub fn wait_blocking(&self, seq: Seq) -> Result<(), WaitError> {
        self.shared.waiters.wait_blocking(seq)
    }

    /// Commits what is waiting as one frame: what the committer thread does, for who has none.
    pub fn commit_once(&self) -> Result<Committed, CommitError> {
        self.shared.commit_once()
    }

    /// Writes a checkpoint frame if data frames came since the last one and nothing waits.
    pub fn checkpoint_once(&self) -> Result<Committed, CommitError> {
        self.shared.checkpoint_once()
    }

    /// Refuses new appends, commits the rest, writes the close frame and ends the threads. Calling
    /// it again does nothing.
    pub fn close(&self) -> Result<(), CommitError> {
        {
            let mut queue = self.shared.queue.lock();
            queue.stopping = true;
            match &queue.gate {
                Gate::Closed => return Ok(()),
                Gate::ReadOnly { .. } => {
                    queue.gate = Gate::Closed;
                    self.shared.waiters.end(WaitError::Closed);
                    return Ok(());
                }
                Gate::Poisoned { .. } => {}
                Gate::Open | Gate::Shut(_) => queue.gate = Gate::Closed,
            }
        }
        self.shared.work.notify_all();
        self.shared.room.notify_all();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // A panic of the committer has poisoned the log already.
            let _ = thread.join();
        }
        while self.shared.commit_once()? != Committed::Nothing {}
        self.shared.write_close_frame()?;
        self.shared.waiters.end(WaitError::Closed);
        Ok(())
    }

    /// Where the log durably is: seq, chain, digest and logged time.
    pub fn tip(&self) -> Tip {
        self.shared.published.lock().tip
    }

    /// The log's id, made with it and never changed.
    pub fn log_id(&self) -> LogId {
        self.shared.log_id
    }

    /// This opening.
    pub fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// Who the log belongs to.
    pub fn owner(&self) -> &[u8] {
        &self.shared.owner
    }

    /// The medium under the log.
    pub fn storage(&self) -> &S {
        &self.shared.storage
    }

    /// The chain at the end of the data frame that ends at `frame_end`.
    pub fn chain_at(&self, frame_end: Seq) -> Result<Chain, CursorError> {
        Ok(self.shared.locate(frame_end, None)?.chain)
    }

    /// Whether the log has this chain at `seq`: after its data frame or a later frame without records.
    pub(crate) fn chain_matches(&self, seq: Seq, chain: &Chain) -> Result<(), CursorError> {
        // In a log opened for reading only the end may be known from a snapshot alone.
        let tip = self.tip();
        if tip.seq == seq && tip.chain == *chain {
            return Ok(());
        }
        self.shared.locate(seq, Some(*chain)).map(|_| ())
    }

    pub(crate) fn sealed_segments(&self) -> Vec<SealedSegment> {
        self.shared.catalog.lock().sealed()
    }

    /// Forgets an archived segment; one that is also there as a segment stays.
    pub(crate) fn archive_removed(&self, first: Seq) {
        let mut catalog = self.shared.catalog.lock();
        if catalog.get(first).is_some_and(|segment| segment.archived) {
            catalog.removed(first, false);
        }
    }

    pub(crate) fn segment_removed(&self, first: Seq, archived: bool) {
        self.shared.catalog.lock().removed(first, archived);
    }
}

impl<S: Storage> Drop for Log<S> {
    /// A log that is dropped without [`Log::close`] ends as a crash would, but for its threads.
    fn drop(&mut self) {
        self.shared.queue.lock().stopping = true;
        self.shared.work.notify_all();
        self.shared.room.notify_all();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            let _ = thread.join();
        }
    }
}
