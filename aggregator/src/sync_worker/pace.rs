//! How soon a lost node is tried again: exponential backoff with full jitter, behind a circuit
//! breaker. Nothing here knows what is tried.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use recloser::{AsyncRecloser, Recloser};

use crate::source::SourceError;

/// Failures in a row that open the breaker.
const BREAKER_FAILURES: usize = 5;
/// Successes that close it again.
const BREAKER_SUCCESSES: usize = 3;
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

/// A breaker that opens after five failures in a row, and closes after three good calls.
pub(super) fn breaker(open_for: Duration) -> AsyncRecloser {
    let recloser = Recloser::custom()
        .error_rate_closed(1.0)
        .closed_len(BREAKER_FAILURES)
        .error_rate_half_open(0.1)
        // It rates with the call after the ring is full, here the third.
        .half_open_len(BREAKER_SUCCESSES - 1)
        .open_wait(open_for)
        .build();
    for _ in 0..BREAKER_FAILURES {
        // Begins as if all had been well, for the same reason.
        let _ = recloser.call(|| Ok::<(), ()>(()));
    }
    AsyncRecloser::from(recloser)
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

    #[tokio::test]
    async fn five_failures_open_the_breaker_and_three_successes_close_it() {
        let breaker = breaker(Duration::from_millis(50));
        let call = async |is_ok: bool| {
            let work = async { if is_ok { Ok(()) } else { Err(()) } };
            match breaker.call(work).await {
                Ok(()) => "ok",
                Err(recloser::Error::Inner(())) => "failed",
                Err(recloser::Error::Rejected) => "rejected",
            }
        };
        for _ in 0..BREAKER_FAILURES {
            assert_eq!(call(false).await, "failed");
        }
        assert_eq!(call(true).await, "rejected");
        tokio::time::sleep(Duration::from_millis(60)).await;
        for _ in 0..BREAKER_SUCCESSES {
            assert_eq!(call(true).await, "ok");
        }
        assert_eq!(call(false).await, "failed");
        assert_eq!(call(true).await, "ok");
    }
}
