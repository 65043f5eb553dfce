//! Lists of items: filters, orders, pages that stay stable under writes. It must never hold the
//! order's lock while it looks at an item.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Bound;

use event_log::Seq;
use event_log::storage::Storage;
use shared::{Item, Sku, Timestamp};

use super::{LIST_LIMIT_MAX, Ledger};

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
        let limit = query.limit.clamp(1, LIST_LIMIT_MAX);
        let mut rows = if !query.skus.is_empty() {
            self.list_named(query, limit, now)
        } else if query.sort.key == SortKey::Sku {
            self.list_in_order(query, limit, now)
        } else {
            self.list_sorted(query, limit, now)
        };
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.place.clone());
        let rows = rows.into_iter().map(|row| (row.place.sku, row.item, row.last_seq)).collect();
        ListRead { rows, next, settle: self.log().last() }
    }

    /// Rows in SKU order: stops as soon as the page and one row are there.
    fn list_in_order(&self, query: &ListQuery, limit: usize, now: Timestamp) -> Vec<Row> {
        let descending = query.sort.descending;
        let mut from = first_bound(query);
        let mut rows = Vec::new();
        loop {
            let page = self.items().page(from.as_ref(), descending);
            let Some(last) = page.last() else {
                return rows;
            };
            from = Bound::Excluded(last.clone());
            for sku in page {
                if is_past(query.prefix.as_deref(), descending, &sku) {
                    return rows;
                }
                rows.extend(self.matching_row(query, sku, now, |_| true));
                if rows.len() > limit {
                    return rows;
                }
            }
        }
    }

    /// Rows by another value: looks at every item, keeps the first `limit` and one.
    fn list_sorted(&self, query: &ListQuery, limit: usize, now: Timestamp) -> Vec<Row> {
        let prefix = query.prefix.as_ref();
        let first = prefix.and_then(|prefix| Sku::new(prefix.trim_end()).ok());
        let mut from = first.map_or(Bound::Unbounded, Bound::Included);
        let mut best: BinaryHeap<Row> = BinaryHeap::new();
        loop {
            let page = self.items().page(from.as_ref(), false);
            let Some(last) = page.last() else { break };
            from = Bound::Excluded(last.clone());
            for sku in page {
                if is_past(query.prefix.as_deref(), false, &sku) {
                    return best.into_sorted_vec();
                }
                let worst = best.peek().filter(|_| best.len() > limit);
                let row = self.matching_row(query, sku, now, |place| {
                    worst.is_none_or(|worst| compare(place, &worst.place, worst.descending).is_lt())
                });
                let Some(row) = row else { continue };
                if best.len() > limit {
                    best.pop();
                }
                best.push(row);
            }
        }
        best.into_sorted_vec()
    }

    fn list_named(&self, query: &ListQuery, limit: usize, now: Timestamp) -> Vec<Row> {
        let mut skus: Vec<&Sku> = query.skus.iter().collect();
        skus.sort_unstable();
        skus.dedup();
        let row = |sku: &Sku| self.matching_row(query, sku.clone(), now, |_| true);
        let mut rows: Vec<Row> = skus.into_iter().filter_map(row).collect();
        rows.sort_unstable();
        rows.truncate(limit + 1);
        rows
    }

    /// The row of a SKU, if it matches, lies behind the cursor and is admitted; only then is the
    /// item copied.
    fn matching_row(
        &self,
        query: &ListQuery,
        sku: Sku,
        now: Timestamp,
        admit: impl FnOnce(&ListCursor) -> bool,
    ) -> Option<Row> {
        if !sku_matches(query, &sku) {
            return None;
        }
        let handle = self.items().get(&sku)?;
        let mut slot = handle.lock();
        if !slot.exists() || !metadata_matches(query, &sku, &slot.item) {
            return None;
        }
        self.expire_for_reading(&sku, &mut slot, now);
        if !quantities_match(query, &slot.item) {
            return None;
        }
        let value = sort_value(query.sort.key, &slot.item);
        let place = ListCursor { value, sku };
        let descending = query.sort.descending;
        let behind = |after| compare(&place, after, descending).is_gt();
        if !query.after.as_ref().is_none_or(behind) || !admit(&place) {
            return None;
        }
        Some(Row { place, descending, item: slot.item.clone(), last_seq: slot.last_seq })
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

fn sku_matches(query: &ListQuery, sku: &Sku) -> bool {
    query.prefix.as_deref().is_none_or(|prefix| sku.as_str().starts_with(prefix))
}

fn metadata_matches(query: &ListQuery, sku: &Sku, item: &Item) -> bool {
    let metadata = item.metadata();
    let equal = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
    equal(&query.category, &metadata.category)
        && equal(&query.location, &metadata.location)
        && query.text.as_deref().is_none_or(|text| {
            contains_ignoring_case(sku.as_str(), text)
                || contains_ignoring_case(&metadata.name, text)
        })
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    if text.is_ascii() && part.is_ascii() {
        let part = part.as_bytes();
        return part.is_empty()
            || text.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
    }
    text.to_lowercase().contains(&part.to_lowercase())
}

fn quantities_match(query: &ListQuery, item: &Item) -> bool {
    let cell = item.cell();
    let available = cell.quantities.available();
    query.active.is_none_or(|active| active == cell.flags.active)
        && query.low_stock.is_none_or(|low| low == cell.quantities.is_low_stock())
        && query.out_of_stock.is_none_or(|out| out == available.is_zero())
        && query.available_min.is_none_or(|min| available.get() >= min)
        && query.available_max.is_none_or(|max| available.get() <= max)
}

fn sort_value(key: SortKey, item: &Item) -> SortValue {
    let quantities = &item.cell().quantities;
    match key {
        SortKey::Sku => SortValue::None,
        SortKey::Name => SortValue::Text(item.metadata().name.to_string()),
        SortKey::Stock => SortValue::Number(quantities.stock.get()),
        SortKey::Available => SortValue::Number(quantities.available().get()),
        SortKey::Reserved => SortValue::Number(quantities.reserved.get()),
        SortKey::Sold => SortValue::Number(quantities.sold.get()),
        SortKey::UpdatedAt => SortValue::Number(item.updated_at().as_micros().unsigned_abs()),
        SortKey::CreatedAt => SortValue::Number(item.created_at().as_micros().unsigned_abs()),
    }
}

/// A row in the making, ordered as the list is.
struct Row {
    place: ListCursor,
    descending: bool,
    item: Item,
    last_seq: Seq,
}

fn compare(a: &ListCursor, b: &ListCursor, descending: bool) -> Ordering {
    let values = a.value.cmp(&b.value);
    let by_sku = matches!(a.value, SortValue::None) && descending;
    let skus = if by_sku { b.sku.cmp(&a.sku) } else { a.sku.cmp(&b.sku) };
    (if descending { values.reverse() } else { values }).then(skus)
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
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
        compare(&self.place, &other.place, self.descending)
    }
}
