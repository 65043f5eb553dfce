//! Follows one store's log frame by frame: checks, applies through the view, compares digests,
//! moves the cursor. Pure and synchronous: no clock, no network, no disk.
//!
//! A frame is taken over as a whole or not at all. Its records are checked and applied to a stage
//! first; only when the chain continues and the digest sealed in the frame equals ours do they
//! reach the view. So what is held is always a state that the store once had.
//!
//! A record that can't be decoded, or that the cell's check refuses, becomes a dead letter: the
//! state after it is known from its envelope, so the cell is taken over and *marked*, and the rest
//! goes on. While cells are marked nothing is called verified, and the difference between the
//! node's digest and ours may only change in frames that touch them ([`marks`]).

pub mod marks;
mod stage;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use event_log::frame::{Frame, FrameKind, verify_chain};
use event_log::{Chain, LogId, Seq};
use shared::cell::Version;
use shared::codec::{DecodeError, Envelope, EnvelopeState, Record, decode_envelope, decode_record};
use shared::digest::{delta, item_digest};
use shared::receipt::RECEIPT_KIND;
use shared::{Cell, Change, Event, Metadata, Sku, Timestamp};

use crate::view::{Held, ViewStore};
use marks::{Mark, settle};
use stage::{FrameWork, Stage};

/// Marked cells of one store at once; more of them is no accident of a few records.
pub const MARKS_MAX: usize = 10_000;

/// Where a follower stands: the last seq that it took over, and the log's chain there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// A frame's end, or zero.
    pub seq: Seq,
    /// The chain there.
    pub chain: Chain,
}

/// Everything a follower knows besides the cells; it is persisted together with them.
#[derive(Debug, Clone, PartialEq)]
pub struct FollowerState {
    /// The log that it follows.
    pub log_id: LogId,
    /// Where it stands.
    pub position: Position,
    /// The digest of the cells.
    pub digest: u128,
    /// Digests of frames that end before this seq say nothing: the snapshot was fuzzy up to here.
    pub trusted_from: Seq,
    /// Whether a digest was compared since the beginning or the snapshot.
    pub compared: bool,
    /// The node's digest minus ours, wrapping, when last compared; zero unless cells are marked.
    pub difference: u128,
    /// The last seq whose digest was equal.
    pub verified_seq: Option<Seq>,
    /// Cells that aren't known for sure.
    pub marks: BTreeMap<Sku, Mark>,
    /// The node's opening, as the last frame said.
    pub epoch: u64,
    /// Logged time of the last frame.
    pub logged_at: Timestamp,
}

impl FollowerState {
    /// Before the first frame of a log.
    pub fn at_beginning(log_id: LogId) -> Self {
        Self {
            log_id,
            position: Position { seq: Seq::ZERO, chain: Chain::genesis(log_id) },
            digest: 0,
            trusted_from: Seq::ZERO,
            compared: false,
            difference: 0,
            verified_seq: None,
            marks: BTreeMap::new(),
            epoch: 0,
            logged_at: Timestamp::EPOCH,
        }
    }

    /// Whether the digest of what is held equals the one that the node sealed where this stands.
    pub fn is_verified(&self) -> bool {
        self.marks.is_empty() && self.verified_seq == Some(self.position.seq)
    }
}

/// Why a frame can't be the next one of this log: the node or its log is wrong. Nothing was taken
/// over; the store is to be quarantined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Divergence {
    /// The frame was sealed after other bytes than those that were taken over.
    #[error("the chain doesn't continue after seq {after}")]
    ChainBroken {
        /// Where the follower stands.
        after: Seq,
    },
    /// Records are missing, or come out of order.
    #[error("seq {expected} should follow, the frame begins with {found}")]
    Gap {
        /// The next seq.
        expected: Seq,
        /// The frame's first.
        found: Seq,
    },
    /// What the node sealed isn't the digest of what its events make.
    #[error(
        "digest mismatch at seq {at}: the node sealed {node:032x}, its events give {ours:032x}"
    )]
    DigestMismatch {
        /// The frame's end.
        at: Seq,
        /// The node's.
        node: u128,
        /// Ours.
        ours: u128,
    },
    /// Not even the frozen envelope can be read.
    #[error("record {seq} has no readable envelope: {error}")]
    UnreadableRecord {
        /// The record.
        seq: Seq,
        /// What is wrong.
        error: DecodeError,
    },
    /// Too many cells are marked.
    #[error("more than {MARKS_MAX} items have dead letters")]
    TooManyMarks,
}

/// What a frame did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Absorbed {
    /// Events that were taken over.
    pub applied: u64,
    /// Events that the snapshot held already, or of a frame that was taken over before.
    pub skipped: u64,
    /// Records that say nothing about a counted state.
    pub ignored: u64,
    /// Records that weren't taken over.
    pub refused: Vec<Refused>,
    /// Items that are known for sure again.
    pub healed: Vec<Sku>,
}

/// A record that wasn't taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its seq.
    pub seq: Seq,
    /// Its item.
    pub sku: Sku,
    /// The version that it makes.
    pub version: Version,
    /// Why.
    pub reason: String,
    /// Its bytes.
    pub record: Vec<u8>,
}

/// What trying a dead letter again came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retried {
    /// It still can't be taken over.
    StillRefused(String),
    /// The item is known for sure.
    Healed,
    /// The record is readable now, but the item waits for others, or for the digest.
    StillMarked,
}

/// One store's follower over its slot of the view.
#[derive(Debug)]
pub struct Follower<V: ViewStore> {
    view: V,
    slot: V::Slot,
    state: FollowerState,
}

impl<V: ViewStore> Follower<V> {
    /// Goes on from `state`, whose cells are in `slot`.
    pub fn new(view: V, slot: V::Slot, state: FollowerState) -> Self {
        Self { view, slot, state }
    }

    /// Where it stands and what it knows.
    pub fn state(&self) -> &FollowerState {
        &self.state
    }

    /// The part of the view that it writes.
    pub fn slot(&self) -> &V::Slot {
        &self.slot
    }

    /// Takes over the next frame, wholly or not at all. A frame that was taken over before changes
    /// nothing; keep-alives only let digests be compared.
    pub fn absorb(&mut self, frame: &Frame) -> Result<Absorbed, Divergence> {
        let header = &frame.header;
        if header.kind == FrameKind::KeepAlive {
            return self.absorb_keep_alive(frame);
        }
        let here = self.state.position;
        if header.first_seq <= here.seq && header.last_seq() <= here.seq
            || header.chain == here.chain
        {
            let skipped = u64::from(header.record_count);
            return Ok(Absorbed { skipped, ..Absorbed::default() });
        }
        if header.first_seq != here.seq.next() {
            return Err(Divergence::Gap { expected: here.seq.next(), found: header.first_seq });
        }
        if !verify_chain(&here.chain, frame) {
            return Err(Divergence::ChainBroken { after: here.seq });
        }
        let mut work = FrameWork::new(self.state.digest);
        let mut stage = Stage::begin();
        for (seq, record) in frame.records() {
            self.stage_record(seq, record, &mut stage, &mut work)?;
        }
        let at = header.last_seq();
        let settled = settle(&self.state, &mut work, at, header.state_digest)?;
        for row in stage.rows() {
            self.view.put(&self.slot, &row.sku, &row.held, row.metadata.as_ref());
        }
        stage.end();
        settled.write_to(&mut self.state);
        self.state.digest = work.digest;
        self.state.position = Position { seq: at, chain: header.chain };
        self.state.epoch = header.epoch_counter;
        self.state.logged_at = Timestamp::from_micros(header.logged_at_us);
        Ok(work.into_absorbed(settled.healed))
    }

    /// Tries a dead letter again, after an upgrade or on command.
    pub fn retry(&mut self, seq: Seq, record: &[u8]) -> Retried {
        let event = match decode_record(record) {
            Ok(Record::Event(event)) => event,
            Ok(Record::Receipt(_)) => return Retried::StillRefused("is no event".to_owned()),
            Err(error) => return Retried::StillRefused(error.to_string()),
        };
        let Some(mark) = self.state.marks.get(&event.sku).copied() else {
            return Retried::Healed;
        };
        if mark.latest != seq {
            return Retried::StillRefused("a later record of the item is refused too".to_owned());
        }
        if mark.contradicted {
            return Retried::StillRefused("before and moved don't make after".to_owned());
        }
        let held = self.view.held(&self.slot, &event.sku);
        let mut work = FrameWork::new(self.state.digest);
        work.touch(&self.state.marks);
        let mut renewed = held;
        let metadata = metadata_of(&event);
        if let Some(metadata) = metadata {
            renewed.cell.metadata_hash = metadata.hash();
            renewed.metadata_at = event.recorded_at;
        }
        work.renew(&event.sku, metadata.is_some() || mark.since == mark.latest);
        work.digest = work.digest.wrapping_add(delta(&event.sku, &held.cell, &renewed.cell));
        let sealed = self.state.digest.wrapping_add(self.state.difference);
        let at = self.state.position.seq;
        let Ok(settled) = settle(&self.state, &mut work, at, sealed) else {
            return Retried::StillMarked;
        };
        self.view.put(&self.slot, &event.sku, &renewed, metadata);
        settled.write_to(&mut self.state);
        self.state.digest = work.digest;
        if settled.healed.contains(&event.sku) { Retried::Healed } else { Retried::StillMarked }
    }

    /// A keep-alive that names our very position lets its digest be compared; any other only says
    /// how far the node is.
    fn absorb_keep_alive(&mut self, frame: &Frame) -> Result<Absorbed, Divergence> {
        let here = self.state.position;
        if frame.header.watermark == here.seq && frame.header.chain == here.chain {
            let mut work = FrameWork::new(self.state.digest);
            let settled = settle(&self.state, &mut work, here.seq, frame.header.state_digest)?;
            settled.write_to(&mut self.state);
            self.state.epoch = frame.header.epoch_counter;
        }
        Ok(Absorbed::default())
    }

    fn stage_record(
        &self,
        seq: Seq,
        record: &[u8],
        stage: &mut Stage,
        work: &mut FrameWork,
    ) -> Result<(), Divergence> {
        // A receipt answers a request again; nothing of it is counted, so its lines aren't read.
        let is_receipt = record.first() == Some(&RECEIPT_KIND);
        let decoded = if is_receipt { None } else { Some(decode_record(record)) };
        match decoded {
            Some(Ok(Record::Event(event))) => self.stage_event((seq, record), &event, stage, work),
            Some(Ok(Record::Receipt(_))) => work.ignored += 1,
            Some(Err(error)) => self.stage_unreadable((seq, record), Some(&error), stage, work)?,
            None => self.stage_unreadable((seq, record), None, stage, work)?,
        }
        if work.mark_count() > MARKS_MAX { Err(Divergence::TooManyMarks) } else { Ok(()) }
    }

    fn stage_event(
        &self,
        (seq, record): (Seq, &[u8]),
        event: &Event,
        stage: &mut Stage,
        work: &mut FrameWork,
    ) {
        let row = stage.row(&event.sku, || self.view.held(&self.slot, &event.sku));
        let before = row.held.cell;
        let is_newer = event.version > before.version;
        if !is_newer && seq <= self.state.trusted_from {
            work.skipped += 1;
            return;
        }
        let is_marked = work.is_marked(&self.state.marks, &event.sku);
        let refusal = match before.check(event) {
            Ok(()) => None,
            // Absolute state heals: what came before a marked cell isn't known for sure.
            Err(_) if is_marked && is_newer => None,
            Err(error) => Some(error),
        };
        if is_marked || refusal.is_some() {
            work.touch(&self.state.marks);
        }
        if let Some(error) = &refusal {
            let reason = error.to_string();
            let (sku, version, record) = (event.sku.clone(), event.version, record.to_vec());
            work.mark(&sku, seq, Mark { contradicted: true, ..Mark::new(seq) });
            work.refused.push(Refused { seq, sku, version, reason, record });
            if !is_newer {
                return;
            }
        } else if is_marked {
            work.renew(&event.sku, metadata_of(event).is_some());
        }
        let mut after = before;
        after.apply(event);
        if let Some(metadata) = metadata_of(event) {
            after.metadata_hash = metadata.hash();
            row.metadata = Some(metadata.clone());
            row.held.metadata_at = event.recorded_at;
        }
        row.take_over(seq, after);
        work.digest = work.digest.wrapping_add(delta(&event.sku, &before, &after));
        work.applied += 1;
    }

    /// A record without a payload that we read: nothing to count, or a dead letter.
    fn stage_unreadable(
        &self,
        (seq, record): (Seq, &[u8]),
        error: Option<&DecodeError>,
        stage: &mut Stage,
        work: &mut FrameWork,
    ) -> Result<(), Divergence> {
        let (envelope, _) =
            decode_envelope(record).map_err(|error| Divergence::UnreadableRecord { seq, error })?;
        let Envelope { kind, state: Some(after), .. } = envelope else {
            work.ignored += 1;
            return Ok(());
        };
        let EnvelopeState { sku, version, quantities, flags } = after;
        let row = stage.row(&sku, || self.view.held(&self.slot, &sku));
        let before = row.held.cell;
        let is_newer = version > before.version;
        if !is_newer && seq <= self.state.trusted_from {
            work.skipped += 1;
            return Ok(());
        }
        work.touch(&self.state.marks);
        let names_unknown = !keeps_names(kind);
        work.mark(&sku, seq, Mark { names_unknown, ..Mark::new(seq) });
        let reason = error.map_or_else(|| "is no receipt".to_owned(), ToString::to_string);
        let letter = Refused { seq, sku: sku.clone(), version, reason, record: record.to_vec() };
        work.refused.push(letter);
        if is_newer {
            let after = Cell { version, quantities, flags, metadata_hash: before.metadata_hash };
            row.take_over(seq, after);
            work.digest = work.digest.wrapping_add(delta(&sku, &before, &after));
        }
        Ok(())
    }
}

/// The sum of the digests of every cell in a slot: what a follower's running digest must equal.
pub fn digest_of_slot<V: ViewStore>(view: &V, slot: &V::Slot) -> u128 {
    let mut sum = 0_u128;
    view.for_each(slot, &mut |sku, held: &Held, _| {
        sum = sum.wrapping_add(item_digest(sku, &held.cell));
    });
    sum
}

/// All of the item's names, where the event carries them.
fn metadata_of(event: &Event) -> Option<&Metadata> {
    match &event.change {
        Change::Created { metadata }
        | Change::Updated { metadata, .. }
        | Change::Deactivated { metadata, .. } => Some(metadata),
        Change::Received { .. }
        | Change::Sold { .. }
        | Change::Returned { .. }
        | Change::Adjusted { .. }
        | Change::Reserved { .. }
        | Change::Extended { .. }
        | Change::Released { .. }
        | Change::Deducted { .. }
        | Change::Expired { .. } => None,
    }
}

/// Whether an event of this kind leaves the item's names as they are; nobody knows for kinds that
/// this version doesn't know.
fn keeps_names(kind: u8) -> bool {
    matches!(kind, 3..=7 | 9..=13)
}
