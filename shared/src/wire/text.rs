//! Free texts: names, places, reasons, notes. They must say something and must hold nothing that a
//! terminal, a log line or a CSV would take for an order; what they say is nobody's business here.

use thiserror::Error;

/// The longest name, category or location, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The longest name of a unit, in bytes.
pub const UNIT_BYTES_MAX: usize = 32;
/// The longest reason or reference, in bytes.
pub const REFERENCE_BYTES_MAX: usize = 256;
/// The longest note, in bytes.
pub const NOTE_BYTES_MAX: usize = 1024;

/// Why a text is none that can be kept; its length is checked apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TextError {
    /// Remove it.
    #[error("must not contain control characters, has U+{:04X}", u32::from(*.0))]
    ControlCharacter(char),
    /// Send something, or nothing at all.
    #[error("must not be blank: leave it out, or send null, for none")]
    Blank,
}

impl TextError {
    /// The machine-readable code of the broken rule, as validation errors carry it.
    pub fn code(self) -> &'static str {
        match self {
            Self::ControlCharacter(_) => "control_character",
            Self::Blank => "blank",
        }
    }
}

/// A text of one line: no control characters, not blank.
pub fn check_line(text: &str) -> Result<(), TextError> {
    check(text, |_| false)
}

/// A text of any number of lines: tabs and line ends are fine.
pub fn check_lines(text: &str) -> Result<(), TextError> {
    check(text, |character| matches!(character, '\t' | '\n' | '\r'))
}

fn check(text: &str, is_taken: fn(char) -> bool) -> Result<(), TextError> {
    if let Some(bad) = text.chars().find(|c| c.is_control() && !is_taken(*c)) {
        return Err(TextError::ControlCharacter(bad));
    }
    if text.trim().is_empty() { Err(TextError::Blank) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_texts_are_told_apart() {
        use TextError::{Blank, ControlCharacter};
        let cases = [
            ("Mug, blue", Ok(()), Ok(())),
            (" é 🍎 ", Ok(()), Ok(())),
            ("a\nb\tc\r", Err(ControlCharacter('\n')), Ok(())),
            ("a\0b", Err(ControlCharacter('\0')), Err(ControlCharacter('\0'))),
            ("\u{1b}[2J", Err(ControlCharacter('\u{1b}')), Err(ControlCharacter('\u{1b}'))),
            ("\u{85}", Err(ControlCharacter('\u{85}')), Err(ControlCharacter('\u{85}'))),
            ("", Err(Blank), Err(Blank)),
            (" \u{a0}", Err(Blank), Err(Blank)),
            ("\n", Err(ControlCharacter('\n')), Err(Blank)),
        ];
        for (text, line, lines) in cases {
            assert_eq!((check_line(text), check_lines(text)), (line, lines), "{text:?}");
        }
    }
}
