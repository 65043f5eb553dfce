//! Points in time as values. This module must never read a clock: a timestamp is always passed in.

use std::fmt;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// Microseconds since 1970-01-01T00:00:00Z, shown as RFC 3339 in UTC with six digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

/// 9999-12-31T00:00:00Z, beyond which RFC 3339 has no four-digit year.
const MICROS_MAX: i64 = 253_402_214_400_000_000;

/// Why a text is not a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be an RFC 3339 time such as 2026-11-21T10:00:00.000000Z")]
pub struct TimestampError;

impl Timestamp {
    /// The epoch.
    pub const EPOCH: Self = Self(0);

    /// A point in time, clamped to the years 1970 to 9999.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(0, MICROS_MAX))
    }

    /// Microseconds since the epoch.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339; offsets are converted to UTC, digits below a microsecond are cut.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let parsed: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        let micros = parsed.as_microsecond();
        if (0..=MICROS_MAX).contains(&micros) { Ok(Self(micros)) } else { Err(TimestampError) }
    }

    /// Later by so many whole seconds.
    #[must_use]
    pub fn plus_seconds(self, seconds: u64) -> Self {
        let micros = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to here, zero if `earlier` is later.
    pub fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).max(0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Civil date from days since the epoch (H. Hinnant, "chrono-compatible low-level date
        // algorithms", days_civil inverse); much cheaper than a calendar library on the hot path.
        let seconds = self.0.div_euclid(1_000_000);
        let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
            second_of_day / 3600,
            second_of_day / 60 % 60,
            second_of_day % 60,
            self.0.rem_euclid(1_000_000),
        )
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_rfc_3339() {
        for text in [
            "1970-01-01T00:00:00.000000Z",
            "2000-02-29T23:59:59.999999Z",
            "2026-11-21T10:00:00.000001Z",
            "2100-03-01T00:00:00.000000Z",
            "9999-12-30T12:34:56.789012Z",
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Timestamp::parse("2026-11-21T11:00:00+01:00").unwrap().to_string(),
            "2026-11-21T10:00:00.000000Z"
        );
        for bad in ["", "yesterday", "2026-11-21", "1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z"] {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn agrees_with_the_calendar_library_on_every_day() {
        for day in (0..2_932_896).step_by(37) {
            let micros = day * 86_400_000_000 + 1;
            let library = jiff::Timestamp::from_microsecond(micros).unwrap();
            assert_eq!(Timestamp::from_micros(micros).to_string(), format!("{library:.6}"));
        }
    }
}
