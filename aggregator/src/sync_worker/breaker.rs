//! A circuit breaker: after failures in a row a node is left alone for a while, then probed. It
//! must never count an answer that isn't to our liking as a failure; the caller says what is one.
//!
//! ```text
//! closed ──5 failures in a row──▶ open ──its wait is over──▶ half-open ──3 successes──▶ closed
//!                                  ▲                             │
//!                                  └──────one failure────────────┘
//! ```
//! The first wait is short, and each probe that fails doubles it up to a bound: a node that was
//! gone for a moment is found again in a moment, one that is gone for long costs little. Its clock
//! is the runtime's. Why it is our own: `docs/decisions/2026-11-21-circuit-breaker.md`.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open the breaker.
pub(super) const FAILURES_MAX: u32 = 5;
/// Successes that close it again.
pub(super) const SUCCESSES_MIN: u32 = 3;
/// The first wait, unless the longest is shorter.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// The breaker of one store.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    wait_max: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, wait: Duration },
    HalfOpen { successes: u32, wait: Duration },
}

/// What a call has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// Calls are refused from now on, for so long.
    Opened(Duration),
    /// All is well again.
    Closed,
    /// Nothing.
    Nothing,
}

impl Breaker {
    /// A closed breaker that stays open for `wait_max` at most.
    pub(super) fn new(wait_max: Duration) -> Self {
        Self { state: State::Closed { failures: 0 }, wait_max }
    }

    /// Whether a call may be made; if not, how long it still has to wait.
    pub(super) fn admit(&mut self) -> Result<(), Duration> {
        if let State::Open { until, wait } = self.state {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Err(left);
            }
            self.state = State::HalfOpen { successes: 0, wait };
        }
        Ok(())
    }

    /// A call succeeded.
    pub(super) fn note_success(&mut self) -> Moved {
        match self.state {
            State::HalfOpen { successes, wait } if successes + 1 < SUCCESSES_MIN => {
                self.state = State::HalfOpen { successes: successes + 1, wait };
                Moved::Nothing
            }
            State::HalfOpen { .. } => {
                self.state = State::Closed { failures: 0 };
                Moved::Closed
            }
            State::Closed { .. } | State::Open { .. } => {
                self.state = State::Closed { failures: 0 };
                Moved::Nothing
            }
        }
    }

    /// A call failed.
    pub(super) fn note_failure(&mut self) -> Moved {
        let first = WAIT_MIN.min(self.wait_max);
        let wait = match self.state {
            State::Closed { failures } if failures + 1 < FAILURES_MAX => {
                self.state = State::Closed { failures: failures + 1 };
                return Moved::Nothing;
            }
            // One that had come back in between has a new trouble, not the old one.
            State::Closed { .. } | State::HalfOpen { successes: 1.., .. } => first,
            State::HalfOpen { wait, .. } | State::Open { wait, .. } => {
                (wait * 2).min(self.wait_max)
            }
        };
        self.state = State::Open { until: Instant::now() + wait, wait };
        Moved::Opened(wait)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(30);

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(LONGEST);
        for _ in 1..FAILURES_MAX {
            assert_eq!(breaker.note_failure(), Moved::Nothing);
        }
        assert_eq!(breaker.note_failure(), Moved::Opened(WAIT_MIN));
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_open_it_and_three_successes_close_it() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(), Err(WAIT_MIN));
        advance(WAIT_MIN).await;
        for moved in [Moved::Nothing, Moved::Nothing, Moved::Closed] {
            assert_eq!(breaker.admit(), Ok(()));
            assert_eq!(breaker.note_success(), moved);
        }
        assert_eq!(breaker.note_failure(), Moved::Nothing, "it counts from the beginning");
    }

    #[test]
    fn a_success_in_between_keeps_it_closed() {
        let mut breaker = Breaker::new(LONGEST);
        for _ in 0..10 {
            for _ in 1..FAILURES_MAX {
                assert_eq!(breaker.note_failure(), Moved::Nothing);
            }
            assert_eq!(breaker.note_success(), Moved::Nothing);
        }
        assert_eq!(breaker.admit(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn each_probe_that_fails_doubles_the_wait_up_to_its_bound() {
        let mut breaker = opened();
        let mut waits = vec![WAIT_MIN.as_secs()];
        for _ in 0..6 {
            let left = breaker.admit().expect_err("it is open");
            advance(left).await;
            assert_eq!(breaker.admit(), Ok(()), "one probe");
            let Moved::Opened(wait) = breaker.note_failure() else {
                panic!("a probe that fails opens it again");
            };
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        advance(LONGEST).await;
        assert_eq!((breaker.admit(), breaker.note_success()), (Ok(()), Moved::Nothing));
        assert_eq!(breaker.note_failure(), Moved::Opened(WAIT_MIN), "it had come back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_below_the_first_wait_is_kept() {
        let mut breaker = Breaker::new(Duration::from_millis(50));
        for _ in 0..FAILURES_MAX {
            breaker.note_failure();
        }
        assert_eq!(breaker.admit(), Err(Duration::from_millis(50)));
    }
}
