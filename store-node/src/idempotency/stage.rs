//! Keys on their way into the table from the threads of a recovery: each fills blocks of entries
//! without a lock and hands them over whole. It must never be used beside requests, nor keep a key
//! back at its end.

use std::sync::atomic::AtomicU64;

use event_log::Seq;
// Not the locks of the concurrency tests: the threads of a recovery aren't theirs.
use parking_lot::Mutex;
use shared::Timestamp;

use super::ring::{BLOCK_ENTRIES, KeyEntry};
use super::{KEY_SHARDS, Limits, ShardState, insert, shard_index, shrink};

/// How many entries a shard may have above its bound before the order of the log is known: threads
/// are further apart than a block, and what is evicted should not be chance.
const SLACK_ENTRIES: usize = 16 * BLOCK_ENTRIES;

/// A table that nobody else sees while its keys are restored. It is usable again after every stage's
/// [`KeyStage::hand_over_all`] and then [`KeyRestoring::finish`].
pub struct KeyRestoring<'t> {
    shards: Vec<Mutex<&'t mut ShardState>>,
    limits: Limits,
    evicted: &'t AtomicU64,
}

impl<'t> KeyRestoring<'t> {
    pub(super) fn new(
        shards: impl Iterator<Item = &'t mut ShardState>,
        limits: Limits,
        evicted: &'t AtomicU64,
    ) -> Self {
        Self { shards: shards.map(Mutex::new).collect(), limits, evicted }
    }

    /// Ends it with so many threads: shard by shard, each of which fits into a core's cache.
    pub fn finish(&self, threads: usize) {
        let each = KEY_SHARDS.div_ceil(threads.max(1));
        std::thread::scope(|scope| {
            for shards in self.shards.chunks(each) {
                scope.spawn(move || {
                    for shard in shards {
                        let state = &mut **shard.lock();
                        state.ring.index();
                        if let Some(last) = state.ring.back().copied() {
                            shrink(state, last, self.limits, 0, self.evicted);
                        }
                    }
                });
            }
        });
    }
}

/// Keys that one thread has met.
pub struct KeyStage<'r, 't> {
    restoring: &'r KeyRestoring<'t>,
    hi: Seq,
    now: Timestamp,
    /// Of each shard, fewer entries than a block has.
    shards: Vec<Vec<KeyEntry>>,
}

impl<'r, 't> KeyStage<'r, 't> {
    /// A stage for keys that are forgotten if their life is over at `now`; those up to seq `hi` may
    /// be in the table already.
    pub fn new(restoring: &'r KeyRestoring<'t>, hi: Seq, now: Timestamp) -> Self {
        Self { restoring, hi, now, shards: vec![Vec::new(); KEY_SHARDS] }
    }

    /// Remembers a key; of two claims of one key the later in the log counts.
    pub fn remember(&mut self, entry: KeyEntry) {
        let KeyRestoring { shards, limits, evicted } = self.restoring;
        if limits.is_over(&entry, self.now) {
            return;
        }
        let shard = shard_index(entry.key_hash);
        if entry.first_seq <= self.hi.get() {
            return insert(&mut shards[shard].lock(), entry, *limits, evicted);
        }
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
        let KeyRestoring { shards, limits, evicted } = self.restoring;
        let state = &mut **shards[shard].lock();
        self.shards[shard] = state.ring.push_block_unindexed(block);
        shrink(state, last, *limits, SLACK_ENTRIES, evicted);
    }
}
