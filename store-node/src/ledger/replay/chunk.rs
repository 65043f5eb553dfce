//! Chunks of frames on their way to the workers, and the comparison of the digests that come back.

use std::collections::VecDeque;

use event_log::{Chain, Frame, FrameHeader, FrameKind, ReadError, Seq};

use super::worker::ChunkDone;
use super::{FrameSource, ReplayError, ReplayOptions, ReplayReport};
use crate::idempotency::KeyEntry;

/// A chunk is sent once it holds so many bytes of frames.
const CHUNK_BYTES: usize = 512 << 10;

/// Some whole frames, and how many records of the last one count.
pub(super) struct Chunk {
    pub(super) frames: Vec<Frame>,
    /// Records behind this seq don't count.
    pub(super) until: Seq,
}

/// Cuts a stream of frames into chunks, up to the limits.
pub(super) struct ChunkBuilder {
    options: ReplayOptions,
    frames: Vec<Frame>,
    bytes: usize,
    /// Frames whose memory can be used again.
    spent: Vec<Frame>,
}

impl ChunkBuilder {
    pub(super) fn new(options: ReplayOptions) -> Self {
        Self { options, frames: Vec::new(), bytes: 0, spent: Vec::new() }
    }

    /// Reads a frame: whether there was one, and whether nothing behind it counts.
    pub(super) fn read(
        &mut self,
        source: &mut dyn FrameSource,
        report: &mut ReplayReport,
    ) -> Result<(bool, bool), ReadError> {
        let mut frame = self.spent.pop().unwrap_or_else(empty_frame);
        if !source.next_into(&mut frame)? {
            return Ok((false, false));
        }
        Ok((true, self.push(frame, report)))
    }

    /// Takes a frame; true when nothing behind it counts.
    fn push(&mut self, frame: Frame, report: &mut ReplayReport) -> bool {
        let header = &frame.header;
        if header.logged_at_us > self.options.until_us || header.first_seq > self.options.until_seq
        {
            return true;
        }
        let last = header.last_seq().min(self.options.until_seq);
        report.frames += 1;
        report.records += (last.get() + 1).saturating_sub(header.first_seq.get());
        report.bytes += frame.stored.len() as u64;
        report.last = last;
        report.logged_at_us = header.logged_at_us;
        let cut = header.last_seq() > self.options.until_seq;
        self.bytes += frame.stored.len();
        self.frames.push(frame);
        cut
    }

    /// The chunk, once it is large enough or the stream is over.
    pub(super) fn take_if_ready(&mut self, over: bool) -> Option<Chunk> {
        if self.frames.is_empty() || (self.bytes < CHUNK_BYTES && !over) {
            return None;
        }
        self.bytes = 0;
        Some(Chunk { frames: std::mem::take(&mut self.frames), until: self.options.until_seq })
    }

    /// Takes back the memory of a chunk that nobody uses any more.
    pub(super) fn reuse(&mut self, chunk: Option<Chunk>) {
        self.spent.extend(chunk.into_iter().flat_map(|chunk| chunk.frames));
    }
}

fn empty_frame() -> Frame {
    let header = FrameHeader {
        kind: FrameKind::Checkpoint,
        payload_len: 0,
        record_count: 0,
        first_seq: Seq::ZERO,
        segment_first_seq: Seq::ZERO,
        epoch_counter: 0,
        watermark: Seq::ZERO,
        logged_at_us: 0,
        state_digest: 0,
        chain: Chain::new([0; 32]),
        payload_crc: 0,
    };
    Frame { header, stored: Vec::new() }
}

/// Adds up the workers' parts of each frame's digest and compares.
pub(super) struct Verifier {
    workers: usize,
    /// Before this seq nothing is claimed.
    from: Seq,
    /// The digest before the first frame.
    base: u128,
    /// The digest at the end of the last complete chunk.
    digest: u128,
    verified: u64,
    waiting: VecDeque<Waiting>,
    /// How many chunks each worker has reported.
    reported: Vec<usize>,
    /// The number of the first chunk in `waiting`.
    first: usize,
}

/// A chunk that isn't reported by every worker yet.
struct Waiting {
    expected: Vec<Expected>,
    sums: Vec<u128>,
    claims: Vec<KeyEntry>,
    missing: usize,
}

struct Expected {
    seq: Seq,
    digest: u128,
    /// False for a frame of which only a part counts, or inside a snapshot's span.
    compare: bool,
}

impl Verifier {
    pub(super) fn new(workers: usize, from: Seq, base: u128) -> Self {
        Self {
            workers,
            from,
            base,
            digest: base,
            verified: 0,
            waiting: VecDeque::new(),
            reported: vec![0; workers],
            first: 0,
        }
    }

    pub(super) fn digest(&self) -> u128 {
        self.digest
    }

    pub(super) fn verified(&self) -> u64 {
        self.verified
    }

    pub(super) fn expect(&mut self, chunk: &Chunk) {
        let expected = |frame: &Frame| {
            let seq = frame.header.last_seq();
            let compare = seq >= self.from && seq <= chunk.until;
            Expected { seq, digest: frame.header.state_digest, compare }
        };
        let expected: Vec<Expected> = chunk.frames.iter().map(expected).collect();
        let sums = vec![self.base; expected.len()];
        let (claims, missing) = (Vec::new(), self.workers);
        self.waiting.push_back(Waiting { expected, sums, claims, missing });
    }

    /// Adds a worker's part.
    pub(super) fn add(&mut self, part: ChunkDone) {
        let number = self.reported[part.worker];
        self.reported[part.worker] += 1;
        let waiting = &mut self.waiting[number - self.first];
        for (sum, digest) in waiting.sums.iter_mut().zip(part.digests) {
            *sum = sum.wrapping_add(digest);
        }
        waiting.claims.extend(part.claims);
        waiting.missing -= 1;
    }

    /// Compares the digests of the next chunk of which every part is there, and gives its keys.
    pub(super) fn next_complete(&mut self) -> Result<Option<Vec<KeyEntry>>, ReplayError> {
        let complete = self.waiting.pop_front_if(|waiting| waiting.missing == 0);
        let Some(Waiting { expected, sums, claims, .. }) = complete else {
            return Ok(None);
        };
        self.first += 1;
        for (Expected { seq, digest, compare }, found) in expected.into_iter().zip(sums) {
            if compare && digest != found {
                return Err(ReplayError::Digest { seq, expected: digest, found });
            }
            self.verified += u64::from(compare);
            self.digest = found;
        }
        Ok(Some(claims))
    }
}
