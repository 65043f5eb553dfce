//! The table of idempotency keys: which keyed requests were answered, and at which seqs their
//! answers lie in the log.
//!
//! It must never hold an answer (those are rebuilt from the log), never grow past its bound, and
//! never let two requests with one key run at the same time: a key is claimed in flight before any
//! SKU lock is taken, and whoever comes second waits holding no lock.
//!
//! An entry takes 48 bytes in a ring in the order of claiming, and some 8 in a hash table of
//! positions; expiry is popping the ring's front. A hash table is between half full and seven eighths,
//! and doubles in between: the shards have unequal shares of the keys, so that each doubles at another
//! time, and together they are neither all half empty nor all copied in the same second.

mod ring;
mod stage;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use event_log::{Seq, planted};
use hashbrown::HashSet;
use shared::{FixedHasher, KeyClaim, Timestamp};
use threading::{Condvar, Mutex};

pub use ring::KeyEntry;
use ring::KeyRing;
pub use stage::{KeyRestoring, KeyStage};

/// How many parts the table has, each with a lock of its own.
pub const KEY_SHARDS: usize = 64;
/// How many keys one call of [`KeyTable::forget_expired`] forgets in each shard at most.
pub const FORGET_KEYS_MAX: usize = 1024;

/// The key of a request: hashes only, so that neither can be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestKey {
    /// BLAKE3-128 of the key.
    pub key_hash: u128,
    /// BLAKE3-128 of method, path, If-Match and the raw body.
    pub fingerprint: u128,
}

/// What a claim came to.
pub enum Claimed<'a> {
    /// The key is new: do the work, then complete the claim (dropping it frees the key).
    Fresh(Claim<'a>),
    /// The same request was answered before; its records are here.
    Answered(KeyEntry),
    /// Another request used the key.
    Reused,
}

/// All keys of one store.
pub struct KeyTable {
    shards: Box<[KeyShard]>,
    limits: Limits,
    evicted: AtomicU64,
}

#[derive(Clone, Copy)]
struct Limits {
    life_us: i64,
}

impl Limits {
    fn is_over(self, entry: &KeyEntry, now: Timestamp) -> bool {
        now.micros_since(entry.claimed_at()) >= self.life_us
    }
}

struct KeyShard {
    state: Mutex<ShardState>,
    released: Condvar,
}

struct ShardState {
    /// As many keys as it may hold.
    keys_max: usize,
    ring: KeyRing,
    in_flight: HashSet<u128, FixedHasher>,
}

impl KeyTable {
    /// An empty table for `keys_max` keys, each remembered for `life_us` microseconds.
    pub fn new(keys_max: usize, life_us: i64) -> Self {
        let life_us = if planted::is("remember keys for ever") { i64::MAX } else { life_us };
        let shard = |index| KeyShard {
            state: Mutex::new(ShardState {
                keys_max: share_of(index, keys_max).max(1),
                ring: KeyRing::default(),
                in_flight: HashSet::default(),
            }),
            released: Condvar::new(),
        };
        Self {
            shards: (0..KEY_SHARDS).map(shard).collect(),
            limits: Limits { life_us },
            evicted: AtomicU64::new(0),
        }
    }

    /// Claims a key in flight. Waits, holding no lock, while another request has it in flight.
    pub fn claim(&self, key: RequestKey, now: Timestamp) -> Claimed<'_> {
        let shard = self.shard(key.key_hash);
        let mut state = shard.state.lock();
        loop {
            if let Some(entry) = state.ring.find(key.key_hash)
                && !self.limits.is_over(entry, now)
            {
                return if entry.fingerprint == key.fingerprint {
                    Claimed::Answered(*entry)
                } else {
                    Claimed::Reused
                };
            }
            if state.in_flight.insert(key.key_hash) {
                return Claimed::Fresh(Claim { table: self, key, completed: None });
            }
            shard.released.wait(&mut state);
        }
    }

    /// Remembers a key read back from a log or a snapshot: the newest claim of a key wins.
    pub fn restore(&self, entry: KeyEntry) {
        let mut state = self.shard(entry.key_hash).state.lock();
        insert(&mut state, entry, self.limits, &self.evicted);
    }

    /// Like [`KeyTable::restore`], unless the key's life is over at `now`.
    pub fn restore_if_alive(&self, entry: KeyEntry, now: Timestamp) {
        if !self.limits.is_over(&entry, now) {
            self.restore(entry);
        }
    }

    /// Begins to restore keys with several threads.
    pub fn restoring(&mut self) -> KeyRestoring<'_> {
        let shards = self.shards.iter_mut().map(|shard| shard.state.get_mut());
        KeyRestoring::new(shards, self.limits, &self.evicted)
    }

    /// Makes room for about `keys` more keys.
    pub fn reserve(&self, keys: usize) {
        for (index, shard) in self.shards.iter().enumerate() {
            let mut state = shard.state.lock();
            let share = share_of(index, keys).min(state.keys_max);
            state.ring.reserve(share);
        }
    }

    /// Forgets keys whose life is over, a bounded number for each call; returns how many.
    pub fn forget_expired(&self, now: Timestamp) -> usize {
        let mut forgotten = 0;
        for shard in &self.shards {
            let mut state = shard.state.lock();
            for _ in 0..FORGET_KEYS_MAX {
                if !state.ring.front().is_some_and(|entry| self.limits.is_over(entry, now)) {
                    break;
                }
                state.ring.pop_front();
                forgotten += 1;
            }
        }
        forgotten
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.state.lock().ring.len()).sum()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys were forgotten before their life was over, because the table was full: an
    /// alarm, since their requests would be done again.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Bytes that the table holds.
    pub fn memory_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.state.lock().ring.memory_bytes()).sum()
    }

    /// Copies the keys of one shard, oldest first, after every claim that was in flight when this
    /// was called is completed or given up: a key whose record is durable by then is in the copy.
    pub fn copy_shard(&self, index: usize) -> Vec<KeyEntry> {
        let shard = &self.shards[index];
        let mut state = shard.state.lock();
        let mut awaited: Vec<u128> = state.in_flight.iter().copied().collect();
        loop {
            awaited.retain(|key_hash| state.in_flight.contains(key_hash));
            if awaited.is_empty() || planted::is("copy keys without awaiting claims") {
                return state.ring.iter().collect();
            }
            shard.released.wait(&mut state);
        }
    }

    fn shard(&self, key_hash: u128) -> &KeyShard {
        &self.shards[shard_index(key_hash)]
    }
}

/// Which shard a key belongs to: the hash is a point between 1 and 2, and each shard begins at the
/// same multiple of where the one before it does, the last at nearly twice where the first does.
fn shard_index(key_hash: u128) -> usize {
    let point = 1.0 + (key_hash >> (128 - f64::MANTISSA_DIGITS + 1)) as f64 * f64::EPSILON;
    ((point.log2() * KEY_SHARDS as f64) as usize).min(KEY_SHARDS - 1)
}

/// How many of so many keys belong to a shard; together they are as many.
fn share_of(index: usize, keys: usize) -> usize {
    let begin = |index: usize| ((index as f64 / KEY_SHARDS as f64).exp2() * keys as f64) as u128;
    usize::try_from(begin(index + 1) - begin(index)).unwrap_or(usize::MAX)
}

fn insert(state: &mut ShardState, entry: KeyEntry, limits: Limits, evicted: &AtomicU64) {
    state.ring.push(entry);
    shrink(state, entry, limits, 0, evicted);
}

/// Keeps a shard within its bound and `slack` entries more, after some came in, `entry` as the last.
fn shrink(
    state: &mut ShardState,
    entry: KeyEntry,
    limits: Limits,
    slack: usize,
    evicted: &AtomicU64,
) {
    while state.ring.len() > state.keys_max + slack
        && let Some(oldest) = state.ring.pop_front()
    {
        let was_alive = !limits.is_over(&oldest, entry.claimed_at());
        evicted.fetch_add(u64::from(was_alive), Ordering::Relaxed);
    }
}

/// A key in flight. Dropped without completion it is free again, as if it had never been sent.
pub struct Claim<'a> {
    table: &'a KeyTable,
    key: RequestKey,
    completed: Option<KeyEntry>,
}

impl Claim<'_> {
    /// What goes into the first record of the request's append of so many records.
    pub fn key_claim(&self, records: u32) -> KeyClaim {
        let RequestKey { key_hash, fingerprint } = self.key;
        KeyClaim { key_hash, fingerprint, records }
    }

    /// Remembers where the answer lies.
    pub fn complete(mut self, first_seq: Seq, records: u32, at: Timestamp) {
        self.completed = Some(KeyEntry::new(self.key_claim(records), first_seq, at));
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let shard = self.table.shard(self.key.key_hash);
        let mut state = shard.state.lock();
        if let Some(entry) = self.completed {
            insert(&mut state, entry, self.table.limits, &self.table.evicted);
        }
        state.in_flight.remove(&self.key.key_hash);
        drop(state);
        if !planted::is("end a claim without waking") {
            shard.released.notify_all();
        }
    }
}
