//! Which pairs and triples of bytes occur in an item's texts: a text that holds another one has all of
//! its bits, so a search passes over nearly everything else without looking at it. Each item has a
//! set of 128 bits, and items that lie together one of 4,096 for their pairs, which a pair or two
//! that occur nowhere near don't get past. A bit of what is in a text must never be missing; bits too
//! many only cost a look.

use super::chunked::Chunked;

/// Items that share a set of pairs.
pub(super) const ITEMS_TOGETHER: u32 = 1024;

/// The sets of one shard's items, by id.
#[derive(Debug, Default)]
pub(super) struct TextSets {
    grams: Chunked<Grams>,
    pairs: Vec<Pairs>,
}

impl TextSets {
    /// One item more, which has this text.
    pub(super) fn push(&mut self, text: &str) {
        let id = self.grams.push(Grams::default());
        if id.is_multiple_of(ITEMS_TOGETHER) {
            self.pairs.push(Pairs([0; PAIR_WORDS]));
        }
        self.add(id, text);
    }

    /// An item has this text too.
    pub(super) fn add(&mut self, id: u32, text: &str) {
        self.grams[id] = self.grams[id].or(Grams::of(text));
        self.pairs[(id / ITEMS_TOGETHER) as usize].add(text);
    }

    /// An item has only this text. (Those that lie with it may have had the same pairs as the others.)
    pub(super) fn reset(&mut self, id: u32, text: &str) {
        self.grams[id] = Grams::of(text);
    }

    /// Of an item and all its names.
    pub(super) fn grams(&self, id: u32) -> Grams {
        self.grams[id]
    }

    /// Whether any of the items that lie with this one may have a text that holds `part`.
    pub(super) fn may_be_near(&self, id: u32, part: &str) -> bool {
        let pairs = self.pairs.get((id / ITEMS_TOGETHER) as usize);
        pairs.is_some_and(|pairs| pairs.may_hold(part))
    }
}

/// Words of a set of pairs.
const PAIR_WORDS: usize = 64;

/// A set of pairs.
#[derive(Debug)]
struct Pairs([u64; PAIR_WORDS]);

impl Pairs {
    fn add(&mut self, text: &str) {
        each_pair(text, |word, bit| self.0[word] |= bit);
    }

    fn may_hold(&self, part: &str) -> bool {
        let mut has_all = true;
        each_pair(part, |word, bit| has_all &= self.0[word] & bit != 0);
        has_all
    }
}

/// Shows the words and the bits of each pair in a text: two of each, so that a pair that is nowhere
/// seldom has the bits of others.
fn each_pair(text: &str, mut show: impl FnMut(usize, u64)) {
    let mut last = None;
    each_byte(text, |byte| {
        if let Some(last) = last.replace(byte) {
            let pair = u32::from(last) << 8 | u32::from(byte);
            let hash = pair.wrapping_mul(0x9E37_79B1);
            for place in [hash >> 20, hash >> 8].map(|place| place as usize % (64 * PAIR_WORDS)) {
                show(place / 64, 1 << (place % 64));
            }
        }
    });
}

/// Shows the bytes of a text, whichever way its letters are cased; the same case as [`super::sieve`]
/// compares in.
fn each_byte(text: &str, show: impl FnMut(u8)) {
    if text.is_ascii() {
        text.bytes().map(|byte| byte.to_ascii_lowercase()).for_each(show);
    } else {
        text.to_lowercase().bytes().for_each(show);
    }
}

/// A set of pairs and triples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Grams(u128);

impl Grams {
    /// Of a text.
    pub(super) fn of(text: &str) -> Self {
        let mut bits = 0_u128;
        let (mut last, mut count) = (0_u32, 0_u32);
        each_byte(text, |byte| {
            last = last << 8 & 0xFF_FFFF | u32::from(byte);
            count += 1;
            if count >= 2 {
                bits |= bit(last & 0xFFFF | 1 << 24);
            }
            if count >= 3 {
                bits |= bit(last | 2 << 24);
            }
        });
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
            let mut sets = TextSets::default();
            for text in ["another", &text, "one more"] {
                sets.push(text);
            }
            prop_assert!(sets.may_be_near(2, &part), "{part} in {text}");
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

    #[test]
    fn a_pair_that_is_nowhere_near_is_passed_over_at_once() {
        let mut sets = TextSets::default();
        for number in 0..3 * ITEMS_TOGETHER {
            sets.push(&format!("S{number:011}"));
            sets.add(number, &format!("Item number {number:012}"));
        }
        sets.add(ITEMS_TOGETHER, "Quartz clock");
        let near = |part| [0, 1, 2].map(|place| sets.may_be_near(place * ITEMS_TOGETHER, part));
        assert_eq!(near("qu"), [false, true, false]);
        assert_eq!(near("zz"), [false; 3]);
        assert_eq!(near("number 0"), [true; 3]);
        assert_eq!(near("q"), [true; 3], "one letter is no pair");
    }
}
