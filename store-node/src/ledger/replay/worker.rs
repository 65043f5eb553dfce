//! One replaying thread: applies the records of the shards that it claims, in order. It must never
//! touch a shard before its turn, and never apply what `check` refuses.

use std::hint::black_box;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use event_log::Seq;
use shared::codec::{MovementReader, Record, decode_record, record_sku_bytes};
use shared::digest::{DigestInput, item_digest};
use shared::{Event, Reservations, Sku};

use super::batch::{Batch, BatchRecord};
use super::crew::{Crew, ShardWork};
use super::{ReplayError, ReservationSummary};
use crate::expiry::ClosedEntry;
use crate::idempotency::{KeyEntry, KeyStage};
use crate::ledger::items::{LoadShard, ShortSku, Slot, Used, hash_of};
use crate::ledger::orders::{OrderEntry, OrderIndex, OrderStage};

/// How many records are looked up before the first of them is read, read before the first is
/// applied, and applied before the first digest is hashed.
const TOGETHER: usize = 32;
/// The kinds of records that are about a reservation, for a guess at what memory they need.
const RESERVATION_KINDS: RangeInclusive<u8> = 9..=13;

/// Where the length of the SKU stands in a record.
const SKU_LENGTH_AT: usize = 3;

/// A worker is through with a batch.
pub(super) struct BatchDone {
    pub(super) worker: usize,
    /// What its records of each frame moved the digest by.
    pub(super) moved: Vec<u128>,
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
}

pub(super) struct Worker<'run, 'keys> {
    index: usize,
    crew: &'run Crew,
    /// Up to here an event may be older than its item.
    hi: Seq,
    moved: Vec<u128>,
    keys: KeyStage<'run, 'keys>,
    orders: &'run OrderIndex,
    movements: Vec<MovementReader>,
    /// What was applied and isn't hashed yet.
    unhashed: Vec<Unhashed>,
    inputs: [DigestInput; TOGETHER],
    end: WorkerEnd,
}

/// An event that was applied: the digest's input after it lies at the same place of `inputs`.
#[derive(Clone, Copy)]
struct Unhashed {
    frame: usize,
    /// The place of its slot among those in use.
    used: u32,
}

impl<'run, 'keys> Worker<'run, 'keys> {
    pub(super) fn new(
        index: usize,
        crew: &'run Crew,
        hi: Seq,
        keys: KeyStage<'run, 'keys>,
        orders: &'run OrderIndex,
    ) -> Self {
        Self {
            index,
            crew,
            hi,
            moved: Vec::new(),
            keys,
            orders,
            movements: (0..TOGETHER).map(|_| MovementReader::default()).collect(),
            unhashed: Vec::with_capacity(TOGETHER),
            inputs: std::array::from_fn(|_| DigestInput::default()),
            end: WorkerEnd::default(),
        }
    }

    pub(super) fn run(
        mut self,
        batches: &Receiver<Arc<Batch>>,
        done: &Sender<BatchDone>,
    ) -> WorkerEnd {
        let crew = self.crew;
        let mut turns = 0;
        for batch in batches {
            self.moved = vec![0; batch.frames.len()];
            while let Some(number) = batch.claims.next(self.index, crew.workers) {
                self.apply_shard(&batch, number, &mut crew.turn(number, turns));
            }
            turns += 1;
            if self.end.error.is_some() {
                return self.end;
            }
            let moved = std::mem::take(&mut self.moved);
            let spent = Arc::into_inner(batch);
            let part = BatchDone { worker: self.index, moved, spent };
            // The reader is gone only when another worker failed.
            if done.send(part).is_err() {
                return self.end;
            }
        }
        self.finish(turns)
    }

    /// Sums up, still beside the other workers, after so many batches.
    fn finish(mut self, turns: usize) -> WorkerEnd {
        let (crew, index) = (self.crew, self.index);
        self.keys.hand_over_all();
        self.end.created.sort_unstable();
        while let Some(number) = crew.counting.next(index, crew.workers) {
            let mut work = crew.turn(number, turns);
            let ShardWork { shard, with_reservations, .. } = &mut *work;
            with_reservations.sort_unstable();
            crew.count_live(with_reservations.iter().map(|slot| shard.live_guess(*slot)).sum());
        }
        let mut orders = OrderStage::new(self.orders, crew.live_guess());
        while let Some(number) = crew.summing.next(index, crew.workers) {
            let mut work = crew.turn(number, turns + 1);
            summarise_shard(&mut work, &mut self.end.reservations, &mut orders);
            work.shard.pack();
        }
        orders.hand_over_all();
        self.end
    }

    /// Applies a shard's records up to the first that doesn't fit.
    fn apply_shard(&mut self, batch: &Batch, number: usize, work: &mut ShardWork) {
        // Where most slots will be needed, reading them in a row beats meeting them one by one.
        let slots = work.shard.used_count();
        if batch.count(number) > slots / 2 {
            black_box(work.shard.sweep());
        }
        if let Err(error) = self.apply_records(batch.records(number), work)
            && self.end.error.as_ref().is_none_or(|earlier| error.seq() < earlier.seq())
        {
            self.end.error = Some(error);
        }
    }

    /// Looks up the slots of some records, then reads and applies these, then hashes the digests:
    /// steps that don't wait for each other keep more of the memory and of the processor busy.
    fn apply_records<'a>(
        &mut self,
        mut records: impl Iterator<Item = BatchRecord<'a>>,
        work: &mut ShardWork,
    ) -> Result<(), ReplayError> {
        // Of a shard that didn't fit, something may be left.
        self.unhashed.clear();
        loop {
            let mut group = [None; TOGETHER];
            for (entry, record) in group.iter_mut().zip(records.by_ref()) {
                let hash = record_sku_bytes(record.bytes).map(hash_of);
                let guessed = hash.and_then(|hash| work.shard.guess(hash));
                *entry = Some((record, guessed));
            }
            for (record, found) in group.iter_mut().flatten() {
                let short = ShortSku::read(record.bytes.get(SKU_LENGTH_AT..).unwrap_or_default());
                let confirmed = found.and_then(|number| work.shard.confirm(number, short));
                *found = confirmed.or_else(|| find(&mut work.shard, record.bytes));
            }
            touch(&work.shard, group.iter().flatten());
            let mut are_movements = [false; TOGETHER];
            for ((entry, reader), is_movement) in
                group.iter().flatten().zip(&mut self.movements).zip(&mut are_movements)
            {
                *is_movement = entry.1.is_some() && reader.read(entry.0.bytes).is_some();
            }
            for (index, (record, used)) in group.iter().flatten().enumerate() {
                match used {
                    Some(used) if are_movements[index] => {
                        self.apply_movement(record, *used, work, index)?;
                    }
                    _ => self.apply_record(record, *used, work)?,
                }
            }
            self.hash(&mut work.shard);
            if group[TOGETHER - 1].is_none() {
                return Ok(());
            }
        }
    }

    /// Hashes what was applied, and adds what it moved to the parts of the frames.
    fn hash(&mut self, shard: &mut LoadShard) {
        for (Unhashed { frame, used }, input) in self.unhashed.drain(..).zip(&self.inputs) {
            let digest = &mut shard.used_mut(used).digest;
            let before = std::mem::replace(digest, input.digest());
            let moved = digest.wrapping_sub(before);
            self.moved[frame] = self.moved[frame].wrapping_add(moved);
        }
    }

    /// Applies the movement that was read into the reader of this index.
    fn apply_movement(
        &mut self,
        record: &BatchRecord<'_>,
        used: u32,
        work: &mut ShardWork,
        index: usize,
    ) -> Result<(), ReplayError> {
        let event = self.movements[index].event();
        if let Some(key) = event.context.key {
            self.end.keys += 1;
            self.keys.remember(KeyEntry::new(key, record.seq, event.recorded_at));
        }
        let done = apply(work.shard.used_mut(used), event, record, self.hi)?;
        self.note(record, work, used, done);
        Ok(())
    }

    /// Applies any record of this version: the long way.
    fn apply_record(
        &mut self,
        record: &BatchRecord<'_>,
        found: Option<u32>,
        work: &mut ShardWork,
    ) -> Result<(), ReplayError> {
        let BatchRecord { seq, frame, bytes } = *record;
        let event =
            match decode_record(bytes).map_err(|source| ReplayError::Record { seq, source })? {
                Record::Event(event) => event,
                Record::Receipt(receipt) => {
                    self.end.receipts += 1;
                    self.end.keys += 1;
                    self.keys.remember(KeyEntry::new(receipt.key, seq, receipt.recorded_at));
                    return Ok(());
                }
            };
        if let Some(key) = event.context.key {
            self.end.keys += 1;
            self.keys.remember(KeyEntry::new(key, seq, event.recorded_at));
        }
        // It may have been created since.
        let Some(used) = found.or_else(|| find(&mut work.shard, bytes)) else {
            let moved = self.create(&event, seq, &mut work.shard)?;
            self.moved[frame] = self.moved[frame].wrapping_add(moved);
            return Ok(());
        };
        let done = apply(work.shard.used_mut(used), &event, record, self.hi)?;
        self.note(record, work, used, done);
        Ok(())
    }

    /// Counts what was done about a record, and keeps what its digest will be made of.
    fn note(&mut self, record: &BatchRecord<'_>, work: &mut ShardWork, used: u32, done: Done) {
        let first_reservation = match done {
            Done::Skipped => return self.end.skipped += 1,
            Done::Applied { first_reservation } => first_reservation,
        };
        self.end.applied += 1;
        let Used { slot, number, .. } = work.shard.used_mut(used);
        if first_reservation {
            work.with_reservations.push(*number);
        }
        self.inputs[self.unhashed.len()].set(found_by(record), slot.item.cell());
        self.unhashed.push(Unhashed { frame: record.frame, used });
    }

    /// The first event of an item; returns what it moves the digest by.
    fn create(
        &mut self,
        event: &Event,
        seq: Seq,
        shard: &mut LoadShard,
    ) -> Result<u128, ReplayError> {
        let mut slot = Slot::default();
        check_and_apply(&mut slot, event, seq, event.sku.as_str().as_bytes())?;
        let digest = item_digest(&event.sku, slot.item.cell());
        self.end.applied += 1;
        self.end.created.push(event.sku.clone());
        let hash = hash_of(event.sku.as_str().as_bytes());
        shard.insert(hash, &event.sku, slot, digest);
        Ok(digest)
    }
}

/// Looks at the memory that records will need, one step after the other for all of them.
fn touch<'a, 'b: 'a>(
    shard: &LoadShard,
    records: impl Iterator<Item = &'a (BatchRecord<'b>, Option<u32>)>,
) {
    let mut touched = 0;
    let mut about_reservations = [0; TOGETHER];
    let mut count = 0;
    for (record, used) in records {
        let Some(used) = used else { continue };
        let kind = record.bytes.first().copied().unwrap_or_default();
        about_reservations[count] = *used;
        count += usize::from(RESERVATION_KINDS.contains(&kind));
        touched ^= shard.touch(*used);
    }
    let about_reservations = &about_reservations[..count];
    for used in about_reservations {
        touched ^= shard.touch_reservations(*used);
    }
    for used in about_reservations {
        touched ^= shard.touch_live(*used);
    }
    black_box(touched);
}

/// The place in use of the slot of a record's item, if there is one.
fn find(shard: &mut LoadShard, record: &[u8]) -> Option<u32> {
    let sku = record_sku_bytes(record)?;
    let short = ShortSku::read(&record[SKU_LENGTH_AT..]);
    shard.find_in_use(hash_of(sku), sku, short)
}

/// Derives what the ledger knows of a shard's reservations.
fn summarise_shard(
    work: &mut ShardWork,
    summary: &mut ReservationSummary,
    orders: &mut OrderStage<'_>,
) {
    let ShardWork { shard, with_reservations, .. } = work;
    for places in std::mem::take(with_reservations).chunks_mut(TOGETHER) {
        // What was a slot's number is its place in use from here on.
        for used in &mut *places {
            *used = shard.place_in_use(*used);
        }
        let mut touched = 0;
        for step in [LoadShard::touch_reservations, LoadShard::touch_all_live] {
            for used in &*places {
                touched ^= step(shard, *used);
            }
        }
        black_box(touched);
        for used in &*places {
            let number = shard.used_mut(*used).number;
            let sku = known(shard.sku(number));
            let slot = &mut shard.used_mut(*used).slot;
            summarise(&sku, slot, summary, orders);
        }
    }
}

/// What became of an event.
#[derive(Clone, Copy)]
enum Done {
    /// The snapshot held it.
    Skipped,
    Applied {
        /// It was about the item's first reservation.
        first_reservation: bool,
    },
}

/// Applies an event to an item that is there already, unless the snapshot held it.
fn apply(
    used: &mut Used,
    event: &Event,
    record: &BatchRecord<'_>,
    hi: Seq,
) -> Result<Done, ReplayError> {
    let slot = &mut used.slot;
    if record.seq <= hi && event.version <= slot.item.cell().version {
        return Ok(Done::Skipped);
    }
    let had_reservations = slot.item.reservations().is_some();
    check_and_apply(slot, event, record.seq, found_by(record))?;
    let first_reservation = !had_reservations && slot.item.reservations().is_some();
    Ok(Done::Applied { first_reservation })
}

/// Adds an item's reservations to what is derived from them.
fn summarise(
    sku: &Sku,
    slot: &mut Slot,
    summary: &mut ReservationSummary,
    orders: &mut OrderStage<'_>,
) {
    let next = slot.item.reservations().and_then(Reservations::next_expiry);
    slot.set_queued_expiry(next);
    summary.expiring.extend(next.map(|at| (at, sku.clone())));
    let Some(reservations) = slot.item.reservations() else {
        return;
    };
    summary.live += reservations.iter_live().size_hint().0 as u64;
    for (order_id, _) in reservations.iter_live() {
        orders.push(OrderEntry::new(order_id, sku.clone()));
    }
    for (order_id, ended) in reservations.iter_closed() {
        summary.closed.push(ClosedEntry {
            closed_at: ended.closed_at,
            sku: sku.clone(),
            order_id: order_id.clone(),
        });
    }
}

/// The bytes by which the item of a record was found: its SKU.
fn found_by<'a>(record: &BatchRecord<'a>) -> &'a [u8] {
    record_sku_bytes(record.bytes).unwrap_or_default()
}

fn check_and_apply(
    slot: &mut Slot,
    event: &Event,
    seq: Seq,
    sku: &[u8],
) -> Result<(), ReplayError> {
    let accepted = slot.item.accept(event);
    accepted.map_err(|source| ReplayError::Check {
        seq,
        sku: known(std::str::from_utf8(sku).unwrap_or_default()),
        source,
    })?;
    slot.last_seq = seq;
    Ok(())
}

/// The SKU of a slot.
fn known(sku: &str) -> Sku {
    Sku::new(sku).expect("only SKUs were put in")
}
