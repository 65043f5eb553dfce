//! Questions to the view: one item, pages of items, the summary's sums. Read-only; a question locks
//! one shard at a time and only for a bounded number of SKUs.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use compact_str::CompactString;
use shared::wire::cursor::PageCursor;
use shared::{Sku, StoreId};

use super::memory::{SHARDS, VisibleSlot};
use super::order::Start;
use super::shard::Shard;
use super::{Held, MemoryView, MetadataTexts};

/// SKUs that are looked at before a shard's lock is let go.
const SKUS_PER_LOCK_MAX: usize = 512;
/// Rows that are taken from a shard at a time while pages are merged.
const SHARD_ROWS_MIN: usize = 8;

/// Which items.
#[derive(Debug, Clone, Default)]
pub struct ItemFilter {
    /// Exactly these; all where it is empty.
    pub skus: Vec<Sku>,
    /// Whose SKU begins so.
    pub prefix: Option<String>,
    /// Of this category in the looked-at stores.
    pub category: Option<String>,
    /// In this place in a looked-at store.
    pub location: Option<String>,
    /// In sale in a looked-at store, or in none.
    pub active: Option<bool>,
    /// Low in a looked-at store, or in none.
    pub low_stock: Option<bool>,
    /// With nothing available in the looked-at stores together, or with something.
    pub out_of_stock: Option<bool>,
    /// With at least so many available.
    pub min_available: Option<u64>,
    /// With at most so many available.
    pub max_available: Option<u64>,
    /// Whose SKU or name holds this text, in lower case.
    pub text: Option<String>,
    /// Look at this store's cells only; without it at all of them together.
    pub store_id: Option<StoreId>,
}

/// What a list is sorted by; ties by SKU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rank {
    /// The SKU itself.
    #[default]
    Sku,
    /// Units on hand.
    Stock,
    /// Units promised.
    Reserved,
    /// Units sold.
    Sold,
    /// Units available.
    Available,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// Which items.
    pub filter: ItemFilter,
    /// In which order.
    pub rank: Rank,
    /// Greatest first.
    pub descending: bool,
    /// Behind which row.
    pub after: Option<PageCursor>,
    /// At most how many rows, at least 1.
    pub limit: usize,
}

/// One item as the visible slots hold it.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemRow {
    /// The item.
    pub sku: Sku,
    /// Each store's part, by store id; never empty.
    pub parts: Vec<ItemPart>,
}

/// One store's part of an item.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemPart {
    /// The store.
    pub store_id: StoreId,
    /// What is held.
    pub held: Held,
    /// What the store calls it; empty = nothing.
    pub name: CompactString,
    /// In which unit the store counts it.
    pub unit: CompactString,
}

/// A store's cell while its shard is locked: the place in the visible slots, and what is there.
type Seen<'a> = (usize, Held, MetadataTexts<'a>);

impl MemoryView {
    /// One item; none if no visible slot holds it.
    pub fn item(&self, sku: &Sku) -> Option<ItemRow> {
        let visible = self.visible();
        self.row(&visible, sku)
    }

    /// A page of items, and the cursor of the next one if there is more.
    pub fn page(&self, request: &PageRequest) -> (Vec<ItemRow>, Option<PageCursor>) {
        let visible = self.visible();
        let mut rows = if request.filter.skus.is_empty() {
            match request.rank {
                Rank::Sku if !request.descending => self.rows_by_sku(&visible, request),
                _ => self.rows_by_rank(&visible, request),
            }
        } else {
            self.rows_of_skus(&visible, request)
        };
        let more = rows.len() > request.limit;
        rows.truncate(request.limit);
        let last = rows.last().filter(|_| more);
        let cursor = last.map(|(rank, row)| {
            let rank = (request.rank != Rank::Sku).then_some(*rank);
            PageCursor { rank, sku: row.sku.clone() }
        });
        (rows.into_iter().map(|(_, row)| row).collect(), cursor)
    }

    fn row(&self, visible: &[VisibleSlot], sku: &Sku) -> Option<ItemRow> {
        self.with_sku(sku.as_str(), |shard, id| {
            let mut seen = Vec::with_capacity(visible.len());
            look(shard, id, visible, &mut seen);
            row_of(sku, visible, &seen)
        })?
    }

    /// The asked-for SKUs that match, in order.
    fn rows_of_skus(&self, visible: &[VisibleSlot], request: &PageRequest) -> Vec<(i64, ItemRow)> {
        let mut skus = request.filter.skus.clone();
        skus.sort_unstable();
        skus.dedup();
        let mut rows = Vec::new();
        for sku in &skus {
            let found = self.with_sku(sku.as_str(), |shard, id| {
                let mut seen = Vec::new();
                look(shard, id, visible, &mut seen);
                let rank = rank_of_match(sku, visible, &seen, request)?;
                Some((rank, row_of(sku, visible, &seen)?))
            });
            rows.extend(found.flatten());
        }
        rows.sort_by(|a, b| request.compare((a.0, &a.1.sku), (b.0, &b.1.sku)));
        rows.retain(|(rank, row)| request.is_after_cursor(*rank, &row.sku));
        rows
    }

    /// Merges the shards' sorted rows until the page and one row more are there.
    fn rows_by_sku(&self, visible: &[VisibleSlot], request: &PageRequest) -> Vec<(i64, ItemRow)> {
        let batch = (request.limit / SHARDS * 2).max(SHARD_ROWS_MIN);
        let mut shards: Vec<ShardRows> = (0..SHARDS).map(ShardRows::new).collect();
        let mut page = Vec::with_capacity(request.limit + 1);
        while page.len() <= request.limit {
            for shard in &mut shards {
                shard.fill(self, visible, request, batch);
            }
            let heads = shards.iter_mut().filter(|shard| !shard.rows.is_empty());
            let Some(next) = heads.min_by(|a, b| a.rows[0].1.sku.cmp(&b.rows[0].1.sku)) else {
                break;
            };
            page.extend(next.rows.pop_front());
        }
        page
    }

    /// Keeps the first rows in rank order over all SKUs, then reads those.
    fn rows_by_rank(&self, visible: &[VisibleSlot], request: &PageRequest) -> Vec<(i64, ItemRow)> {
        let mut best: BinaryHeap<Ranked> = BinaryHeap::with_capacity(request.limit + 2);
        for index in 0..SHARDS {
            let mut last: Option<Sku> = None;
            loop {
                let start = request.start(last.as_ref());
                let end = self.scan(index, start, visible, request, &mut |rank, sku, _| {
                    if request.is_after_cursor(rank, sku) {
                        let (by, descending) = (request.rank, request.descending);
                        best.push(Ranked { rank, sku: sku.clone(), by, descending });
                        if best.len() > request.limit + 1 {
                            best.pop();
                        }
                    }
                    true
                });
                match end {
                    Some(sku) => last = Some(sku),
                    None => break,
                }
            }
        }
        let ranked = best.into_sorted_vec();
        ranked
            .into_iter()
            .filter_map(|key| Some((key.rank, self.row(visible, &key.sku)?)))
            .collect()
    }

    /// Looks at up to [`SKUS_PER_LOCK_MAX`] SKUs from `start` on under one lock and shows those that
    /// match, until `show` says stop. Returns the last SKU it looked at, if there may be more.
    fn scan(
        &self,
        index: usize,
        start: Start<'_>,
        visible: &[VisibleSlot],
        request: &PageRequest,
        show: &mut dyn FnMut(i64, &Sku, &[Seen<'_>]) -> bool,
    ) -> Option<Sku> {
        let shard = self.shard(index);
        let mut seen = Vec::with_capacity(visible.len());
        let mut last: Option<&Sku> = None;
        for (count, id) in shard.ids_from(start).enumerate() {
            let sku = shard.sku(id);
            let prefix = request.filter.prefix.as_deref().unwrap_or("");
            if !sku.as_str().starts_with(prefix) {
                return None;
            }
            if count == SKUS_PER_LOCK_MAX {
                return last.cloned();
            }
            last = Some(sku);
            look(&shard, id, visible, &mut seen);
            let rank = rank_of_match(sku, visible, &seen, request);
            if rank.is_some_and(|rank| !show(rank, sku, &seen)) {
                return last.cloned();
            }
        }
        None
    }
}

impl PageRequest {
    /// Where a walk in SKU order begins: behind `last`, else behind the cursor, else at the prefix.
    fn start<'a>(&'a self, last: Option<&'a Sku>) -> Start<'a> {
        let cursor = self.after.as_ref().filter(|_| self.rank == Rank::Sku && !self.descending);
        let prefix = self.filter.prefix.as_deref();
        match (last, cursor.map(|cursor| cursor.sku.as_str()), prefix) {
            (Some(last), _, _) => Start::After(last.as_str()),
            (None, Some(sku), Some(prefix)) if prefix > sku => Start::At(prefix),
            (None, Some(sku), _) => Start::After(sku),
            (None, None, Some(prefix)) => Start::At(prefix),
            (None, None, None) => Start::First,
        }
    }

    fn compare(&self, a: (i64, &Sku), b: (i64, &Sku)) -> Ordering {
        compare(self.rank, self.descending, a, b)
    }

    fn is_after_cursor(&self, rank: i64, sku: &Sku) -> bool {
        self.after.as_ref().is_none_or(|cursor| {
            self.compare((rank, sku), (cursor.rank.unwrap_or(0), &cursor.sku)) == Ordering::Greater
        })
    }
}

fn compare(by: Rank, descending: bool, a: (i64, &Sku), b: (i64, &Sku)) -> Ordering {
    let by_rank = a.0.cmp(&b.0);
    let by_sku = a.1.cmp(b.1);
    match (by, descending) {
        (Rank::Sku, false) => by_sku,
        (Rank::Sku, true) => by_sku.reverse(),
        (_, false) => by_rank.then(by_sku),
        (_, true) => by_rank.reverse().then(by_sku),
    }
}

/// A row's place in a list; the greatest is the one that falls out of the page first.
#[derive(Debug, PartialEq, Eq)]
struct Ranked {
    rank: i64,
    sku: Sku,
    by: Rank,
    descending: bool,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = ((self.rank, &self.sku), (other.rank, &other.sku));
        compare(self.by, self.descending, a, b)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The next rows of one shard.
struct ShardRows {
    index: usize,
    rows: VecDeque<(i64, ItemRow)>,
    last: Option<Sku>,
    ended: bool,
}

impl ShardRows {
    fn new(index: usize) -> Self {
        Self { index, rows: VecDeque::new(), last: None, ended: false }
    }

    fn fill(
        &mut self,
        view: &MemoryView,
        visible: &[VisibleSlot],
        request: &PageRequest,
        batch: usize,
    ) {
        while self.rows.is_empty() && !self.ended {
            let start = request.start(self.last.as_ref());
            let rows = &mut self.rows;
            let end = view.scan(self.index, start, visible, request, &mut |rank, sku, seen| {
                rows.extend(row_of(sku, visible, seen).map(|row| (rank, row)));
                rows.len() < batch
            });
            self.ended = end.is_none();
            self.last = end;
        }
    }
}

/// Collects what each visible slot holds of a SKU.
fn look<'a>(shard: &'a Shard, id: u32, visible: &[VisibleSlot], seen: &mut Vec<Seen<'a>>) {
    seen.clear();
    for (place, slot) in visible.iter().enumerate() {
        if let Some((held, texts)) = shard.part(slot.slot.number(), id) {
            seen.push((place, held, texts));
        }
    }
}

fn row_of(sku: &Sku, visible: &[VisibleSlot], seen: &[Seen<'_>]) -> Option<ItemRow> {
    let parts = seen.iter().map(|(place, held, texts)| ItemPart {
        store_id: visible[*place].store_id.clone(),
        held: *held,
        name: texts.name.into(),
        unit: texts.unit.into(),
    });
    (!seen.is_empty()).then(|| ItemRow { sku: sku.clone(), parts: parts.collect() })
}

/// The rank of an item that passes the filter; none for one that doesn't.
fn rank_of_match(
    sku: &Sku,
    visible: &[VisibleSlot],
    seen: &[Seen<'_>],
    request: &PageRequest,
) -> Option<i64> {
    let filter = &request.filter;
    let store = filter.store_id.as_ref();
    let looked_at =
        || seen.iter().filter(|(place, ..)| store.is_none_or(|id| visible[*place].store_id == *id));
    looked_at().next()?;
    let any = |test: &dyn Fn(&Held, &MetadataTexts<'_>) -> bool| {
        looked_at().any(|(_, held, texts)| test(held, texts))
    };
    let sum =
        |quantity: fn(&Held) -> u64| looked_at().map(|(_, held, _)| quantity(held)).sum::<u64>();
    let available = sum(|held| held.cell.quantities.available().get());
    let flag = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
    let matches =
        filter.prefix.as_ref().is_none_or(|prefix| sku.as_str().starts_with(prefix.as_str()))
            && filter.category.as_ref().is_none_or(|text| any(&|_, texts| texts.category == text))
            && filter.location.as_ref().is_none_or(|text| any(&|_, texts| texts.location == text))
            && filter.min_available.is_none_or(|min| available >= min)
            && filter.max_available.is_none_or(|max| available <= max)
            && flag(filter.out_of_stock, available == 0)
            && flag(filter.active, any(&|held, _| held.cell.flags.active))
            && flag(filter.low_stock, any(&|held, _| held.cell.quantities.is_low_stock()))
            && filter.text.as_ref().is_none_or(|text| {
                contains(sku.as_str(), text) || any(&|_, texts| contains(texts.name, text))
            });
    let rank = match request.rank {
        Rank::Sku => 0,
        Rank::Stock => sum(|held| held.cell.quantities.stock.get()),
        Rank::Reserved => sum(|held| held.cell.quantities.reserved.get()),
        Rank::Sold => sum(|held| held.cell.quantities.sold.get()),
        Rank::Available => available,
    };
    matches.then(|| i64::try_from(rank).unwrap_or(i64::MAX))
}

fn contains(text: &str, lower_case: &str) -> bool {
    text.to_lowercase().contains(lower_case)
}
