//! Real till receipts through real nodes: read, planned, played over HTTP by concurrent tills
//! through kills and restarts, then compared with an independent program's sums. This module must
//! never decide what the right answer is: `retail/*.sql`, run by the sqlite3 shell, does.

pub mod compare;
pub mod expected;
pub mod incidents;
pub mod input;
pub mod plan;
pub mod play;
pub mod report;
pub mod run;

/// How many tills play baskets at the same time.
pub const TILLS: usize = 32;
/// How many stores of the grocery chain are played: its busiest ones.
pub const STORES: usize = 12;
/// In each store one SKU is never delivered, so that real baskets are really refused, whatever the
/// order the tills come in: the one with this rank by lines sold (SKUs that come back from
/// customers or are found don't count). The SQL scripts have the same number.
pub const MISSING_RANK: usize = 20;
/// What each delivered SKU has besides everything that will be taken, plus the length of its code:
/// so the final stocks differ and none is zero by accident. The SQL scripts have the same number.
pub const OPENING_MARGIN: u64 = 10;
