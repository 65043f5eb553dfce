//! RFC 3339 times of requests and imports, beside another library's parser. The input is the text.

use shared::Timestamp;

use crate::bound::Bound;

/// A time is a number; the calendar's error, dropped at once, is a few words.
const BOUND: Bound = Bound { fixed_bytes: 256, per_byte: 0 };

/// Checks one text.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(time) = BOUND.hold("a time", text.len(), || Timestamp::parse(text)) else { return };
    let shown = time.to_string();
    assert_eq!(Timestamp::parse(&shown), Ok(time), "it doesn't come back");
    assert_eq!(Timestamp::from_micros(time.as_micros()), time, "out of its own range");
    // The library refuses more than nine digits of a fraction, which say nothing here.
    if let Ok(other) = text.parse::<jiff::Timestamp>() {
        let micros = other.as_nanosecond().div_euclid(1000);
        assert_eq!(micros, i128::from(time.as_micros()), "{text} is another time elsewhere");
    }
}
