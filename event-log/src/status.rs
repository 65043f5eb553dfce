//! What a log tells about itself: for operators, health and metrics. Read-only.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::Damage;
use crate::format::segment_file_name;
use crate::leftovers::Leftover;
use crate::log::Log;
use crate::queue::{Gate, Shortage};
use crate::seq::{Chain, Epoch, LogId, Seq, StateDigest};
use crate::snapshot::SnapshotInfo;
use crate::storage::Storage;

/// Whether the log takes appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogState {
    /// It does.
    Writable,
    /// No room is left and none can be made; it becomes writable again by itself.
    ReadOnly {
        /// Why no room can be made.
        reason: String,
    },
    /// A write or sync failed: open the log again.
    Poisoned {
        /// What failed.
        reason: String,
    },
    /// It was opened to be looked at: see [`Log::read_only`].
    LookOnly {
        /// Where what is shown ends, and why.
        reason: String,
    },
    /// It was closed.
    Closed,
}

/// How the log was found at opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenedAs {
    /// It was made.
    New,
    /// It had been closed.
    Clean,
    /// It had been left by a crash, a kill or a failure.
    Unclean {
        /// Bytes of a torn frame that were zeroed.
        torn_bytes: u64,
        /// Frames that no later watermark covered, written and synced again.
        frames_rewritten: u64,
    },
    /// It was opened to be looked at, and left as it was.
    ReadOnly(Arc<ReadOnlyOpening>),
}

/// What an opening for reading only found; see [`Log::open_read_only`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOnlyOpening {
    /// Who was writing the log at that moment, as its lock file says.
    pub holder: Option<String>,
    /// The snapshot that the state begins with; without one it begins at the first record.
    pub snapshot: Option<SnapshotInfo>,
    /// The last seq that is shown.
    pub last: Seq,
    /// Whether the state is that at `last`. If not, the readable frames end before the snapshot's
    /// `hi`: each item is as it was at some seq from the snapshot's `lo` to its `hi`.
    pub is_exact: bool,
    /// Bytes behind the end that nothing proves were ever acknowledged: a torn write.
    pub torn_bytes: u64,
    /// Segments before a gap that nothing needs; no part of what is shown.
    pub leftovers: Vec<Leftover>,
    /// What can't be trusted, in the order of the log, as far as opening had to look: `verify`
    /// finds the rest.
    pub damages: Vec<Damage>,
}

impl fmt::Display for ReadOnlyOpening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "opened for reading only, shown up to seq {}", self.last)?;
        if let Some(holder) = &self.holder {
            write!(f, "; {holder} writes it")?;
        }
        if !self.is_exact {
            write!(f, "; items are from different moments of the snapshot")?;
        }
        for damage in self.damages.iter().take(1) {
            write!(f, "; damaged: {damage}")?;
        }
        match self.damages.len() {
            0 | 1 => Ok(()),
            count => write!(f, "; and {} more damages", count - 1),
        }
    }
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStatus {
    /// Its file, relative to the data directory; archived ones have another name there.
    pub file: String,
    /// Its first seq.
    pub first: Seq,
    /// Its last seq; of the active one, the last durable.
    pub last: Seq,
    /// Bytes of its file.
    pub bytes: u64,
    /// Whether it is in the archive.
    pub archived: bool,
}

/// Everything a log tells about itself.
#[derive(Clone, Debug)]
pub struct LogStatus {
    /// The log's id.
    pub log_id: LogId,
    /// This opening.
    pub epoch: Epoch,
    /// Who it belongs to.
    pub owner: Vec<u8>,
    /// The durable watermark.
    pub durable: Seq,
    /// The highest seq given out.
    pub last: Seq,
    /// The chain at the watermark.
    pub chain: Chain,
    /// The state digest at the watermark.
    pub digest: StateDigest,
    /// Logged time of the last durable append, µs since 1970.
    pub logged_at_us: i64,
    /// Whether it takes appends.
    pub state: LogState,
    /// All segments, oldest first.
    pub segments: Vec<SegmentStatus>,
    /// Bytes waiting for the next commit.
    pub queue_bytes: usize,
    /// Callers that wait for something to become durable.
    pub waiters: usize,
    /// Spare segments ready.
    pub spares: usize,
    /// Why the last try to make one failed: appends go on until the room that is left is used up.
    pub shortage: Option<String>,
    /// How long syncs took.
    pub sync: SyncStats,
    /// How it was found at opening.
    pub opened: OpenedAs,
    /// Files in the data directory that aren't the log's; they are left alone.
    pub unknown_files: Vec<String>,
}

/// Upper bounds of the sync histogram's buckets, µs; the last bucket has none.
pub const SYNC_BUCKETS_US: [u64; 12] =
    [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400];

/// Durations of the committer's syncs since opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncStats {
    /// How many.
    pub count: u64,
    /// Their sum, µs.
    pub sum_us: u64,
    /// How many fell at or below each of [`SYNC_BUCKETS_US`] (and above the one before); the last
    /// is everything above.
    pub buckets: [u64; SYNC_BUCKETS_US.len() + 1],
}

/// The committer's side of [`SyncStats`].
#[derive(Debug, Default)]
pub(crate) struct SyncClock {
    sum_us: AtomicU64,
    buckets: [AtomicU64; SYNC_BUCKETS_US.len() + 1],
}

impl SyncClock {
    pub(crate) fn record(&self, elapsed: Duration) {
        let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(elapsed_us, Ordering::Relaxed);
        let bucket = SYNC_BUCKETS_US.partition_point(|bound| *bound < elapsed_us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }

    fn stats(&self) -> SyncStats {
        let mut stats =
            SyncStats { sum_us: self.sum_us.load(Ordering::Relaxed), ..SyncStats::default() };
        for (bucket, counter) in stats.buckets.iter_mut().zip(&self.buckets) {
            *bucket = counter.load(Ordering::Relaxed);
            stats.count += *bucket;
        }
        stats
    }
}

impl<S: Storage> Log<S> {
    /// Everything the log tells about itself, at this moment.
    pub fn status(&self) -> LogStatus {
        let shared = &*self.shared;
        let (state, last, queue_bytes, spares, shortage) = {
            let queue = shared.queue.lock();
            let waiting = if queue.batch.is_empty() { 0 } else { queue.batch.bytes.len() };
            let shortage = queue.shortage().map(str::to_owned);
            (state_of(&queue.gate), queue.last, waiting, queue.spare_count(), shortage)
        };
        let tip = self.tip();
        let segments = shared
            .catalog
            .lock()
            .iter()
            .map(|(first, segment)| SegmentStatus {
                file: if segment.archived {
                    crate::archive::archive_file_name(*first)
                } else {
                    segment_file_name(*first)
                },
                first: *first,
                last: segment.end.map_or(tip.seq, |(last, _)| last),
                bytes: segment.bytes,
                archived: segment.archived,
            })
            .collect();
        LogStatus {
            log_id: shared.log_id,
            epoch: shared.epoch,
            owner: shared.owner.clone(),
            durable: tip.seq,
            last,
            chain: tip.chain,
            digest: tip.digest,
            logged_at_us: tip.logged_at_us,
            state,
            segments,
            queue_bytes,
            waiters: shared.waiters.waiting(),
            spares,
            shortage,
            sync: shared.sync_clock.stats(),
            opened: shared.opened.clone(),
            unknown_files: shared.unknown_files.clone(),
        }
    }

    /// How full the next commit is, in percent of the preallocated room that it may grow into.
    pub fn queue_percent(&self) -> u8 {
        self.shared.queue.lock().percent()
    }

    /// Why the last try to make a spare segment failed; none if it didn't.
    pub fn shortage(&self) -> Option<String> {
        self.shared.queue.lock().shortage().map(str::to_owned)
    }

    /// Whether the log takes appends: the cheap part of [`Log::status`].
    pub fn state(&self) -> LogState {
        state_of(&self.shared.queue.lock().gate)
    }
}

fn state_of(gate: &Gate) -> LogState {
    match gate {
        Gate::Open => LogState::Writable,
        Gate::Shut(Shortage::NoSpace { reason } | Shortage::Io { reason }) => {
            LogState::ReadOnly { reason: reason.clone() }
        }
        Gate::Poisoned { reason } => LogState::Poisoned { reason: reason.clone() },
        Gate::ReadOnly { reason } => LogState::LookOnly { reason: reason.clone() },
        Gate::Closed => LogState::Closed,
    }
}
