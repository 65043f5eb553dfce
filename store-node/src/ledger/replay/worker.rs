//! One replaying thread: applies the records of the SKUs in its shards, in order. It must never
//! touch another worker's shards, and never apply what `check` refuses.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use event_log::Seq;
use parking_lot::Mutex;
use shared::codec::{MovementReader, Record, decode_record, record_sku_bytes};
use shared::{Event, Reservations, Sku, digest};

use super::batch::{Batch, BatchRecord};
use super::{ReplayError, ReservationSummary};
use crate::expiry::ClosedEntry;
use crate::idempotency::KeyEntry;
use crate::ledger::items::{ITEM_SHARDS, LoadShard, Loading, Slot, hash_of};
use crate::ledger::orders::{OrderEntry, OrderIndex};

/// How many records' slots are looked up before the first of them is applied.
const FOUND_TOGETHER: usize = 16;

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
    /// In order.
    pub(super) created: Vec<Sku>,
    pub(super) reservations: ReservationSummary,
    pub(super) shards: Vec<LoadShard>,
}

/// The shards of a worker, and which of their items (place of the shard, number of the slot) have
/// or had a reservation.
#[derive(Default)]
pub(super) struct Crew {
    pub(super) shards: Vec<LoadShard>,
    pub(super) with_reservations: Vec<(usize, u32)>,
}

/// Emptied runs of keys, so that their memory goes round between workers and table.
#[derive(Default)]
pub(super) struct SpentRuns(Mutex<Vec<Vec<KeyEntry>>>);

impl SpentRuns {
    pub(super) fn give(&self, mut run: Vec<KeyEntry>) {
        run.clear();
        self.0.lock().push(run);
    }

    fn take(&self) -> Vec<KeyEntry> {
        self.0.lock().pop().unwrap_or_default()
    }
}

pub(super) struct Worker<'run> {
    index: usize,
    workers: usize,
    shards: Vec<LoadShard>,
    with_reservations: Vec<(usize, u32)>,
    /// Up to here an event may be older than its item.
    hi: Seq,
    moved: Vec<u128>,
    claims: Vec<KeyEntry>,
    spent_runs: &'run SpentRuns,
    orders: &'run OrderIndex,
    movements: MovementReader,
    end: WorkerEnd,
}

impl<'run> Worker<'run> {
    pub(super) fn new(
        index: usize,
        workers: usize,
        crew: Crew,
        hi: Seq,
        spent_runs: &'run SpentRuns,
        orders: &'run OrderIndex,
    ) -> Self {
        Self {
            index,
            workers,
            shards: crew.shards,
            with_reservations: crew.with_reservations,
            hi,
            moved: Vec::new(),
            claims: Vec::new(),
            spent_runs,
            orders,
            movements: MovementReader::default(),
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
            let claims = std::mem::replace(&mut self.claims, self.spent_runs.take());
            self.end.keys += claims.len() as u64;
            let spent = Arc::into_inner(batch);
            let part = BatchDone { worker: self.index, moved, claims, spent };
            // The reader is gone only when another worker failed.
            if done.send(part).is_err() {
                return self.end;
            }
        }
        self.finish()
    }

    /// Sums up, still beside the other workers.
    fn finish(mut self) -> WorkerEnd {
        self.end.created.sort_unstable();
        for (place, number) in std::mem::take(&mut self.with_reservations) {
            let Loading { sku, slot, .. } = self.shards[place].slot(number);
            summarise(&known(sku), slot, &mut self.end.reservations, self.orders);
        }
        self.shards.iter_mut().for_each(LoadShard::pack);
        self.end.shards = self.shards;
        self.end
    }

    /// Applies a shard's records up to the first that doesn't fit.
    fn apply_shard(&mut self, batch: &Batch, number: usize, place: usize) {
        // Where most slots will be needed, reading them in a row beats meeting them one by one.
        let slots = self.shards[place].used();
        if batch.count(number) > slots / 2 {
            black_box(self.shards[place].sweep());
        }
        if let Err(error) = self.apply_records(batch.records(number), place)
            && self.end.error.as_ref().is_none_or(|earlier| error.seq() < earlier.seq())
        {
            self.end.error = Some(error);
        }
    }

    /// Looks up the slots of some records, then applies these: look-ups that don't wait for each
    /// other keep more of the memory busy.
    fn apply_records<'a>(
        &mut self,
        mut records: impl Iterator<Item = BatchRecord<'a>> + Clone,
        place: usize,
    ) -> Result<(), ReplayError> {
        loop {
            let mut found = [None; FOUND_TOGETHER];
            for (found, record) in found.iter_mut().zip(records.clone()) {
                *found = Some(self.find(record.bytes, place));
            }
            let [Some(_), ..] = found else { return Ok(()) };
            for (found, record) in found.iter().flatten().zip(records.by_ref()) {
                self.apply_record(record, *found, place)?;
            }
        }
    }

    /// The number of the slot of a record's item, if there is one.
    fn find(&self, record: &[u8], place: usize) -> Option<u32> {
        let sku = record_sku_bytes(record)?;
        self.shards[place].find(hash_of(sku), sku)
    }

    fn apply_record(
        &mut self,
        record: BatchRecord<'_>,
        found: Option<u32>,
        place: usize,
    ) -> Result<(), ReplayError> {
        let BatchRecord { seq, frame, bytes } = record;
        if let Some(number) = found
            && let Some(event) = self.movements.read(bytes)
        {
            let claim = event.context.key;
            self.claims.extend(claim.map(|key| KeyEntry::new(key, seq, event.recorded_at)));
            let loading = self.shards[place].slot(number);
            let moved = apply(loading, event, seq, self.hi, &mut self.end)?;
            self.note(frame, place, number, moved);
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
        // It may have been created since.
        let Some(number) = found.or_else(|| self.find(bytes, place)) else {
            let moved = self.create(&event, seq, place)?;
            self.moved[frame] = self.moved[frame].wrapping_add(moved);
            return Ok(());
        };
        let loading = self.shards[place].slot(number);
        let moved = apply(loading, &event, seq, self.hi, &mut self.end)?;
        self.note(frame, place, number, moved);
        Ok(())
    }

    /// Adds what an event moved to its frame's part.
    fn note(&mut self, frame: usize, place: usize, number: u32, moved: Moved) {
        self.moved[frame] = self.moved[frame].wrapping_add(moved.digest);
        if moved.first_reservation {
            self.with_reservations.push((place, number));
        }
    }

    /// The first event of an item; returns what it moves the digest by.
    fn create(&mut self, event: &Event, seq: Seq, place: usize) -> Result<u128, ReplayError> {
        let mut slot = Slot::default();
        check_and_apply(&mut slot, event, seq, event.sku.as_str())?;
        let digest = digest::item_digest(&event.sku, slot.item.cell());
        self.end.applied += 1;
        self.end.created.push(event.sku.clone());
        let hash = hash_of(event.sku.as_str().as_bytes());
        self.shards[place].insert(hash, &event.sku, slot, digest);
        Ok(digest)
    }
}

/// What an event did.
#[derive(Clone, Copy, Default)]
struct Moved {
    digest: u128,
    /// It was about the item's first reservation.
    first_reservation: bool,
}

/// Applies an event to an item that is there already, unless the snapshot held it.
fn apply(
    loading: Loading<'_>,
    event: &Event,
    seq: Seq,
    hi: Seq,
    end: &mut WorkerEnd,
) -> Result<Moved, ReplayError> {
    let Loading { sku, slot, digest } = loading;
    if seq <= hi && event.version <= slot.item.cell().version {
        end.skipped += 1;
        return Ok(Moved::default());
    }
    let had_reservations = slot.item.reservations().is_some();
    check_and_apply(slot, event, seq, sku)?;
    let before = std::mem::replace(digest, digest::digest_of(sku, slot.item.cell()));
    end.applied += 1;
    Ok(Moved {
        digest: digest.wrapping_sub(before),
        first_reservation: !had_reservations && slot.item.reservations().is_some(),
    })
}

/// Adds an item's reservations to what is derived from them.
fn summarise(sku: &Sku, slot: &mut Slot, summary: &mut ReservationSummary, orders: &OrderIndex) {
    let next = slot.item.reservations().and_then(Reservations::next_expiry);
    slot.set_queued_expiry(next);
    summary.expiring.extend(next.map(|at| (at, sku.clone())));
    let Some(reservations) = slot.item.reservations() else {
        return;
    };
    summary.live += reservations.iter_live().size_hint().0 as u64;
    for (order_id, _) in reservations.iter_live() {
        orders.insert(OrderEntry::new(order_id, sku.clone()));
    }
    for (order_id, ended) in reservations.iter_closed() {
        summary.closed.push(ClosedEntry {
            closed_at: ended.closed_at,
            sku: sku.clone(),
            order_id: order_id.clone(),
        });
    }
}

fn check_and_apply(slot: &mut Slot, event: &Event, seq: Seq, sku: &str) -> Result<(), ReplayError> {
    let accepted = slot.item.accept(event);
    accepted.map_err(|source| ReplayError::Check { seq, sku: known(sku), source })?;
    slot.last_seq = seq;
    Ok(())
}

/// The SKU of a slot.
fn known(sku: &str) -> Sku {
    Sku::new(sku).expect("only SKUs were put in")
}
