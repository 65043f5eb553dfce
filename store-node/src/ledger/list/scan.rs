//! Lists that have to look at every item: once, packed as they are, in the order of memory, without
//! any item's lock. It must never miss an item that was there all the time.
//!
//! What it finds are places; the rows are read again, each under its lock, as any other row is.

use std::collections::BinaryHeap;

use event_log::storage::Storage;
use shared::codec::{StateNumbers, StateTexts};
use shared::{QUANTITY_MAX, Sku, Timestamp, Version};

use super::{Found, ListCursor, Ranked, SortKey, SortValue, Wanted};
use super::{compare_skus, compare_values, sort_value};
use crate::ledger::Ledger;
use crate::ledger::items::{Counted, ITEM_SHARDS, Items, Probe, Seeker, SkuAt, SkuRange};

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
        let mut probe = probe_of(wanted, self.options.text_index);
        self.items().arrange(&mut probe);
        let sieve = Sieve { wanted, probe, count: limit + 1, best: BinaryHeap::new() };
        let mut places = best_places(self.items(), &sieve, threads);
        let next = (places.len() > limit).then(|| places[limit - 1].place.clone());
        places.truncate(limit);
        let row = |ranked: Ranked| self.row_if_matching(wanted, ranked.place.sku, now);
        let mut rows: Vec<_> = places.into_iter().filter_map(row).collect();
        rows.sort_unstable();
        Found { rows, next }
    }
}

/// The first places in the list's order that `empty` has room for.
fn best_places(items: &Items, empty: &Sieve<'_>, threads: usize) -> Vec<Ranked> {
    let threads = threads.clamp(1, crate::cores().min(THREADS_MAX));
    if threads == 1 {
        return over(items, 0..ITEM_SHARDS, empty).best.into_sorted_vec();
    }
    let each = ITEM_SHARDS.div_ceil(threads);
    let parts: Vec<Sieve<'_>> = std::thread::scope(|scope| {
        let part = |from: usize| {
            let shards = from..ITEM_SHARDS.min(from + each);
            scope.spawn(move || over(items, shards, empty))
        };
        let running: Vec<_> = (0..ITEM_SHARDS).step_by(each).map(part).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().expect("looking at an item that panics is a defect")
        };
        running.into_iter().map(join).collect()
    });
    let mut best: Vec<Ranked> = parts.into_iter().flat_map(|part| part.best).collect();
    best.sort_unstable();
    best.truncate(empty.count);
    best
}

/// What a sieve finds in some shards.
fn over<'q>(items: &Items, shards: std::ops::Range<usize>, empty: &Sieve<'q>) -> Sieve<'q> {
    let mut sieve = empty.clone();
    items.scan(shards, &mut sieve);
    sieve
}

/// Keeps the best of what it is shown.
#[derive(Clone)]
struct Sieve<'q> {
    wanted: &'q Wanted<'q>,
    probe: Probe,
    count: usize,
    best: BinaryHeap<Ranked>,
}

impl Sieve<'_> {
    /// From here on only what is at least as good as the worst place that is kept is of use.
    fn narrow(&mut self) {
        let sort = self.wanted.query.sort;
        let value = self.worst().map(|worst| &worst.value);
        let range = value.and_then(|value| values_from(sort.key, value, sort.descending));
        if let Some((of, least, most)) = range {
            self.probe.bound(of, least, most);
        }
    }

    /// The worst place that is kept, once there are enough.
    fn worst(&self) -> Option<&ListCursor> {
        let is_full = self.best.len() == self.count;
        self.best.peek().filter(|_| is_full).map(|worst| &worst.place)
    }
}

impl Seeker for Sieve<'_> {
    fn probe(&self) -> &Probe {
        &self.probe
    }

    fn is_descending(&self) -> bool {
        let sort = self.wanted.query.sort;
        sort.key == SortKey::Sku && sort.descending
    }

    fn admits_within(&self, SkuRange { least, greatest }: &SkuRange) -> bool {
        let query = self.wanted.query;
        if let Some(prefix) = query.prefix.as_deref() {
            let (least, greatest) = (least.as_str(), greatest.as_str());
            if greatest < prefix || (least > prefix && !least.starts_with(prefix)) {
                return false;
            }
        }
        if query.sort.key != SortKey::Sku {
            return true;
        }
        let descending = query.sort.descending;
        let (first, last) = if descending { (greatest, least) } else { (least, greatest) };
        let is_before = |a: &Sku, b: &Sku| if descending { a > b } else { a < b };
        query.after.as_ref().is_none_or(|after| is_before(&after.sku, last))
            && self.worst().is_none_or(|worst| is_before(first, &worst.sku))
    }

    fn admits(&self, sku: SkuAt<'_>) -> bool {
        let sort = self.wanted.query.sort;
        let is_before = |place: &ListCursor| {
            compare_skus(&place.value, sku.text(), &place.sku, sort.descending).is_lt()
        };
        sort.key != SortKey::Sku || self.worst().is_none_or(is_before)
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
        if wanted.query.after.as_ref().is_some_and(|after| against(after).is_le())
            || self.worst().is_some_and(|worst| against(worst).is_ge())
        {
            return;
        }
        if self.best.len() == self.count {
            self.best.pop();
        }
        let sku = Sku::new(sku.text()).expect("only SKUs were put in");
        self.best.push(Ranked::new(value, sku, sort.descending));
        self.narrow();
    }
}

/// The values at or above this one, or at or below, where the columns know of them.
fn values_from(key: SortKey, value: &SortValue, above: bool) -> Option<(Counted, u64, u64)> {
    let of = match key {
        SortKey::Available => Counted::Available,
        SortKey::Stock => Counted::Stock,
        SortKey::Reserved => Counted::Reserved,
        SortKey::Sku | SortKey::Name | SortKey::Sold | SortKey::UpdatedAt | SortKey::CreatedAt => {
            return None;
        }
    };
    match value {
        SortValue::Number(number) if above => Some((of, *number, u64::MAX)),
        SortValue::Number(number) => Some((of, 0, *number)),
        SortValue::None | SortValue::Text(_) => None,
    }
}

/// What the columns can tell of a list.
fn probe_of(wanted: &Wanted<'_>, with_text: bool) -> Probe {
    let query = wanted.query;
    let mut probe = Probe::default();
    probe.low_stock(query.low_stock);
    probe.out_of_stock(query.out_of_stock);
    probe.active(query.active);
    probe.category(query.category.as_deref());
    probe.location(query.location.as_deref());
    if let Some(text) = wanted.text.as_ref().filter(|_| with_text) {
        probe.text(text.lower_case());
    }
    if query.available_min.is_some() || query.available_max.is_some() {
        let least = query.available_min.unwrap_or(0);
        probe.between(Counted::Available, least, query.available_max.unwrap_or(QUANTITY_MAX));
    }
    let (after, sort) = (&query.after, query.sort);
    let value = after.as_ref().map(|after| &after.value);
    let range = value.and_then(|value| values_from(sort.key, value, !sort.descending));
    if let Some((of, least, most)) = range {
        probe.between(of, least, most);
    }
    probe
}
