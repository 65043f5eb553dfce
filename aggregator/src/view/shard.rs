//! One shard of the view: its SKUs, their texts, and a column of packed cells for each slot. It
//! must never be locked for longer than a bounded number of cells; that is the caller's part.

use std::hash::BuildHasher;

use hashbrown::{HashMap, HashTable};
use shared::{FixedHasher, Metadata, Sku};

use super::order::{SortedIds, Start};
use super::packed::{Packed, TextIds, Wide};
use super::presence::{Distinct, Presence};
use super::texts::Texts;
use super::{Held, MetadataTexts, Sums};

/// A part of the SKUs with everything held of them.
#[derive(Debug, Default)]
pub(super) struct Shard {
    skus: Vec<Sku>,
    index: HashTable<u32>,
    order: SortedIds,
    texts: Texts,
    presence: Presence,
    columns: Vec<Option<Column>>,
}

/// The cells of one slot.
#[derive(Debug, Default)]
struct Column {
    cells: Vec<Packed>,
    /// Places in `cells`, by SKU id.
    index: HashTable<u32>,
    wide: HashMap<u32, Wide, FixedHasher>,
    sums: Sums,
    visible: bool,
}

/// The hash of a SKU, which also picks its shard.
pub(super) fn sku_hash(sku: &str) -> u64 {
    FixedHasher::default().hash_one(sku)
}

fn id_hash(id: u32) -> u64 {
    FixedHasher::default().hash_one(id)
}

/// Adds to a vector that grows by an eighth, since the view is mostly made of such vectors, and
/// returns the place.
pub(super) fn push<T>(vector: &mut Vec<T>, value: T) -> u32 {
    if vector.len() == vector.capacity() {
        vector.reserve_exact(vector.len() / 8 + 8);
    }
    vector.push(value);
    u32::try_from(vector.len() - 1).expect("a shard holds far fewer than 2^32 of anything")
}

impl Shard {
    /// What the slot holds of a SKU.
    pub(super) fn held(&self, slot: u32, sku: &str, hash: u64) -> Held {
        let found = self.find(sku, hash).and_then(|id| self.column(slot)?.find(id));
        found.map_or_else(Held::default, |(held, _)| held)
    }

    /// What the slot holds of a SKU by its id, with its texts.
    pub(super) fn part(&self, slot: u32, id: u32) -> Option<(Held, MetadataTexts<'_>)> {
        let (held, texts) = self.column(slot)?.find(id)?;
        Some((held, self.texts_of(texts)))
    }

    /// The id of a SKU, if it was ever held.
    pub(super) fn find(&self, sku: &str, hash: u64) -> Option<u32> {
        self.index.find(hash, |id| self.skus[*id as usize].as_str() == sku).copied()
    }

    /// The SKU of an id.
    pub(super) fn sku(&self, id: u32) -> &Sku {
        &self.skus[id as usize]
    }

    /// The ids of the SKUs from `start` on, in byte order.
    pub(super) fn ids_from(&self, start: Start<'_>) -> impl Iterator<Item = u32> + '_ {
        self.order.from(start, |id| self.skus[id as usize].as_str())
    }

    /// How many SKUs there are in all visible slots together.
    pub(super) fn distinct(&self) -> Distinct {
        self.presence.distinct()
    }

    /// The running sums of a slot.
    pub(super) fn sums(&self, slot: u32) -> Sums {
        self.column(slot).map_or_else(Sums::default, |column| column.sums)
    }

    /// Replaces what the slot holds of a SKU.
    pub(super) fn put(
        &mut self,
        slot: u32,
        sku: &Sku,
        hash: u64,
        held: &Held,
        metadata: Option<&Metadata>,
    ) {
        let id = self.intern(sku, hash);
        let slot = slot as usize;
        if self.columns.len() <= slot {
            self.columns.resize_with(slot + 1, || None);
        }
        let texts = &mut self.texts;
        let column = self.columns[slot].get_or_insert_default();
        let mut take = |metadata: &Metadata| TextIds {
            name: texts.take(&metadata.name),
            category: texts.take(&metadata.category),
            location: texts.take(&metadata.location),
            unit: texts.take(&metadata.unit),
        };
        let taken = metadata.map(&mut take);
        let (former, released) = column.put(id, held, taken);
        if column.visible {
            self.presence.change(
                id,
                former.map(|held| held.cell.quantities),
                Some(held.cell.quantities),
            );
        }
        released.into_iter().flat_map(TextIds::all).for_each(|id| texts.release(id));
    }

    /// Forgets everything that the slot held.
    pub(super) fn clear(&mut self, slot: u32) {
        self.set_visible(slot, false);
        let Some(column) = self.columns.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        for packed in &column.cells {
            packed.texts.all().into_iter().for_each(|id| self.texts.release(id));
        }
    }

    /// Lets the slot count, or count no longer, among the visible ones.
    pub(super) fn set_visible(&mut self, slot: u32, visible: bool) {
        let slot = slot as usize;
        if self.columns.len() <= slot {
            self.columns.resize_with(slot + 1, || None);
        }
        let column = self.columns[slot].get_or_insert_default();
        if column.visible == visible {
            return;
        }
        column.visible = visible;
        for (place, packed) in column.cells.iter().enumerate() {
            let held = packed.unpack(column.wide.get(&(place as u32)));
            let quantities = Some(held.cell.quantities);
            let (before, after) = if visible { (None, quantities) } else { (quantities, None) };
            self.presence.change(packed.sku, before, after);
        }
    }

    /// Shows up to `count` cells of the slot from place `from`; says whether there are more.
    pub(super) fn visit(
        &self,
        slot: u32,
        from: usize,
        count: usize,
        visit: &mut dyn FnMut(&Sku, &Held, MetadataTexts<'_>),
    ) -> bool {
        let Some(column) = self.column(slot) else {
            return false;
        };
        let end = column.cells.len().min(from.saturating_add(count));
        for place in from.min(end)..end {
            let packed = &column.cells[place];
            let held = packed.unpack(column.wide.get(&(place as u32)));
            visit(self.sku(packed.sku), &held, self.texts_of(packed.texts));
        }
        end < column.cells.len()
    }

    fn column(&self, slot: u32) -> Option<&Column> {
        self.columns.get(slot as usize)?.as_ref()
    }

    fn texts_of(&self, ids: TextIds) -> MetadataTexts<'_> {
        MetadataTexts {
            name: self.texts.get(ids.name),
            category: self.texts.get(ids.category),
            location: self.texts.get(ids.location),
            unit: self.texts.get(ids.unit),
        }
    }

    fn intern(&mut self, sku: &Sku, hash: u64) -> u32 {
        if let Some(id) = self.find(sku.as_str(), hash) {
            return id;
        }
        let skus = &mut self.skus;
        let id = push(skus, sku.clone());
        self.index.insert_unique(hash, id, |id| sku_hash(skus[*id as usize].as_str()));
        self.order.insert(id, sku.as_str(), |id| skus[id as usize].as_str());
        id
    }

    #[cfg(test)]
    pub(super) fn text_count(&self) -> usize {
        self.texts.len()
    }
}

impl Column {
    fn find(&self, sku_id: u32) -> Option<(Held, TextIds)> {
        let place =
            *self.index.find(id_hash(sku_id), |place| self.cells[*place as usize].sku == sku_id)?;
        let packed = &self.cells[place as usize];
        let wide = if packed.is_wide() { self.wide.get(&place) } else { None };
        Some((packed.unpack(wide), packed.texts))
    }

    /// Returns what was held before, and the texts that the cell no longer uses.
    fn put(
        &mut self,
        sku_id: u32,
        held: &Held,
        texts: Option<TextIds>,
    ) -> (Option<Held>, Option<TextIds>) {
        let hash = id_hash(sku_id);
        let cells = &mut self.cells;
        let found = self.index.find(hash, |place| cells[*place as usize].sku == sku_id).copied();
        let (former, released) = if let Some(place) = found {
            let old = cells[place as usize];
            let wide = if old.is_wide() { self.wide.remove(&place) } else { None };
            let former = old.unpack(wide.as_ref());
            self.sums.subtract(&Sums::of(&former.cell.quantities));
            let (packed, wide) = Packed::new(sku_id, held, texts.unwrap_or(old.texts));
            cells[place as usize] = packed;
            if let Some(wide) = wide {
                self.wide.insert(place, wide);
            }
            (Some(former), texts.map(|_| old.texts))
        } else {
            let (packed, wide) = Packed::new(sku_id, held, texts.unwrap_or(TextIds::NONE));
            let place = push(cells, packed);
            self.index.insert_unique(hash, place, |place| id_hash(cells[*place as usize].sku));
            if let Some(wide) = wide {
                self.wide.insert(place, wide);
            }
            (None, None)
        };
        self.sums.add(&Sums::of(&held.cell.quantities));
        (former, released)
    }
}
