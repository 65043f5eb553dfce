//! One shard of the view: its SKUs, their texts, and a column of packed cells for each slot. It
//! must never be locked for longer than a bounded number of cells; that is the caller's part.

use std::hash::BuildHasher;

use hashbrown::{HashMap, HashTable};
use shared::{FixedHasher, Metadata, Sku};

use super::chunked::Chunked;
use super::cut::Cut;
use super::order::{SortedIds, Start};
use super::packed::{Glance, Packed, TextIds, Wide};
use super::places::Places;
use super::presence::{Distinct, Presence};
use super::texts::Texts;
use super::{Held, MetadataTexts, Sums};

/// A part of the SKUs with everything held of them.
#[derive(Debug, Default)]
pub(super) struct Shard {
    skus: Chunked<Sku>,
    index: HashTable<u32>,
    order: SortedIds,
    /// Names and places.
    texts: Texts,
    /// Categories and units: so few that their ids are short.
    words: Texts,
    presence: Presence,
    columns: Vec<Option<Column>>,
}

/// The cells of one slot.
#[derive(Debug, Default)]
struct Column {
    cells: Chunked<Packed>,
    places: Places,
    wide: HashMap<u32, Wide, FixedHasher>,
    sums: Sums,
    visible: bool,
    cut: Option<Cut>,
}

/// The hash of a SKU, which also picks its shard.
pub(super) fn sku_hash(sku: &str) -> u64 {
    FixedHasher::default().hash_one(sku)
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

    /// What lists want to know of a slot's cell of a SKU.
    pub(super) fn glance(&self, slot: u32, id: u32) -> Option<Glance> {
        let column = self.column(slot)?;
        let place = column.places.find(id)?;
        let packed = &column.cells[place];
        Some(packed.glance(if packed.is_wide() { column.wide.get(&place) } else { None }))
    }

    /// How many SKUs were ever held; their ids begin at 0.
    pub(super) fn sku_count(&self) -> u32 {
        self.skus.len() as u32
    }

    /// The id of a category's text; none where no cell has it.
    pub(super) fn category_id(&self, text: &str) -> Option<u32> {
        self.words.find(text)
    }

    /// The id of a location's text; none where no cell has it.
    pub(super) fn location_id(&self, text: &str) -> Option<u32> {
        self.texts.find(text)
    }

    /// The name of an id.
    pub(super) fn name(&self, id: u32) -> &str {
        self.texts.get(id)
    }

    /// The id of a SKU, if it was ever held.
    pub(super) fn find(&self, sku: &str, hash: u64) -> Option<u32> {
        self.index.find(hash, |id| self.skus[*id].as_str() == sku).copied()
    }

    /// The SKU of an id.
    pub(super) fn sku(&self, id: u32) -> &Sku {
        &self.skus[id]
    }

    /// The ids of the SKUs from `start` on, in byte order.
    pub(super) fn ids_from(&self, start: Start<'_>) -> impl Iterator<Item = u32> + '_ {
        self.order.from(start, |id| self.skus[id].as_str())
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
        let taken = metadata.map(|metadata| TextIds {
            name: self.texts.take(&metadata.name),
            category: self.words.take(&metadata.category),
            location: self.texts.take(&metadata.location),
            unit: self.words.take(&metadata.unit),
        });
        let skus = self.skus.len();
        let column = self.column_mut(slot);
        let Replaced { former, released, kept } = column.put(id, held, taken, skus);
        if column.visible {
            let before = former.map(|held| held.cell.quantities);
            self.presence.change(id, before, Some(held.cell.quantities));
        }
        if let Some(kept) = kept {
            self.retain(kept);
        }
        if let Some(released) = released {
            self.release(released);
        }
    }

    /// Cuts through the slot as it is now.
    pub(super) fn cut(&mut self, slot: u32) {
        let column = self.column_mut(slot);
        assert!(column.cut.is_none(), "a slot is cut once at a time");
        column.cut = Some(Cut::new(column.cells.len() as u32));
    }

    /// Shows up to `count` cells of the slot's cut; says where they end, if there were any. They
    /// are shown again until [`Self::advance_cut`] is told that end.
    pub(super) fn visit_cut(
        &self,
        slot: u32,
        count: u32,
        visit: &mut dyn FnMut(&Sku, &Held, MetadataTexts<'_>),
    ) -> Option<u32> {
        let column = self.column(slot)?;
        let cut = column.cut.as_ref()?;
        let turn = cut.next(count);
        for place in turn.clone() {
            let (held, texts) = cut.before(place).unwrap_or_else(|| column.unpack(place));
            visit(self.sku(column.cells[place].sku), &held, self.texts_of(texts));
        }
        (!turn.is_empty()).then_some(turn.end)
    }

    /// The cut's cells below `end` were shown.
    pub(super) fn advance_cut(&mut self, slot: u32, end: u32) {
        let texts = self.column_mut(slot).cut.as_mut().map(|cut| cut.advance(end));
        texts.into_iter().flatten().for_each(|texts| self.release(texts));
    }

    /// Ends the slot's cut.
    pub(super) fn end_cut(&mut self, slot: u32) {
        let cut = self.column_mut(slot).cut.take();
        cut.into_iter().flat_map(Cut::into_texts).for_each(|texts| self.release(texts));
    }

    /// Forgets everything that the slot held.
    pub(super) fn clear(&mut self, slot: u32) {
        self.set_visible(slot, false);
        let Some(column) = self.columns.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        for place in 0..column.cells.len() as u32 {
            self.release(column.unpack(place).1);
        }
    }

    /// Lets the slot count, or count no longer, among the visible ones.
    pub(super) fn set_visible(&mut self, slot: u32, visible: bool) {
        if self.column_mut(slot).visible == visible {
            return;
        }
        let Some(mut column) = self.columns[slot as usize].take() else { return };
        column.visible = visible;
        for place in 0..column.cells.len() as u32 {
            let quantities = Some(column.unpack(place).0.cell.quantities);
            let (before, after) = if visible { (None, quantities) } else { (quantities, None) };
            self.presence.change(column.cells[place].sku, before, after);
        }
        self.columns[slot as usize] = Some(column);
    }

    /// Shows up to `count` cells of the slot from place `from`; says whether there are more.
    pub(super) fn visit(
        &self,
        slot: u32,
        from: usize,
        count: usize,
        visit: &mut dyn FnMut(&Sku, &Held, MetadataTexts<'_>),
    ) -> bool {
        let Some(column) = self.column(slot) else { return false };
        let end = column.cells.len().min(from.saturating_add(count));
        for place in from.min(end)..end {
            let (held, texts) = column.unpack(place as u32);
            visit(self.sku(column.cells[place as u32].sku), &held, self.texts_of(texts));
        }
        end < column.cells.len()
    }

    fn column(&self, slot: u32) -> Option<&Column> {
        self.columns.get(slot as usize)?.as_ref()
    }

    fn column_mut(&mut self, slot: u32) -> &mut Column {
        let slot = slot as usize;
        if self.columns.len() <= slot {
            self.columns.resize_with(slot + 1, || None);
        }
        self.columns[slot].get_or_insert_default()
    }

    fn retain(&mut self, ids: TextIds) {
        self.texts.retain(ids.name);
        self.texts.retain(ids.location);
        self.words.retain(ids.category);
        self.words.retain(ids.unit);
    }

    fn release(&mut self, ids: TextIds) {
        self.texts.release(ids.name);
        self.texts.release(ids.location);
        self.words.release(ids.category);
        self.words.release(ids.unit);
    }

    fn texts_of(&self, ids: TextIds) -> MetadataTexts<'_> {
        MetadataTexts {
            name: self.texts.get(ids.name),
            category: self.words.get(ids.category),
            location: self.texts.get(ids.location),
            unit: self.words.get(ids.unit),
        }
    }

    fn intern(&mut self, sku: &Sku, hash: u64) -> u32 {
        if let Some(id) = self.find(sku.as_str(), hash) {
            return id;
        }
        let skus = &mut self.skus;
        let id = skus.push(sku.clone());
        self.index.insert_unique(hash, id, |id| sku_hash(skus[*id].as_str()));
        self.order.insert(id, sku.as_str(), |id| skus[id].as_str());
        id
    }

    #[cfg(test)]
    pub(super) fn text_count(&self) -> usize {
        self.texts.len() + self.words.len()
    }
}

impl Column {
    fn find(&self, sku_id: u32) -> Option<(Held, TextIds)> {
        self.places.find(sku_id).map(|place| self.unpack(place))
    }

    fn unpack(&self, place: u32) -> (Held, TextIds) {
        let packed = &self.cells[place];
        packed.unpack(if packed.is_wide() { self.wide.get(&place) } else { None })
    }

    /// Puts a cell in its place; `skus` are in the shard.
    fn put(&mut self, sku_id: u32, held: &Held, texts: Option<TextIds>, skus: usize) -> Replaced {
        self.sums.add(&Sums::of(&held.cell.quantities));
        let Some(place) = self.places.find(sku_id) else {
            let (packed, wide) = Packed::new(sku_id, held, texts.unwrap_or(TextIds::NONE));
            let place = self.cells.push(packed);
            self.places.insert(sku_id, place, self.cells.len(), skus);
            self.wide.extend(wide.map(|wide| (place, wide)));
            return Replaced::default();
        };
        let (former, former_texts) = self.unpack(place);
        self.sums.subtract(&Sums::of(&former.cell.quantities));
        let is_kept = self.cut.as_mut().is_some_and(|cut| cut.keep(place, former, former_texts));
        if self.cells[place].is_wide() {
            self.wide.remove(&place);
        }
        let (packed, wide) = Packed::new(sku_id, held, texts.unwrap_or(former_texts));
        self.cells[place] = packed;
        self.wide.extend(wide.map(|wide| (place, wide)));
        Replaced {
            former: Some(former),
            released: texts.map(|_| former_texts),
            kept: is_kept.then_some(former_texts),
        }
    }
}

/// What a cell's change leaves behind.
#[derive(Debug, Default)]
struct Replaced {
    /// What was held before.
    former: Option<Held>,
    /// The texts that the cell no longer uses.
    released: Option<TextIds>,
    /// The texts that a cut uses from now on.
    kept: Option<TextIds>,
}
