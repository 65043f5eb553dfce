//! What a list asks of the columns. It must never ask for more than the list itself does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::{ACTIVE, CATEGORY, HASH_ROWS, LOCATION, LOW, OUT, hash_bits};
use super::level::{LEVEL_WORDS, MARKS, at_least, at_most, between, gathered, level, marked};
use super::signature::rows_of;
use super::{Columns, Found, Row, count, keep};

/// A quantity that an item may be found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Units available.
    Available,
    /// Units on hand: as many as are available, where nothing is reserved.
    Stock,
    /// Units reserved: whether there are any.
    Reserved,
}

/// A question to the columns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probe {
    /// Of entries, all of which must be passed.
    pub(super) entries: Vec<Test>,
    /// Those of them that told no slots of a sample apart.
    pub(super) left_out: Vec<Test>,
    /// Where more slots of some columns are left than this, they aren't like the sample.
    pub(super) left_max: u32,
    /// Of names and of SKUs: either of both must be passed.
    pub(super) text: Option<(Vec<Test>, Vec<Test>)>,
    ranges: Vec<Range>,
    /// Narrows while better rows are found.
    bound: Option<Range>,
}

/// A bit that must be set, or must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Test {
    row: u8,
    /// What turns a bit that fits into one.
    inverted: u64,
}

impl Test {
    fn new(row: usize, wanted: bool) -> Self {
        Self { row: row as u8, inverted: if wanted { 0 } else { u64::MAX } }
    }

    /// The slots that pass it.
    #[inline]
    pub(super) fn of(self, rows: &[Row]) -> Found {
        let row = &rows[usize::from(self.row)];
        std::array::from_fn(|word| row[word].load(Ordering::Relaxed) ^ self.inverted)
    }
}

/// Levels that fit.
#[derive(Debug, Clone, Copy)]
struct Range {
    of: Counted,
    least: u64,
    most: u64,
}

impl Range {
    fn new(of: Counted, least: u64, most: u64) -> Self {
        Self { of, least: at_least(level(least)), most: at_most(level(most)) }
    }

    /// Keeps those marks whose levels fit.
    #[inline]
    fn keep(self, marks: &mut [u64; LEVEL_WORDS], words: &[u64; LEVEL_WORDS]) {
        let Self { least, most, of } = self;
        match of {
            Counted::Available => {
                for (marks, word) in marks.iter_mut().zip(words) {
                    *marks &= between(*word, least, most);
                }
            }
            Counted::Stock => {
                for (marks, word) in marks.iter_mut().zip(words) {
                    *marks &= between(*word, least, most) | marked(*word);
                }
            }
            Counted::Reserved if least == at_least(0) => {}
            Counted::Reserved => {
                for (marks, word) in marks.iter_mut().zip(words) {
                    *marks &= marked(*word);
                }
            }
        }
    }
}

impl Probe {
    fn flag(&mut self, row: usize, wanted: Option<bool>) {
        if let Some(wanted) = wanted {
            self.entries.push(Test::new(row, wanted));
        }
    }

    /// Active items, or the others.
    pub(crate) fn active(&mut self, wanted: Option<bool>) {
        self.flag(ACTIVE, wanted);
    }

    /// Items at or below their reorder point, or the others.
    pub(crate) fn low_stock(&mut self, wanted: Option<bool>) {
        self.flag(LOW, wanted);
    }

    /// Items of which nothing is available, or the others.
    pub(crate) fn out_of_stock(&mut self, wanted: Option<bool>) {
        self.flag(OUT, wanted);
    }

    /// Items of this category.
    pub(crate) fn category(&mut self, wanted: Option<&str>) {
        self.hashed(CATEGORY, wanted);
    }

    /// Items at this location.
    pub(crate) fn location(&mut self, wanted: Option<&str>) {
        self.hashed(LOCATION, wanted);
    }

    fn hashed(&mut self, first: usize, wanted: Option<&str>) {
        let Some(wanted) = wanted else { return };
        let hash = hash_bits(wanted.as_bytes());
        for bit in 0..HASH_ROWS {
            self.flag(first + bit, Some(hash >> bit & 1 == 1));
        }
    }

    /// Items with this text in name or SKU, in lower case.
    pub(crate) fn text(&mut self, lower_case: &str) {
        let (names, skus) = rows_of(lower_case);
        let tests =
            |rows: Vec<u8>| rows.into_iter().map(|row| Test::new(row.into(), true)).collect();
        self.text = (!names.is_empty()).then(|| (tests(names), tests(skus)));
    }

    /// Items with so many units, the ends included.
    pub(crate) fn between(&mut self, of: Counted, least: u64, most: u64) {
        self.ranges.push(Range::new(of, least, most));
    }

    /// The same, in place of what this said before.
    pub(crate) fn bound(&mut self, of: Counted, least: u64, most: u64) {
        self.bound = Some(Range::new(of, least, most));
    }

    pub(in crate::ledger::items) fn has_text(&self) -> bool {
        self.text.is_some()
    }

    pub(super) fn has_ranges(&self) -> bool {
        self.bound.is_some() || !self.ranges.is_empty()
    }

    /// The slots of a block whose levels fit.
    pub(super) fn within(&self, levels: &[AtomicU64; LEVEL_WORDS]) -> u32 {
        let words = std::array::from_fn(|word| levels[word].load(Ordering::Relaxed));
        let mut marks = [MARKS; LEVEL_WORDS];
        for range in self.ranges.iter().chain(&self.bound) {
            range.keep(&mut marks, &words);
        }
        if marks.iter().fold(0, |all, marks| all | marks) == 0 {
            return 0;
        }
        let place =
            |found, (number, marks): (usize, &u64)| found | gathered(*marks) << (4 * number);
        marks.iter().enumerate().fold(0, place)
    }

    /// Puts those tests first of which each leaves the fewest slots, as some columns show it, and
    /// leaves out those that would tell no slots apart. Those of entries are kept for columns that
    /// aren't like these: of items, say, that came later and are of another category.
    pub(in crate::ledger::items) fn arrange(&mut self, sample: &[Arc<Columns>]) {
        let mut found: Vec<Found> = sample.iter().map(|columns| columns.existing()).collect();
        let entries = |columns: &Columns, test: Test| test.of(&columns.entries);
        let all = std::mem::take(&mut self.entries);
        self.entries = arranged(&all, sample, &mut found, entries);
        self.left_out = all.into_iter().filter(|test| !self.entries.contains(test)).collect();
        self.left_max = found.iter().map(count).max().map_or(0, |most| 2 * most).min(LIKE_MAX);
        if let Some((names, skus)) = &mut self.text {
            let by_name = |columns: &Columns, test: Test| test.of(columns.names());
            let by_sku = |columns: &Columns, test: Test| test.of(columns.skus());
            *names = arranged(names, sample, &mut found.clone(), by_name);
            *skus = arranged(skus, sample, &mut found, by_sku);
        }
    }
}

/// Some of these tests, in the order in which they leave the fewest of `found`.
fn arranged(
    tests: &[Test],
    sample: &[Arc<Columns>],
    found: &mut [Found],
    passed: impl Fn(&Columns, Test) -> Found,
) -> Vec<Test> {
    let words = |test: &Test| -> Vec<Found> {
        sample.iter().map(|columns| passed(columns, *test)).collect()
    };
    let mut rest: Vec<(Test, Vec<Found>)> = tests.iter().map(|test| (*test, words(test))).collect();
    let mut arranged = Vec::new();
    let mut left: u32 = found.iter().map(count).sum();
    for _ in 0..tests.len() {
        let leaves = |(_, words): &(Test, Vec<Found>)| -> u32 {
            found.iter().zip(words).map(|(found, words)| common(found, words)).sum()
        };
        let best = rest.iter().map(leaves).enumerate().min_by_key(|(_, leaves)| *leaves);
        let Some((place, leaves)) = best else { break };
        if leaves == left {
            // Where many are left, no test would tell them apart; where few are, they don't say.
            if left < LEFT_MIN {
                arranged.extend(rest.iter().map(|(test, _)| *test));
            }
            break;
        }
        let (test, words) = rest.swap_remove(place);
        for (found, words) in found.iter_mut().zip(words) {
            keep(found, words);
        }
        left = leaves;
        arranged.push(test);
    }
    arranged
}

/// Where more of 512 slots are left, all tests are worth asking.
const LIKE_MAX: u32 = 384;
/// How many slots must be left for their being all alike to mean something.
const LEFT_MIN: u32 = 64;

fn common(a: &Found, b: &Found) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a & b).count_ones()).sum()
}
