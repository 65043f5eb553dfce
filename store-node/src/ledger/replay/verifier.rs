//! Adding up the workers' parts of each frame's digest, and comparing. It must never pass over a
//! frame that claims something.

use std::collections::VecDeque;

use event_log::Seq;

use super::ReplayError;
use super::batch::{Batch, FrameEnd};
use super::worker::BatchDone;

/// Compares what the frames say with what the workers found.
pub(super) struct Verifier {
    workers: usize,
    /// Before this seq nothing is claimed.
    from: Seq,
    /// The digest at the end of the last complete batch.
    digest: u128,
    verified: u64,
    waiting: VecDeque<Waiting>,
    /// How many batches each worker has reported.
    reported: Vec<usize>,
    /// The number of the first batch in `waiting`.
    first: usize,
}

/// A batch that isn't reported by every worker yet.
struct Waiting {
    frames: Vec<FrameEnd>,
    /// What each frame moves the digest by.
    moved: Vec<u128>,
    missing: usize,
}

impl Verifier {
    pub(super) fn new(workers: usize, from: Seq, digest: u128) -> Self {
        Self {
            workers,
            from,
            digest,
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

    pub(super) fn expect(&mut self, batch: &Batch) {
        let frames = batch.frames.clone();
        let moved = vec![0; frames.len()];
        self.waiting.push_back(Waiting { frames, moved, missing: self.workers });
    }

    /// Adds a worker's part.
    pub(super) fn add(&mut self, part: BatchDone) {
        let number = self.reported[part.worker];
        self.reported[part.worker] += 1;
        let waiting = &mut self.waiting[number - self.first];
        for (sum, moved) in waiting.moved.iter_mut().zip(part.moved) {
            *sum = sum.wrapping_add(moved);
        }
        waiting.missing -= 1;
    }

    /// Compares the digests of the batches of which every part is there.
    pub(super) fn compare(&mut self) -> Result<(), ReplayError> {
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.missing == 0) {
            self.first += 1;
            self.compare_batch(waiting)?;
        }
        Ok(())
    }

    fn compare_batch(&mut self, Waiting { frames, moved, .. }: Waiting) -> Result<(), ReplayError> {
        for (FrameEnd { seq, digest, whole }, moved) in frames.into_iter().zip(moved) {
            self.digest = self.digest.wrapping_add(moved);
            if !whole || seq < self.from {
                continue;
            }
            if digest != self.digest {
                let (expected, found) = (digest, self.digest);
                return Err(ReplayError::Digest { seq, expected, found });
            }
            self.verified += 1;
        }
        Ok(())
    }
}
