//! What appenders share: the batch that will be the next frame, the seqs, and the room that is already preallocated for it.
//!
//! Everything here happens under one short lock. It must never touch the disk, never block, and never accept a byte for which
//! there is no preallocated room: so the committer never meets a full disk.

use crate::catalog::Spare;
use crate::error::AppendError;
use crate::format::{align_up, header_len_for};
use crate::frame::FRAME_HEADER_BYTES;
use crate::log::Limits;
use crate::record::RecordBuffer;
use crate::seq::{Seq, SeqRange, StateDigest, Tip};
use crate::storage::Storage;

/// Spares that appends may not use: repair and compaction can free one when the disk is full.
pub(crate) const SPARES_RESERVED: usize = 1;
/// Room every segment keeps at its end, in alignments: one checkpoint frame and one close frame.
const TRAILER_FRAMES: u64 = 2;

/// Records waiting for the next commit, laid out as the frame they will be.
pub(crate) struct Batch {
    /// Room for the frame header, then the records.
    pub(crate) bytes: Vec<u8>,
    pub(crate) record_count: u32,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Batch { bytes: vec![0; FRAME_HEADER_BYTES], record_count: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(FRAME_HEADER_BYTES);
        self.record_count = 0;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.record_count == 0
    }
}

/// Whether the log takes appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// No spare could be made and the room is used up; opens again by itself.
    Shut(Shortage),
    Poisoned {
        reason: String,
    },
    /// The log was opened to be looked at; that never changes.
    ReadOnly {
        reason: String,
    },
    Closed,
}

/// Why no spare could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    NoSpace { reason: String },
    Io { reason: String },
}

/// Where the next frame will begin, once everything taken so far is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) offset: u64,
    pub(crate) capacity: u64,
}

/// A batch with its place on the disk.
pub(crate) struct Taken<S: Storage> {
    /// The segment to rotate to before writing.
    pub(crate) rotate_to: Option<Spare<S>>,
    pub(crate) offset: u64,
    pub(crate) first_seq: Seq,
    pub(crate) digest: StateDigest,
    pub(crate) logged_at_us: i64,
}

/// The shared state of appenders, committer and preallocator.
pub(crate) struct Queue<S: Storage> {
    pub(crate) gate: Gate,
    pub(crate) batch: Batch,
    /// The highest seq given out.
    pub(crate) last: Seq,
    pub(crate) digest: StateDigest,
    pub(crate) logged_at_us: i64,
    room: Room,
    /// First seq of the segment that the room is in.
    segment: Seq,
    spares: Vec<Spare<S>>,
    /// The batch may grow to this many bytes, header included.
    batch_bytes_max: usize,
    /// An append waits for a segment of at least this size.
    wanted_bytes: Option<u64>,
    shortage: Option<Shortage>,
    pub(crate) committer_sleeps: bool,
    pub(crate) stopping: bool,
    /// Spares made by this opening: the next one's number.
    pub(crate) spares_made: u64,
}

impl<S: Storage> Queue<S> {
    pub(crate) fn new(tip: &Tip, segment: Seq, room: Room, limits: &Limits) -> Self {
        let mut queue = Queue {
            gate: Gate::Open,
            batch: Batch::new(),
            last: tip.seq,
            digest: tip.digest,
            logged_at_us: tip.logged_at_us,
            room,
            segment,
            spares: Vec::new(),
            batch_bytes_max: 0,
            wanted_bytes: None,
            shortage: None,
            committer_sleeps: false,
            stopping: false,
            spares_made: 0,
        };
        queue.measure(limits);
        queue
    }

    /// Puts the records into the batch and gives them their seqs; the caller has checked their size against the limits.
    pub(crate) fn append(
        &mut self,
        records: &RecordBuffer,
        logged_at_us: i64,
        digest_delta: StateDigest,
        limits: &Limits,
    ) -> Result<SeqRange, AppendError> {
        if self.gate != Gate::Open
            || self.batch.bytes.len() + records.byte_len() > self.batch_bytes_max
        {
            return Err(self.refuse(records.byte_len(), limits));
        }
        let first = self.last.next();
        self.last = Seq::new(self.last.get() + u64::from(records.count()));
        self.digest = self.digest.wrapping_add(digest_delta);
        self.logged_at_us = self.logged_at_us.max(logged_at_us);
        self.batch.bytes.extend_from_slice(records.as_bytes());
        self.batch.record_count += records.count();
        Ok(SeqRange { first, last: self.last })
    }

    #[cold]
    fn refuse(&mut self, bytes: usize, limits: &Limits) -> AppendError {
        match &self.gate {
            Gate::Open => {}
            Gate::Shut(Shortage::NoSpace { .. }) => return AppendError::NoSpace,
            Gate::Shut(Shortage::Io { reason }) => {
                return AppendError::ReadOnly { reason: reason.clone() };
            }
            Gate::Poisoned { reason } => return AppendError::Poisoned { reason: reason.clone() },
            Gate::ReadOnly { reason } => return AppendError::ReadOnly { reason: reason.clone() },
            Gate::Closed => return AppendError::Closed,
        }
        let alone =
            limits.segment_bytes_for(self.spare_start(limits), (FRAME_HEADER_BYTES + bytes) as u64);
        if alone > limits.segment_bytes && !self.spares.iter().any(|spare| spare.bytes >= alone) {
            self.wanted_bytes = Some(alone);
        }
        // What is in the batch now will be gone in a moment: only with an empty batch is it certain that there is no room.
        let shortage = self.shortage.clone().filter(|_| self.batch.is_empty());
        let Some(shortage) = shortage else { return AppendError::Busy };
        let error = match &shortage {
            Shortage::NoSpace { .. } => AppendError::NoSpace,
            Shortage::Io { reason } => AppendError::ReadOnly { reason: reason.clone() },
        };
        if alone <= limits.segment_bytes {
            self.gate = Gate::Shut(shortage);
        }
        error
    }

    /// Takes the batch for committing, with its place; `empty` is the buffer the next one is collected in.
    pub(crate) fn take(&mut self, empty: &mut Batch, limits: &Limits) -> Option<Taken<S>> {
        if self.batch.is_empty() {
            return None;
        }
        assert!(empty.is_empty(), "a batch is cleared before it is handed back");
        let first_seq = self.batch_first();
        let start = self.spare_start(limits);
        std::mem::swap(&mut self.batch, empty);
        let taken = empty;
        let mut rotate_to = None;
        if taken.bytes.len() > limits.batch_bytes_in(self.room) {
            let spare = self.take_spare(limits.segment_bytes_for(start, taken.bytes.len() as u64));
            let spare = spare.expect("an append is only accepted when its frame has a place");
            self.room = Room { offset: start, capacity: spare.bytes };
            self.segment = first_seq;
            rotate_to = Some(spare);
        }
        let offset = self.room.offset;
        self.room.offset += align_up(taken.bytes.len() as u64, limits.alignment);
        self.measure(limits);
        Some(Taken {
            rotate_to,
            offset,
            first_seq,
            digest: self.digest,
            logged_at_us: self.logged_at_us,
        })
    }

    /// Takes the place of a frame without records, if the segment has one left; `keep_frames` more must fit after it.
    pub(crate) fn take_trailer(&mut self, keep_frames: u64, limits: &Limits) -> Option<u64> {
        assert!(self.batch.is_empty(), "a trailer never overtakes records");
        let frame = u64::from(limits.alignment);
        let offset = self.room.offset;
        if offset + frame * (1 + keep_frames) > self.room.capacity {
            return None;
        }
        self.room.offset += frame;
        self.measure(limits);
        Some(offset)
    }

    /// The seq of the batch's first record, had it one.
    fn batch_first(&self) -> Seq {
        Seq::new(self.last.get() + 1 - u64::from(self.batch.record_count))
    }

    /// Where the batch would begin in a spare. A segment that has no record yet keeps its name, so
    /// a larger one takes its place and its frames without records come along.
    fn spare_start(&self, limits: &Limits) -> u64 {
        if self.batch_first() == self.segment {
            self.room.offset
        } else {
            u64::from(header_len_for(limits.alignment))
        }
    }

    /// The smallest spare of at least this size: a usable one, or the reserved one if that is what is left.
    fn take_spare(&mut self, needed: u64) -> Option<Spare<S>> {
        let fits = |spare: &Spare<S>| spare.bytes >= needed;
        let usable = SPARES_RESERVED.min(self.spares.len());
        let index = self.spares[usable..].iter().position(fits).map(|index| index + usable);
        let index = index.or_else(|| self.spares.iter().position(fits))?;
        Some(self.spares.remove(index))
    }

    /// The size of the next spare to make, if one is missing.
    pub(crate) fn spare_wanted(&self, limits: &Limits) -> Option<u64> {
        if self.stopping
            || matches!(self.gate, Gate::Poisoned { .. } | Gate::ReadOnly { .. } | Gate::Closed)
        {
            return None;
        }
        let usable = SPARES_RESERVED.min(self.spares.len());
        let wanted = self
            .wanted_bytes
            .filter(|wanted| !self.spares[usable..].iter().any(|spare| spare.bytes >= *wanted));
        wanted.or((self.spares.len() < limits.spare_segments).then_some(limits.segment_bytes))
    }

    pub(crate) fn add_spare(&mut self, spare: Spare<S>, limits: &Limits) {
        let index = self.spares.partition_point(|other| other.bytes <= spare.bytes);
        self.spares.insert(index, spare);
        if self.spare_wanted(limits).is_none() {
            self.wanted_bytes = None;
        }
        self.shortage = None;
        if matches!(self.gate, Gate::Shut(_)) {
            self.gate = Gate::Open;
        }
        self.measure(limits);
    }

    /// Gives up one spare, so that its space can be used; none when the batch might need it.
    pub(crate) fn release_spare(&mut self, limits: &Limits) -> Option<Spare<S>> {
        let needs_spare = self.batch.bytes.len() > limits.batch_bytes_in(self.room);
        let spare = (!self.spares.is_empty() && !needs_spare).then(|| self.spares.remove(0));
        self.measure(limits);
        spare
    }

    pub(crate) fn note_shortage(&mut self, shortage: Shortage) {
        self.shortage = Some(shortage);
    }

    /// Why the last try to make a spare failed.
    pub(crate) fn shortage(&self) -> Option<&str> {
        self.shortage.as_ref().map(|shortage| match shortage {
            Shortage::NoSpace { reason } | Shortage::Io { reason } => reason.as_str(),
        })
    }

    /// How full the batch is, in percent of what it may grow to.
    pub(crate) fn percent(&self) -> u8 {
        if self.batch.is_empty() {
            return 0;
        }
        let percent = self.batch.bytes.len().saturating_mul(100) / self.batch_bytes_max.max(1);
        u8::try_from(percent).map_or(100, |percent| percent.min(100))
    }

    pub(crate) fn spare_count(&self) -> usize {
        self.spares.len()
    }

    /// What the batch may grow to: into the active segment, or the largest usable spare, but never below what it already is.
    fn measure(&mut self, limits: &Limits) {
        let usable = SPARES_RESERVED.min(self.spares.len());
        let start = self.spare_start(limits);
        let in_spares = self.spares[usable..]
            .iter()
            .map(|spare| limits.batch_bytes_in(Room { offset: start, capacity: spare.bytes }))
            .max();
        let max = limits.batch_bytes_in(self.room).max(in_spares.unwrap_or(0));
        self.batch_bytes_max = max.min(limits.frame_bytes_max - limits.alignment as usize);
    }
}

impl Limits {
    /// The longest batch, header included, that fits into this room with the trailer frames after it.
    fn batch_bytes_in(&self, room: Room) -> usize {
        let alignment = u64::from(self.alignment);
        let end = room.capacity / alignment * alignment;
        let left = end.saturating_sub(room.offset + TRAILER_FRAMES * alignment);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// The size of a segment that a batch of this many bytes (header included) fits into at `start`.
    fn segment_bytes_for(&self, start: u64, batch_bytes: u64) -> u64 {
        let alignment = u64::from(self.alignment);
        start + align_up(batch_bytes, self.alignment) + TRAILER_FRAMES * alignment
    }
}

#[cfg(test)]
mod tests;
