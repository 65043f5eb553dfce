//! Which pairs and triples of bytes occur in a text, in 128 bits: a text that holds another one has
//! all of its bits, so a search passes over nearly everything else without looking at it. It must
//! never lack a bit of what is in the text; bits too many only cost a look.

/// A set of pairs and triples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Grams(u128);

impl Grams {
    /// Of a text, whichever way its letters are cased; the same case as [`super::sieve`] compares in.
    pub(super) fn of(text: &str) -> Self {
        if text.is_ascii() {
            Self::of_bytes(text.bytes())
        } else {
            Self::of_bytes(text.to_lowercase().bytes())
        }
    }

    fn of_bytes(bytes: impl Iterator<Item = u8>) -> Self {
        let mut bits = 0_u128;
        let (mut last, mut count) = (0_u32, 0_u32);
        for byte in bytes {
            last = last << 8 & 0xFF_FFFF | u32::from(byte.to_ascii_lowercase());
            count += 1;
            if count >= 2 {
                bits |= bit(last & 0xFFFF | 1 << 24);
            }
            if count >= 3 {
                bits |= bit(last | 2 << 24);
            }
        }
        Self(bits)
    }

    /// Those of either.
    #[must_use]
    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a text of these may hold one of those.
    pub(super) fn may_hold(self, part: Self) -> bool {
        self.0 & part.0 == part.0
    }
}

fn bit(gram: u32) -> u128 {
    1 << (gram.wrapping_mul(0x9E37_79B1) >> 25)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_may_hold_each_of_its_parts(text in "\\PC{0,40}", from in 0..40_usize, to in 0..40_usize) {
            let lower = text.to_lowercase();
            let part: String = lower.chars().skip(from).take(to).collect();
            prop_assert!(Grams::of(&text).may_hold(Grams::of(&part)), "{part} in {text}");
        }
    }

    #[test]
    fn most_of_what_isnt_there_is_passed_over() {
        let names: Vec<Grams> =
            (0..1_000).map(|number| Grams::of(&format!("Item number {number:012}"))).collect();
        let wanted = Grams::of("number 000000000777");
        let looked_at = names.iter().filter(|name| name.may_hold(wanted)).count();
        assert!((1..50).contains(&looked_at), "{looked_at} of 1,000 are looked at");
        assert!(!names.iter().any(|name| name.may_hold(Grams::of("stoneware mug"))));
    }
}
