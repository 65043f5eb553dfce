//! What a frame would change, before it is known to be right. Nothing here may reach the view by
//! itself.

use std::cell::Cell as LocalCell;
use std::collections::BTreeMap;
use std::hash::BuildHasher;

use event_log::Seq;
use hashbrown::HashTable;
use shared::{Cell, FixedHasher, Metadata, Sku};

use super::marks::Mark;
use super::{Absorbed, Refused};
use crate::view::Held;

/// Room for more cells than this isn't kept for the next frame.
const SPARE_ROWS_MAX: usize = 4096;

thread_local! {
    /// The room that the last frame of this thread left behind: a hundred stores that take turns on a
    /// thread touch the same memory, not a hundred times as much.
    static SPARE: LocalCell<Stage> = LocalCell::default();
}

/// The cells that a frame touches, each once.
#[derive(Debug, Default)]
pub(super) struct Stage {
    rows: Vec<Row>,
    index: HashTable<u32>,
}

/// A touched cell.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) sku: Sku,
    pub(super) held: Held,
    /// Its names, if the frame changes them.
    pub(super) metadata: Option<Metadata>,
    changed: bool,
}

impl Row {
    /// Replaces the counted state.
    pub(super) fn take_over(&mut self, seq: Seq, cell: Cell) {
        self.held.cell = cell;
        self.held.seq = seq.get();
        self.changed = true;
    }
}

impl Stage {
    /// An empty stage.
    pub(super) fn begin() -> Self {
        SPARE.take()
    }

    /// The frame is done: its room is for the next one.
    pub(super) fn end(mut self) {
        self.rows.clear();
        self.index.clear();
        if self.rows.capacity() <= SPARE_ROWS_MAX {
            SPARE.set(self);
        }
    }

    /// The cell of a SKU as the frame has left it so far; `load` brings what the view holds.
    pub(super) fn row(&mut self, sku: &Sku, load: impl FnOnce() -> Held) -> &mut Row {
        let hash = hash(sku);
        let rows = &mut self.rows;
        let found = self.index.find(hash, |place| rows[*place as usize].sku == *sku).copied();
        let place = found.unwrap_or_else(|| {
            let place = rows.len() as u32;
            rows.push(Row { sku: sku.clone(), held: load(), metadata: None, changed: false });
            self.index.insert_unique(hash, place, |place| self::hash(&rows[*place as usize].sku));
            place
        });
        &mut rows[place as usize]
    }

    /// The cells that the frame changes.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.changed)
    }
}

fn hash(sku: &Sku) -> u64 {
    FixedHasher::default().hash_one(sku.as_str())
}

/// Everything about a frame that isn't a cell.
#[derive(Debug)]
pub(super) struct FrameWork {
    pub(super) digest: u128,
    pub(super) applied: u64,
    pub(super) skipped: u64,
    pub(super) ignored: u64,
    pub(super) refused: Vec<Refused>,
    /// The marks after the frame; none while it touches no marked cell.
    marks: Option<BTreeMap<Sku, Mark>>,
}

impl FrameWork {
    /// Begins with the follower's digest.
    pub(super) fn new(digest: u128) -> Self {
        Self { digest, applied: 0, skipped: 0, ignored: 0, refused: Vec::new(), marks: None }
    }

    /// The frame touches a marked cell, or marks one: from now on on a copy of the marks.
    pub(super) fn touch(&mut self, marks: &BTreeMap<Sku, Mark>) {
        self.marks.get_or_insert_with(|| marks.clone());
    }

    /// Whether the cell is marked, before or by this frame.
    pub(super) fn is_marked(&self, before: &BTreeMap<Sku, Mark>, sku: &Sku) -> bool {
        let marks = self.marks.as_ref().unwrap_or(before);
        !marks.is_empty() && marks.contains_key(sku)
    }

    /// Marks a cell (again); call [`FrameWork::touch`] first.
    pub(super) fn mark(&mut self, sku: &Sku, seq: Seq, mark: Mark) {
        let Some(marks) = &mut self.marks else { return };
        let former = marks.insert(sku.clone(), mark);
        if let (Some(former), Some(mark)) = (former, marks.get_mut(sku)) {
            mark.since = former.since;
            mark.latest = seq;
            mark.names_unknown |= former.names_unknown;
        }
    }

    /// A later event has given the marked cell's state, and its names too if `named`.
    pub(super) fn renew(&mut self, sku: &Sku, named: bool) {
        if let Some(mark) = self.marks.as_mut().and_then(|marks| marks.get_mut(sku)) {
            mark.renewed = true;
            mark.contradicted = false;
            mark.names_unknown &= !named;
        }
    }

    /// How many cells the frame leaves marked so far, if it touches marks at all.
    pub(super) fn mark_count(&self) -> usize {
        self.marks.as_ref().map_or(0, BTreeMap::len)
    }

    /// The marks after the frame, if it touches any.
    pub(super) fn take_marks(&mut self) -> Option<BTreeMap<Sku, Mark>> {
        self.marks.take()
    }

    /// What is told of the frame.
    pub(super) fn into_absorbed(self, healed: Vec<Sku>) -> Absorbed {
        let Self { applied, skipped, ignored, refused, .. } = self;
        Absorbed { applied, skipped, ignored, refused, healed }
    }
}
