//! What lists look at first: for 512 slots that lie together, a bit or a few of everything that
//! filters ask, in rows of one cache line, and a coarse quantity for each slot.
//!
//! A column may let too much through, never too little: whatever it finds is looked at in full.
//! It must always be what its slots' packed states make of it, so all of it is written under the
//! lock of the states that it is about. It is read without any lock: each word is of one moment, and
//! what a search needs of a slot are independent words, so an item that fits before and after a
//! change also fits in between.
//!
//! A block is read into its columns by the first list that comes by (or when a snapshot has filled
//! it); until then its writers have nothing to keep. Atomics here are std's own: nothing ever waits
//! for one.

mod entry;
mod level;
mod probe;
mod signature;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::block::BLOCK_SLOTS;
pub(super) use entry::SlotBits;
use entry::{ENTRY_ROWS, EXISTS, Entry};
use level::{LANES, LEVEL_WORDS};
use probe::Test;
pub(crate) use probe::{Counted, Probe};
use signature::{NAME_ROWS, SKU_ROWS, name_signature, sku_signature};

/// How many blocks share columns: a row of them is one cache line.
pub(super) const COLUMN_BLOCKS: usize = 16;

/// Words of a row, each with a bit for the slots of two blocks.
const ROW_WORDS: usize = COLUMN_BLOCKS * BLOCK_SLOTS / 64;
/// After how many rows it is looked whether any slot is left: a few nearly always leave none.
const ROWS_AT_ONCE: usize = 3;

/// One bit of each slot.
type Row = [AtomicU64; ROW_WORDS];
/// Some of the slots, a bit each.
pub(super) type Found = [u64; ROW_WORDS];

/// The columns of sixteen blocks.
#[derive(Debug)]
pub(super) struct Columns {
    /// Which blocks' numbers are kept, a bit each.
    numbers_kept: AtomicU32,
    /// Which blocks' texts are kept.
    texts_kept: AtomicU32,
    entries: [Row; ENTRY_ROWS],
    levels: [[AtomicU64; LEVEL_WORDS]; COLUMN_BLOCKS],
    texts: OnceLock<Box<Texts>>,
}

/// Which trigrams the texts of slots have.
#[derive(Debug)]
struct Texts {
    names: [Row; NAME_ROWS],
    skus: [Row; SKU_ROWS],
}

// What ten million SKUs take: 5.5 bytes each, and 24 more once a text was searched for.
const _: () = assert!(size_of::<Columns>() <= 11 * COLUMN_BLOCKS * BLOCK_SLOTS / 2 + 32);
const _: () = assert!(size_of::<Texts>() <= 24 * COLUMN_BLOCKS * BLOCK_SLOTS);

impl Default for Columns {
    fn default() -> Self {
        let word = |_| AtomicU64::default();
        Self {
            numbers_kept: AtomicU32::new(0),
            texts_kept: AtomicU32::new(0),
            entries: rows(),
            levels: std::array::from_fn(|_| std::array::from_fn(word)),
            texts: OnceLock::new(),
        }
    }
}

impl Columns {
    /// Whether all of the first `blocks` blocks are kept, as far as `probe` needs it.
    pub(super) fn are_kept(&self, blocks: usize, probe: &Probe) -> bool {
        let all = u32::MAX >> (u32::BITS as usize - blocks);
        let has_all = |kept: &AtomicU32| kept.load(Ordering::Acquire) & all == all;
        has_all(&self.numbers_kept) && (!probe.has_text() || has_all(&self.texts_kept))
    }

    fn existing(&self) -> Found {
        words(&self.entries[EXISTS])
    }

    fn names(&self) -> &[Row] {
        self.texts.get().map_or(&[], |texts| &texts.names)
    }

    fn skus(&self) -> &[Row] {
        self.texts.get().map_or(&[], |texts| &texts.skus)
    }
}

/// Every slot of these columns that may be what `probe` looks for; all of their blocks are kept.
///
/// Row by row over all of them, not columns by columns: so the memory is asked for many lines at a
/// time, and a guess of the processor that none of the slots is left fails once for all of them.
pub(super) fn find(columns: &[&Columns], probe: &Probe) -> Vec<Found> {
    let mut found: Vec<Found> = columns.iter().map(|columns| columns.existing()).collect();
    pass(&mut found, columns, &probe.entries, |columns| &columns.entries);
    for (found, columns) in found.iter_mut().zip(columns) {
        if !probe.left_out.is_empty() && count(found) > probe.left_max {
            let tests = probe.left_out.iter();
            tests.for_each(|test| keep(found, test.of(&columns.entries)));
        }
    }
    if let Some((names, skus)) = &probe.text
        && columns.iter().all(|columns| columns.texts.get().is_some())
    {
        let mut by_name = found.clone();
        pass(&mut by_name, columns, names, Columns::names);
        pass(&mut found, columns, skus, Columns::skus);
        for (found, by_name) in found.iter_mut().zip(by_name) {
            *found = std::array::from_fn(|word| found[word] | by_name[word]);
        }
    }
    if probe.has_ranges() && !are_empty(&found) {
        pass_ranges(&mut found, columns, probe);
    }
    found
}

/// Leaves those that pass all of these tests.
fn pass<'a>(
    found: &mut [Found],
    columns: &[&'a Columns],
    tests: &[Test],
    rows: impl Fn(&'a Columns) -> &'a [Row],
) {
    for some in tests.chunks(ROWS_AT_ONCE) {
        if are_empty(found) {
            return;
        }
        for test in some {
            for (found, columns) in found.iter_mut().zip(columns) {
                keep(found, test.of(rows(columns)));
            }
        }
    }
}

/// Leaves those whose levels fit.
fn pass_ranges(found: &mut [Found], columns: &[&Columns], probe: &Probe) {
    for (found, columns) in found.iter_mut().zip(columns) {
        if are_empty(std::slice::from_ref(found)) {
            continue;
        }
        // All lines at once, instead of one after the other while they are compared.
        let touched = columns.levels.iter().map(|levels| levels[0].load(Ordering::Relaxed));
        std::hint::black_box(touched.fold(0, |all, word| all | word));
        for (block, levels) in columns.levels.iter().enumerate() {
            if slots(found, block) != 0 {
                let within = u64::from(probe.within(levels));
                let (word, shift) = half(block);
                found[word] &= within << shift | !(u64::from(u32::MAX) << shift);
            }
        }
    }
}

/// The slots of a block.
pub(super) fn slots(found: &Found, block: usize) -> u32 {
    let (word, shift) = half(block);
    (found[word] >> shift) as u32
}

/// The word of a row with a block's slots, and where in it they are.
fn half(block: usize) -> (usize, usize) {
    (block / 2, BLOCK_SLOTS * (block % 2))
}

fn rows<const N: usize>() -> [Row; N] {
    std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::default()))
}

fn words(row: &Row) -> Found {
    std::array::from_fn(|word| row[word].load(Ordering::Relaxed))
}

fn keep(found: &mut Found, others: Found) {
    for (found, others) in found.iter_mut().zip(others) {
        *found &= others;
    }
}

fn are_empty(found: &[Found]) -> bool {
    found.iter().flatten().fold(0, |all, word| all | word) == 0
}

fn count(found: &Found) -> u32 {
    found.iter().map(|word| word.count_ones()).sum()
}

/// Where a block's columns are.
#[derive(Debug)]
pub(super) struct Lane {
    columns: Arc<Columns>,
    block: u8,
    /// What of it is kept: written under the lock of the states.
    kept: AtomicU8,
}

/// The numbers are kept.
const NUMBERS: u8 = 1;
/// The texts are kept.
const TEXTS: u8 = 2;

impl Lane {
    /// The lane of block number `block` of its shard.
    pub(super) fn of(columns: &mut Vec<Arc<Columns>>, block: usize) -> Self {
        if block.is_multiple_of(COLUMN_BLOCKS) {
            columns.push(Arc::default());
        }
        let columns = Arc::clone(&columns[block / COLUMN_BLOCKS]);
        Self { columns, block: (block % COLUMN_BLOCKS) as u8, kept: AtomicU8::new(0) }
    }

    fn keeps(&self, part: u8) -> bool {
        self.kept.load(Ordering::Relaxed) & part != 0
    }

    /// Takes over that a slot's packed state changes; under the lock of the states.
    #[inline]
    pub(super) fn note(&self, index: usize, before: &[u8], after: &[u8]) {
        if self.keeps(NUMBERS) {
            self.replace(index, &Entry::of(before), &Entry::of(after));
        }
    }

    fn replace(&self, index: usize, before: &Entry<'_>, after: &Entry<'_>) {
        if before.level != after.level {
            self.set_level(index, after.level);
        }
        let (mut old, mut new) = (before.flags, after.flags);
        if before.packed_texts() != after.packed_texts() {
            old |= before.text_bits();
            new |= after.text_bits();
            if self.keeps(TEXTS)
                && let Some(texts) = self.columns.texts.get()
            {
                let new = name_signature(after.name());
                for row in bits(name_signature(before.name()) ^ new) {
                    self.set_bit(&texts.names[row], index, new >> row & 1 != 0);
                }
            }
        }
        for row in bits(u128::from(old ^ new)) {
            self.set_bit(&self.columns.entries[row], index, new >> row & 1 != 0);
        }
    }

    /// Takes over that a slot was given to a SKU; nobody else can see or fill the slot meanwhile.
    pub(super) fn note_sku(&self, index: usize, sku: &str) {
        if self.keeps(TEXTS)
            && let Some(texts) = self.columns.texts.get()
        {
            let signature = sku_signature(sku.as_bytes());
            for (number, row) in texts.skus.iter().enumerate() {
                self.set_bit(row, index, signature >> number & 1 != 0);
            }
        }
    }

    /// Begins to keep the numbers of a block with these packed states; under their lock.
    pub(super) fn keep_numbers<'a>(&self, states: impl Iterator<Item = &'a [u8]>) {
        if self.keeps(NUMBERS) {
            return;
        }
        let mut slots = [SlotBits::default(); BLOCK_SLOTS];
        for (slot, state) in slots.iter_mut().zip(states) {
            *slot = Entry::of(state).bits();
        }
        self.keep_slots(&slots);
    }

    /// The same of a block whose slots have these bits; nobody else knows it, or its states are
    /// locked.
    pub(super) fn keep_slots(&self, slots: &[SlotBits; BLOCK_SLOTS]) {
        let rows = transposed(slots.map(|slot| slot.rows));
        let mut levels = [0_u64; LEVEL_WORDS];
        for (index, slot) in slots.iter().enumerate() {
            levels[index / LANES] |= level::in_lane(slot.level, index);
        }
        self.write(&self.columns.entries, &rows[..ENTRY_ROWS]);
        for (word, levels) in self.columns.levels[usize::from(self.block)].iter().zip(levels) {
            word.store(levels, Ordering::Relaxed);
        }
        self.now_kept(NUMBERS, &self.columns.numbers_kept);
    }

    /// Begins to keep the texts of a block with these packed states and SKUs; under the lock of the
    /// states, and while no slot can be given to another SKU.
    pub(super) fn keep_texts<'a, 'b>(
        &self,
        states: impl Iterator<Item = &'a [u8]>,
        skus: impl Iterator<Item = &'b str>,
    ) {
        if self.keeps(TEXTS) {
            return;
        }
        let texts =
            self.columns.texts.get_or_init(|| Box::new(Texts { names: rows(), skus: rows() }));
        let mut names = [0_u32; NAME_ROWS];
        for (index, state) in states.enumerate() {
            signature::each_name_row(Entry::of(state).name(), |row| names[row] |= 1 << index);
        }
        self.write(&texts.names, &names);
        let mut rows = [0_u32; SKU_ROWS];
        for (index, sku) in skus.enumerate() {
            signature::each_sku_row(sku.as_bytes(), |row| rows[row] |= 1 << index);
        }
        self.write(&texts.skus, &rows);
        self.now_kept(TEXTS, &self.columns.texts_kept);
    }

    /// Whether keeping the same states and SKUs from now on would begin with the same columns.
    #[cfg(test)]
    pub(super) fn is_as_made_new<'a, 'b, I: Iterator<Item = &'a [u8]>>(
        &self,
        states: impl Fn() -> I,
        skus: impl Iterator<Item = &'b str>,
    ) -> bool {
        let lane = Self { columns: Arc::default(), block: self.block, kept: AtomicU8::new(0) };
        if self.keeps(NUMBERS) {
            lane.keep_numbers(states());
        }
        if self.keeps(TEXTS) {
            lane.keep_texts(states(), skus);
        }
        let block = usize::from(self.block);
        let slots = |row: &Row| slots(&words(row), block);
        let words = |columns: &Columns| {
            let texts = columns.texts.get().into_iter();
            let texts = texts.flat_map(|texts| texts.names.iter().chain(&texts.skus));
            let rows = columns.entries.iter().chain(texts);
            let rows: Vec<u32> = rows.map(slots).collect();
            let levels = columns.levels[block].iter().map(|word| word.load(Ordering::Relaxed));
            (rows, levels.collect::<Vec<u64>>())
        };
        let (mine, new) = (words(&self.columns), words(&lane.columns));
        // Another block of these columns may keep texts where this one doesn't yet.
        let rest = mine.0.get(new.0.len()..).unwrap_or_default();
        mine.0[..new.0.len()] == new.0 && mine.1 == new.1 && rest.iter().all(|word| *word == 0)
    }

    fn now_kept(&self, part: u8, all: &AtomicU32) {
        self.kept.fetch_or(part, Ordering::Relaxed);
        all.fetch_or(1 << self.block, Ordering::Release);
    }

    /// Fills a block's bits, which are all zero.
    fn write(&self, rows: &[Row], slots: &[u32]) {
        let (word, shift) = half(usize::from(self.block));
        for (row, slots) in rows.iter().zip(slots) {
            if *slots != 0 {
                row[word].fetch_or(u64::from(*slots) << shift, Ordering::Relaxed);
            }
        }
    }

    /// Another block's lock guards the other half of the word.
    fn set_bit(&self, row: &Row, index: usize, value: bool) {
        let (word, shift) = half(usize::from(self.block));
        let bit = 1 << (shift + index);
        if value {
            row[word].fetch_or(bit, Ordering::Relaxed);
        } else {
            row[word].fetch_and(!bit, Ordering::Relaxed);
        }
    }

    fn set_level(&self, index: usize, value: u16) {
        let word = &self.columns.levels[usize::from(self.block)][index / LANES];
        let others = word.load(Ordering::Relaxed) & !level::in_lane(u16::MAX, index);
        word.store(others | level::in_lane(value, index), Ordering::Relaxed);
    }
}

/// Bit j of word i becomes bit i of word j: halves change places, then quarters, and so on.
fn transposed(mut words: [u32; BLOCK_SLOTS]) -> [u32; BLOCK_SLOTS] {
    let (mut step, mut low) = (BLOCK_SLOTS / 2, u32::MAX >> (BLOCK_SLOTS / 2));
    while step > 0 {
        for group in words.chunks_exact_mut(2 * step) {
            let (first, second) = group.split_at_mut(step);
            for (first, second) in first.iter_mut().zip(second) {
                let change = (*first >> step ^ *second) & low;
                *second ^= change;
                *first ^= change << step;
            }
        }
        step /= 2;
        low ^= low << step;
    }
    words
}

/// The numbers of the bits that are set.
pub(super) fn bits(mut word: u128) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(lowest)
    })
}
