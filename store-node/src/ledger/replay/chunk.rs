//! Chunks of frames on their way to the workers, and the comparison of the digests that come back.

use std::collections::VecDeque;

use event_log::{Frame, Seq};

use super::worker::ChunkDone;
use super::{ReplayError, ReplayOptions, ReplayReport};

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
}

impl ChunkBuilder {
    pub(super) fn new(options: ReplayOptions) -> Self {
        Self {
            options,
            frames: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes a frame; true when nothing behind it counts.
    pub(super) fn push(&mut self, frame: Frame, report: &mut ReplayReport) -> bool {
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
        Some(Chunk {
            frames: std::mem::take(&mut self.frames),
            until: self.options.until_seq,
        })
    }
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
            Expected {
                seq,
                digest: frame.header.state_digest,
                compare,
            }
        };
        let expected: Vec<Expected> = chunk.frames.iter().map(expected).collect();
        let sums = vec![self.base; expected.len()];
        self.waiting.push_back(Waiting {
            expected,
            sums,
            missing: self.workers,
        });
    }

    pub(super) fn add(&mut self, part: ChunkDone) -> Result<(), ReplayError> {
        let number = self.reported[part.worker];
        self.reported[part.worker] += 1;
        let waiting = &mut self.waiting[number - self.first];
        for (sum, digest) in waiting.sums.iter_mut().zip(part.digests) {
            *sum = sum.wrapping_add(digest);
        }
        waiting.missing -= 1;
        while let Some(complete) = self.waiting.pop_front_if(|waiting| waiting.missing == 0) {
            self.first += 1;
            for (
                Expected {
                    seq,
                    digest,
                    compare,
                },
                found,
            ) in complete.expected.iter().zip(complete.sums)
            {
                if *compare && *digest != found {
                    return Err(ReplayError::Digest {
                        seq: *seq,
                        expected: *digest,
                        found,
                    });
                }
                self.verified += u64::from(*compare);
                self.digest = found;
            }
        }
        Ok(())
    }
}
