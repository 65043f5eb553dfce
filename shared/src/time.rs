//! Points in time as values. This module must never read a clock: a timestamp is always passed in.

use std::fmt;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// Microseconds since 1970-01-01T00:00:00Z, shown as RFC 3339 in UTC with six digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

/// 9999-12-31T00:00:00Z, beyond which RFC 3339 has no four-digit year.
const MICROS_MAX: i64 = 253_402_214_400_000_000;

/// Why a text is not a timestamp; each says what to send instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TimestampError {
    /// It hasn't the form of RFC 3339, section 5.6.
    #[error("must be an RFC 3339 time such as 2026-11-21T10:00:00.000000Z")]
    Format,
    /// There is no such day or time of day (hours end at 23, minutes and seconds at 59).
    #[error("must be a date and time of day that there is")]
    Calendar,
    /// A second 60: the timestamps here, as those of most devices, have no place for it.
    #[error("must not be a leap second: send second 59")]
    LeapSecond,
    /// The hours of an offset end at 23, its minutes at 59.
    #[error("must have an offset of at most 23:59")]
    Offset,
    /// Outside of what a [`Timestamp`] can be.
    #[error("must be in the years 1970 to 9999")]
    Range,
}

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

    /// Parses RFC 3339, section 5.6: `T` and `Z` in either case, a blank for `T`, any number of
    /// digits after the point. Offsets are converted to UTC, digits below a microsecond are cut.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let (fields, rest) = DateTime::split(text.as_bytes())?;
        let (fraction_us, zone) = split_fraction(rest)?;
        let offset_s = offset_seconds(zone)?;
        let micros = (fields.seconds()? - offset_s) * 1_000_000 + fraction_us;
        if (0..=MICROS_MAX).contains(&micros) {
            Ok(Self(micros))
        } else {
            Err(TimestampError::Range)
        }
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

/// Date and time of day as they are written, not yet known to exist.
struct DateTime {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
}

impl DateTime {
    /// `2026-11-21T10:00:00`, and what follows.
    fn split(text: &[u8]) -> Result<(Self, &[u8]), TimestampError> {
        let (head, rest) = text.split_first_chunk::<19>().ok_or(TimestampError::Format)?;
        let punctuated = [head[4], head[7], head[13], head[16]] == *b"--::"
            && matches!(head[10], b'T' | b't' | b' ');
        if !punctuated {
            return Err(TimestampError::Format);
        }
        let two = |at: usize| digits(&head[at..at + 2]).map(|number| number as i8);
        let fields = Self {
            year: digits(&head[0..4])? as i16,
            month: two(5)?,
            day: two(8)?,
            hour: two(11)?,
            minute: two(14)?,
            second: two(17)?,
        };
        Ok((fields, rest))
    }

    /// Seconds since the epoch, had it been said in UTC.
    fn seconds(&self) -> Result<i64, TimestampError> {
        if self.second == 60 {
            return Err(TimestampError::LeapSecond);
        }
        let Self { year, month, day, hour, minute, second } = *self;
        let civil = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0)
            .map_err(|_| TimestampError::Calendar)?;
        let instant = jiff::tz::Offset::UTC.to_timestamp(civil);
        Ok(instant.map_err(|_| TimestampError::Range)?.as_second())
    }
}

/// Microseconds of `.123456789`, if there is one, and what follows.
fn split_fraction(text: &[u8]) -> Result<(i64, &[u8]), TimestampError> {
    let Some(text) = text.strip_prefix(b".") else {
        return Ok((0, text));
    };
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return Err(TimestampError::Format);
    }
    let digit = |at: usize| text[..length].get(at).map_or(0, |byte| i64::from(byte - b'0'));
    let micros = (0..6).fold(0, |micros, at| micros * 10 + digit(at));
    Ok((micros, &text[length..]))
}

/// Seconds ahead of UTC of `Z` or `+01:00`; `-00:00` is UTC.
fn offset_seconds(text: &[u8]) -> Result<i64, TimestampError> {
    let (sign, hours, minutes) = match text {
        b"Z" | b"z" => return Ok(0),
        [b'+', h1, h2, b':', m1, m2] => (1, [*h1, *h2], [*m1, *m2]),
        [b'-', h1, h2, b':', m1, m2] => (-1, [*h1, *h2], [*m1, *m2]),
        _ => return Err(TimestampError::Format),
    };
    let (hours, minutes) = (digits(&hours)?, digits(&minutes)?);
    if hours > 23 || minutes > 59 {
        return Err(TimestampError::Offset);
    }
    Ok(sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60))
}

/// Up to four digits.
fn digits(text: &[u8]) -> Result<u16, TimestampError> {
    text.iter().try_fold(0, |number, byte| match byte {
        b'0'..=b'9' => Ok(number * 10 + u16::from(byte - b'0')),
        _ => Err(TimestampError::Format),
    })
}

impl Timestamp {
    /// Year, month and day.
    const fn date(self) -> (i64, i64, i64) {
        // Civil date from days since the epoch (H. Hinnant, "chrono-compatible low-level date
        // algorithms", days_civil inverse); much cheaper than a calendar library on the hot path.
        let shifted = self.0.div_euclid(86_400_000_000) + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        (year_of_era + era * 400 + (month <= 2) as i64, month, day)
    }

    /// `YYYY-MM-DDThh:mm:ss.ffffffZ`. Every answer has one; with `write!`, number by number, it
    /// was the dearest thing in it.
    fn text(self) -> [u8; 27] {
        let (year, month, day) = self.date();
        let second_of_day = self.0.div_euclid(1_000_000).rem_euclid(86_400);
        let (hour, minute) = (second_of_day / 3600, second_of_day / 60 % 60);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        for (place, number) in [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, hour),
            (14..16, minute),
            (17..19, second_of_day % 60),
            (20..26, self.0.rem_euclid(1_000_000)),
        ] {
            let mut rest = number;
            for digit in text[place].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            assert_eq!(rest, 0, "years are within 1970 to 9999");
        }
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).expect("digits and punctuation"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(str::from_utf8(&self.text()).expect("digits and punctuation"))
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
    }

    #[test]
    fn takes_what_rfc_3339_says_and_refuses_the_rest_by_rule() {
        use TimestampError::{Calendar, Format, LeapSecond, Offset, Range};
        let utc = |text: &str| Timestamp::parse(text).map(|parsed| parsed.to_string());
        let good = [
            ("2026-11-21t10:00:00z", "2026-11-21T10:00:00.000000Z"),
            ("2026-11-21 10:00:00Z", "2026-11-21T10:00:00.000000Z"),
            ("2026-11-21T10:00:00.5Z", "2026-11-21T10:00:00.500000Z"),
            ("2026-11-21T10:00:00.1234567899999Z", "2026-11-21T10:00:00.123456Z"),
            ("2026-11-21T10:00:00-00:00", "2026-11-21T10:00:00.000000Z"),
            ("2026-11-21T10:00:00+23:59", "2026-11-20T10:01:00.000000Z"),
            ("2026-11-21T10:00:00-23:59", "2026-11-22T09:59:00.000000Z"),
            ("1969-12-31T23:30:00.25-00:45", "1970-01-01T00:15:00.250000Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
        ];
        for (text, expected) in good {
            assert_eq!(utc(text).as_deref(), Ok(expected), "{text}");
        }
        let bad = [
            ("", Format),
            ("yesterday", Format),
            ("2026-11-21", Format),
            ("2026-11-21T10:00:00", Format),
            ("2026-11-21T10:00Z", Format),
            ("20261121T100000Z", Format),
            ("2026-11-21T10:00:00.Z", Format),
            ("2026-11-21T10:00:00,5Z", Format),
            ("2026-11-21T10:00:00+01", Format),
            ("2026-11-21T10:00:00+0100", Format),
            ("2026-11-21T10:00:00+1:00", Format),
            ("2026-11-21T10:00:00+01:00[Europe/Berlin]", Format),
            ("2026-11-21T10:00:00Z ", Format),
            ("+002026-11-21T10:00:00Z", Format),
            ("２026-11-21T10:00:00Z", Format),
            ("2026-13-01T00:00:00Z", Calendar),
            ("2026-00-01T00:00:00Z", Calendar),
            ("2026-02-29T00:00:00Z", Calendar),
            ("2026-11-21T24:00:00Z", Calendar),
            ("2026-11-21T10:60:00Z", Calendar),
            ("2026-11-21T10:00:61Z", Calendar),
            ("2016-12-31T23:59:60Z", LeapSecond),
            ("2026-11-21T10:00:60Z", LeapSecond),
            ("2026-11-21T10:00:00+24:00", Offset),
            ("2026-11-21T10:00:00-24:00", Offset),
            ("2026-11-21T10:00:00+01:60", Offset),
            ("1969-12-31T23:59:59Z", Range),
            ("1970-01-01T00:00:00+00:01", Range),
            ("9999-12-31T23:59:59Z", Range),
        ];
        for (text, error) in bad {
            assert_eq!(Timestamp::parse(text), Err(error), "{text}");
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
