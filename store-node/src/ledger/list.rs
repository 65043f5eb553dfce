//! Lists of items: filters, orders, pages that stay stable under writes. It must never hold the
//! order's lock while it looks at an item.

mod effort;
mod scan;
mod text;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Bound;

use event_log::Seq;
use event_log::storage::Storage;
use shared::cell::{Flags, Quantities};
use shared::codec::StateTexts;
use shared::{Item, Sku, Timestamp};

use super::items::{Handle, ORDER_PAGE_MAX};
use super::{LIST_LIMIT_MAX, Ledger};
pub(super) use effort::Effort;
use effort::{Rest, Walked};
use text::Needle;

/// Which items, in which order, from where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only these SKUs; empty = all.
    pub skus: Vec<Sku>,
    /// Only SKUs that begin so.
    pub prefix: Option<String>,
    /// Only this category.
    pub category: Option<String>,
    /// Only this location.
    pub location: Option<String>,
    /// Only active or only deactivated ones.
    pub active: Option<bool>,
    /// Only items at or below their reorder point (`true`), or only the others.
    pub low_stock: Option<bool>,
    /// Only items with nothing available (`true`), or only the others.
    pub out_of_stock: Option<bool>,
    /// Only items with at least so many units available.
    pub available_min: Option<u64>,
    /// Only items with at most so many units available.
    pub available_max: Option<u64>,
    /// Only items whose SKU or name contains this text, whatever the case.
    pub text: Option<String>,
    /// The order; ties by SKU.
    pub sort: Sort,
    /// Begin after this row.
    pub after: Option<ListCursor>,
    /// Rows at most, 1 to [`LIST_LIMIT_MAX`].
    pub limit: usize,
}

impl ListQuery {
    /// Whether a page of it looks at little more than its rows: named SKUs, or a stretch of all of
    /// them in their own order. Any other may have to look at every item.
    pub fn is_bounded(&self) -> bool {
        let Self { skus, category, location, active, text, sort, .. } = self;
        let named = !skus.is_empty();
        let unfiltered = category.is_none()
            && location.is_none()
            && active.is_none()
            && text.is_none()
            && self.low_stock.is_none()
            && self.out_of_stock.is_none()
            && self.available_min.is_none()
            && self.available_max.is_none();
        named
            || (unfiltered
                && sort.key == SortKey::Sku
                && !(sort.descending && self.prefix.is_some()))
    }
}

/// The order of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sort {
    /// By what.
    pub key: SortKey,
    /// Greatest first (ties by SKU ascending all the same).
    pub descending: bool,
}

/// What a list can be ordered by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortKey {
    /// The SKU, byte for byte.
    #[default]
    Sku,
    /// The name, byte for byte.
    Name,
    /// Units on hand.
    Stock,
    /// Units available.
    Available,
    /// Units reserved.
    Reserved,
    /// Units sold.
    Sold,
    /// When the item last changed.
    UpdatedAt,
    /// When the item was created.
    CreatedAt,
}

/// What a row is ordered by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SortValue {
    /// The SKU alone.
    None,
    /// A quantity or a time in µs.
    Number(u64),
    /// A name.
    Text(String),
}

/// The place of a row in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListCursor {
    /// The row's sort value.
    pub value: SortValue,
    /// The row's SKU.
    pub sku: Sku,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListRead {
    /// The rows in order, each with the seq of its last event.
    pub rows: Vec<(Sku, Item, Seq)>,
    /// Where the next page begins; none = this is the last.
    pub next: Option<ListCursor>,
    /// The reply may be sent once the log is durable up to here.
    pub settle: Seq,
}

impl<S: Storage> Ledger<S> {
    /// One page of the items that match.
    pub fn list(&self, query: &ListQuery, now: Timestamp) -> ListRead {
        self.list_with(query, now, Effort::USUAL)
    }

    /// The same, made so.
    pub(super) fn list_with(&self, query: &ListQuery, now: Timestamp, effort: Effort) -> ListRead {
        let limit = query.limit.clamp(1, LIST_LIMIT_MAX);
        let wanted = Wanted::new(query);
        let found = if !query.skus.is_empty() {
            Some(self.list_named(&wanted, limit, now))
        } else if query.sort.key == SortKey::Sku {
            self.list_in_order(&wanted, limit, now, effort)
        } else {
            self.list_sorted(&wanted, limit, now, effort.sorted_pages_max)
        };
        let Found { rows, next } = match found {
            Some(rows) => Found::of(rows, limit),
            None => self.list_scanned(&wanted, limit, now, effort.items_a_thread),
        };
        let rows = rows.into_iter().map(|row| (row.ranked.place.sku, row.item, row.last_seq));
        ListRead { rows: rows.collect(), next, settle: self.log().last() }
    }

    /// Rows in SKU order: stops as soon as the page and one row are there. None: looking at all
    /// items is cheaper.
    fn list_in_order(
        &self,
        wanted: &Wanted<'_>,
        limit: usize,
        now: Timestamp,
        effort: Effort,
    ) -> Option<Vec<Row>> {
        let query = wanted.query;
        let descending = query.sort.descending;
        // Without filters no more are needed than make a page of rows.
        let together = if query.is_bounded() { limit + 1 } else { ORDER_PAGE_MAX };
        let mut from = first_bound(query);
        let mut rest = None;
        let mut rows = Vec::new();
        for walked in 0.. {
            let walked = Walked { pages: walked, rows: rows.len(), limit };
            if effort.prefers_scan(walked, || *rest.get_or_insert_with(|| self.rest_behind(&from)))
            {
                return None;
            }
            let page = self.items().page(from.as_ref(), descending);
            let Some(last) = page.last() else {
                return Some(rows);
            };
            from = Bound::Excluded(last.clone());
            for skus in page.chunks(together) {
                for (sku, handle) in skus.iter().zip(self.items().get_many(skus)) {
                    if is_past(query.prefix.as_deref(), descending, sku) {
                        return Some(rows);
                    }
                    let handle = handle.as_ref();
                    rows.extend(self.matching_row(wanted, sku.clone(), handle, now, |_| true));
                    if rows.len() > limit {
                        return Some(rows);
                    }
                }
            }
        }
        None
    }

    /// Where SKUs from this one on lie.
    fn rest_behind(&self, from: &Bound<Sku>) -> Rest {
        let pages = self.items().len() / ORDER_PAGE_MAX;
        let (around, asked) = match from {
            Bound::Included(sku) | Bound::Excluded(sku) => self.items().columns_around(sku),
            Bound::Unbounded => (1, 1),
        };
        Rest { pages, around, asked }
    }

    /// Rows by another value: looks at every item, keeps the first `limit` and one. None: those
    /// are too many.
    fn list_sorted(
        &self,
        wanted: &Wanted<'_>,
        limit: usize,
        now: Timestamp,
        pages_max: usize,
    ) -> Option<Vec<Row>> {
        let query = wanted.query;
        let prefix = query.prefix.as_ref();
        if prefix.is_none() && self.items().len() > pages_max * ORDER_PAGE_MAX {
            return None;
        }
        let first = prefix.and_then(|prefix| Sku::new(prefix.trim_end()).ok());
        let mut from = first.map_or(Bound::Unbounded, Bound::Included);
        let mut best: BinaryHeap<Row> = BinaryHeap::new();
        for _ in 0..=pages_max {
            let page = self.items().page(from.as_ref(), false);
            let Some(last) = page.last() else {
                return Some(best.into_sorted_vec());
            };
            from = Bound::Excluded(last.clone());
            let handles = self.items().get_many(&page);
            for (sku, handle) in page.into_iter().zip(&handles) {
                if is_past(query.prefix.as_deref(), false, &sku) {
                    return Some(best.into_sorted_vec());
                }
                let worst = best.peek().filter(|_| best.len() > limit);
                let row = self.matching_row(wanted, sku, handle.as_ref(), now, |place| {
                    worst.is_none_or(|worst| {
                        compare(place, &worst.ranked.place, query.sort.descending).is_lt()
                    })
                });
                let Some(row) = row else { continue };
                if best.len() > limit {
                    best.pop();
                }
                best.push(row);
            }
        }
        None
    }

    fn list_named(&self, wanted: &Wanted<'_>, limit: usize, now: Timestamp) -> Vec<Row> {
        let mut skus: Vec<&Sku> = wanted.query.skus.iter().collect();
        skus.sort_unstable();
        skus.dedup();
        let row = |sku: &Sku| self.row_if_matching(wanted, sku.clone(), now);
        let mut rows: Vec<Row> = skus.into_iter().filter_map(row).collect();
        rows.sort_unstable();
        rows.truncate(limit + 1);
        rows
    }

    /// The row of a SKU, if it matches and lies behind the cursor.
    fn row_if_matching(&self, wanted: &Wanted<'_>, sku: Sku, now: Timestamp) -> Option<Row> {
        let handle = self.items().get(&sku);
        self.matching_row(wanted, sku, handle.as_ref(), now, |_| true)
    }

    /// The row of a SKU and its slot, if it matches, lies behind the cursor and is admitted; only
    /// then is the item copied.
    fn matching_row(
        &self,
        wanted: &Wanted<'_>,
        sku: Sku,
        handle: Option<&Handle>,
        now: Timestamp,
        admit: impl FnOnce(&ListCursor) -> bool,
    ) -> Option<Row> {
        let query = wanted.query;
        if !wanted.has_prefix(sku.as_str()) {
            return None;
        }
        let mut slot = handle?.lock();
        if !slot.exists() || !wanted.texts_match(|| sku.as_str(), &StateTexts::of(&slot.item)) {
            return None;
        }
        self.expire_for_reading(&sku, &mut slot, now);
        let (quantities, flags) = (slot.item.cell().quantities, slot.item.cell().flags);
        if !wanted.numbers_match(&quantities, flags) {
            return None;
        }
        let value = sort_value(query.sort.key, &quantities, || StateTexts::of(&slot.item));
        let ranked = Ranked::new(value, sku, query.sort.descending);
        let behind = |after| compare(&ranked.place, after, query.sort.descending).is_gt();
        if !query.after.as_ref().is_none_or(behind) || !admit(&ranked.place) {
            return None;
        }
        Some(Row { ranked, item: slot.item.clone(), last_seq: slot.last_seq })
    }
}

/// Rows of a page in order, and where the next begins.
struct Found {
    rows: Vec<Row>,
    next: Option<ListCursor>,
}

impl Found {
    /// The first `limit` of these rows.
    fn of(mut rows: Vec<Row>, limit: usize) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.ranked.place.clone());
        Self { rows, next }
    }
}

/// Where a list in SKU order begins.
fn first_bound(query: &ListQuery) -> Bound<Sku> {
    if let Some(after) = &query.after {
        return Bound::Excluded(after.sku.clone());
    }
    let Some(prefix) = query.prefix.as_deref().filter(|_| !query.sort.descending) else {
        return Bound::Unbounded;
    };
    // A prefix may end in white space, which no SKU may: its trimmed form sorts before it.
    Sku::new(prefix.trim_end()).map_or(Bound::Unbounded, Bound::Included)
}

/// Whether every SKU from here on lies beyond the prefix.
fn is_past(prefix: Option<&str>, descending: bool, sku: &Sku) -> bool {
    let Some(prefix) = prefix else { return false };
    !sku.as_str().starts_with(prefix) && (sku.as_str() > prefix) != descending
}

/// A query, ready to be held against many items.
struct Wanted<'q> {
    query: &'q ListQuery,
    text: Option<Needle>,
}

impl<'q> Wanted<'q> {
    fn new(query: &'q ListQuery) -> Self {
        Self { query, text: query.text.as_deref().map(Needle::new) }
    }

    fn has_prefix(&self, sku: &str) -> bool {
        self.query.prefix.as_deref().is_none_or(|prefix| sku.starts_with(prefix))
    }

    fn texts_match<'a>(&self, sku: impl Fn() -> &'a str, item: &StateTexts<'_>) -> bool {
        let equal = |wanted: &Option<String>, found: &[u8]| {
            wanted.as_deref().is_none_or(|wanted| wanted.as_bytes() == found)
        };
        let has = |text: &Needle| text.is_in(item.name) || text.is_in(sku().as_bytes());
        equal(&self.query.category, item.category)
            && equal(&self.query.location, item.location)
            && self.text.as_ref().is_none_or(has)
    }

    /// Whether any item's texts match.
    fn takes_any_texts(&self) -> bool {
        let ListQuery { category, location, text, .. } = self.query;
        category.is_none() && location.is_none() && text.is_none()
    }

    fn numbers_match(&self, quantities: &Quantities, flags: Flags) -> bool {
        let (query, available) = (self.query, quantities.available());
        query.active.is_none_or(|active| active == flags.active)
            && query.low_stock.is_none_or(|low| low == quantities.is_low_stock())
            && query.out_of_stock.is_none_or(|out| out == available.is_zero())
            && query.available_min.is_none_or(|min| available.get() >= min)
            && query.available_max.is_none_or(|max| available.get() <= max)
    }
}

fn sort_value<'a>(
    key: SortKey,
    quantities: &Quantities,
    texts: impl FnOnce() -> StateTexts<'a>,
) -> SortValue {
    match key {
        SortKey::Sku => SortValue::None,
        SortKey::Name => SortValue::Text(String::from_utf8_lossy(texts().name).into_owned()),
        SortKey::Stock => SortValue::Number(quantities.stock.get()),
        SortKey::Available => SortValue::Number(quantities.available().get()),
        SortKey::Reserved => SortValue::Number(quantities.reserved.get()),
        SortKey::Sold => SortValue::Number(quantities.sold.get()),
        SortKey::UpdatedAt => SortValue::Number(texts().updated_at.as_micros().unsigned_abs()),
        SortKey::CreatedAt => SortValue::Number(texts().created_at.as_micros().unsigned_abs()),
    }
}

/// A place, ordered as its list is.
#[derive(Clone)]
struct Ranked {
    place: ListCursor,
    descending: bool,
}

impl Ranked {
    fn new(value: SortValue, sku: Sku, descending: bool) -> Self {
        Self { place: ListCursor { value, sku }, descending }
    }
}

fn compare(a: &ListCursor, b: &ListCursor, descending: bool) -> Ordering {
    let values = compare_values(&a.value, &b.value, descending);
    values.then_with(|| compare_skus(&a.value, a.sku.as_str(), &b.sku, descending))
}

fn compare_values(a: &SortValue, b: &SortValue, descending: bool) -> Ordering {
    if descending { b.cmp(a) } else { a.cmp(b) }
}

/// Compares the SKUs of two places with the same value.
fn compare_skus(value: &SortValue, a: &str, b: &Sku, descending: bool) -> Ordering {
    let by_sku = matches!(value, SortValue::None) && descending;
    if by_sku { b.as_str().cmp(a) } else { a.cmp(b.as_str()) }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.place, &other.place, self.descending)
    }
}

/// A row in the making, ordered as its place is.
struct Row {
    ranked: Ranked,
    item: Item,
    last_seq: Seq,
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.ranked == other.ranked
    }
}

impl Eq for Row {}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> Ordering {
        self.ranked.cmp(&other.ranked)
    }
}
