//! How soon a lost node is tried again: exponential backoff with full jitter. Nothing here knows what
//! is tried.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::source::SourceError;

/// Doublings of the backoff; the bound is reached long before.
const BACKOFF_STEPS_MAX: usize = 1_000_000;

/// Waits that grow, each random between nothing and its full length.
#[derive(Debug)]
pub(super) struct Backoff {
    builder: ExponentialBuilder,
    /// Where the next waits' chance begins; none = anywhere.
    seed: Option<u64>,
    full: ExponentialBackoff,
    /// The same waits, each with a random part of up to its own length on top.
    jittered: ExponentialBackoff,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration, seed: Option<u64>) -> Self {
        let builder = ExponentialBuilder::default()
            .with_min_delay(min)
            .with_max_delay(max)
            .with_max_times(BACKOFF_STEPS_MAX);
        Self { builder, seed, full: builder.build(), jittered: jittered(builder, seed) }
    }

    /// The next wait.
    pub(super) fn next_wait(&mut self) -> Duration {
        if let (Some(jittered), Some(full)) = (self.jittered.next(), self.full.next()) {
            return jittered.saturating_sub(full);
        }
        self.reset();
        Duration::ZERO
    }

    /// The node answered: begin anew.
    pub(super) fn reset(&mut self) {
        self.seed = self.seed.map(|seed| seed.wrapping_add(1));
        self.full = self.builder.build();
        self.jittered = jittered(self.builder, self.seed);
    }
}

fn jittered(builder: ExponentialBuilder, seed: Option<u64>) -> ExponentialBackoff {
    let builder = builder.with_jitter();
    match seed {
        Some(seed) => builder.with_jitter_seed(seed).build(),
        None => builder.build(),
    }
}

/// Whether an error says that the node or the line is in trouble; every other one is an answer.
pub(super) fn is_failure(error: &SourceError) -> bool {
    match error {
        SourceError::Unreachable(_) | SourceError::Damaged(_) | SourceError::Refused { .. } => true,
        SourceError::UnsupportedFormat(_)
        | SourceError::Compacted { .. }
        | SourceError::NoSnapshot
        | SourceError::Rewritten(_)
        | SourceError::Ahead(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_random_bounded_and_grow() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(10));
        let mut longest = Duration::ZERO;
        let mut distinct = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let mut backoff = Backoff::new(min, max, None);
            let mut full = min;
            for _ in 0..12 {
                let wait = backoff.next_wait();
                assert!(wait <= full, "{wait:?} is over {full:?}");
                longest = longest.max(wait);
                distinct.insert(wait);
                full = (full * 2).min(max);
            }
        }
        assert!(longest > max / 2 && distinct.len() > 300, "{longest:?}, {} waits", distinct.len());
    }
}
