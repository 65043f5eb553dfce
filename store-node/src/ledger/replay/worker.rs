//! One replaying thread: applies the records of the SKUs in its shards, in order. It must never
//! touch another worker's shards, and never apply what `check` refuses.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use event_log::{Frame, Seq};
use parking_lot::Mutex;
use shared::codec::{Record, decode_record};
use shared::{Event, KeyClaim, Sku, Timestamp, digest};

use super::ReplayError;
use super::chunk::Chunk;
use crate::idempotency::{KeyEntry, KeyTable};
use crate::ledger::items::{Handle, ItemShard, Slot, hash_of, shard_of};

/// A worker is through with a chunk: its part of the digest after each frame.
pub(super) struct ChunkDone {
    pub(super) worker: usize,
    pub(super) digests: Vec<u128>,
}

/// What a worker leaves.
#[derive(Default)]
pub(super) struct WorkerEnd {
    pub(super) error: Option<ReplayError>,
    pub(super) applied: u64,
    pub(super) skipped: u64,
    pub(super) receipts: u64,
    pub(super) keys: u64,
    pub(super) created: Vec<(Sku, Handle)>,
    pub(super) with_reservations: Vec<(Sku, Handle)>,
}

pub(super) struct Worker<'a> {
    index: usize,
    workers: usize,
    shards: Vec<&'a mut ItemShard>,
    keys: &'a KeyTable,
    /// Up to here an event may be older than its item.
    hi: Seq,
    now: Timestamp,
    digest: u128,
    claims: Vec<KeyEntry>,
    end: WorkerEnd,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        index: usize,
        workers: usize,
        shards: Vec<&'a mut ItemShard>,
        keys: &'a KeyTable,
        hi: Seq,
        now: Timestamp,
    ) -> Self {
        let (digest, claims, end) = (0, Vec::new(), WorkerEnd::default());
        Self {
            index,
            workers,
            shards,
            keys,
            hi,
            now,
            digest,
            claims,
            end,
        }
    }

    pub(super) fn run(
        mut self,
        chunks: &Receiver<Arc<Chunk>>,
        done: &Sender<ChunkDone>,
    ) -> WorkerEnd {
        for chunk in chunks {
            let mut digests = Vec::with_capacity(chunk.frames.len());
            for frame in &chunk.frames {
                if let Err(error) = self.apply_frame(frame, chunk.until) {
                    self.end.error = Some(error);
                    return self.end;
                }
                digests.push(self.digest);
            }
            self.remember_keys();
            // The reader is gone only when another worker failed.
            if done
                .send(ChunkDone {
                    worker: self.index,
                    digests,
                })
                .is_err()
            {
                return self.end;
            }
        }
        self.end
    }

    fn apply_frame(&mut self, frame: &Frame, until: Seq) -> Result<(), ReplayError> {
        for (seq, record) in frame.records() {
            if seq > until {
                break;
            }
            match sku_bytes(record) {
                Some(sku) => {
                    let hash = hash_of(sku);
                    if shard_of(hash) % self.workers == self.index {
                        self.apply_record(seq, hash, record)?;
                    }
                }
                // Without a SKU it is anyone's; the first worker takes it.
                None if self.index == 0 => self.apply_record(seq, 0, record)?,
                None => {}
            }
        }
        Ok(())
    }

    fn apply_record(&mut self, seq: Seq, hash: u64, record: &[u8]) -> Result<(), ReplayError> {
        let record = decode_record(record).map_err(|source| ReplayError::Record { seq, source })?;
        match record {
            Record::Event(event) => {
                if let Some(key) = event.context.key {
                    self.claim(key, seq, event.recorded_at);
                }
                self.apply_event(seq, hash, event)
            }
            Record::Receipt(receipt) => {
                self.end.receipts += 1;
                self.claim(receipt.key, seq, receipt.recorded_at);
                Ok(())
            }
        }
    }

    fn apply_event(&mut self, seq: Seq, hash: u64, event: Event) -> Result<(), ReplayError> {
        let shard = &mut *self.shards[shard_of(hash) / self.workers];
        let Some(handle) = shard.get(hash, event.sku.as_str()) else {
            let mut slot = Slot::default();
            self.digest = self.digest.wrapping_add(advance(&mut slot, seq, &event)?);
            let handle = Arc::new(Mutex::new(slot));
            shard.insert(hash, event.sku.clone(), Arc::clone(&handle));
            self.end.created.push((event.sku, handle));
            self.end.applied += 1;
            return Ok(());
        };
        let mut slot = handle.lock();
        if seq <= self.hi && event.version <= slot.item.cell().version {
            self.end.skipped += 1;
            return Ok(());
        }
        let had_reservations = slot.item.reservations().is_some();
        self.digest = self.digest.wrapping_add(advance(&mut slot, seq, &event)?);
        self.end.applied += 1;
        if !had_reservations && slot.item.reservations().is_some() {
            drop(slot);
            self.end
                .with_reservations
                .push((event.sku, Arc::clone(handle)));
        }
        Ok(())
    }

    fn claim(&mut self, key: KeyClaim, seq: Seq, at: Timestamp) {
        self.end.keys += 1;
        self.claims.push(KeyEntry::new(key, seq, at));
    }

    /// Puts a chunk's keys into the table in one go, so that the table's cache misses overlap.
    fn remember_keys(&mut self) {
        let (keys, now) = (self.keys, self.now);
        self.claims
            .drain(..)
            .for_each(|entry| keys.restore_if_alive(entry, now));
    }
}

/// Checks and applies one event; returns what it moves the digest by.
fn advance(slot: &mut Slot, seq: Seq, event: &Event) -> Result<u128, ReplayError> {
    let checked = slot.item.check(event);
    checked.map_err(|source| ReplayError::Check {
        seq,
        sku: event.sku.clone(),
        source,
    })?;
    let before = *slot.item.cell();
    slot.item.apply(event);
    slot.last_seq = seq;
    Ok(digest::delta(&event.sku, &before, slot.item.cell()))
}

/// The SKU's bytes by the frozen envelope (kind, schema, flags, length, SKU); none for a record
/// about no item, or one too short, which decoding will refuse.
fn sku_bytes(record: &[u8]) -> Option<&[u8]> {
    let (head, rest) = record.split_first_chunk::<4>()?;
    let length = usize::from(head[3]);
    if length == 0 {
        None
    } else {
        rest.get(..length)
    }
}
