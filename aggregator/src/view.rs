//! The global view: what is held for each SKU and store, and the questions that are asked of it.
//!
//! Followers write one store's part, its *slot*, cell by cell; a slot is invisible until it is
//! published under its store's name, and publishing swaps it for the former one at once. Nothing
//! here may decide whether an event is right: that is the follower's work. A query must never stop
//! the sync: every lock is held for a bounded number of cells.

mod chunked;
mod column;
mod common;
mod cut;
mod grams;
pub mod memory;
mod order;
mod packed;
mod places;
pub mod query;
mod shard;
mod sieve;
mod texts;
mod totals;

use std::fmt;

use shared::cell::Cell;
use shared::{Metadata, Quantities, Sku, StoreId, Timestamp};

pub use memory::{MemoryCut, MemorySlot, MemoryView};

/// What is held of one SKU at one store; the default stands for "nothing".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// The counted state.
    pub cell: Cell,
    /// The seq of the item's last event in the store's log.
    pub seq: u64,
    /// Logged time of the event that last gave the item its names.
    pub metadata_at: Timestamp,
}

impl Held {
    /// Whether there is anything.
    pub fn is_held(&self) -> bool {
        self.cell.version.get() > 0
    }
}

/// Names and places of an item at one store, borrowed from the view; an empty text is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MetadataTexts<'a> {
    /// What it is called.
    pub name: &'a str,
    /// What it is.
    pub category: &'a str,
    /// Where it lies.
    pub location: &'a str,
    /// Its base unit.
    pub unit: &'a str,
}

impl MetadataTexts<'_> {
    /// The texts on their own.
    pub fn to_metadata(self) -> Metadata {
        Metadata {
            name: self.name.into(),
            category: self.category.into(),
            location: self.location.into(),
            unit: self.unit.into(),
        }
    }
}

/// Running sums over the cells of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// SKUs.
    pub items: u64,
    /// Units on hand.
    pub stock: u128,
    /// Units promised.
    pub reserved: u128,
    /// Units sold.
    pub sold: u128,
    /// Units available.
    pub available: u128,
    /// SKUs at or below their reorder point.
    pub low_stock: u64,
    /// SKUs with nothing available.
    pub out_of_stock: u64,
}

impl Sums {
    fn of(quantities: &Quantities) -> Self {
        let available = quantities.available();
        Self {
            items: 1,
            stock: u128::from(quantities.stock.get()),
            reserved: u128::from(quantities.reserved.get()),
            sold: u128::from(quantities.sold.get()),
            available: u128::from(available.get()),
            low_stock: u64::from(quantities.is_low_stock()),
            out_of_stock: u64::from(available.is_zero()),
        }
    }

    fn add(&mut self, other: &Self) {
        self.items += other.items;
        self.stock += other.stock;
        self.reserved += other.reserved;
        self.sold += other.sold;
        self.available += other.available;
        self.low_stock += other.low_stock;
        self.out_of_stock += other.out_of_stock;
    }

    fn subtract(&mut self, other: &Self) {
        self.items -= other.items;
        self.stock -= other.stock;
        self.reserved -= other.reserved;
        self.sold -= other.sold;
        self.available -= other.available;
        self.low_stock -= other.low_stock;
        self.out_of_stock -= other.out_of_stock;
    }
}

/// Where followers keep what they apply. Memory by default; a shared store can stand in for it.
pub trait ViewStore: Clone + fmt::Debug + Send + Sync + 'static {
    /// One store's part. Dropping the last handle of a slot frees what it held.
    type Slot: Clone + fmt::Debug + Send + Sync + 'static;
    /// A slot's cells as they were at one moment. Dropping it ends it.
    type Cut: Send + 'static;

    /// An empty, invisible slot.
    fn open_slot(&self) -> Self::Slot;

    /// What the slot holds of `sku`.
    fn held(&self, slot: &Self::Slot, sku: &Sku) -> Held;

    /// Replaces what the slot holds of `sku`; no `metadata` leaves its texts as they are.
    fn put(&self, slot: &Self::Slot, sku: &Sku, held: &Held, metadata: Option<&Metadata>);

    /// Shows every cell of the slot once, in any order. Cells that change meanwhile are shown
    /// before or after their change.
    fn for_each(&self, slot: &Self::Slot, visit: &mut dyn FnMut(&Sku, &Held, MetadataTexts<'_>));

    /// Cuts through the slot as it is now, at once, however big it is; the slot goes on changing.
    /// There is one cut of a slot at a time.
    fn cut(&self, slot: &Self::Slot) -> Self::Cut;

    /// Shows some more cells of the cut, each once, as they were when it was made; false once all
    /// were shown. Between two calls nothing is locked: that is the time to write them down.
    fn show_more(
        &self,
        cut: &mut Self::Cut,
        visit: &mut dyn FnMut(&Sku, &Held, MetadataTexts<'_>),
    ) -> bool;

    /// Makes the slot the visible part of `store`, in place of the former one, at once.
    fn publish(&self, slot: &Self::Slot, store: &StoreId);

    /// Takes the store's part out of sight.
    fn withdraw(&self, store: &StoreId);
}
