//! Rebuilding state from a snapshot and frames: decode, check, apply, and compare every frame's
//! state digest. Used by recovery and by `store-node replay`.
//!
//! One thread reads frames (their crcs and chain are checked there) and sorts their records by
//! shard into batches; one worker for each core decodes and applies the records of the shards that
//! it claims, those of a shard in the order of the batches.
//! The digest is a sum, so each worker says what its records of each frame move it by, and the
//! parts are added up and compared with every frame as they come in. Keys go into their table as they
//! are met: of a replay that fails, nothing may be used. No check is dropped for speed.

mod batch;
mod crew;
mod load;
mod rebuilt;
mod verifier;
mod worker;

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};

use event_log::ReadError;
use event_log::storage::Storage;
use event_log::{DirectoryReader, Frame, FrameReader, Seq};
use parking_lot::Mutex;
use shared::cell::CheckError;
use shared::codec::DecodeError;
use shared::{Sku, Timestamp};
use thiserror::Error;

use super::items::{Chunk, ITEM_SHARDS, Items, LoadShard};
use crate::expiry::ClosedEntry;
use crate::idempotency::{KeyStage, KeyTable};
use crate::ledger::orders::OrderIndex;
use batch::Batch;
use crew::Crew;
use verifier::Verifier;
use worker::{BatchDone, Worker, WorkerEnd};

pub use rebuilt::{RebuildError, Rebuilt};

/// How many threads apply records at most.
pub(crate) const REPLAY_WORKERS_MAX: usize = 8;
/// How many batches wait for a worker at most.
const BATCHES_WAITING_MAX: usize = 1;

/// Where frames come from, in order, each checked by its crcs and its link of the chain.
pub trait FrameSource {
    /// The next frame; none at the durable end.
    fn next_frame(&mut self) -> Result<Option<&Frame>, ReadError>;
}

impl<S: Storage> FrameSource for FrameReader<S> {
    fn next_frame(&mut self) -> Result<Option<&Frame>, ReadError> {
        self.next()
    }
}

impl<S: Storage> FrameSource for DirectoryReader<S> {
    fn next_frame(&mut self) -> Result<Option<&Frame>, ReadError> {
        self.next()
    }
}

/// Why a replay stopped: the log says what can't have happened.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A frame can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record can't be decoded: written by a newer version, or damaged before it was sealed.
    #[error("record {seq} can't be decoded: {source}")]
    Record {
        /// The record.
        seq: Seq,
        /// Why.
        source: DecodeError,
    },
    /// A record doesn't follow from what came before it.
    #[error("record {seq} of {sku:?} doesn't fit: {source}")]
    Check {
        /// The record.
        seq: Seq,
        /// Its item.
        sku: Sku,
        /// Why.
        source: CheckError,
    },
    /// The state isn't the one that was sealed.
    #[error("the state digest at {seq} is {found:032x}, the frame says {expected:032x}")]
    Digest {
        /// The end of the frame.
        seq: Seq,
        /// What the frame says.
        expected: u128,
        /// What the state gives.
        found: u128,
    },
}

impl ReplayError {
    /// The record or frame end it is about; the last possible for one that names none.
    pub fn seq(&self) -> Seq {
        match self {
            Self::Read(_) => Seq::MAX,
            Self::Record { seq, .. } | Self::Check { seq, .. } | Self::Digest { seq, .. } => *seq,
        }
    }
}

/// How far to replay, and with how many threads.
#[derive(Debug, Clone, Copy)]
pub struct ReplayOptions {
    /// The time of the opening: keys whose life is over by then aren't remembered.
    pub now: Timestamp,
    /// Stop behind this record.
    pub until_seq: Seq,
    /// Stop before the first frame logged later.
    pub until_us: i64,
    /// Threads that apply; 0 = one for each core.
    pub workers: usize,
}

impl ReplayOptions {
    /// Everything, with every core.
    pub fn opening(now: Timestamp) -> Self {
        Self { now, until_seq: Seq::MAX, until_us: i64::MAX, workers: 0 }
    }

    fn worker_count(&self) -> usize {
        let wanted = if self.workers == 0 { crate::cores() } else { self.workers };
        wanted.clamp(1, REPLAY_WORKERS_MAX)
    }
}

/// What a replay did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Frames read, those without records included.
    pub frames: u64,
    /// Records read.
    pub records: u64,
    /// Events applied.
    pub applied: u64,
    /// Events that the snapshot already held.
    pub skipped: u64,
    /// Receipts read.
    pub receipts: u64,
    /// Idempotency keys met.
    pub keys: u64,
    /// Bytes of frames read.
    pub bytes: u64,
    /// Frames whose state digest was compared, and equal.
    pub frames_verified: u64,
    /// The last seq.
    pub last: Seq,
    /// Logged time of the last frame, µs.
    pub logged_at_us: i64,
    /// The state digest at the end.
    pub digest: u128,
}

/// A replay's end.
pub(crate) struct Replayed {
    pub(crate) report: ReplayReport,
    pub(crate) items: Items,
    pub(crate) reservations: ReservationSummary,
    /// Every live reservation, under its order.
    pub(crate) orders: OrderIndex,
}

/// What the ledger derives from reservations.
#[derive(Default)]
pub(crate) struct ReservationSummary {
    /// How many are live.
    pub(crate) live: u64,
    /// The SKUs with one that will end, under the time of the first; their slots know it.
    pub(crate) expiring: Vec<(Timestamp, Sku)>,
    /// Those that are remembered.
    pub(crate) closed: Vec<ClosedEntry>,
}

/// State being rebuilt.
pub(crate) struct Replay<'a> {
    shards: Vec<Mutex<LoadShard>>,
    keys: &'a mut KeyTable,
    options: ReplayOptions,
    /// Up to here events may be older than what the snapshot holds, and digests prove nothing.
    hi: Seq,
    digest: u128,
    /// Items of the snapshot in SKU order, in chunks.
    loaded: Vec<Chunk>,
    /// Shard and slot number of each item of the snapshot that has or had a reservation.
    with_reservations: Vec<(usize, u32)>,
    loaded_keys: u64,
}

impl<'a> Replay<'a> {
    /// A replay that begins with nothing.
    pub(crate) fn new(keys: &'a mut KeyTable, options: ReplayOptions) -> Self {
        Self {
            shards: (0..ITEM_SHARDS).map(|_| Mutex::default()).collect(),
            keys,
            options,
            hi: Seq::ZERO,
            digest: 0,
            loaded: Vec::new(),
            with_reservations: Vec::new(),
            loaded_keys: 0,
        }
    }

    /// Items and keys that the snapshot held.
    pub(crate) fn loaded(&self) -> (u64, u64) {
        (self.loaded.iter().map(Chunk::len).sum::<usize>() as u64, self.loaded_keys)
    }

    /// Applies every frame of the source, up to the limits. `progress` is told the seq reached.
    pub(crate) fn run(
        self,
        source: &mut dyn FrameSource,
        progress: &mut dyn FnMut(Seq),
    ) -> Result<Replayed, ReplayError> {
        let count = self.options.worker_count();
        let crew = Crew::new(self.shards, self.with_reservations, count);
        let (hi, options) = (self.hi, self.options);
        let mut verifier = Verifier::new(count, hi, self.digest);
        let restoring = self.keys.restoring();
        let restoring = &restoring;
        let orders = OrderIndex::default();
        let (read, ends) = std::thread::scope(|scope| {
            let (done_sender, done) = mpsc::channel();
            let mut senders = Vec::with_capacity(count);
            let mut threads = Vec::with_capacity(count);
            for index in 0..count {
                let (sender, batches) = mpsc::sync_channel::<Arc<Batch>>(BATCHES_WAITING_MAX);
                senders.push(sender);
                let keys = KeyStage::new(restoring, hi, options.now);
                let worker = Worker::new(index, &crew, hi, keys, &orders);
                let done = done_sender.clone();
                threads.push(scope.spawn(move || worker.run(&batches, &done)));
            }
            drop(done_sender);
            let intake = Intake { verifier: &mut verifier, spent: Vec::new(), batches: 0 };
            let read = feed(source, options, senders, &done, intake, progress);
            let ends: Vec<WorkerEnd> = threads
                .into_iter()
                .map(|thread| thread.join().expect("a worker that panics is a defect"))
                .collect();
            (read, ends)
        });
        let (report, items, reservations) = std::thread::scope(|scope| {
            scope.spawn(|| restoring.finish(crate::cores()));
            finish(read, &verifier, ends, crew.into_shards(), self.loaded)
        })?;
        Ok(Replayed { report, items, reservations, orders })
    }
}

/// Puts the workers' parts together.
fn finish(
    read: Result<ReplayReport, ReplayError>,
    verifier: &Verifier,
    ends: Vec<WorkerEnd>,
    shards: Vec<LoadShard>,
    loaded: Vec<Chunk>,
) -> Result<(ReplayReport, Items, ReservationSummary), ReplayError> {
    let failures = ends.iter().filter_map(|end| end.error.as_ref().map(ReplayError::seq));
    let first = failures.min().unwrap_or(Seq::MAX);
    if let Err(error) = &read
        && error.seq() < first
    {
        return read.map(|_| unreachable!("it is an error"));
    }
    let mut report = ReplayReport::default();
    let mut reservations = ReservationSummary::default();
    let mut created = Vec::new();
    for end in ends {
        if let Some(error) = end.error.filter(|error| error.seq() == first) {
            return Err(error);
        }
        report.applied += end.applied;
        report.skipped += end.skipped;
        report.receipts += end.receipts;
        report.keys += end.keys;
        created.extend(end.created);
        reservations.live += end.reservations.live;
        reservations.expiring.extend(end.reservations.expiring);
        reservations.closed.extend(end.reservations.closed);
    }
    let read = read?;
    report.frames_verified = verifier.verified();
    report.digest = verifier.digest();
    let ReplayReport { frames, records, bytes, last, logged_at_us, .. } = read;
    let report = ReplayReport { frames, records, bytes, last, logged_at_us, ..report };
    let items = Items::from_loaded(shards, loaded, created);
    Ok((report, items, reservations))
}

/// What comes back from the workers: digests to compare, memory to use again.
struct Intake<'a> {
    verifier: &'a mut Verifier,
    spent: Vec<Batch>,
    /// How many were begun.
    batches: usize,
}

impl Intake<'_> {
    /// Takes a worker's part of a batch.
    fn take(&mut self, mut part: BatchDone) -> Result<(), ReplayError> {
        self.spent.extend(part.spent.take());
        self.verifier.add(part);
        self.verifier.compare()
    }

    fn next_batch(&mut self) -> Batch {
        let mut batch = self.spent.pop().unwrap_or_default();
        batch.begin(self.batches);
        self.batches += 1;
        batch
    }
}

/// Reads frames, hands their records to the workers in batches, and verifies what comes back.
fn feed(
    source: &mut dyn FrameSource,
    options: ReplayOptions,
    senders: Vec<SyncSender<Arc<Batch>>>,
    done: &Receiver<BatchDone>,
    mut intake: Intake<'_>,
    progress: &mut dyn FnMut(Seq),
) -> Result<ReplayReport, ReplayError> {
    let mut report = ReplayReport::default();
    let mut batch = intake.next_batch();
    let outcome = loop {
        let over = match source.next_frame() {
            Ok(Some(frame)) => batch.push(frame, &options, &mut report),
            Ok(None) => true,
            Err(error) => break Err(ReplayError::Read(error)),
        };
        if !over && !batch.is_full() {
            continue;
        }
        progress(report.last);
        while let Ok(part) = done.try_recv() {
            intake.take(part)?;
        }
        intake.verifier.expect(&batch);
        let next = if over { Batch::default() } else { intake.next_batch() };
        let full = Arc::new(std::mem::replace(&mut batch, next));
        let sent = senders.iter().try_for_each(|sender| sender.send(Arc::clone(&full)));
        // A worker that is gone has told why.
        if sent.is_err() || over {
            break Ok(());
        }
    };
    drop(senders);
    for part in done {
        intake.take(part)?;
    }
    outcome.map(|()| report)
}
