//! Logged time: the one clock of a store. It is the wall clock where that can be trusted, never
//! goes back, and is never stepped while the process runs: it advances with the boot-time clock
//! (which also counts sleep) and is slewed towards the wall clock by at most 500 ppm.
//!
//! This is the only file of the node that may read a clock for what goes into the log.

use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use shared::Timestamp;
use thiserror::Error;

/// How fast logged time may be slewed, in millionths.
pub const SLEW_PPM_MAX: i64 = 500;
/// How far the wall clock may be ahead of the last logged time at opening, in µs: 400 days.
pub const AHEAD_US_MAX: i64 = 400 * 24 * 3600 * 1_000_000;

/// Why logged time couldn't begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ClockError {
    /// The wall clock claims that the store was closed for more than 400 days. Correct the clock,
    /// or accept it (`--accept-clock`): expiry and key lifetimes are measured by it.
    #[error(
        "the wall clock says {wall}, more than 400 days after the last record ({logged}); use --accept-clock if that is right"
    )]
    FarAhead {
        /// The wall clock.
        wall: Timestamp,
        /// The last logged time.
        logged: Timestamp,
    },
}

/// Logged time as a function of two other clocks: pure, so that it can be tried with any of them.
#[derive(Debug, Clone)]
pub struct SlewedTime {
    logged_us: i64,
    boot_us: i64,
}

impl SlewedTime {
    /// Begins at the later of the wall clock and the last logged time.
    pub fn begin(
        last_logged: Timestamp,
        wall: Timestamp,
        boot_us: i64,
        accept_any: bool,
    ) -> Result<Self, ClockError> {
        let ahead = wall.micros_since(last_logged);
        if last_logged > Timestamp::EPOCH && ahead > AHEAD_US_MAX && !accept_any {
            return Err(ClockError::FarAhead { wall, logged: last_logged });
        }
        Ok(Self { logged_us: wall.max(last_logged).as_micros(), boot_us })
    }

    /// Logged time when the two clocks say this. A boot-time clock that goes back counts as
    /// standing still.
    pub fn advance(&mut self, boot_us: i64, wall_us: i64) -> Timestamp {
        let elapsed_us = boot_us.saturating_sub(self.boot_us);
        if elapsed_us > 0 {
            let straight = self.logged_us.saturating_add(elapsed_us);
            // Slewing is rounded up to a microsecond only over at least 2 ms, so that frequent
            // readings don't add up to more than the limit.
            let slew_max = elapsed_us.saturating_mul(SLEW_PPM_MAX) / 1_000_000;
            if slew_max == 0 {
                return Timestamp::from_micros(straight);
            }
            let slew = wall_us.saturating_sub(straight).clamp(-slew_max, slew_max);
            self.logged_us = straight.saturating_add(slew);
            self.boot_us = boot_us;
        }
        Timestamp::from_micros(self.logged_us)
    }
}

/// Logged time over the machine's clocks. Cheap enough for every request.
pub struct LoggedClock {
    time: Mutex<SlewedTime>,
}

impl LoggedClock {
    /// Begins logged time; `last_logged` is what the log's tip says (the epoch for an empty log).
    pub fn open(last_logged: Timestamp, accept_any: bool) -> Result<Self, ClockError> {
        let time = SlewedTime::begin(last_logged, wall_now(), boot_us(), accept_any)?;
        Ok(Self { time: Mutex::new(time) })
    }

    /// Now. Never goes back, over all threads.
    pub fn now(&self) -> Timestamp {
        let mut time = self.time.lock();
        time.advance(boot_us(), wall_now().as_micros())
    }
}

/// The wall clock, for what isn't logged time (names of files, ages shown to people).
pub fn wall_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn boot_us() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const START: i64 = 1_800_000_000 * SECOND;

    fn begin(logged: i64, wall: i64) -> Result<SlewedTime, ClockError> {
        SlewedTime::begin(Timestamp::from_micros(logged), Timestamp::from_micros(wall), 0, false)
    }

    #[test]
    fn begins_at_the_later_of_wall_and_log() {
        let cases =
            [(START, START + 5, START + 5), (START + 5, START, START + 5), (0, START, START)];
        for (logged, wall, expected) in cases {
            let mut time = begin(logged, wall).unwrap();
            assert_eq!(time.advance(0, wall).as_micros(), expected);
        }
    }

    #[test]
    fn a_wall_clock_far_ahead_is_refused_unless_accepted() {
        let wall = START + AHEAD_US_MAX + 1;
        assert!(begin(START, wall).is_err());
        assert!(begin(START, wall - 1).is_ok());
        assert!(begin(0, wall).is_ok(), "an empty log has no last time");
        let (logged, wall) = (Timestamp::from_micros(START), Timestamp::from_micros(wall));
        assert!(SlewedTime::begin(logged, wall, 0, true).is_ok());
    }

    #[test]
    fn a_wall_clock_step_is_slewed_never_stepped() {
        let mut time = begin(0, START).unwrap();
        let hour = 3600 * SECOND;
        let after = time.advance(hour, START + hour + 10 * hour).as_micros();
        assert_eq!(after - START - hour, hour / 2000, "500 ppm forward");
        let mut time = begin(0, START).unwrap();
        let after = time.advance(hour, START - 10 * hour).as_micros();
        assert_eq!(after - START - hour, -(hour / 2000), "500 ppm back");
    }

    #[test]
    fn it_never_goes_back_and_meets_the_wall_clock_in_the_end() {
        let mut time = begin(0, START).unwrap();
        let (mut boot, mut last) = (0, 0);
        let ahead = SECOND;
        for step in 0..400_000_i64 {
            boot += (step * 7919) % 20_000;
            let now = time.advance(boot, START + boot + ahead).as_micros();
            assert!(now >= last, "{now} after {last}");
            let rate = now - START - boot;
            assert!(rate <= boot / 2000 + 1, "faster than 500 ppm: {rate} after {boot}");
            last = now;
        }
        assert_eq!(last, START + boot + ahead);
        assert_eq!(time.advance(boot - SECOND, START).as_micros(), last, "a clock that goes back");
    }

    #[test]
    fn the_real_clocks_can_be_read() {
        let clock = LoggedClock::open(Timestamp::EPOCH, false).unwrap();
        let first = clock.now();
        assert!(
            clock.now() >= first
                && first > Timestamp::from_micros(START - 3600 * SECOND * 24 * 900)
        );
    }
}
