//! Keys on their way into the table from one thread of a recovery: blocks of entries are filled
//! without a lock and handed over whole. It must never be used beside requests, nor keep a key back
//! at its end.

use event_log::Seq;
use shared::Timestamp;

use super::ring::{BLOCK_ENTRIES, KeyEntry};
use super::{KEY_SHARDS, KeyTable, shard_index, shrink};

/// How many entries a shard may have above its bound before the order of the log is known: threads
/// are further apart than a block, and what is evicted should not be chance.
const SLACK_ENTRIES: usize = 16 * BLOCK_ENTRIES;

/// Keys that one thread has met. The table is usable only after every stage's
/// [`KeyStage::hand_over_all`] and then [`KeyTable::finish_restoring`].
pub struct KeyStage<'a> {
    table: &'a KeyTable,
    hi: Seq,
    now: Timestamp,
    /// Of each shard, fewer entries than a block has.
    shards: Vec<Vec<KeyEntry>>,
}

impl<'a> KeyStage<'a> {
    /// A stage for keys that are forgotten if their life is over at `now`; those up to seq `hi` may
    /// be in the table already.
    pub fn new(table: &'a KeyTable, hi: Seq, now: Timestamp) -> Self {
        Self { table, hi, now, shards: vec![Vec::new(); KEY_SHARDS] }
    }

    /// Remembers a key; of two claims of one key the later in the log counts.
    pub fn remember(&mut self, entry: KeyEntry) {
        if self.table.limits.is_over(&entry, self.now) {
            return;
        }
        if entry.first_seq <= self.hi.get() {
            return self.table.restore(entry);
        }
        let shard = shard_index(entry.key_hash);
        let block = &mut self.shards[shard];
        if block.capacity() == 0 {
            block.reserve_exact(BLOCK_ENTRIES);
        }
        block.push(entry);
        if block.len() == BLOCK_ENTRIES {
            self.hand_over(shard);
        }
    }

    /// Puts what is still on its way into the table.
    pub fn hand_over_all(&mut self) {
        (0..KEY_SHARDS).for_each(|shard| self.hand_over(shard));
        self.shards.fill(Vec::new());
    }

    fn hand_over(&mut self, shard: usize) {
        let block = std::mem::take(&mut self.shards[shard]);
        let Some(last) = block.last().copied() else { return };
        let state = &mut *self.table.shards[shard].state.lock();
        self.shards[shard] = state.ring.push_block_unindexed(block);
        shrink(state, last, self.table.limits, SLACK_ENTRIES, &self.table.evicted);
    }
}
