//! One replaying thread: applies the records of the SKUs in its shards, in order. It must never
//! touch another worker's shards, and never apply what `check` refuses.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use event_log::Seq;
use shared::codec::{Record, decode_record};
use shared::{Event, Sku, digest};

use super::ReplayError;
use super::batch::{Batch, BatchRecord, sku_bytes};
use super::view::{scratch_event, view_event};
use crate::idempotency::KeyEntry;
use crate::ledger::items::{ITEM_SHARDS, LoadShard, Loading, Slot};

/// A worker is through with a batch.
pub(super) struct BatchDone {
    pub(super) worker: usize,
    /// What its records of each frame moved the digest by.
    pub(super) moved: Vec<u128>,
    /// The keys that its records claim.
    pub(super) claims: Vec<KeyEntry>,
    /// The batch, from the worker that was the last to use it.
    pub(super) spent: Option<Batch>,
}

/// What a worker leaves.
#[derive(Default)]
pub(super) struct WorkerEnd {
    /// The first record that doesn't fit.
    pub(super) error: Option<ReplayError>,
    pub(super) applied: u64,
    pub(super) skipped: u64,
    pub(super) receipts: u64,
    pub(super) keys: u64,
    pub(super) created: Vec<Sku>,
    pub(super) with_reservations: Vec<Sku>,
}

pub(super) struct Worker<'a> {
    index: usize,
    workers: usize,
    shards: Vec<&'a mut LoadShard>,
    /// Up to here an event may be older than its item.
    hi: Seq,
    moved: Vec<u128>,
    claims: Vec<KeyEntry>,
    scratch: Event,
    end: WorkerEnd,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        index: usize,
        workers: usize,
        shards: Vec<&'a mut LoadShard>,
        hi: Seq,
    ) -> Self {
        Self {
            index,
            workers,
            shards,
            hi,
            moved: Vec::new(),
            claims: Vec::new(),
            scratch: scratch_event(),
            end: WorkerEnd::default(),
        }
    }

    pub(super) fn run(
        mut self,
        batches: &Receiver<Arc<Batch>>,
        done: &Sender<BatchDone>,
    ) -> WorkerEnd {
        for batch in batches {
            self.moved = vec![0; batch.frames.len()];
            // Records of no SKU are the first worker's.
            if self.index == 0 {
                self.apply_shard(&batch, ITEM_SHARDS, 0);
            }
            for place in 0..self.shards.len() {
                self.apply_shard(&batch, self.index + place * self.workers, place);
            }
            if self.end.error.is_some() {
                return self.end;
            }
            let moved = std::mem::take(&mut self.moved);
            let claims = std::mem::take(&mut self.claims);
            self.end.keys += claims.len() as u64;
            let spent = Arc::into_inner(batch);
            // The reader is gone only when another worker failed.
            if done.send(BatchDone { worker: self.index, moved, claims, spent }).is_err() {
                return self.end;
            }
        }
        self.end
    }

    /// Applies a shard's records up to the first that doesn't fit.
    fn apply_shard(&mut self, batch: &Batch, number: usize, place: usize) {
        let applied =
            batch.records(number).try_for_each(|record| self.apply_record(&record, place));
        if let Err(error) = applied
            && self.end.error.as_ref().is_none_or(|earlier| error.seq() < earlier.seq())
        {
            self.end.error = Some(error);
        }
    }

    fn apply_record(&mut self, record: &BatchRecord<'_>, place: usize) -> Result<(), ReplayError> {
        let BatchRecord { seq, frame, hash, bytes } = *record;
        let known = sku_bytes(bytes).and_then(|sku| self.shards[place].find(hash, sku));
        if let Some(number) = known
            && view_event(bytes, &mut self.scratch)
        {
            let event = &self.scratch;
            self.claims
                .extend(event.context.key.map(|key| KeyEntry::new(key, seq, event.recorded_at)));
            let loading = self.shards[place].slot(number);
            let moved = apply(loading, event, seq, self.hi, &mut self.end)?;
            self.moved[frame] = self.moved[frame].wrapping_add(moved);
            return Ok(());
        }
        // The long way: any record of this version.
        let event =
            match decode_record(bytes).map_err(|source| ReplayError::Record { seq, source })? {
                Record::Event(event) => event,
                Record::Receipt(receipt) => {
                    self.end.receipts += 1;
                    self.claims.push(KeyEntry::new(receipt.key, seq, receipt.recorded_at));
                    return Ok(());
                }
            };
        self.claims.extend(event.context.key.map(|key| KeyEntry::new(key, seq, event.recorded_at)));
        let moved = match known {
            Some(number) => {
                apply(self.shards[place].slot(number), &event, seq, self.hi, &mut self.end)?
            }
            None => self.create(event, seq, hash, place)?,
        };
        self.moved[frame] = self.moved[frame].wrapping_add(moved);
        Ok(())
    }

    /// The first event of an item; returns what it moves the digest by.
    fn create(
        &mut self,
        event: Event,
        seq: Seq,
        hash: u64,
        place: usize,
    ) -> Result<u128, ReplayError> {
        let mut slot = Slot::default();
        check_and_apply(&mut slot, &event, seq, &event.sku)?;
        let digest = digest::item_digest(&event.sku, slot.item.cell());
        self.end.applied += 1;
        self.end.created.push(event.sku.clone());
        self.shards[place].insert(hash, event.sku, slot, digest);
        Ok(digest)
    }
}

/// Applies an event to an item that is there already, unless the snapshot held it; returns what it
/// moves the digest by.
fn apply(
    loading: Loading<'_>,
    event: &Event,
    seq: Seq,
    hi: Seq,
    end: &mut WorkerEnd,
) -> Result<u128, ReplayError> {
    let Loading { sku, slot, digest } = loading;
    if seq <= hi && event.version <= slot.item.cell().version {
        end.skipped += 1;
        return Ok(0);
    }
    let had_reservations = slot.item.reservations().is_some();
    check_and_apply(slot, event, seq, sku)?;
    let before = std::mem::replace(digest, digest::item_digest(sku, slot.item.cell()));
    end.applied += 1;
    if !had_reservations && slot.item.reservations().is_some() {
        end.with_reservations.push(sku.clone());
    }
    Ok(digest.wrapping_sub(before))
}

fn check_and_apply(slot: &mut Slot, event: &Event, seq: Seq, sku: &Sku) -> Result<(), ReplayError> {
    let checked = slot.item.check(event);
    checked.map_err(|source| ReplayError::Check { seq, sku: sku.clone(), source })?;
    slot.item.apply(event);
    slot.last_seq = seq;
    Ok(())
}
