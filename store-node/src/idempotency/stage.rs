//! Keys on their way into the table from the threads of a recovery: each fills blocks of entries
//! without a lock and hands them over whole. It must never be used beside requests, nor keep a key
//! back at its end.

use std::sync::atomic::AtomicU64;

use event_log::Seq;
// Not the locks of the concurrency tests: the threads of a recovery aren't theirs.
use parking_lot::Mutex;
use shared::{KeyClaim, Timestamp};

use super::ring::{BLOCK_ENTRIES, KeyEntry};
use super::{KEY_SHARDS, Limits, ShardState, insert, shard_index, shrink};

/// How many entries a shard may have above its bound before the order of the log is known: threads
/// are further apart than a block, and what is evicted should not be chance.
const SLACK_ENTRIES: usize = 48 * BLOCK_ENTRIES;

/// How many entries of a shard are put into its block at once.
const NEAR_ENTRIES: usize = 17;
const _: () = assert!(BLOCK_ENTRIES.is_multiple_of(NEAR_ENTRIES), "a block is filled exactly");

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
                    let mut spare = Vec::new();
                    for shard in shards {
                        let state = &mut **shard.lock();
                        state.ring.index(&mut spare);
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
    /// The last few of each shard. A block lies in memory that no cache has, and what waits for it
    /// makes everything behind it wait, so it is written many at a time.
    near: Vec<KeyEntry>,
    near_counts: [usize; KEY_SHARDS],
    /// Of each shard, fewer entries than a block has.
    shards: Vec<Vec<KeyEntry>>,
}

impl<'r, 't> KeyStage<'r, 't> {
    /// A stage for keys that are forgotten if their life is over at `now`; those up to seq `hi` may
    /// be in the table already.
    pub fn new(restoring: &'r KeyRestoring<'t>, hi: Seq, now: Timestamp) -> Self {
        let none = KeyEntry::new(
            KeyClaim { key_hash: 0, fingerprint: 0, records: 0 },
            Seq::ZERO,
            Timestamp::EPOCH,
        );
        Self {
            restoring,
            hi,
            now,
            near: vec![none; KEY_SHARDS * NEAR_ENTRIES],
            near_counts: [0; KEY_SHARDS],
            shards: vec![Vec::new(); KEY_SHARDS],
        }
    }

    /// Remembers a key; of two claims of one key the later in the log counts.
    #[inline]
    pub fn remember(&mut self, entry: KeyEntry) {
        if entry.first_seq <= self.hi.get() {
            return self.remember_early(entry);
        }
        if self.restoring.limits.is_over(&entry, self.now) {
            return;
        }
        let shard = shard_index(entry.key_hash);
        let count = self.near_counts[shard];
        self.near[shard * NEAR_ENTRIES + count] = entry;
        self.near_counts[shard] = count + 1;
        if count + 1 == NEAR_ENTRIES {
            self.collect(shard);
        }
    }

    /// One that may be in the table already.
    #[cold]
    fn remember_early(&mut self, entry: KeyEntry) {
        let KeyRestoring { shards, limits, evicted } = self.restoring;
        if !limits.is_over(&entry, self.now) {
            let shard = shard_index(entry.key_hash);
            insert(&mut shards[shard].lock(), entry, *limits, evicted);
        }
    }

    /// Puts what is still on its way into the table.
    pub fn hand_over_all(&mut self) {
        for shard in 0..KEY_SHARDS {
            self.collect(shard);
            self.hand_over(shard);
        }
        self.shards.fill(Vec::new());
    }

    /// Puts the last few of a shard into its block.
    #[inline(never)]
    fn collect(&mut self, shard: usize) {
        let near = &self.near[shard * NEAR_ENTRIES..][..self.near_counts[shard]];
        self.near_counts[shard] = 0;
        let block = &mut self.shards[shard];
        if block.capacity() == 0 {
            block.reserve_exact(BLOCK_ENTRIES);
        }
        block.extend_from_slice(near);
        if block.len() == BLOCK_ENTRIES {
            self.hand_over(shard);
        }
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
