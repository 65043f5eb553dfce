//! The scrub: every segment, archive and snapshot is read again and checked, at a bounded pace and
//! round after round, so that rot is found before it is needed. The checks are `verify`'s.
//!
//! It must never hold a writer (it only reads files), write anything, or call damage what a writer
//! or a compaction does meanwhile. What follows from damage is decided in
//! `docs/decisions/2026-11-21-scrub.md`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use event_log::storage::Storage;
use event_log::storage::paced::{Pace, PacedStorage};
use event_log::{Damage, VerifyReport, verify};
use parking_lot::Mutex;
use shared::Timestamp;

/// How many damages are remembered and shown; all are counted.
pub const DAMAGES_SHOWN_MAX: usize = 100;
/// How long a paced read sleeps at most before it looks whether to stop.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// How many bytes may be read by when: pure, so that it can be tried with any clock.
#[derive(Debug)]
pub struct Budget {
    bytes_per_second: u64,
    /// When what was read so far is paid for, since the budget's beginning.
    paid_at: Duration,
}

impl Budget {
    /// A budget of so many bytes a second; 0 = no bound.
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, paid_at: Duration::ZERO }
    }

    /// How long to wait, `now` after the beginning, once so many more bytes were read.
    pub fn wait_for(&mut self, bytes: u64, now: Duration) -> Duration {
        if self.bytes_per_second == 0 {
            return Duration::ZERO;
        }
        let micros = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        // Time that passed unused isn't saved up.
        self.paid_at = self.paid_at.max(now).saturating_add(cost);
        self.paid_at.saturating_sub(now)
    }
}

/// Keeps a scrub slow, counts what it reads, and ends it when told to.
#[derive(Clone, Debug)]
pub struct Throttle {
    budget: Arc<Mutex<Budget>>,
    began: Instant,
    read_bytes: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Throttle {
    /// A pace of so many bytes a second (0 = no bound) that ends when `stop` is set.
    pub fn new(bytes_per_second: u64, stop: Arc<AtomicBool>) -> Self {
        let budget = Arc::new(Mutex::new(Budget::new(bytes_per_second)));
        Self { budget, began: Instant::now(), read_bytes: Arc::default(), stop }
    }
}

impl Pace for Throttle {
    fn pass(&self, bytes: u64) -> io::Result<()> {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut left = self.budget.lock().wait_for(bytes, self.began.elapsed());
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "the scrub was stopped"));
            }
            if left.is_zero() {
                return Ok(());
            }
            let nap = left.min(SLEEP_MAX);
            std::thread::sleep(nap);
            left -= nap;
        }
    }
}

/// A round that came to its end.
#[derive(Debug, Clone)]
pub struct Round {
    /// Logged time of its end.
    pub finished_at: Timestamp,
    /// Bytes read, those of archives and snapshots as they lie on disk.
    pub read_bytes: u64,
    /// What was found; at most [`DAMAGES_SHOWN_MAX`] damages of it.
    pub report: VerifyReport,
}

/// Why a round has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// It was told to stop: nothing is known of what it didn't read.
    #[error("cancelled")]
    Cancelled,
    /// The directory can't be listed: look at the disk.
    #[error(transparent)]
    Verify(#[from] event_log::verify::VerifyError),
}

/// Reads and checks everything once; `progress` is told (bytes of segments done, in all).
pub fn scrub<S: Storage>(
    storage: &S,
    bytes_per_second: u64,
    stop: &Arc<AtomicBool>,
    now: &dyn Fn() -> Timestamp,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Round, ScrubError> {
    let throttle = Throttle::new(bytes_per_second, Arc::clone(stop));
    let paced = PacedStorage::new(storage.clone(), throttle.clone());
    let verified = verify(&paced, progress);
    if stop.load(Ordering::Relaxed) {
        return Err(ScrubError::Cancelled);
    }
    let mut report = verified?;
    report.damages.truncate(DAMAGES_SHOWN_MAX);
    let read_bytes = throttle.read_bytes.load(Ordering::Relaxed);
    Ok(Round { finished_at: now(), read_bytes, report })
}

/// What the scrubs of this process found.
#[derive(Debug, Default)]
pub struct Findings {
    last: Mutex<Option<Arc<Round>>>,
    rounds: AtomicU64,
    read_bytes: AtomicU64,
}

impl Findings {
    /// Takes over a finished round in the place of the one before, and raises the alarm for each
    /// damage in it.
    pub fn take(&self, round: Round) -> Arc<Round> {
        for damage in &round.report.damages {
            tracing::error!(
                file = damage.file,
                offset = damage.offset,
                length = damage.length,
                first_seq = damage.first_seq.get(),
                last_seq = damage.last_seq.get(),
                what = damage.what,
                "ALARM: the scrub found damage"
            );
        }
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.read_bytes.fetch_add(round.read_bytes, Ordering::Relaxed);
        let round = Arc::new(round);
        *self.last.lock() = Some(Arc::clone(&round));
        round
    }

    /// The last finished round.
    pub fn last(&self) -> Option<Arc<Round>> {
        self.last.lock().clone()
    }

    /// What the last round found, at most [`DAMAGES_SHOWN_MAX`] of it.
    pub fn damages(&self) -> Vec<Damage> {
        self.last().map_or_else(Vec::new, |round| round.report.damages.clone())
    }

    /// Rounds finished, and bytes read by them.
    pub fn totals(&self) -> (u64, u64) {
        (self.rounds.load(Ordering::Relaxed), self.read_bytes.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_bounds_the_rate_and_saves_nothing_up() {
        let mut budget = Budget::new(1000);
        let ms = Duration::from_millis;
        assert_eq!(budget.wait_for(500, ms(0)), ms(500));
        assert_eq!(budget.wait_for(500, ms(500)), ms(500));
        assert_eq!(budget.wait_for(100, ms(600)), ms(500), "what came too early waits for both");
        assert_eq!(budget.wait_for(100, ms(60_000)), ms(100));
        assert_eq!(Budget::new(0).wait_for(u64::MAX, ms(0)), Duration::ZERO);
        assert!(Budget::new(1).wait_for(u64::MAX, ms(1)) > Duration::from_hours(1));
    }

    #[test]
    fn a_stopped_throttle_ends_its_read_instead_of_sleeping_it_out() {
        let stop = Arc::new(AtomicBool::new(true));
        let throttle = Throttle::new(1, stop);
        let began = Instant::now();
        assert!(throttle.pass(1 << 40).is_err());
        assert!(began.elapsed() < Duration::from_hours(1));
    }
}
