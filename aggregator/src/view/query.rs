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
use super::sieve::Sieve;
use super::{Held, MemoryView};

mod whole;

/// SKUs that are looked at before a shard's lock is let go.
const SKUS_PER_LOCK_MAX: usize = 512;
/// SKUs that a list looks at in their order, which is slow, before it looks at all of them as they
/// lie in memory. Tests look at so few that both ways are gone.
const SKUS_IN_ORDER_MAX: usize = if cfg!(test) { 20 } else { 50_000 };
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

impl MemoryView {
    /// One item; none if no visible slot holds it.
    pub fn item(&self, sku: &Sku) -> Option<ItemRow> {
        let visible = self.visible();
        self.row(&visible, sku)
    }

    /// A page of items, and the cursor of the next one if there is more.
    pub fn page(&self, request: &PageRequest) -> (Vec<ItemRow>, Option<PageCursor>) {
        let visible = self.visible();
        let is_by_sku = request.rank == Rank::Sku && !request.descending;
        let in_order = if !request.filter.skus.is_empty() {
            Some(self.rows_of_skus(&visible, request))
        } else if is_by_sku {
            self.rows_by_sku(&visible, request)
        } else if request.filter.prefix.is_some() {
            self.best_in_order(&visible, request)
        } else {
            None
        };
        let mut rows = in_order.unwrap_or_else(|| self.best_of_all(&visible, request));
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
        self.with_sku(sku.as_str(), |shard, id| row_of(shard, id, visible))?
    }

    /// The asked-for SKUs that match, in order.
    fn rows_of_skus(&self, visible: &[VisibleSlot], request: &PageRequest) -> Vec<(i64, ItemRow)> {
        let mut skus = request.filter.skus.clone();
        skus.sort_unstable();
        skus.dedup();
        let mut rows = Vec::new();
        for sku in &skus {
            let found = self.with_sku(sku.as_str(), |shard, id| {
                let sieve = Sieve::new(shard, visible, request)?;
                let rank = sieve.rank(id).filter(|_| sieve.has_texts(id))?;
                Some((rank, row_of(shard, id, visible)?))
            });
            rows.extend(found.flatten());
        }
        rows.sort_by(|a, b| request.compare((a.0, &a.1.sku), (b.0, &b.1.sku)));
        rows.retain(|(rank, row)| request.is_after_cursor(*rank, &row.sku));
        rows
    }

    /// Merges the shards' sorted rows until the page and one row more are there; none if that
    /// takes too many SKUs that don't match.
    fn rows_by_sku(
        &self,
        visible: &[VisibleSlot],
        request: &PageRequest,
    ) -> Option<Vec<(i64, ItemRow)>> {
        let batch = (request.limit / SHARDS * 2).max(SHARD_ROWS_MIN);
        let mut shards: Vec<ShardRows> = (0..SHARDS).map(ShardRows::new).collect();
        let mut page = Vec::with_capacity(request.limit + 1);
        let mut left = SKUS_IN_ORDER_MAX;
        while page.len() <= request.limit {
            for shard in &mut shards {
                shard.fill(self, visible, request, batch, &mut left)?;
            }
            let heads = shards.iter_mut().filter(|shard| !shard.rows.is_empty());
            let Some(next) = heads.min_by(|a, b| a.rows[0].1.sku.cmp(&b.rows[0].1.sku)) else {
                break;
            };
            page.extend(next.rows.pop_front());
        }
        Some(page)
    }

    /// The first rows of those whose SKUs begin with the prefix; none if those are too many.
    fn best_in_order(
        &self,
        visible: &[VisibleSlot],
        request: &PageRequest,
    ) -> Option<Vec<(i64, ItemRow)>> {
        let mut best = Best::new(request);
        let mut left = SKUS_IN_ORDER_MAX;
        for index in 0..SHARDS {
            let mut last: Option<Sku> = None;
            loop {
                let start = request.start(last.as_ref());
                let mut show = |rank, shard: &Shard, id| {
                    if best.admits(rank, shard.sku(id)) {
                        best.push(rank, shard.sku(id));
                    }
                    true
                };
                let Scan { looked, end } = self.scan(index, start, visible, request, &mut show);
                left = left.checked_sub(looked)?;
                match end {
                    Some(sku) => last = Some(sku),
                    None => break,
                }
            }
        }
        Some(self.rows_of(visible, best))
    }

    fn rows_of(&self, visible: &[VisibleSlot], best: Best<'_>) -> Vec<(i64, ItemRow)> {
        let ranked = best.heap.into_sorted_vec();
        ranked
            .into_iter()
            .filter_map(|key| Some((key.rank, self.row(visible, &key.sku)?)))
            .collect()
    }

    /// Looks at up to [`SKUS_PER_LOCK_MAX`] SKUs from `start` on under one lock and shows those that
    /// match, until `show` says stop.
    fn scan(
        &self,
        index: usize,
        start: Start<'_>,
        visible: &[VisibleSlot],
        request: &PageRequest,
        show: &mut dyn FnMut(i64, &Shard, u32) -> bool,
    ) -> Scan {
        let shard = self.shard(index);
        let nothing = Scan { looked: 0, end: None };
        let Some(sieve) = Sieve::new(&shard, visible, request) else { return nothing };
        let prefix = request.filter.prefix.as_deref().unwrap_or("");
        let mut last: Option<&Sku> = None;
        for (looked, id) in shard.ids_from(start).enumerate() {
            let sku = shard.sku(id);
            if !sku.as_str().starts_with(prefix) {
                return Scan { looked, end: None };
            }
            if looked == SKUS_PER_LOCK_MAX {
                return Scan { looked, end: last.cloned() };
            }
            last = Some(sku);
            let rank = sieve.rank(id).filter(|_| sieve.has_texts(id));
            if rank.is_some_and(|rank| !show(rank, &shard, id)) {
                return Scan { looked: looked + 1, end: last.cloned() };
            }
        }
        Scan { looked: SKUS_PER_LOCK_MAX, end: None }
    }
}

/// How a walk in SKU order ended.
struct Scan {
    /// SKUs that were looked at, or a few more.
    looked: usize,
    /// The last of them, if there may be more.
    end: Option<Sku>,
}

/// The first rows of a list so far, in any order.
struct Best<'a> {
    request: &'a PageRequest,
    heap: BinaryHeap<Ranked>,
}

impl<'a> Best<'a> {
    fn new(request: &'a PageRequest) -> Self {
        Self { request, heap: BinaryHeap::with_capacity(request.limit + 2) }
    }

    /// Whether a row comes behind the cursor and before the last one of a full page.
    fn admits(&self, rank: i64, sku: &Sku) -> bool {
        let request = self.request;
        let is_early = |worst: &Ranked| {
            request.compare((rank, sku), (worst.rank, &worst.sku)) == Ordering::Less
        };
        let is_full = self.heap.len() > request.limit;
        (!is_full || self.heap.peek().is_some_and(is_early)) && request.is_after_cursor(rank, sku)
    }

    /// Takes a row that is admitted.
    fn push(&mut self, rank: i64, sku: &Sku) {
        let request = self.request;
        let (by, descending) = (request.rank, request.descending);
        self.heap.push(Ranked { rank, sku: sku.clone(), by, descending });
        if self.heap.len() > request.limit + 1 {
            self.heap.pop();
        }
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
    // Most are told apart by their ranks: SKUs lie elsewhere.
    let by_rank = a.0.cmp(&b.0);
    let by_sku = || a.1.cmp(b.1);
    match (by, descending) {
        (Rank::Sku, false) => by_sku(),
        (Rank::Sku, true) => by_sku().reverse(),
        (_, false) => by_rank.then_with(by_sku),
        (_, true) => by_rank.reverse().then_with(by_sku),
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

    /// Looks for the next rows; none if that takes more SKUs than are `left`.
    fn fill(
        &mut self,
        view: &MemoryView,
        visible: &[VisibleSlot],
        request: &PageRequest,
        batch: usize,
        left: &mut usize,
    ) -> Option<()> {
        while self.rows.is_empty() && !self.ended {
            let start = request.start(self.last.as_ref());
            let rows = &mut self.rows;
            let mut show = |rank, shard: &Shard, id| {
                rows.extend(row_of(shard, id, visible).map(|row| (rank, row)));
                rows.len() < batch
            };
            let Scan { looked, end } = view.scan(self.index, start, visible, request, &mut show);
            *left = left.checked_sub(looked)?;
            self.ended = end.is_none();
            self.last = end;
        }
        Some(())
    }
}

/// Everything that the visible slots hold of a SKU.
fn row_of(shard: &Shard, id: u32, visible: &[VisibleSlot]) -> Option<ItemRow> {
    let part = |slot: &VisibleSlot| {
        let (held, texts) = shard.part(slot.slot.number(), id)?;
        let store_id = slot.store_id.clone();
        Some(ItemPart { store_id, held, name: texts.name.into(), unit: texts.unit.into() })
    };
    let parts: Vec<ItemPart> = visible.iter().filter_map(part).collect();
    (!parts.is_empty()).then(|| ItemRow { sku: shard.sku(id).clone(), parts })
}
