//! Records on their way to the workers, sorted by the shard of their SKU.
//!
//! A batch is megabytes long on purpose: a worker goes through it shard by shard, and a shard's
//! slots fit into a core's cache, so that most of what an event needs is there already. SKUs are
//! independent of each other and digests are sums, so the order between shards doesn't matter.

use event_log::{Frame, Seq};
use shared::codec::record_sku_bytes;

use super::crew::Claims;
use super::{ReplayOptions, ReplayReport};
use crate::ledger::items::{ITEM_SHARDS, hash_of, shard_of};

/// A batch is sent once it holds so many bytes of frames. The first ones are smaller, so that no
/// worker waits long for its first, and a short log costs little memory.
const BATCH_BYTES: [usize; 3] = [3 << 19, 6 << 20, 12 << 20];
/// Frame u32 · record length u32 · seq as an offset u32, little-endian, before each record.
const HEAD_BYTES: usize = 12;
/// Some whole frames.
#[derive(Default)]
pub(super) struct Batch {
    /// The records of each shard in order; behind them those of no SKU.
    shards: Vec<ShardBuffer>,
    pub(super) frames: Vec<FrameEnd>,
    /// Which shards a worker has taken.
    pub(super) claims: Claims,
    /// The seq of the first record.
    first: Seq,
    bytes: usize,
    /// It is full with so many.
    bytes_max: usize,
}

#[derive(Default)]
struct ShardBuffer {
    bytes: Vec<u8>,
    records: usize,
}

/// What a frame says about the state after it.
#[derive(Clone, Copy)]
pub(super) struct FrameEnd {
    pub(super) seq: Seq,
    pub(super) digest: u128,
    /// False for a frame of which only a part counts.
    pub(super) whole: bool,
}

/// A record in a batch.
#[derive(Clone, Copy)]
pub(super) struct BatchRecord<'a> {
    /// The number of its frame in the batch.
    pub(super) frame: usize,
    pub(super) seq: Seq,
    pub(super) bytes: &'a [u8],
}

impl Batch {
    /// How many records a shard has.
    pub(super) fn count(&self, shard: usize) -> usize {
        self.shards.get(shard).map_or(0, |shard| shard.records)
    }

    /// The records of one shard, in order; of [`ITEM_SHARDS`], those of no SKU.
    pub(super) fn records(&self, shard: usize) -> impl Iterator<Item = BatchRecord<'_>> + Clone {
        let mut rest = self.shards.get(shard).map_or(&[][..], |shard| &shard.bytes);
        std::iter::from_fn(move || {
            let (head, tail) = rest.split_first_chunk::<HEAD_BYTES>()?;
            let (bytes, tail) = tail.split_at(part(head, 4) as usize);
            rest = tail;
            let seq = Seq::new(self.first.get() + u64::from(part(head, 8)));
            Some(BatchRecord { frame: part(head, 0) as usize, seq, bytes })
        })
    }

    /// Takes a frame's records; true when nothing behind it counts.
    pub(super) fn push(
        &mut self,
        frame: &Frame,
        options: &ReplayOptions,
        report: &mut ReplayReport,
    ) -> bool {
        let header = &frame.header;
        if header.logged_at_us > options.until_us || header.first_seq > options.until_seq {
            return true;
        }
        if self.frames.is_empty() {
            self.first = header.first_seq;
        }
        let number = self.frames.len() as u32;
        for (seq, bytes) in frame.records().take_while(|(seq, _)| *seq <= options.until_seq) {
            let shard = record_sku_bytes(bytes).map_or(ITEM_SHARDS, |sku| shard_of(hash_of(sku)));
            let offset = (seq.get() - self.first.get()) as u32;
            let mut head = [0; HEAD_BYTES];
            head[..4].copy_from_slice(&number.to_le_bytes());
            head[4..8].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
            head[8..].copy_from_slice(&offset.to_le_bytes());
            let shard = &mut self.shards[shard];
            shard.records += 1;
            shard.bytes.extend_from_slice(&head);
            shard.bytes.extend_from_slice(bytes);
        }
        let last = header.last_seq().min(options.until_seq);
        let whole = header.last_seq() == last;
        self.frames.push(FrameEnd { seq: last, digest: header.state_digest, whole });
        self.bytes += frame.stored.len();
        report.frames += 1;
        report.records += (last.get() + 1).saturating_sub(header.first_seq.get());
        report.bytes += frame.stored.len() as u64;
        report.last = last;
        report.logged_at_us = header.logged_at_us;
        !whole
    }

    /// Whether it should be sent.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// Forgets its content, keeps its memory, and becomes the batch after so many others.
    pub(super) fn begin(&mut self, batches_before: usize) {
        self.bytes_max = BATCH_BYTES[batches_before.min(BATCH_BYTES.len() - 1)];
        // Its even share, the heads and some unevenness.
        let shard_bytes = self.bytes_max / ITEM_SHARDS * 5 / 4;
        self.shards.resize_with(ITEM_SHARDS + 1, ShardBuffer::default);
        for shard in &mut self.shards {
            shard.records = 0;
            shard.bytes.clear();
            shard.bytes.reserve(shard_bytes);
        }
        self.frames.clear();
        self.claims.reset();
        self.bytes = 0;
    }
}

fn part(head: &[u8; HEAD_BYTES], at: usize) -> u32 {
    let mut part = [0; 4];
    part.copy_from_slice(&head[at..at + 4]);
    u32::from_le_bytes(part)
}
