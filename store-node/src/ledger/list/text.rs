//! Texts that are searched for, whatever the case of their letters. It must find exactly what
//! lower-casing both sides would.

/// A text to look for.
pub(super) struct Needle {
    lower_case: String,
    /// The first and the last byte, if all are ASCII.
    ends: Option<[Byte; 2]>,
}

/// A byte, and the bit that may differ: the one that tells large ASCII letters from small ones.
#[derive(Clone, Copy)]
struct Byte {
    value: u8,
    ignored: u8,
}

impl Byte {
    fn of(value: u8) -> Self {
        let ignored = if value.is_ascii_alphabetic() { 0x20 } else { 0 };
        Self { value: value | ignored, ignored }
    }

    fn is(self, other: u8) -> bool {
        other | self.ignored == self.value
    }
}

impl Needle {
    /// To look for `text`.
    pub(super) fn new(text: &str) -> Self {
        let lower_case = text.to_lowercase();
        let bytes = lower_case.as_bytes();
        let ends = [bytes.first(), bytes.last()].map(|byte| byte.copied().map(Byte::of));
        let ends = match ends {
            [Some(first), Some(last)] if text.is_ascii() => Some([first, last]),
            _ => None,
        };
        Self { lower_case, ends }
    }

    /// What it looks for, in lower case.
    pub(super) fn lower_case(&self) -> &str {
        &self.lower_case
    }

    /// Whether `text`, UTF-8, has it.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        match self.ends {
            Some(ends) if text.is_ascii() => self.is_in_ascii(ends, text),
            _ => String::from_utf8_lossy(text).to_lowercase().contains(&self.lower_case),
        }
    }

    fn is_in_ascii(&self, [first, last]: [Byte; 2], text: &[u8]) -> bool {
        let length = self.lower_case.len();
        let Some(ends) = text.get(length - 1..) else { return false };
        // All at once, without a branch: nearly all texts end here.
        let possible = text.iter().zip(ends);
        if !possible.fold(false, |found, (a, b)| found | (first.is(*a) & last.is(*b))) {
            return false;
        }
        text.windows(length).any(|window| window.eq_ignore_ascii_case(self.lower_case.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, wanted: &str) {
        let expected = text.to_lowercase().contains(&wanted.to_lowercase());
        assert_eq!(Needle::new(wanted).is_in(text.as_bytes()), expected, "{wanted:?} in {text:?}");
    }

    #[test]
    fn letters_are_found_whichever_way_they_are_cased() {
        for text in ["Stoneware Mug, white", "ÄPFEL", "", "mug", "M@G [1]", "{1}"] {
            for wanted in ["", "mug", "MUG", "g, W", "äpfel", "ä", "k", "`", "@", "[1]", "{1}"] {
                check(text, wanted);
            }
        }
    }

    proptest! {
        #[test]
        fn it_finds_what_lower_casing_finds(text in "[a-cA-C@` ä]{0,12}", wanted in "[a-cA-C@`ä]{0,3}") {
            check(&text, &wanted);
        }
    }
}
