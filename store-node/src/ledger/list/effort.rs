//! How a list is made at the least cost: walked in the SKUs' order, or looked for among all items in
//! the order of memory. What it answers must be the same with either.

use crate::ledger::items::ORDER_PAGE_MAX;

/// How many pages are walked before it is guessed how many it takes.
const PAGES_FOR_A_GUESS: usize = 2;
/// How many SKUs' columns are asked in the time of walking to one.
const ASKED_FOR_ONE_WALKED: usize = 350;
/// How many items that the columns let through are looked at in the time of walking to one.
const LOOKED_AT_FOR_ONE_WALKED: usize = 3;

/// What each way may cost.
#[derive(Debug, Clone, Copy)]
pub(in crate::ledger) struct Effort {
    /// How many pages of SKUs may be walked in their order, each by its lock, before anything else is
    /// thought of: those of few SKUs, and a little more than what others may cost.
    pub(in crate::ledger) walked_pages_max: usize,
    /// How many are for a list in another order, of which all pages must be walked.
    pub(in crate::ledger) sorted_pages_max: usize,
    /// How many items there are for each thread that looks at all of them.
    pub(in crate::ledger) items_a_thread: usize,
}

/// What a walk has found so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walked {
    /// Pages that were walked.
    pub(super) pages: usize,
    /// Rows in them.
    pub(super) rows: usize,
    /// Rows of a full page of the list.
    pub(super) limit: usize,
}

/// Where the rest of a walk lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    /// Pages of all SKUs.
    pub(super) pages: usize,
    /// Of how many columns, some of all, the SKUs lie around the one that was walked to.
    pub(super) around: usize,
    /// Of how many that was asked.
    pub(super) asked: usize,
}

impl Effort {
    /// Five thousand SKUs are walked in two to three milliseconds; fewer items than these don't pay
    /// for a thread.
    pub(in crate::ledger) const USUAL: Self =
        Self { walked_pages_max: 10, sorted_pages_max: 8, items_a_thread: 250_000 };

    /// Whether looking for the rows among all items is cheaper than walking on, if the rest of the
    /// pages are like those that were walked. A row found early promises as many rows of all items:
    /// for a walk it is the sooner over the more there are, and a search has to look at each of those
    /// whose SKUs lie with others that are of use.
    pub(super) fn prefers_scan(self, walked: Walked, rest: impl FnOnce() -> Rest) -> bool {
        let Walked { pages: walked, rows, limit } = walked;
        if walked < PAGES_FOR_A_GUESS {
            return walked >= self.walked_pages_max;
        }
        let to_walk = walked * limit / (rows + 1);
        if to_walk <= self.walked_pages_max {
            return false;
        }
        let Rest { pages, around, asked } = rest();
        let pages = pages * around / asked.max(1);
        let to_ask = pages / ASKED_FOR_ONE_WALKED;
        let to_look_at = pages * rows / (walked * LOOKED_AT_FOR_ONE_WALKED * ORDER_PAGE_MAX);
        to_walk > self.walked_pages_max + to_ask + to_look_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefers_scan(skus: usize, walked: (usize, usize, usize), around: usize) -> bool {
        let (pages, rows, limit) = walked;
        let rest = Rest { pages: skus / ORDER_PAGE_MAX, around, asked: 100 };
        Effort::USUAL.prefers_scan(Walked { pages, rows, limit }, || rest)
    }

    #[test]
    fn few_rows_are_looked_for_and_many_are_walked_to() {
        let prefers_scan = |skus, pages, rows| prefers_scan(skus, (pages, rows, 100), 100);
        let (small, large) = (100_000, 10_000_000);
        for skus in [small, large] {
            assert!(!prefers_scan(skus, 0, 0), "nothing is known yet");
            assert!(!prefers_scan(skus, 1, 0), "nothing is known yet");
            assert!(prefers_scan(skus, 2, 0), "nothing was found");
            assert!(prefers_scan(skus, 2, 1), "one of a thousand");
            assert!(!prefers_scan(skus, 2, 20), "one of fifty");
            assert!(!prefers_scan(skus, 8, 90), "nearly there");
        }
        // A hundred thousand of ten million would be looked at for a page of a hundred.
        assert!(!prefers_scan(large, 2, 10), "one of a hundred");
        assert!(prefers_scan(small, 2, 10), "their columns are soon asked");
    }

    #[test]
    fn where_memory_has_the_order_of_skus_only_a_few_pages_are_walked() {
        let large = 10_000_000;
        for (around, walks) in [(100, true), (30, true), (5, false), (2, false), (0, false)] {
            let one_of_a_hundred = prefers_scan(large, (2, 10, 100), around);
            assert_eq!(!one_of_a_hundred, walks, "around {around} of a hundred");
            let one_of_fifty = prefers_scan(large, (2, 20, 100), around);
            assert!(!one_of_fifty, "around {around} of a hundred");
        }
        assert!(!prefers_scan(large, (10, 0, 1), 2), "a single row may be in the next page");
        assert!(prefers_scan(large, (12, 0, 1), 2), "or far away");
    }
}
