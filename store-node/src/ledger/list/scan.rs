//! Lists that have to look at every item: once, packed as they are, in the order of memory, without
//! any item's lock. It must never miss an item that was there all the time.
//!
//! What it finds are places; the rows are read again, each under its lock, as any other row is.

use std::collections::BinaryHeap;
use std::num::NonZero;

use event_log::storage::Storage;
use shared::codec::{StateNumbers, StateTexts};
use shared::{Sku, Timestamp, Version};

use super::{Found, ListCursor, Ranked, Wanted, compare_skus, compare_values, sort_value};
use crate::ledger::Ledger;
use crate::ledger::items::{ITEM_SHARDS, Items, SkuAt};

/// How many threads look through the items for one list at most.
const THREADS_MAX: usize = 4;
/// How often a bounded sweep is repeated before a list.
const SWEEPS_MAX: usize = 100;

impl<S: Storage> Ledger<S> {
    /// One page of the items that match, in any order.
    pub(super) fn list_scanned(
        &self,
        wanted: &Wanted<'_>,
        limit: usize,
        now: Timestamp,
        items_a_thread: usize,
    ) -> Found {
        // What is packed doesn't know the time: nothing may be overdue.
        for _ in 0..SWEEPS_MAX {
            if self.sweep_expired(now) == 0 {
                break;
            }
        }
        let threads = self.items().len() / items_a_thread.max(1);
        let mut places = best_places(self.items(), wanted, limit + 1, threads);
        let next = (places.len() > limit).then(|| places[limit - 1].place.clone());
        places.truncate(limit);
        let row = |ranked: Ranked| self.matching_row(wanted, ranked.place.sku, now, |_| true);
        let mut rows: Vec<_> = places.into_iter().filter_map(row).collect();
        rows.sort_unstable();
        Found { rows, next }
    }
}

/// The first `count` places in the list's order.
fn best_places(items: &Items, wanted: &Wanted<'_>, count: usize, threads: usize) -> Vec<Ranked> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.clamp(1, cores.min(THREADS_MAX));
    if threads == 1 {
        return Sieve::over(items, 0..ITEM_SHARDS, wanted, count).best.into_sorted_vec();
    }
    let each = ITEM_SHARDS.div_ceil(threads);
    let parts: Vec<Sieve<'_>> = std::thread::scope(|scope| {
        let part = |from: usize| {
            let shards = from..ITEM_SHARDS.min(from + each);
            scope.spawn(move || Sieve::over(items, shards, wanted, count))
        };
        let running: Vec<_> = (0..ITEM_SHARDS).step_by(each).map(part).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().expect("looking at an item that panics is a defect")
        };
        running.into_iter().map(join).collect()
    });
    let mut best: Vec<Ranked> = parts.into_iter().flat_map(|part| part.best).collect();
    best.sort_unstable();
    best.truncate(count);
    best
}

/// Keeps the best of what it is shown.
struct Sieve<'q> {
    wanted: &'q Wanted<'q>,
    count: usize,
    best: BinaryHeap<Ranked>,
}

impl<'q> Sieve<'q> {
    fn over(
        items: &Items,
        shards: std::ops::Range<usize>,
        wanted: &'q Wanted<'q>,
        count: usize,
    ) -> Self {
        let mut sieve = Self { wanted, count, best: BinaryHeap::with_capacity(count + 1) };
        items.scan(shards, |sku, state| sieve.look(sku, state));
        sieve
    }

    fn look(&mut self, sku: SkuAt<'_>, state: &[u8]) {
        let wanted = self.wanted;
        let numbers = StateNumbers::read(state).expect("packed by this process");
        if numbers.version == Version::ZERO
            || !wanted.numbers_match(&numbers.quantities, numbers.flags)
            || (wanted.query.prefix.is_some() && !wanted.has_prefix(sku.text()))
        {
            return;
        }
        let texts = || -> StateTexts<'_> { numbers.texts().expect("packed by this process") };
        if !wanted.takes_any_texts() && !wanted.texts_match(|| sku.text(), &texts()) {
            return;
        }
        let sort = wanted.query.sort;
        let value = sort_value(sort.key, &numbers.quantities, texts);
        let against = |place: &ListCursor| {
            let values = compare_values(&value, &place.value, sort.descending);
            values.then_with(|| compare_skus(&value, sku.text(), &place.sku, sort.descending))
        };
        if wanted.query.after.as_ref().is_some_and(|after| against(after).is_le()) {
            return;
        }
        if self.best.len() == self.count {
            if self.best.peek().is_some_and(|worst| against(&worst.place).is_ge()) {
                return;
            }
            self.best.pop();
        }
        let sku = Sku::new(sku.text()).expect("only SKUs were put in");
        self.best.push(Ranked::new(value, sku, sort.descending));
    }
}
