//! What the cells of a SKU have in common, whichever slot they are in: stores mostly call an item the
//! same, and then a search looks at one name instead of one for each store. It must never claim a
//! text that any of the cells doesn't have.

use super::chunked::Chunked;
use super::packed::TextIds;
use super::texts::EMPTY;

/// Stands for names that differ.
const MIXED_NAME: u32 = u32::MAX;
/// Stands for categories that differ, or whose id is too long.
const MIXED_CATEGORY: u16 = u16::MAX;

/// What the cells of one SKU have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Common {
    name: u32,
    category: u16,
    /// How many cells there are, visible or not.
    cells: u16,
}

const _: () = assert!(size_of::<Common>() == 8, "memory of the view is counted in this size");

impl Common {
    /// Of no cell.
    pub(super) const NONE: Self = Self { name: EMPTY, category: EMPTY as u16, cells: 0 };

    /// The name of all cells; none where they differ.
    pub(super) fn name(self) -> Option<u32> {
        (self.name != MIXED_NAME).then_some(self.name)
    }

    /// The category of all cells; none where they differ.
    pub(super) fn category(self) -> Option<u32> {
        (self.category != MIXED_CATEGORY).then_some(u32::from(self.category))
    }

    /// Whether there is no cell.
    pub(super) fn is_none(self) -> bool {
        self.cells == 0
    }

    /// Whether anything differs.
    pub(super) fn is_mixed(self) -> bool {
        self.name().is_none() || self.category().is_none()
    }

    /// With a cell more, of these texts.
    pub(super) fn with(self, texts: TextIds) -> Self {
        let category = u16::try_from(texts.category).unwrap_or(MIXED_CATEGORY);
        if self.is_none() {
            return Self { name: texts.name, category, cells: 1 };
        }
        Self {
            name: if self.name == texts.name { self.name } else { MIXED_NAME },
            category: if self.category == category { category } else { MIXED_CATEGORY },
            cells: self.cells + 1,
        }
    }

    /// With a cell less, which had what they have in common.
    pub(super) fn without_one(self) -> Self {
        if self.cells <= 1 { Self::NONE } else { Self { cells: self.cells - 1, ..self } }
    }

    /// As many cells, of these texts; none of nothing.
    pub(super) fn with_texts_of(self, cells: impl Iterator<Item = TextIds>) -> Self {
        let found = cells.fold(Self::NONE, Self::with);
        Self { cells: self.cells, ..found }
    }
}

/// What the cells of one shard's SKUs have in common, by id.
#[derive(Debug, Default)]
pub(super) struct Commons {
    rows: Chunked<Common>,
}

impl Commons {
    /// Of a SKU.
    pub(super) fn get(&self, id: u32) -> Common {
        self.rows.get(id).copied().unwrap_or(Common::NONE)
    }

    /// Replaces that of a SKU.
    pub(super) fn set(&mut self, id: u32, common: Common) {
        while self.rows.len() <= id as usize {
            self.rows.push(Common::NONE);
        }
        self.rows[id] = common;
    }
}
