//! Showing a seeker the items that may be what it looks for: by what the columns say, and by the
//! ranges of their SKUs, without any item's lock. It must never leave out an item that fits and was
//! there all the time.

use std::ops::Range;
use std::sync::Arc;

use shared::Sku;
use threading::RwLock;

use super::block::{BLOCK_SLOTS, Block};
use super::columns::{self, COLUMN_BLOCKS, Columns, Found, Probe};
use super::skus::{RANGE_SKUS, SkuRange, Skus};
use super::{ITEM_SHARDS, ItemShard, Items};

/// How many columns are asked under one hold of a shard's lock: of 512 slots each.
pub(super) const COLUMNS_AT_ONCE: usize = 16;
// Columns are left out by the range of their SKUs.
const _: () = assert!(RANGE_SKUS == COLUMN_BLOCKS * BLOCK_SLOTS);
/// How many columns show which tests of a probe come first: each is 512 slots.
const SAMPLED_COLUMNS: usize = 16;
/// Fewer items than these are sooner looked through.
const ARRANGED_ITEMS_MIN: usize = 1 << 19;

/// Who looks for some items among all.
pub(crate) trait Seeker {
    /// What the columns are asked before an item is looked at.
    fn probe(&self) -> &Probe;
    /// Whether the greatest SKUs are of most use, not the least; they are shown sooner, as far as
    /// that is known.
    fn is_descending(&self) -> bool;
    /// Whether an item with one of these SKUs could still be of use.
    fn admits_within(&self, range: &SkuRange) -> bool;
    /// Whether an item with this SKU would still be of use; cheaper than looking at it.
    fn admits(&self, sku: SkuAt<'_>) -> bool;
    /// Looks at an item's packed state; version zero: there is none.
    fn look(&mut self, sku: SkuAt<'_>, state: &[u8]);
}

/// The SKU of an item that is shown; looked up only where it is asked for.
#[derive(Clone, Copy)]
pub(crate) struct SkuAt<'a> {
    skus: &'a Skus,
    number: u32,
}

impl<'a> SkuAt<'a> {
    /// Its text.
    pub(crate) fn text(self) -> &'a str {
        self.skus.get(self.number)
    }
}

impl Items {
    /// Shows the SKU and the packed state of every item of some shards that may fit and be of use,
    /// as the last holder of its lock left it: the next columns of each shard in turn, first a few
    /// and then more, so that a seeker of the first SKUs soon knows which are of no use to it. Items
    /// that come or go meanwhile are shown or not.
    pub(crate) fn scan(&self, shards: Range<usize>, seeker: &mut impl Seeker) {
        let shards = &self.shards[shards];
        let all = |shard: &RwLock<ItemShard>| 0..shard.read().columns.len();
        let mut rests: Vec<Range<usize>> = shards.iter().map(all).collect();
        let mut together = 1;
        while rests.iter().any(|rest| !rest.is_empty()) {
            for (shard, rest) in shards.iter().zip(&mut rests) {
                if Range::is_empty(rest) {
                    continue;
                }
                let asked = shard.read().ask(rest, together, seeker);
                for (number, found) in asked {
                    if found.iter().any(|slots| *slots != 0) {
                        shard.read().show(number, &found, seeker);
                    }
                }
            }
            together = COLUMNS_AT_ONCE.min(2 * together);
        }
    }

    /// Of how many columns that were asked the SKUs lie around this one, and how many were: few of
    /// many where memory has the order of SKUs.
    pub(crate) fn columns_around(&self, sku: &Sku) -> (usize, usize) {
        let (mut around, mut asked) = (0, 0);
        for (number, shard) in self.shards.iter().enumerate() {
            let shard = shard.read();
            if shard.columns.is_empty() {
                continue;
            }
            // From the first of the first shard to the last of the last one.
            let range = shard.skus.range(shard.columns.len() * number / ITEM_SHARDS);
            around += usize::from(range.least <= *sku && *sku <= range.greatest);
            asked += 1;
        }
        (around, asked)
    }

    /// Lets a probe be asked the cheapest way, as a few columns show it; what it finds may only be
    /// more.
    pub(crate) fn arrange(&self, probe: &mut Probe) {
        if self.len() < ARRANGED_ITEMS_MIN {
            return;
        }
        let mut sample = Vec::with_capacity(SAMPLED_COLUMNS);
        let shards = self.shards.iter().step_by(ITEM_SHARDS / SAMPLED_COLUMNS);
        for (number, shard) in shards.enumerate() {
            let shard = shard.read();
            // All of its blocks are there, unless it is the last.
            let full = shard.blocks.len() / COLUMN_BLOCKS;
            let columns = shard.columns.get(number * 7 % full.max(1)).filter(|_| full > 0);
            let kept = columns.filter(|columns| columns.are_kept(COLUMN_BLOCKS, probe));
            sample.extend(kept.map(Arc::clone));
        }
        if !sample.is_empty() {
            probe.arrange(&sample);
        }
    }
}

impl ItemShard {
    /// What may fit of the next columns in `rest`, `together` of those that are of use; of it nothing
    /// is left where none are.
    fn ask(
        &self,
        rest: &mut Range<usize>,
        together: usize,
        seeker: &impl Seeker,
    ) -> Vec<(usize, Found)> {
        let next = || if seeker.is_descending() { rest.next_back() } else { rest.next() };
        let admitted = |number: &usize| seeker.admits_within(self.skus.range(*number));
        let numbers: Vec<usize> =
            std::iter::from_fn(next).filter(admitted).take(together).collect();
        for number in &numbers {
            self.keep_columns(*number, seeker.probe());
        }
        let some: Vec<&Columns> = numbers.iter().map(|number| &*self.columns[*number]).collect();
        numbers.into_iter().zip(columns::find(&some, seeker.probe())).collect()
    }

    /// Begins to keep some columns as far as `probe` needs them, unless they are kept.
    fn keep_columns(&self, number: usize, probe: &Probe) {
        let blocks = self.blocks_of(number);
        if self.columns[number].are_kept(blocks.len(), probe) {
            return;
        }
        for (block, place) in blocks.iter().zip(number * COLUMN_BLOCKS..) {
            let skus = self.skus.rows_from((place * BLOCK_SLOTS) as u32).take(BLOCK_SLOTS);
            block.keep_columns(probe, skus);
        }
    }

    /// The blocks that share these columns.
    fn blocks_of(&self, columns: usize) -> &[Arc<Block>] {
        let first = columns * COLUMN_BLOCKS;
        &self.blocks[first..self.blocks.len().min(first + COLUMN_BLOCKS)]
    }

    /// Shows what was found in some columns, unless none of it is of use any more.
    fn show(&self, columns: usize, found: &Found, seeker: &mut impl Seeker) {
        if !seeker.admits_within(self.skus.range(columns)) {
            return;
        }
        for (number, block) in self.blocks_of(columns).iter().enumerate() {
            let sku = |index: usize| {
                let number = (columns * COLUMN_BLOCKS + number) * BLOCK_SLOTS + index;
                SkuAt { skus: &self.skus, number: number as u32 }
            };
            let admits = |index: &usize| seeker.admits(sku(*index));
            let admitted = columns::bits(columns::slots(found, number).into()).filter(admits);
            let admitted = admitted.fold(0, |all, index| all | 1 << index);
            if admitted != 0 {
                block.show(admitted, |index, state| seeker.look(sku(index), state));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::codec::encode_state;
    use shared::{Cell, Item, ItemState, Metadata, Timestamp, Version};

    use super::super::LoadShard;
    use super::*;

    /// Finds the first SKUs or the last ones, and counts those that it was shown.
    struct Ends {
        probe: Probe,
        descending: bool,
        count: usize,
        found: Vec<String>,
        shown: std::cell::Cell<usize>,
    }

    impl Ends {
        fn new(descending: bool, count: usize) -> Self {
            let (probe, found) = (Probe::default(), Vec::new());
            Self { probe, descending, count, found, shown: std::cell::Cell::new(0) }
        }

        fn is_before(&self, a: &str, b: &str) -> bool {
            if self.descending { a > b } else { a < b }
        }

        fn is_of_use(&self, sku: &str) -> bool {
            self.found.len() < self.count || self.is_before(sku, &self.found[self.count - 1])
        }
    }

    impl Seeker for Ends {
        fn probe(&self) -> &Probe {
            &self.probe
        }

        fn is_descending(&self) -> bool {
            self.descending
        }

        fn admits_within(&self, range: &SkuRange) -> bool {
            let first = if self.descending { &range.greatest } else { &range.least };
            self.is_of_use(first.as_str())
        }

        fn admits(&self, sku: SkuAt<'_>) -> bool {
            self.shown.set(self.shown.get() + 1);
            self.is_of_use(sku.text())
        }

        fn look(&mut self, sku: SkuAt<'_>, _: &[u8]) {
            if self.is_of_use(sku.text()) {
                let place = self.found.partition_point(|found| self.is_before(found, sku.text()));
                self.found.insert(place, sku.text().to_owned());
                self.found.truncate(self.count);
            }
        }
    }

    /// Items as a snapshot gives them, in the order of these SKUs.
    fn loaded(skus: &[Sku]) -> Items {
        let cell = Cell { version: Version::new(1), ..Cell::default() };
        let (metadata, at) = (Metadata::default(), Timestamp::from_micros(5));
        let state = ItemState { cell, metadata, created_at: at, updated_at: at };
        let mut packed = Vec::new();
        encode_state(&mut packed, &Item::restore(state, None).unwrap(), 1);
        let mut shards: Vec<LoadShard> = (0..ITEM_SHARDS).map(|_| LoadShard::default()).collect();
        // In few shards, so that each has many columns: nothing is looked up here.
        for (number, sku) in skus.iter().enumerate() {
            let shard = &mut shards[number % SHARDS * (ITEM_SHARDS / SHARDS)];
            shard.insert_packed(sku, &packed, None);
        }
        Items::from_loaded(shards, Vec::new(), Vec::new())
    }

    const SHARDS: usize = 3;

    /// Twenty columns in each shard that has any, in an order of numbers.
    fn skus(number_of: impl Fn(usize) -> usize) -> Vec<Sku> {
        let sku = |place| Sku::new(&format!("S{:06}", number_of(place))).unwrap();
        (0..SHARDS * 20 * RANGE_SKUS).map(sku).collect()
    }

    #[test]
    fn the_ends_of_the_order_are_found_and_little_else_is_shown_if_memory_has_that_order() {
        let last = SHARDS * 20 * RANGE_SKUS - 1;
        let orders: [(&str, Vec<Sku>, bool); 3] = [
            ("ascending", skus(|place| place), true),
            ("descending", skus(|place| last - place), false),
            ("none", skus(|place| place * 7_919 % (last + 1)), false),
        ];
        for (order, skus, is_cheap) in orders {
            let items = loaded(&skus);
            for descending in [false, true] {
                let mut ends = Ends::new(descending, 10);
                items.scan(0..ITEM_SHARDS, &mut ends);
                let number = |place| if descending { last - place } else { place };
                let expected: Vec<String> =
                    (0..10).map(|place| format!("S{:06}", number(place))).collect();
                assert_eq!(ends.found, expected, "{order}, descending: {descending}");
                let shown = ends.shown.get();
                if is_cheap {
                    assert!(shown <= SHARDS * RANGE_SKUS, "{order}: {shown} were shown");
                }
            }
            // One of each shard is asked, and each about another part of twenty columns.
            for part in [0, 6, 13] {
                let (around, asked) = items.columns_around(&skus[SHARDS * RANGE_SKUS * part + 99]);
                let expected = if order == "none" { SHARDS } else { 1 };
                assert_eq!((around, asked), (expected, SHARDS), "{order}, part {part}");
            }
        }
    }
}
