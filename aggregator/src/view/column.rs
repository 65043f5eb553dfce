//! The cells of one slot in one shard: packed, in the order in which they came. It must never change
//! a cell that a cut still waits for without leaving behind what it held.

use hashbrown::HashMap;
use shared::FixedHasher;

use super::chunked::Chunked;
use super::cut::Cut;
use super::packed::{Glance, Packed, TextIds, Wide};
use super::places::Places;
use super::{Held, Sums};

/// The cells of one slot.
#[derive(Debug, Default)]
pub(super) struct Column {
    cells: Chunked<Packed>,
    names: Chunked<u32>,
    locations: Chunked<u32>,
    places: Places,
    wide: HashMap<u32, Wide, FixedHasher>,
    sums: Sums,
    /// Whether everybody can see it.
    pub(super) visible: bool,
    /// What it held when it was cut.
    pub(super) cut: Option<Cut>,
}

/// What a cell's change leaves behind.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    /// What was held before.
    pub(super) former: Option<Held>,
    /// The texts that the cell no longer uses.
    pub(super) released: Option<TextIds>,
    /// The texts that a cut uses from now on.
    pub(super) kept: Option<TextIds>,
}

impl Column {
    /// How many cells there are.
    pub(super) fn len(&self) -> u32 {
        self.cells.len() as u32
    }

    /// The running sums.
    pub(super) fn sums(&self) -> Sums {
        self.sums
    }

    /// Where the cell of a SKU is.
    pub(super) fn find(&self, sku_id: u32) -> Option<u32> {
        self.places.find(sku_id)
    }

    /// Whose the cell is.
    pub(super) fn sku(&self, place: u32) -> u32 {
        self.cells[place].sku
    }

    /// What is held.
    pub(super) fn held(&self, place: u32) -> Held {
        let packed = &self.cells[place];
        packed.unpack(self.wide_of(packed, place)).0
    }

    /// What is held, with its texts.
    pub(super) fn whole(&self, place: u32) -> (Held, TextIds) {
        let packed = &self.cells[place];
        let (held, words) = packed.unpack(self.wide_of(packed, place));
        let (name, location) = (self.names[place], self.locations[place]);
        let texts = TextIds { name, category: words.category, location, unit: words.unit };
        (held, texts)
    }

    /// What lists want to know.
    pub(super) fn glance(&self, place: u32) -> Glance {
        let packed = &self.cells[place];
        packed.glance(self.wide_of(packed, place))
    }

    /// The id of its name.
    pub(super) fn name(&self, place: u32) -> u32 {
        self.names[place]
    }

    /// The id of its location.
    pub(super) fn location(&self, place: u32) -> u32 {
        self.locations[place]
    }

    /// Shows the SKUs of some cells from `place` on that are at a location; returns where those
    /// cells end, none where the column does.
    pub(super) fn located(
        &self,
        location: u32,
        place: u32,
        mut show: impl FnMut(u32),
    ) -> Option<u32> {
        let run = self.locations.run_from(place);
        // Nearly every run has none: counting is one pass without a branch.
        if run.iter().filter(|other| **other == location).count() > 0 {
            for (at, _) in (place..).zip(run).filter(|(_, other)| **other == location) {
                show(self.cells[at].sku);
            }
        }
        (!run.is_empty()).then(|| place + run.len() as u32)
    }

    /// Puts a cell in its place; no texts leave them as they are. `skus` are in the shard.
    pub(super) fn put(
        &mut self,
        sku_id: u32,
        held: &Held,
        texts: Option<TextIds>,
        skus: usize,
    ) -> Replaced {
        self.sums.add(&Sums::of(&held.cell.quantities));
        let Some(place) = self.places.find(sku_id) else {
            self.push(sku_id, held, texts.unwrap_or(TextIds::NONE), skus);
            return Replaced::default();
        };
        let packed = &self.cells[place];
        let (former, words) = packed.unpack(self.wide_of(packed, place));
        self.sums.subtract(&Sums::of(&former.cell.quantities));
        let kept = self.keep(place);
        let released = texts.map(|_| self.whole(place).1);
        if self.cells[place].is_wide() {
            self.wide.remove(&place);
        }
        let (packed, wide) = Packed::new(sku_id, held, texts.map_or(words, TextIds::words));
        self.cells[place] = packed;
        self.wide.extend(wide.map(|wide| (place, wide)));
        if let Some(texts) = texts {
            (self.names[place], self.locations[place]) = (texts.name, texts.location);
        }
        Replaced { former: Some(former), released, kept }
    }

    /// What a cell held when the column was cut.
    pub(super) fn as_cut(&self, cut: &Cut, place: u32) -> (Held, TextIds) {
        cut.before(place).unwrap_or_else(|| self.whole(place))
    }

    fn push(&mut self, sku_id: u32, held: &Held, texts: TextIds, skus: usize) {
        let (packed, wide) = Packed::new(sku_id, held, texts.words());
        let place = self.cells.push(packed);
        self.names.push(texts.name);
        self.locations.push(texts.location);
        self.places.insert(sku_id, place, self.cells.len(), skus);
        self.wide.extend(wide.map(|wide| (place, wide)));
    }

    /// Leaves behind what a cell holds, if the cut waits for it.
    fn keep(&mut self, place: u32) -> Option<TextIds> {
        if !self.cut.as_ref().is_some_and(|cut| cut.awaits(place)) {
            return None;
        }
        let (held, texts) = self.whole(place);
        self.cut.as_mut()?.keep(place, held, texts);
        Some(texts)
    }

    fn wide_of(&self, packed: &Packed, place: u32) -> Option<&Wide> {
        if packed.is_wide() { self.wide.get(&place) } else { None }
    }
}
