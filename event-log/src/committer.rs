//! The committer: one frame in flight, one write, one `fdatasync`, then the watermark moves.
//!
//! A failed write or sync latches: it must never be retried, because after a failed `fdatasync` the
//! kernel calls the lost pages clean (PostgreSQL's "fsyncgate", 2018).

use std::io;
use std::task::Waker;
use std::time::Instant;

use crate::catalog::{Place, Spare};
use crate::error::{CommitError, WaitError};
use crate::format::{SegmentHeader, align_up, header_len_for};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, seal};
use crate::log::{Committed, Published, Shared};
use crate::planted;
use crate::queue::{Batch, Gate, Taken};
use crate::seq::{Chain, Seq, SeqRange, StateDigest, Tip};
use crate::storage::{Storage, StorageFile, read_exact_at};

/// What only the committer touches.
pub(crate) struct Committer<S: Storage> {
    /// None in a log that was opened for reading only.
    pub(crate) file: Option<S::File>,
    /// First seq of the active segment.
    pub(crate) segment: Seq,
    pub(crate) chain: Chain,
    /// The other buffer: one is filled while this one is written.
    pub(crate) batch: Batch,
    /// Data frames came since the last checkpoint.
    pub(crate) unsealed: bool,
    pub(crate) wakers: Vec<Waker>,
}

/// A frame that is about to be sealed.
struct Draft {
    kind: FrameKind,
    offset: u64,
    first_seq: Seq,
    record_count: u32,
    digest: StateDigest,
    logged_at_us: i64,
}

impl<S: Storage> Shared<S> {
    pub(crate) fn commit_once(&self) -> Result<Committed, CommitError> {
        let mut committer = self.committer.lock();
        let committer = &mut *committer;
        let taken = {
            let mut queue = self.queue.lock();
            if let Gate::Poisoned { reason } = &queue.gate {
                return Err(CommitError::Poisoned { reason: reason.clone() });
            }
            queue.take(&mut committer.batch, &self.limits)
        };
        let Some(taken) = taken else { return Ok(Committed::Nothing) };
        let done = self.commit_batch(committer, taken);
        committer.batch.clear();
        done
    }

    fn commit_batch(
        &self,
        committer: &mut Committer<S>,
        taken: Taken<S>,
    ) -> Result<Committed, CommitError> {
        let draft = Draft {
            kind: FrameKind::Data,
            offset: taken.offset,
            first_seq: taken.first_seq,
            record_count: committer.batch.record_count,
            digest: taken.digest,
            logged_at_us: taken.logged_at_us,
        };
        if let Some(spare) = taken.rotate_to {
            self.rotate(committer, spare, draft.first_seq)
                .map_err(|error| self.poison("rotating", &error))?;
            self.room.notify_one();
        }
        committer.unsealed = true;
        self.write_frame(committer, &draft)
    }

    pub(crate) fn checkpoint_once(&self) -> Result<Committed, CommitError> {
        let mut committer = self.committer.lock();
        if !committer.unsealed {
            self.refuse_poisoned()?;
            return Ok(Committed::Nothing);
        }
        self.write_trailer(&mut committer, FrameKind::Checkpoint)
    }

    pub(crate) fn write_close_frame(&self) -> Result<Committed, CommitError> {
        self.write_trailer(&mut self.committer.lock(), FrameKind::Close)
    }

    /// Writes a frame without records behind everything, unless records wait or there is no room.
    fn write_trailer(
        &self,
        committer: &mut Committer<S>,
        kind: FrameKind,
    ) -> Result<Committed, CommitError> {
        self.refuse_poisoned()?;
        let draft = {
            let mut queue = self.queue.lock();
            if !queue.batch.is_empty() {
                return Ok(Committed::Nothing);
            }
            let keep_frames = u64::from(kind == FrameKind::Checkpoint);
            queue.take_trailer(keep_frames, &self.limits).map(|offset| Draft {
                kind,
                offset,
                first_seq: queue.last.next(),
                record_count: 0,
                digest: queue.digest,
                logged_at_us: queue.logged_at_us,
            })
        };
        committer.unsealed = false;
        let Some(draft) = draft else { return Ok(Committed::Nothing) };
        let done = self.write_frame(committer, &draft);
        committer.batch.clear();
        done
    }

    fn write_frame(
        &self,
        committer: &mut Committer<S>,
        draft: &Draft,
    ) -> Result<Committed, CommitError> {
        let stored = &mut committer.batch.bytes;
        let unsealed = FrameHeader {
            kind: draft.kind,
            payload_len: (stored.len() - FRAME_HEADER_BYTES) as u32,
            record_count: draft.record_count,
            first_seq: draft.first_seq,
            segment_first_seq: committer.segment,
            epoch_counter: self.epoch.counter,
            watermark: self.waiters.durable(),
            logged_at_us: draft.logged_at_us,
            state_digest: draft.digest,
            chain: committer.chain,
            payload_crc: 0,
        };
        let header = seal(stored, unsealed, self.log_id, &committer.chain);
        let padded = align_up(stored.len() as u64, self.limits.alignment) as usize;
        stored.resize(padded, 0);
        let file = active(committer.file.as_ref());
        let written = file.and_then(|file| file.write_at(stored, draft.offset).map(|()| file));
        let file = written.map_err(|error| self.poison("writing a frame", &error))?;
        let started = Instant::now();
        sync_frame(file).map_err(|error| self.poison("syncing a frame", &error))?;
        self.sync_clock.record(started.elapsed());
        committer.chain = header.chain;
        self.publish(committer, &header, draft.offset + padded as u64);
        let seqs = (header.record_count > 0)
            .then(|| SeqRange { first: header.first_seq, last: header.last_seq() });
        Ok(Committed::Frame { seqs, bytes: padded })
    }

    fn publish(&self, committer: &mut Committer<S>, header: &FrameHeader, end: u64) {
        let tip = Tip {
            seq: header.last_seq(),
            chain: header.chain,
            digest: header.state_digest,
            logged_at_us: header.logged_at_us,
        };
        if planted::is("move the watermark before the tip") {
            self.waiters.publish(tip.seq, &mut committer.wakers);
        }
        self.catalog.lock().active().note(Place { offset: end, seq: tip.seq, chain: tip.chain });
        *self.published.lock() = Published { segment: committer.segment, end, tip };
        self.waiters.publish(tip.seq, &mut committer.wakers);
    }

    /// Seals the active segment and goes on in `spare`, whose first seq will be `first_seq`.
    fn rotate(
        &self,
        committer: &mut Committer<S>,
        spare: Spare<S>,
        first_seq: Seq,
    ) -> io::Result<()> {
        active(committer.file.as_ref())?.sync_data()?;
        if first_seq == committer.segment {
            return self.outgrow(committer, spare);
        }
        let tip = self.published.lock().tip;
        let header = SegmentHeader {
            header_len: header_len_for(self.limits.alignment),
            alignment: self.limits.alignment,
            log_id: self.log_id,
            epoch: self.epoch,
            first_seq,
            previous_chain: committer.chain,
            previous_digest: tip.digest,
            previous_logged_at_us: tip.logged_at_us,
            created_at_us: tip.logged_at_us,
            capacity_bytes: spare.bytes,
            owner: self.owner.clone(),
        };
        let bytes = spare.bytes;
        committer.file = Some(spare.become_segment(&self.storage, &header)?);
        committer.segment = first_seq;
        let mut catalog = self.catalog.lock();
        let mut published = self.published.lock();
        catalog.note_end(published.end);
        catalog.push(&header, false, bytes);
        published.segment = first_seq;
        published.end = u64::from(header.header_len);
        Ok(())
    }

    /// Puts a larger file in the place of the active segment, which has no record yet; its header
    /// and frames without records are copied.
    fn outgrow(&self, committer: &mut Committer<S>, spare: Spare<S>) -> io::Result<()> {
        let end = self.published.lock().end;
        let mut used = vec![0; end as usize];
        read_exact_at(active(committer.file.as_ref())?, &mut used, 0)?;
        let mut header = SegmentHeader::decode(&used).map_err(io::Error::other)?;
        header.capacity_bytes = spare.bytes;
        spare.file.write_at(&used, 0)?;
        let bytes = spare.bytes;
        committer.file = Some(spare.become_segment(&self.storage, &header)?);
        let mut catalog = self.catalog.lock();
        let active = catalog.active();
        active.bytes = bytes;
        active.replaced += 1;
        Ok(())
    }

    fn refuse_poisoned(&self) -> Result<(), CommitError> {
        match &self.queue.lock().gate {
            Gate::Poisoned { reason } => Err(CommitError::Poisoned { reason: reason.clone() }),
            Gate::Open | Gate::Shut(_) | Gate::Closed | Gate::ReadOnly { .. } => Ok(()),
        }
    }

    /// Latches: nothing is accepted or acknowledged any more; who waits learns that nobody knows.
    pub(crate) fn poison(&self, operation: &str, error: &io::Error) -> CommitError {
        let reason = format!("{operation} failed: {error}");
        self.queue.lock().gate = Gate::Poisoned { reason: reason.clone() };
        if !planted::is("poison without telling who waits") {
            self.waiters.end(WaitError::OutcomeUnknown(reason.clone()));
        }
        CommitError::Poisoned { reason }
    }
}

/// The file of the active segment; a log that was opened for reading only has none, and nothing
/// can have been appended to it.
fn active<F>(file: Option<&F>) -> io::Result<&F> {
    file.ok_or_else(|| io::Error::other("the log was opened for reading only"))
}

fn sync_frame(file: &impl StorageFile) -> io::Result<()> {
    if planted::is("acknowledge before sync") {
        return Ok(());
    }
    let synced = file.sync_data();
    if planted::is("swallow an I/O error") { Ok(()) } else { synced }
}

#[cfg(test)]
mod tests;
