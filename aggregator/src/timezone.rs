//! Names of IANA time zones. Their rules come with the program, so that a name is valid on every
//! machine or on none; nothing here may read the machine's own.

use std::fmt;

use jiff::tz::TimeZoneDatabase;

/// The name of a time zone as IANA spells it, such as `Europe/Berlin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZoneName(String);

/// The text names no time zone: look it up at IANA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an IANA time zone such as Europe/Berlin")]
pub struct TimeZoneError;

impl TimeZoneName {
    /// The zone of this name, whichever way its letters are cased.
    pub fn parse(text: &str) -> Result<Self, TimeZoneError> {
        let zone = TimeZoneDatabase::bundled().get(text).map_err(|_| TimeZoneError)?;
        let name = zone.iana_name().ok_or(TimeZoneError)?;
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TimeZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iana_names_are_known_and_spelt_their_way() {
        for (text, name) in [
            ("Europe/Berlin", Some("Europe/Berlin")),
            ("america/new_york", Some("America/New_York")),
            ("UTC", Some("UTC")),
            ("Europe/Bonn", None),
            ("+02:00", None),
            ("CEST", None),
            ("../etc/passwd", None),
            ("", None),
        ] {
            let parsed = TimeZoneName::parse(text);
            assert_eq!(parsed.as_ref().map(TimeZoneName::as_str).ok(), name, "{text:?}");
        }
    }
}
