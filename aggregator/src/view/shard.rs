//! One shard of the view: its SKUs, their texts, and a column of packed cells for each slot. It
//! must never be locked for longer than a bounded number of cells; that is the caller's part.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use shared::{FixedHasher, Metadata, Quantities, Sku};

use super::chunked::Chunked;
use super::column::{Column, Replaced};
use super::common::{Common, Commons};
use super::cut::Cut;
use super::grams::{Grams, TextSets};
use super::memory::VisibleSlot;
use super::order::{SortedIds, Start};
use super::packed::TextIds;
use super::texts::{EMPTY, Texts};
use super::totals::{Distinct, Total, Totals};
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
    totals: Totals,
    commons: Commons,
    /// Of each SKU and its names.
    sets: TextSets,
    /// Each in a place of its own: a table of a hundred stores' columns grows without moving them.
    columns: Vec<Option<Box<Column>>>,
    /// How many columns everybody can see.
    visible_columns: usize,
}

/// The hash of a SKU, which also picks its shard.
pub(super) fn sku_hash(sku: &str) -> u64 {
    FixedHasher::default().hash_one(sku)
}

impl Shard {
    /// What the slot holds of a SKU.
    pub(super) fn held(&self, slot: u32, sku: &str, hash: u64) -> Held {
        let found = self.find(sku, hash).and_then(|id| {
            let column = self.column(slot)?;
            Some(column.held(column.find(id)?))
        });
        found.unwrap_or_default()
    }

    /// What the slot holds of a SKU by its id, with its texts.
    pub(super) fn part(&self, slot: u32, id: u32) -> Option<(Held, MetadataTexts<'_>)> {
        let column = self.column(slot)?;
        let (held, texts) = column.whole(column.find(id)?);
        Some((held, self.texts_of(texts)))
    }

    /// The cells of a slot, and the place of a SKU's in it.
    pub(super) fn cell(&self, slot: u32, id: u32) -> Option<(&Column, u32)> {
        let column = self.column(slot)?;
        Some((column, column.find(id)?))
    }

    /// What the visible slots together hold of a SKU; none where none does.
    pub(super) fn total(&self, id: u32) -> Option<Total> {
        self.totals.get(id)
    }

    /// Whether the totals are those of just these slots. While stores come and go, they may be ahead
    /// or behind.
    pub(super) fn has_totals_of(&self, slots: &[VisibleSlot]) -> bool {
        let is_visible = |slot: &VisibleSlot| {
            self.column(slot.slot().number()).is_some_and(|column| column.visible)
        };
        self.visible_columns == slots.len() && slots.iter().all(is_visible)
    }

    /// What all cells of a SKU have in common.
    pub(super) fn common(&self, id: u32) -> Common {
        self.commons.get(id)
    }

    /// The pairs and triples of bytes in a SKU and all its names.
    pub(super) fn grams(&self, id: u32) -> Grams {
        self.sets.grams(id)
    }

    /// Whether a SKU, or one of those that lie with it, may have this text in it or its names.
    pub(super) fn may_be_near(&self, id: u32, text: &str) -> bool {
        self.sets.may_be_near(id, text)
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
        self.totals.distinct()
    }

    /// The running sums of a slot.
    pub(super) fn sums(&self, slot: u32) -> Sums {
        self.column(slot).map_or_else(Sums::default, Column::sums)
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
        let is_visible = column.visible;
        let Replaced { former, released, kept } = column.put(id, held, taken, skus);
        if is_visible {
            self.totals.change(id, former.as_ref().map(counted), Some(counted(held)));
        }
        if former.is_none() {
            self.note_new(id, taken.unwrap_or(TextIds::NONE));
        } else if let Some(taken) = taken {
            self.note_renamed(id, taken);
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
        column.cut = Some(Cut::new(column.len()));
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
            let (held, texts) = column.as_cut(cut, place);
            visit(self.sku(column.sku(place)), &held, self.texts_of(texts));
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

    /// Takes everything that the slot held out of the shard; its texts wait for
    /// [`Self::forget_cells`].
    pub(super) fn take(&mut self, slot: u32) -> Option<Box<Column>> {
        self.set_visible(slot, false);
        self.columns.get_mut(slot as usize).and_then(Option::take)
    }

    /// Forgets the texts of some cells of a column that was taken.
    pub(super) fn forget_cells(&mut self, column: &Column, places: std::ops::Range<u32>) {
        for place in places {
            self.release(column.whole(place).1);
            self.note_gone(column.sku(place));
        }
    }

    /// Lets the slot count, or count no longer, among the visible ones.
    pub(super) fn set_visible(&mut self, slot: u32, visible: bool) {
        if self.column_mut(slot).visible == visible {
            return;
        }
        let Some(mut column) = self.columns[slot as usize].take() else { return };
        column.visible = visible;
        self.visible_columns =
            if visible { self.visible_columns + 1 } else { self.visible_columns - 1 };
        for place in 0..column.len() {
            let cell = Some(counted(&column.held(place)));
            let (before, after) = if visible { (None, cell) } else { (cell, None) };
            self.totals.change(column.sku(place), before, after);
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
        let end = (column.len() as usize).min(from.saturating_add(count));
        for place in from.min(end) as u32..end as u32 {
            let (held, texts) = column.whole(place);
            visit(self.sku(column.sku(place)), &held, self.texts_of(texts));
        }
        end < column.len() as usize
    }

    /// The cells of a slot.
    pub(super) fn column(&self, slot: u32) -> Option<&Column> {
        self.columns.get(slot as usize)?.as_deref()
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

    /// A SKU has a cell more, with these texts.
    fn note_new(&mut self, id: u32, texts: TextIds) {
        let before = self.commons.get(id);
        let after = before.with(texts);
        if before.is_none() || before.name() != Some(texts.name) {
            self.sets.add(id, self.texts.get(texts.name));
        }
        self.set_common(id, before, after);
    }

    /// A cell of a SKU has other texts.
    fn note_renamed(&mut self, id: u32, texts: TextIds) {
        let before = self.commons.get(id);
        let is_same =
            before.name() == Some(texts.name) && before.category() == Some(texts.category);
        if !is_same {
            self.sets.add(id, self.texts.get(texts.name));
            self.set_common(id, before, self.common_of_cells(id, before));
        }
    }

    /// A SKU has a cell less.
    fn note_gone(&mut self, id: u32) {
        let before = self.commons.get(id);
        let mut after = before.without_one();
        if after.is_none() {
            self.sets.reset(id, self.skus[id].as_str());
        } else if before.is_mixed() {
            after = self.common_of_cells(id, after);
        }
        self.set_common(id, before, after);
    }

    /// The same number of cells with what those that are still here have in common. Columns that were
    /// taken and not forgotten yet aren't.
    fn common_of_cells(&self, id: u32, common: Common) -> Common {
        let columns = self.columns.iter().flatten();
        let cells = columns.filter_map(|column| Some(column.whole(column.find(id)?).1));
        common.with_texts_of(cells)
    }

    /// What cells have in common is a user of its texts: an id that is used again must not stand for
    /// what it stood for.
    fn set_common(&mut self, id: u32, before: Common, after: Common) {
        self.texts.retain(after.name().unwrap_or(EMPTY));
        self.words.retain(after.category().unwrap_or(EMPTY));
        self.texts.release(before.name().unwrap_or(EMPTY));
        self.words.release(before.category().unwrap_or(EMPTY));
        self.commons.set(id, after);
    }

    fn intern(&mut self, sku: &Sku, hash: u64) -> u32 {
        if let Some(id) = self.find(sku.as_str(), hash) {
            return id;
        }
        let skus = &mut self.skus;
        let id = skus.push(sku.clone());
        self.sets.push(sku.as_str());
        self.index.insert_unique(hash, id, |id| sku_hash(skus[*id].as_str()));
        self.order.insert(id, sku.as_str(), |id| skus[id].as_str());
        id
    }

    #[cfg(test)]
    pub(super) fn text_count(&self) -> usize {
        self.texts.len() + self.words.len()
    }
}

/// What totals count of a cell.
fn counted(held: &Held) -> (Quantities, bool) {
    (held.cell.quantities, held.cell.flags.active)
}
