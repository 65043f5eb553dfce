//! Quantities in fifteen bits, in the same order: exact below 16,384, then steps of a 256th. Four
//! of them are compared at a time. It must never put a greater quantity below a smaller one.

/// Levels in a word.
pub(super) const LANES: usize = 4;
/// Words for a block.
pub(super) const LEVEL_WORDS: usize = super::BLOCK_SLOTS / LANES;
/// The highest bit of a lane, above its level.
pub(super) const MARK: u16 = 0x8000;
/// The same in every lane.
pub(super) const MARKS: u64 = in_every_lane(MARK);

/// Where steps begin.
const EXACT_BITS: u32 = 14;
/// Steps of each power of two, as bits.
const STEP_BITS: u32 = 8;

/// The level of a number of units.
pub(super) fn level(units: u64) -> u16 {
    if units >> EXACT_BITS == 0 {
        return units as u16;
    }
    let power = units.ilog2();
    let step = units >> (power - STEP_BITS) & ((1 << STEP_BITS) - 1);
    (1 << EXACT_BITS) + ((power - EXACT_BITS) << STEP_BITS) as u16 + step as u16
}

/// A value in the lane of a slot, the other lanes empty.
pub(super) fn in_lane(value: u16, index: usize) -> u64 {
    u64::from(value) << (16 * (index % LANES))
}

const fn in_every_lane(value: u16) -> u64 {
    value as u64 * 0x0001_0001_0001_0001
}

/// A lower bound for [`between`].
pub(super) fn at_least(level: u16) -> u64 {
    in_every_lane(level)
}

/// An upper bound for [`between`].
pub(super) fn at_most(level: u16) -> u64 {
    in_every_lane(level | MARK)
}

/// The marks of the lanes that are between two levels, both included.
#[inline]
pub(super) fn between(word: u64, least: u64, most: u64) -> u64 {
    // No lane borrows from the next: with its mark it is greater than any level taken away.
    let levels = word & !MARKS;
    (levels | MARKS).wrapping_sub(least) & most.wrapping_sub(levels) & MARKS
}

/// The marks of lanes that are marked themselves.
pub(super) fn marked(word: u64) -> u64 {
    word & MARKS
}

/// Marks as the lowest four bits.
pub(super) fn gathered(marks: u64) -> u32 {
    // Each mark moves to a place of its own at the top: 48, 49, 50 and 51.
    let product = (marks >> 15).wrapping_mul(1 << 48 | 1 << 33 | 1 << 18 | 1 << 3);
    (product >> 48) as u32 & 0xf
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_numbers_are_exact_and_the_greatest_fits() {
        for units in 0..1 << EXACT_BITS {
            assert_eq!(u64::from(level(units)), units);
        }
        assert_eq!(level(1 << EXACT_BITS), 1 << EXACT_BITS);
        assert!(level(u64::MAX) < MARK);
    }

    proptest! {
        #[test]
        fn levels_are_in_the_order_of_their_numbers(a in 0_u32..64, b in 0_u32..64, x: u64, y: u64) {
            let (x, y) = (x >> a, y >> b);
            prop_assert_eq!(level(x.min(y)), level(x).min(level(y)));
        }

        #[test]
        fn four_lanes_are_compared_as_one_by_one(
            lanes in prop::array::uniform4((0..MARK, any::<bool>())), least in 0..MARK, most in 0..MARK,
        ) {
            let mut word = 0;
            let (mut within, mut with_mark) = (0, 0);
            for (index, (level, is_marked)) in lanes.into_iter().enumerate() {
                word |= in_lane(level | if is_marked { MARK } else { 0 }, index);
                within |= u32::from((least..=most).contains(&level)) << index;
                with_mark |= u32::from(is_marked) << index;
            }
            prop_assert_eq!(gathered(between(word, at_least(least), at_most(most))), within);
            prop_assert_eq!(gathered(marked(word)), with_mark);
        }
    }
}
