//! Records on their way to the workers, sorted by the shard of their SKU.
//!
//! A batch is megabytes long on purpose: a worker goes through it shard by shard, and a shard's
//! slots fit into a core's cache, so that most of what an event needs is there already. SKUs are
//! independent of each other and digests are sums, so the order between shards doesn't matter.

use event_log::{Frame, Seq};

use super::{ReplayOptions, ReplayReport};
use crate::ledger::items::{ITEM_SHARDS, hash_of, shard_of};

/// A batch is sent once it holds so many bytes of frames.
const BATCH_BYTES: usize = 16 << 20;
/// Frame u32 · record length u32 · seq u64 · hash u64, little-endian, before each record.
const HEAD_BYTES: usize = 24;

/// Some whole frames.
#[derive(Default)]
pub(super) struct Batch {
    /// The records of each shard in order; behind them those of no SKU.
    shards: Vec<Vec<u8>>,
    pub(super) frames: Vec<FrameEnd>,
    bytes: usize,
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
    /// The hash of its SKU.
    pub(super) hash: u64,
    pub(super) bytes: &'a [u8],
}

impl Batch {
    /// The records of one shard, in order; of [`ITEM_SHARDS`], those of no SKU.
    pub(super) fn records(&self, shard: usize) -> impl Iterator<Item = BatchRecord<'_>> {
        let mut rest = self.shards.get(shard).map_or(&[][..], Vec::as_slice);
        std::iter::from_fn(move || {
            let (head, tail) = rest.split_first_chunk::<HEAD_BYTES>()?;
            let number = u64::from_le_bytes(part(head, 0));
            let seq = Seq::new(u64::from_le_bytes(part(head, 8)));
            let hash = u64::from_le_bytes(part(head, 16));
            let (bytes, tail) = tail.split_at((number >> 32) as usize);
            rest = tail;
            let frame = number as u32 as usize;
            Some(BatchRecord { frame, seq, hash, bytes })
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
        if self.shards.is_empty() {
            self.shards = vec![Vec::new(); ITEM_SHARDS + 1];
        }
        let number = self.frames.len() as u64;
        for (seq, bytes) in frame.records().take_while(|(seq, _)| *seq <= options.until_seq) {
            let hash = sku_bytes(bytes).map(hash_of);
            let shard = &mut self.shards[hash.map_or(ITEM_SHARDS, shard_of)];
            let mut head = [0; HEAD_BYTES];
            head[..8].copy_from_slice(&(number | (bytes.len() as u64) << 32).to_le_bytes());
            head[8..16].copy_from_slice(&seq.get().to_le_bytes());
            head[16..].copy_from_slice(&hash.unwrap_or_default().to_le_bytes());
            shard.extend_from_slice(&head);
            shard.extend_from_slice(bytes);
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
        self.bytes >= BATCH_BYTES
    }

    /// Forgets its content and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.shards.iter_mut().for_each(Vec::clear);
        self.frames.clear();
        self.bytes = 0;
    }
}

fn part(head: &[u8; HEAD_BYTES], at: usize) -> [u8; 8] {
    let mut part = [0; 8];
    part.copy_from_slice(&head[at..at + 8]);
    part
}

/// The SKU's bytes by the frozen envelope (kind, schema, flags, length, SKU); none for a record
/// about no item, or one too short, which decoding will refuse.
pub(super) fn sku_bytes(record: &[u8]) -> Option<&[u8]> {
    let (head, rest) = record.split_first_chunk::<4>()?;
    let length = usize::from(head[3]);
    if length == 0 { None } else { rest.get(..length) }
}
