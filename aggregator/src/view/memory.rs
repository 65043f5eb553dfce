//! The view in memory: shards by SKU, a column of packed cells for each slot in each of them.
//!
//! A query looks at the slots that were visible when it began and holds on to them, so that a swap
//! in between never shows it half of each. No lock is held for more than [`CELLS_PER_LOCK_MAX`]
//! cells, and never two at once.

use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use shared::{Metadata, Sku, StoreId};

use super::shard::{Shard, sku_hash};
use super::totals::Distinct;
use super::{Held, MetadataTexts, Sums, ViewStore};

/// How many shards there are: enough that followers of different stores rarely meet.
pub(super) const SHARDS: usize = 64;
/// Cells that are looked at before a lock is let go.
pub const CELLS_PER_LOCK_MAX: usize = 1024;
/// Cells of a cut that are shown before a lock is let go: what they are written into stays short.
const CELLS_OF_CUT_MAX: u32 = 256;
/// Slots that may be open at once: each store's own and its shadow.
pub const SLOTS_MAX: u32 = 10_000;

/// The global view in memory. Clones are handles to the same view.
#[derive(Debug, Clone, Default)]
pub struct MemoryView {
    inner: Arc<Inner>,
}

/// A handle to one store's part of a [`MemoryView`].
pub type MemorySlot = Arc<OpenSlot>;

/// An open slot; dropping it frees what it held.
#[derive(Debug)]
pub struct OpenSlot {
    view: Weak<Inner>,
    number: u32,
}

/// A published slot.
#[derive(Debug, Clone)]
pub struct VisibleSlot {
    /// Whose part it is.
    pub store_id: StoreId,
    pub(super) slot: MemorySlot,
}

impl VisibleSlot {
    /// The cells.
    pub fn slot(&self) -> &MemorySlot {
        &self.slot
    }
}

#[derive(Debug)]
struct Inner {
    shards: Box<[RwLock<Shard>]>,
    slots: Mutex<SlotNumbers>,
    visible: RwLock<Arc<Vec<VisibleSlot>>>,
}

#[derive(Debug, Default)]
struct SlotNumbers {
    free: Vec<u32>,
    opened: u32,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            slots: Mutex::default(),
            visible: RwLock::default(),
        }
    }
}

fn shard_of(hash: u64) -> usize {
    // hashbrown takes the lowest and the topmost bits of the same hash.
    (hash >> 32) as usize % SHARDS
}

impl Drop for OpenSlot {
    fn drop(&mut self) {
        let Some(view) = self.view.upgrade() else {
            return;
        };
        for shard in &view.shards {
            let Some(column) = shard.write().take(self.number) else { continue };
            for from in (0..column.len()).step_by(CELLS_PER_LOCK_MAX) {
                let end = column.len().min(from + CELLS_PER_LOCK_MAX as u32);
                shard.write().forget_cells(&column, from..end);
            }
        }
        view.slots.lock().free.push(self.number);
    }
}

impl OpenSlot {
    pub(super) fn number(&self) -> u32 {
        self.number
    }
}

/// A slot as it was when it was cut; see [`ViewStore::cut`].
#[derive(Debug)]
pub struct MemoryCut {
    view: Arc<Inner>,
    slot: MemorySlot,
    /// The shard that is shown; those before it were.
    shard: usize,
}

impl Drop for MemoryCut {
    fn drop(&mut self) {
        for shard in &self.view.shards {
            shard.write().end_cut(self.slot.number);
        }
    }
}

impl ViewStore for MemoryView {
    type Slot = MemorySlot;
    type Cut = MemoryCut;

    fn open_slot(&self) -> MemorySlot {
        let mut slots = self.inner.slots.lock();
        let number = slots.free.pop().unwrap_or_else(|| {
            slots.opened += 1;
            assert!(slots.opened <= SLOTS_MAX, "stores are bounded far below the slots");
            slots.opened - 1
        });
        Arc::new(OpenSlot { view: Arc::downgrade(&self.inner), number })
    }

    fn held(&self, slot: &MemorySlot, sku: &Sku) -> Held {
        let hash = sku_hash(sku.as_str());
        self.inner.shards[shard_of(hash)].read().held(slot.number, sku.as_str(), hash)
    }

    fn put(&self, slot: &MemorySlot, sku: &Sku, held: &Held, metadata: Option<&Metadata>) {
        let hash = sku_hash(sku.as_str());
        let mut shard = self.inner.shards[shard_of(hash)].write();
        shard.put(slot.number, sku, hash, held, metadata);
    }

    fn for_each(&self, slot: &MemorySlot, visit: &mut dyn FnMut(&Sku, &Held, MetadataTexts<'_>)) {
        for shard in &self.inner.shards {
            let mut from = 0;
            while shard.read().visit(slot.number, from, CELLS_PER_LOCK_MAX, visit) {
                from += CELLS_PER_LOCK_MAX;
            }
        }
    }

    fn cut(&self, slot: &MemorySlot) -> MemoryCut {
        // Whoever cuts is the one who writes the slot: between two shards nothing changes.
        for shard in &self.inner.shards {
            shard.write().cut(slot.number);
        }
        MemoryCut { view: self.inner.clone(), slot: slot.clone(), shard: 0 }
    }

    fn show_more(
        &self,
        cut: &mut MemoryCut,
        visit: &mut dyn FnMut(&Sku, &Held, MetadataTexts<'_>),
    ) -> bool {
        let slot = cut.slot.number;
        while let Some(shard) = self.inner.shards.get(cut.shard) {
            let shown = shard.read().visit_cut(slot, CELLS_OF_CUT_MAX, visit);
            if let Some(end) = shown {
                shard.write().advance_cut(slot, end);
                return true;
            }
            cut.shard += 1;
        }
        false
    }

    fn publish(&self, slot: &MemorySlot, store: &StoreId) {
        let visible = VisibleSlot { store_id: store.clone(), slot: slot.clone() };
        self.replace_visible(store, Some(visible));
    }

    fn withdraw(&self, store: &StoreId) {
        self.replace_visible(store, None);
    }
}

impl MemoryView {
    /// The slots that everybody can see now, by store id.
    pub fn visible(&self) -> Arc<Vec<VisibleSlot>> {
        self.inner.visible.read().clone()
    }

    /// The running sums of a visible slot.
    pub fn sums(&self, slot: &VisibleSlot) -> Sums {
        let mut sums = Sums::default();
        for shard in &self.inner.shards {
            sums.add(&shard.read().sums(slot.slot.number));
        }
        sums
    }

    /// Distinct SKUs over all visible slots: all, low in any, available in none.
    pub fn distinct(&self) -> (u64, u64, u64) {
        let shards = self.inner.shards.iter();
        let all = shards.fold(Distinct::default(), |sum, shard| sum.plus(shard.read().distinct()));
        (all.items, all.low_stock, all.out_of_stock)
    }

    pub(super) fn shard(&self, index: usize) -> RwLockReadGuard<'_, Shard> {
        self.inner.shards[index].read()
    }

    /// Reads one SKU in its shard, or nothing if it was never held.
    pub(super) fn with_sku<R>(&self, sku: &str, read: impl FnOnce(&Shard, u32) -> R) -> Option<R> {
        let hash = sku_hash(sku);
        let shard = self.inner.shards[shard_of(hash)].read();
        shard.find(sku, hash).map(|id| read(&shard, id))
    }

    fn replace_visible(&self, store: &StoreId, new: Option<VisibleSlot>) {
        let former = {
            let mut visible = self.inner.visible.write();
            let mut slots = Vec::clone(&visible);
            let place = slots.iter().position(|slot| slot.store_id == *store);
            let former = place.map(|place| slots.remove(place));
            slots.extend(new.clone());
            slots.sort_unstable_by(|a, b| a.store_id.cmp(&b.store_id));
            *visible = Arc::new(slots);
            former
        };
        let former = former.map(|slot| slot.slot);
        let new = new.map(|slot| slot.slot);
        for shard in &self.inner.shards {
            let mut shard = shard.write();
            if let Some(former) = &former {
                shard.set_visible(former.number, false);
            }
            if let Some(new) = &new {
                shard.set_visible(new.number, true);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn text_count(&self) -> usize {
        self.inner.shards.iter().map(|shard| shard.read().text_count()).sum()
    }
}

#[cfg(test)]
mod tests;
