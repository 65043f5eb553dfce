//! A log on a simulated disk beside the plainest model of it, and the checker that compares them.
//!
//! Everything runs in one thread: the committer and the preallocator are stepped by hand. A record's
//! bytes differ from life to life of the process, so that a resurrected leftover is never taken for
//! what was appended later.

mod check;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use event_log::storage::sim::SimStorage;
use event_log::{
    AppendError, Chain, CommitError, CompactionReport, Log, LogId, LogOptions, OpenError,
    RecordBuffer, Retention, SnapshotError, WaitError,
};

/// Small enough that four large records fill a segment.
pub(crate) const SEGMENT_BYTES: u64 = 16 * 1024;

/// One thing that is done to a log.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// One append of records of these lengths.
    Append(Vec<usize>),
    /// Commits until everything is durable.
    Commit,
    Checkpoint,
    Preallocate,
    /// A snapshot, with an append while it is made.
    Snapshot,
    /// The consumer of this name says that it has everything that is durable.
    Acknowledge(&'static str),
    Compact {
        archive: bool,
    },
    /// Closes cleanly and opens again.
    Close,
    /// Ends the process without closing, and opens again.
    Kill,
}

/// How an [`Op`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// It said no; the log goes on.
    Refused(String),
    /// The log is gone: the power, or a log that couldn't be opened.
    Dead(String),
}

/// What was appended, and what of it was promised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// The record of seq 1 is the first.
    pub(crate) records: Vec<Vec<u8>>,
    /// How many records there were after each append: a log may end there and nowhere else.
    pub(crate) ends: BTreeSet<usize>,
    pub(crate) acknowledged: usize,
    /// Snapshots that were finished and may not be gone.
    pub(crate) snapshots: BTreeSet<String>,
    /// Cursors that were accepted, by consumer.
    pub(crate) cursors: Vec<(&'static str, u64)>,
    /// No record above this may be missing from the log and its archive.
    pub(crate) deleted_to: u64,
}

pub(crate) struct World {
    pub(crate) storage: SimStorage,
    pub(crate) log: Option<Arc<Log<SimStorage>>>,
    pub(crate) model: Model,
    pub(crate) segment_bytes: u64,
    life: u64,
    now_us: i64,
}

macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err(format!($($what)+));
        }
    };
}
pub(crate) use check::read_all;
pub(crate) use ensure;

pub(crate) fn options(segment_bytes: u64) -> LogOptions {
    LogOptions {
        owner: b"store-1".to_vec(),
        segment_bytes,
        new_log_id: LogId::from_parts(1_700_000_000_000_000, [7; 10]),
        epoch_random: 11,
        opened_at_us: 1_700_000_000_000_000,
        holder: "process 42".to_owned(),
        ..LogOptions::default()
    }
}

pub(crate) fn retention(archive: bool) -> Retention {
    Retention { archive, archive_keep_us: i64::MAX, snapshots_keep: 2, disk_budget_bytes: None }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::on(SimStorage::new(seed), Model::default(), 1)
    }

    fn on(storage: SimStorage, model: Model, life: u64) -> Self {
        Self {
            storage,
            log: None,
            model,
            segment_bytes: SEGMENT_BYTES,
            life,
            now_us: 1_700_000_000_000_000,
        }
    }

    /// The world after a power cut now; this one stays as it is.
    pub(crate) fn crashed(&self, seed: u64) -> Self {
        let after = Self::on(self.storage.crashed(seed), self.model.clone(), self.life + 1);
        Self { segment_bytes: self.segment_bytes, ..after }
    }

    pub(crate) fn log(&self) -> &Arc<Log<SimStorage>> {
        self.log.as_ref().expect("the log is open")
    }

    /// Opens the log and compares it with the model.
    pub(crate) fn open(&mut self) -> Result<(), String> {
        self.try_open().map_err(|error| format!("opening: {error}"))?;
        self.check_opened()
    }

    pub(crate) fn try_open(&mut self) -> Result<(), OpenError> {
        self.log = None;
        self.log = Some(Log::open(self.storage.clone(), options(self.segment_bytes))?);
        Ok(())
    }

    /// Does the operations until one kills the log; an `Err` is a broken promise.
    pub(crate) fn run(&mut self, ops: &[Op]) -> Result<Outcome, String> {
        for (index, op) in ops.iter().enumerate() {
            let outcome = self.apply(op).map_err(|what| format!("op {index} {op:?}: {what}"))?;
            if let Outcome::Dead(_) = outcome {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Done)
    }

    pub(crate) fn apply(&mut self, op: &Op) -> Result<Outcome, String> {
        self.now_us += 1000;
        let outcome = match op {
            Op::Append(lengths) => self.append(lengths)?,
            Op::Commit => self.commit()?,
            Op::Checkpoint => done(self.log().checkpoint_once()),
            Op::Preallocate => done(self.log().preallocate_once()),
            Op::Snapshot => self.snapshot()?,
            Op::Acknowledge(id) => self.acknowledge(id)?,
            Op::Compact { archive } => self.compact(*archive)?,
            Op::Close => self.close()?,
            Op::Kill => self.reopen()?,
        };
        Ok(if self.storage.is_off() {
            Outcome::Dead("the power is off".to_owned())
        } else {
            outcome
        })
    }

    fn append(&mut self, lengths: &[usize]) -> Result<Outcome, String> {
        let mut buffer = RecordBuffer::new();
        let mut records = Vec::new();
        let mut delta: u128 = 0;
        for length in lengths {
            let record = record_of(self.life, self.model.records.len() + records.len(), *length);
            buffer.push(&record);
            delta = delta.wrapping_add(digest_of(&record));
            records.push(record);
        }
        let log = Arc::clone(self.log());
        let mut result = log.append(&buffer, self.now_us, delta);
        for _ in 0..3 {
            if result != Err(AppendError::Busy) {
                break;
            }
            let _ = log.preallocate_once();
            if let Outcome::Dead(_) = self.commit()? {
                break;
            }
            result = log.append(&buffer, self.now_us, delta);
        }
        let range = match result {
            Ok(range) => range,
            Err(error) => return Ok(Outcome::Refused(error.to_string())),
        };
        let first = self.model.records.len() as u64 + 1;
        ensure!(range.first.get() == first, "the append got {} and not {first}", range.first);
        ensure!(range.count() == records.len() as u64, "the append got {} seqs", range.count());
        self.model.records.append(&mut records);
        self.model.ends.insert(self.model.records.len());
        Ok(Outcome::Done)
    }

    fn commit(&mut self) -> Result<Outcome, String> {
        let log = Arc::clone(self.log());
        let last = log.last();
        let mut waiter = pin!(log.wait(last));
        while log.durable() < last {
            if let Err(CommitError::Poisoned { reason }) = log.commit_once() {
                let told = poll(waiter.as_mut());
                let unknown = matches!(told, Poll::Ready(Err(WaitError::OutcomeUnknown(_))));
                ensure!(unknown, "a waiter of a poisoned log was told {told:?}");
                self.check_durable(&log)?;
                return Ok(Outcome::Refused(reason));
            }
        }
        ensure!(
            poll(waiter.as_mut()) == Poll::Ready(Ok(())),
            "a waiter wasn't told that {last} is durable"
        );
        self.check_durable(&log)?;
        Ok(Outcome::Done)
    }

    /// What the log calls durable is acknowledged from now on.
    fn check_durable(&mut self, log: &Log<SimStorage>) -> Result<(), String> {
        let durable = log.durable().get() as usize;
        ensure!(
            durable <= self.model.records.len(),
            "durable up to {durable}, more than was appended"
        );
        ensure!(durable >= self.model.acknowledged, "the watermark went back to {durable}");
        self.model.acknowledged = durable;
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Outcome, String> {
        let log = Arc::clone(self.log());
        let mut writer = match log.begin_snapshot(self.now_us) {
            Ok(writer) => writer,
            Err(error) => return Ok(Outcome::Refused(error.to_string())),
        };
        let lo = writer.lo().get() as usize;
        let digest = digest_up_to(&self.model.records, lo);
        if let Err(error) = writer
            .section(1, 0, &digest.to_le_bytes())
            .and_then(|()| writer.section(2, 0, &[5; 700]))
        {
            return Ok(Outcome::Refused(error.to_string()));
        }
        let appended = self.append(&[40])?;
        let hi = writer.seal();
        if log.durable() < hi {
            let early = writer.finish(digest);
            ensure!(
                matches!(early, Err(SnapshotError::NotDurableYet { hi: told }) if told == hi),
                "finished before it was durable: {early:?}"
            );
        }
        if let (Outcome::Done, refused @ Outcome::Refused(_)) = (appended, self.commit()?) {
            return Ok(refused);
        }
        match writer.finish(digest) {
            Ok(info) => self.model.snapshots.insert(info.file),
            Err(error) => return Ok(Outcome::Refused(error.to_string())),
        };
        Ok(Outcome::Done)
    }

    fn acknowledge(&mut self, id: &'static str) -> Result<Outcome, String> {
        let tip = self.log().tip();
        if let Err(error) = self.log().acknowledge(id, tip.seq, tip.chain, self.now_us) {
            return Ok(Outcome::Refused(error.to_string()));
        }
        self.model.cursors.retain(|(known, _)| *known != id);
        self.model.cursors.push((id, tip.seq.get()));
        let ahead = self.log().acknowledge(id, tip.seq.next(), tip.chain, self.now_us);
        ensure!(ahead.is_err(), "a cursor ahead of the watermark was accepted");
        let foreign = self.log().acknowledge(id, tip.seq, Chain::new([9; 32]), self.now_us);
        ensure!(foreign.is_err(), "a cursor with another chain was accepted");
        Ok(Outcome::Done)
    }

    fn compact(&mut self, archive: bool) -> Result<Outcome, String> {
        // Whatever happens now, only the two newest snapshots must stay, and nothing above the floor
        // of their `lo` and the cursors may go.
        let snapshots = self.log().snapshots().map_err(|error| format!("snapshots: {error}"))?;
        let kept = &snapshots[snapshots.len().saturating_sub(2)..];
        let lo = if kept.len() < 2 { 0 } else { kept[0].lo().get() };
        let floor =
            self.log().consumers().iter().map(|consumer| consumer.seq.get()).fold(lo, u64::min);
        if !archive {
            self.model.deleted_to = self.model.deleted_to.max(floor);
        }
        self.model.snapshots = kept.iter().map(|info| info.file.clone()).collect();
        let report: CompactionReport =
            match self.log().compact(&retention(archive), self.now_us, &mut event_log::go_on) {
                Ok(report) => report,
                Err(error) => return Ok(Outcome::Refused(error.to_string())),
            };
        ensure!(report.floor.get() <= floor, "the floor {} is above {floor}", report.floor);
        self.check()?;
        Ok(Outcome::Done)
    }

    fn close(&mut self) -> Result<Outcome, String> {
        let log = Arc::clone(self.log());
        let closed = log.close();
        self.check_durable(&log)?;
        if closed.is_ok() {
            ensure!(log.durable() == log.last(), "closed with records that aren't durable");
        }
        drop(log);
        self.reopen()
    }

    fn reopen(&mut self) -> Result<Outcome, String> {
        self.life += 1;
        if let Err(error) = self.try_open() {
            return Ok(Outcome::Dead(error.to_string()));
        }
        self.check_opened()?;
        Ok(Outcome::Done)
    }
}

pub(crate) fn record_of(life: u64, index: usize, length: usize) -> Vec<u8> {
    let seed = blake3::hash(&[life.to_le_bytes(), (index as u64).to_le_bytes()].concat());
    seed.as_bytes().iter().copied().cycle().take(length).collect()
}

pub(crate) fn digest_of(record: &[u8]) -> u128 {
    let hash = blake3::hash(record);
    let (half, _) = hash.as_bytes().split_first_chunk::<16>().expect("a hash has 32 bytes");
    u128::from_le_bytes(*half)
}

fn digest_up_to(records: &[Vec<u8>], count: usize) -> u128 {
    records[..count].iter().fold(0, |sum, record| sum.wrapping_add(digest_of(record)))
}

fn done<T, E: std::fmt::Display>(result: Result<T, E>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
