//! Opening a ledger: the newest valid snapshot, then every durable record behind it, each checked
//! before it is applied, each frame's state digest compared. It must never skip a record that
//! doesn't fit, nor open over a digest that differs.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use event_log::planted;
use event_log::snapshot::{SnapshotError, SnapshotInfo, SnapshotReadError};
use event_log::storage::Storage;
use event_log::{Cursor, CursorError, Frame, Log, ReadError, Seq};
use shared::{StoreId, Timestamp};
use thiserror::Error;

use super::replay::{FrameSource, Replay, ReplayError, ReplayOptions, ReplayReport};
use super::tables::TableError;
use super::{Ledger, LedgerOptions};
use crate::expiry::{ClosedQueue, ExpiryQueue};
use crate::idempotency::KeyTable;

/// Why a ledger wasn't opened. Nothing has been changed.
#[derive(Debug, Error)]
pub enum LedgerOpenError {
    /// The snapshots can't be listed: look at the disk.
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    /// The snapshot can't be read: look at the disk.
    #[error(transparent)]
    SnapshotRead(#[from] SnapshotReadError),
    /// The snapshot's bytes are whole but not understood: use the build that wrote them.
    #[error("the snapshot {file}: {source}")]
    Table {
        /// The file, relative to the log's directory.
        file: String,
        /// What is wrong.
        source: TableError,
    },
    /// The snapshot's items don't add up to the digest in its footer.
    #[error(
        "the snapshot {file} holds items of digest {found:032x}, its footer says {expected:032x}"
    )]
    SnapshotDigest {
        /// The file, relative to the log's directory.
        file: String,
        /// What the footer says.
        expected: u128,
        /// What the items add up to.
        found: u128,
    },
    /// What follows the snapshot isn't in the log.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// A frame can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record doesn't fit what came before it: `verify` and look at it.
    #[error("{source} (in {file})")]
    Replay {
        /// The segment, relative to the log's directory.
        file: String,
        /// Which record and why.
        source: Box<ReplayError>,
    },
}

/// What an opening found.
#[derive(Debug, Clone, Default)]
pub struct RecoveryReport {
    /// The snapshot it began with, if any.
    pub snapshot: Option<SnapshotInfo>,
    /// Items in the snapshot.
    pub snapshot_items: u64,
    /// Keys in the snapshot.
    pub snapshot_keys: u64,
    /// What was replayed behind it.
    pub replay: ReplayReport,
    /// Items now.
    pub items: u64,
    /// Idempotency keys now.
    pub keys: u64,
    /// The state digest now.
    pub digest: u128,
}

impl<S: Storage> Ledger<S> {
    /// Opens the ledger over an open log: the newest valid snapshot, then the log from its `lo`.
    /// `progress` is told (seqs done, seqs to do).
    pub fn open(
        log: Arc<Log<S>>,
        store_id: StoreId,
        options: LedgerOptions,
        now: Timestamp,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Arc<Self>, RecoveryReport), LedgerOpenError> {
        let mut keys = KeyTable::new(options.keys_max, options.key_life_us);
        let mut report = RecoveryReport::default();
        let mut replay = Replay::new(&mut keys, ReplayOptions::opening(now));
        let mut cursor = Cursor::START;
        if let Some(info) = log.latest_snapshot()? {
            let reader = log.open_snapshot(&info)?;
            replay.load(reader, &info)?;
            cursor = Cursor { seq: info.lo(), chain: Some(info.header.chain) };
            (report.snapshot_items, report.snapshot_keys) = replay.loaded();
            report.snapshot = Some(info);
        }
        let tip = log.tip();
        let last = log.durable();
        let progress = &mut |seq: Seq| progress(seq.get(), last.get());
        // Of a log opened for reading only, a snapshot may be all that is left.
        let replayed = if (cursor.seq, cursor.chain) == (tip.seq, Some(tip.chain)) {
            replay.run(&mut NoFrames, progress)
        } else {
            replay.run(&mut log.reader(cursor)?, progress)
        };
        let outcome = replayed.map_err(|error| in_file(&log, error))?;
        report.replay = outcome.report;
        if planted::is("forget the keys at a restart") {
            keys = KeyTable::new(options.keys_max, options.key_life_us);
        }
        let ledger = Self {
            log,
            store_id,
            options,
            items: outcome.items,
            keys,
            expiries: ExpiryQueue::holding(outcome.reservations.expiring),
            closed: ClosedQueue::holding(options.keys_max, outcome.reservations.closed),
            orders: outcome.orders,
            reservations_live: AtomicU64::new(outcome.reservations.live),
        };
        (report.items, report.keys) = (ledger.items.len() as u64, ledger.keys.len() as u64);
        report.digest = report.replay.digest;
        Ok((Arc::new(ledger), report))
    }
}

/// What follows the end of a log.
struct NoFrames;

impl FrameSource for NoFrames {
    fn next_frame(&mut self) -> Result<Option<&Frame>, ReadError> {
        Ok(None)
    }
}

fn in_file<S: Storage>(log: &Log<S>, error: ReplayError) -> LedgerOpenError {
    let seq = match error {
        ReplayError::Read(error) => return LedgerOpenError::Read(error),
        ReplayError::Record { seq, .. }
        | ReplayError::Check { seq, .. }
        | ReplayError::Digest { seq, .. } => seq,
    };
    let status = log.status();
    let segment =
        status.segments.iter().find(|segment| segment.first <= seq && seq <= segment.last);
    let file = segment.map_or_else(|| "the archive".to_owned(), |segment| segment.file.clone());
    LedgerOpenError::Replay { file, source: Box::new(error) }
}
