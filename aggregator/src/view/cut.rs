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

    /// Whether what a cell holds is needed here when it changes.
    pub(super) fn awaits(&self, place: u32) -> bool {
        (self.shown..self.cells).contains(&place) && !self.before.contains_key(&place)
    }

    /// A cell that is awaited is about to change; its texts are needed here from now on.
    pub(super) fn keep(&mut self, place: u32, held: Held, texts: TextIds) {
        self.before.insert(place, (held, texts));
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
        for (place, seq) in [(1, 10), (4, 40)] {
            assert!(cut.awaits(place));
            cut.keep(place, held(seq), TextIds::NONE);
        }
        assert!(!cut.awaits(4), "only the first change counts");
        assert!(!cut.awaits(5), "it wasn't there");
        assert_eq!(cut.before(1).map(|(held, _)| held.seq), Some(10));
        assert_eq!(cut.advance(2).len(), 1);
        assert!(!cut.awaits(1), "its turn is over");
        assert_eq!((cut.next(100), cut.before(4).map(|(held, _)| held.seq)), (2..5, Some(40)));
        assert_eq!(cut.into_texts().count(), 1);
    }
}
