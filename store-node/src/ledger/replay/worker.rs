//! One replaying thread: applies the records of the SKUs in its shards, in order. It must never
//! touch another worker's shards, and never apply what `check` refuses.
//!
//! A frame is gone through three times: find the slots, touch them, apply. The first two have no
//! dependencies between records, so that their cache misses overlap.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use event_log::{Frame, Seq};
use shared::codec::{Record, decode_record};
use shared::{Event, Sku, digest};

use super::ReplayError;
use super::chunk::Chunk;
use super::view::{scratch_event, view_event};
use crate::idempotency::KeyEntry;
use crate::ledger::items::{ITEM_SHARDS, LoadShard, Loading, Slot, hash_of, shard_of};

/// A worker is through with a chunk.
pub(super) struct ChunkDone {
    pub(super) worker: usize,
    /// Its part of the digest after each frame.
    pub(super) digests: Vec<u128>,
    /// The keys that its records claim, in order.
    pub(super) claims: Vec<KeyEntry>,
    /// The chunk, from the worker that was the last to use it.
    pub(super) spent: Option<Chunk>,
}

/// What a worker leaves.
#[derive(Default)]
pub(super) struct WorkerEnd {
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
    shards: Vec<&'a mut LoadShard>,
    /// For each shard of all its place in `shards`, or [`NOT_MINE`].
    mine: [u8; ITEM_SHARDS],
    /// Up to here an event may be older than its item.
    hi: Seq,
    digest: u128,
    claims: Vec<KeyEntry>,
    scratch: Event,
    end: WorkerEnd,
}

/// Marks a shard of another worker.
const NOT_MINE: u8 = u8::MAX;

/// A record of this worker.
struct Found<'a> {
    seq: Seq,
    record: &'a [u8],
    sku: &'a [u8],
    hash: u64,
    /// The place of its shard.
    shard: usize,
    /// The number of the slot that is nearly certainly its SKU's.
    guess: Option<u32>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        index: usize,
        workers: usize,
        shards: Vec<&'a mut LoadShard>,
        hi: Seq,
    ) -> Self {
        let (claims, end) = (Vec::new(), WorkerEnd::default());
        let mut mine = [NOT_MINE; ITEM_SHARDS];
        for place in 0..shards.len() {
            mine[index + place * workers] = place as u8;
        }
        Self { index, shards, mine, hi, digest: 0, claims, scratch: scratch_event(), end }
    }

    pub(super) fn run(
        mut self,
        chunks: &Receiver<Arc<Chunk>>,
        done: &Sender<ChunkDone>,
    ) -> WorkerEnd {
        for chunk in chunks {
            let mut digests = Vec::with_capacity(chunk.frames.len());
            let mut found = Vec::new();
            for frame in &chunk.frames {
                found.clear();
                let applied = self
                    .find_records(frame, chunk.until, &mut found)
                    .and_then(|()| self.apply_found(&found));
                if let Err(error) = applied {
                    self.end.error = Some(error);
                    return self.end;
                }
                digests.push(self.digest);
            }
            drop(found);
            let claims = std::mem::take(&mut self.claims);
            let spent = Arc::into_inner(chunk);
            // The reader is gone only when another worker failed.
            if done.send(ChunkDone { worker: self.index, digests, claims, spent }).is_err() {
                return self.end;
            }
        }
        self.end
    }

    /// Finds the records of this worker's SKUs; a record of no SKU is the first worker's, who takes
    /// it at once.
    fn find_records<'f>(
        &mut self,
        frame: &'f Frame,
        until: Seq,
        found: &mut Vec<Found<'f>>,
    ) -> Result<(), ReplayError> {
        for (seq, record) in frame.records() {
            if seq > until {
                break;
            }
            let Some(sku) = sku_bytes(record) else {
                if self.index == 0 {
                    self.apply_first(seq, 0, 0, record)?;
                }
                continue;
            };
            let hash = hash_of(sku);
            let shard = self.mine[shard_of(hash)];
            if shard != NOT_MINE {
                let shard = usize::from(shard);
                let guess = self.shards[shard].guess(hash);
                found.push(Found { seq, record, sku, hash, shard, guess });
            }
        }
        Ok(())
    }

    fn apply_found(&mut self, found: &[Found<'_>]) -> Result<(), ReplayError> {
        let mut touched = 0;
        for Found { shard, guess, .. } in found {
            if let Some(guess) = guess {
                touched ^= self.shards[*shard].touch(*guess);
            }
        }
        black_box(touched);
        found.iter().try_for_each(|found| self.apply_record(found))
    }

    fn apply_record(&mut self, found: &Found<'_>) -> Result<(), ReplayError> {
        let Found { seq, record, sku, hash, shard: place, guess } = *found;
        let shard = &mut *self.shards[place];
        // A SKU may have been created a few records before.
        let known = guess.filter(|guess| shard.is(*guess, sku)).or_else(|| shard.find(hash, sku));
        let Some(number) = known else { return self.apply_first(seq, hash, place, record) };
        if view_event(record, &mut self.scratch) {
            let event = &self.scratch;
            self.claims
                .extend(event.context.key.map(|key| KeyEntry::new(key, seq, event.recorded_at)));
            return apply(shard.slot(number), event, seq, self.hi, &mut self.digest, &mut self.end);
        }
        // The long way: any record of this version.
        match decode_record(record).map_err(|source| ReplayError::Record { seq, source })? {
            Record::Event(event) => {
                self.claim(&event, seq);
                let shard = &mut *self.shards[place];
                apply(shard.slot(number), &event, seq, self.hi, &mut self.digest, &mut self.end)
            }
            Record::Receipt(receipt) => {
                self.end.receipts += 1;
                self.claims.push(KeyEntry::new(receipt.key, seq, receipt.recorded_at));
                Ok(())
            }
        }
    }

    /// A record of no SKU, or of one that isn't there yet.
    fn apply_first(
        &mut self,
        seq: Seq,
        hash: u64,
        shard: usize,
        record: &[u8],
    ) -> Result<(), ReplayError> {
        match decode_record(record).map_err(|source| ReplayError::Record { seq, source })? {
            Record::Event(event) => {
                self.claim(&event, seq);
                let mut slot = Slot::default();
                check_and_apply(&mut slot, &event, seq)?;
                let digest = digest::item_digest(&event.sku, slot.item.cell());
                self.digest = self.digest.wrapping_add(digest);
                self.end.applied += 1;
                self.end.created.push(event.sku.clone());
                self.shards[shard].insert(hash, event.sku, slot, digest);
            }
            Record::Receipt(receipt) => {
                self.end.receipts += 1;
                self.claims.push(KeyEntry::new(receipt.key, seq, receipt.recorded_at));
            }
        }
        Ok(())
    }

    fn claim(&mut self, event: &Event, seq: Seq) {
        self.claims.extend(event.context.key.map(|key| KeyEntry::new(key, seq, event.recorded_at)));
    }
}

/// Applies an event to an item that is there already, unless the snapshot held it.
fn apply(
    loading: Loading<'_>,
    event: &Event,
    seq: Seq,
    hi: Seq,
    sum: &mut u128,
    end: &mut WorkerEnd,
) -> Result<(), ReplayError> {
    let Loading { sku, slot, digest } = loading;
    if seq <= hi && event.version <= slot.item.cell().version {
        end.skipped += 1;
        return Ok(());
    }
    let had_reservations = slot.item.reservations().is_some();
    check_and_apply(slot, event, seq).map_err(|error| match error {
        ReplayError::Check { seq, source, .. } => {
            ReplayError::Check { seq, sku: sku.clone(), source }
        }
        other => other,
    })?;
    let after = digest::item_digest(sku, slot.item.cell());
    *sum = sum.wrapping_add(after.wrapping_sub(*digest));
    *digest = after;
    end.applied += 1;
    if !had_reservations && slot.item.reservations().is_some() {
        end.with_reservations.push(sku.clone());
    }
    Ok(())
}

fn check_and_apply(slot: &mut Slot, event: &Event, seq: Seq) -> Result<(), ReplayError> {
    let checked = slot.item.check(event);
    checked.map_err(|source| ReplayError::Check { seq, sku: event.sku.clone(), source })?;
    slot.item.apply(event);
    slot.last_seq = seq;
    Ok(())
}

/// The SKU's bytes by the frozen envelope (kind, schema, flags, length, SKU); none for a record
/// about no item, or one too short, which decoding will refuse.
fn sku_bytes(record: &[u8]) -> Option<&[u8]> {
    let (head, rest) = record.split_first_chunk::<4>()?;
    let length = usize::from(head[3]);
    if length == 0 { None } else { rest.get(..length) }
}
