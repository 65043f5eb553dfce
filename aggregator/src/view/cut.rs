//! What a column held when it was cut: the cells are shown in their order, and one that changes
//! before its turn leaves behind what it held. It must never outgrow the cells that there were.

use hashbrown::HashMap;
use shared::FixedHasher;

use super::Held;
use super::packed::TextIds;

/// A column as it was, while it changes.
#[derive(Debug, Default)]
pub(super) struct Cut {
    /// Cells that there were.
    cells: u32,
    /// Cells whose turn is over.
    shown: u32,
    /// What cells held that changed before their turn.
    before: HashMap<u32, (Held, TextIds), FixedHasher>,
}

impl Cut {
    /// A cut through a column of so many cells.
    pub(super) fn new(cells: u32) -> Self {
        Self { cells, shown: 0, before: HashMap::default() }
    }

    /// The next cells to be shown, at most so many.
    pub(super) fn next(&self, count: u32) -> std::ops::Range<u32> {
        self.shown..self.cells.min(self.shown.saturating_add(count))
    }

    /// What a cell held, if it has changed since.
    pub(super) fn before(&self, place: u32) -> Option<(Held, TextIds)> {
        self.before.get(&place).copied()
    }

    /// A cell is about to change; says whether its texts are needed here from now on.
    pub(super) fn keep(&mut self, place: u32, held: Held, texts: TextIds) -> bool {
        let is_awaited = (self.shown..self.cells).contains(&place);
        if !is_awaited || self.before.contains_key(&place) {
            return false;
        }
        self.before.insert(place, (held, texts));
        true
    }

    /// The turn of the cells below `end` is over; returns the texts that were kept for them.
    pub(super) fn advance(&mut self, end: u32) -> Vec<TextIds> {
        let turn = self.shown..end;
        self.shown = end;
        turn.filter_map(|place| self.before.remove(&place)).map(|(_, texts)| texts).collect()
    }

    /// Nothing is shown any more; returns the texts that were kept.
    pub(super) fn into_texts(self) -> impl Iterator<Item = TextIds> {
        self.before.into_values().map(|(_, texts)| texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_leaves_behind_what_it_held_until_its_turn() {
        let held = |seq| Held { seq, ..Held::default() };
        let mut cut = Cut::new(5);
        assert_eq!(cut.next(2), 0..2);
        assert!(cut.keep(1, held(10), TextIds::NONE) && cut.keep(4, held(40), TextIds::NONE));
        assert!(!cut.keep(4, held(41), TextIds::NONE), "only the first change counts");
        assert!(!cut.keep(5, held(50), TextIds::NONE), "it wasn't there");
        assert_eq!(cut.before(1).map(|(held, _)| held.seq), Some(10));
        assert_eq!(cut.advance(2).len(), 1);
        assert!(!cut.keep(1, held(11), TextIds::NONE), "its turn is over");
        assert_eq!((cut.next(100), cut.before(4).map(|(held, _)| held.seq)), (2..5, Some(40)));
        assert_eq!(cut.into_texts().count(), 1);
    }
}
