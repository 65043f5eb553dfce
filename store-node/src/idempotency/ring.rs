//! Key entries in the order of their claiming, with a hash table of their positions. It must never
//! move an entry (positions are stable until popped) nor double a big array at once.

use std::collections::VecDeque;

use event_log::Seq;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use shared::{KeyClaim, Timestamp};

/// Entries in one block of the ring: just below 4 KiB. Asked for an alignment, the allocator takes a
/// little more than the bytes. The threads of a replay leave a hole of a block's size for each shard.
pub(super) const BLOCK_ENTRIES: usize = 85;
/// How many entries are sorted at a time, about.
const PART_ENTRIES: usize = 8;

/// Where the answer to one keyed request lies. 48 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEntry {
    /// BLAKE3-128 of the key.
    pub key_hash: u128,
    /// BLAKE3-128 of method, path, If-Match and the raw body.
    pub fingerprint: u128,
    /// The seq of the first record of its append.
    pub first_seq: u64,
    /// How many records its append has.
    pub records: u32,
    /// Logged time of the claim in whole seconds since 1970.
    pub claimed_at_s: u32,
}

impl KeyEntry {
    /// The entry of a claim whose append begins at `first_seq`.
    pub fn new(claim: KeyClaim, first_seq: Seq, at: Timestamp) -> Self {
        Self {
            key_hash: claim.key_hash,
            fingerprint: claim.fingerprint,
            first_seq: first_seq.get(),
            records: claim.records,
            claimed_at_s: u32::try_from(at.as_micros() / 1_000_000).unwrap_or(u32::MAX),
        }
    }

    /// Logged time of the claim, to the second.
    pub fn claimed_at(&self) -> Timestamp {
        Timestamp::from_micros(i64::from(self.claimed_at_s) * 1_000_000)
    }

    /// The seq of the last record of its append.
    pub fn last_seq(&self) -> Seq {
        Seq::new(self.first_seq + u64::from(self.records.max(1)) - 1)
    }
}

/// The entries of one shard.
#[derive(Default)]
pub(super) struct KeyRing {
    blocks: VecDeque<Vec<KeyEntry>>,
    /// Position of the first entry of the first block.
    base: u32,
    /// Entries popped from the first block.
    popped: usize,
    /// How many entries are there, dead ones included.
    entries: usize,
    table: HashTable<u32>,
    /// How many of the last entries aren't in the table yet.
    unindexed: usize,
}

impl KeyRing {
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    pub(super) fn find(&self, key_hash: u128) -> Option<&KeyEntry> {
        let position = self.table.find(bits(key_hash), |at| self.at(*at).key_hash == key_hash)?;
        Some(self.at(*position))
    }

    pub(super) fn front(&self) -> Option<&KeyEntry> {
        self.blocks.front().and_then(|block| block.get(self.popped))
    }

    pub(super) fn back(&self) -> Option<&KeyEntry> {
        self.blocks.back().and_then(|block| block.last())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = KeyEntry> {
        self.blocks.iter().flatten().skip(self.popped).copied()
    }

    /// Adds an entry, unless a newer (or the same) claim of its key is there.
    pub(super) fn push(&mut self, entry: KeyEntry) {
        self.index(&mut Vec::new());
        if self.table.len() == self.table.capacity() {
            self.grow(self.table.len().max(BLOCK_ENTRIES / 2));
        }
        let Self { blocks, base, table, .. } = self;
        let at = |position: u32| entry_at(blocks, *base, position);
        let position = base.wrapping_add(pushed_count(blocks) as u32);
        let same = |p: &u32| at(*p).key_hash == entry.key_hash;
        match table.entry(bits(entry.key_hash), same, |p| bits(at(*p).key_hash)) {
            Entry::Occupied(old) if at(*old.get()).first_seq >= entry.first_seq => return,
            Entry::Occupied(mut old) => *old.get_mut() = position,
            Entry::Vacant(place) => {
                place.insert(position);
            }
        }
        self.push_back(entry);
    }

    /// Adds a block of entries, at most as many as one has, that [`KeyRing::index`] will put into
    /// the table; until then nothing may be looked up. Returns memory for the next block.
    pub(super) fn push_block_unindexed(&mut self, mut block: Vec<KeyEntry>) -> Vec<KeyEntry> {
        self.unindexed += block.len();
        if self.blocks.back().is_none_or(|last| last.len() == BLOCK_ENTRIES) {
            self.entries += block.len();
            self.blocks.push_back(block);
            return Vec::new();
        }
        block.drain(..).for_each(|entry| self.push_back(entry));
        block
    }

    /// Puts what was pushed without it into the table, in the order of the log; of two claims of a
    /// key the later wins. `spare` is memory to sort in, and means nothing before or after.
    pub(super) fn index(&mut self, spare: &mut Vec<KeyEntry>) {
        let unindexed = std::mem::take(&mut self.unindexed).min(self.entries);
        if unindexed == 0 {
            return;
        }
        self.sort_last(unindexed, spare);
        if self.table.len() + unindexed > self.table.capacity() {
            self.grow(unindexed);
        }
        let Self { blocks, base, table, .. } = self;
        let at = |position: u32| entry_at(blocks, *base, position);
        let begin = pushed_count(blocks) - unindexed;
        let (block, skipped) = (begin / BLOCK_ENTRIES, begin % BLOCK_ENTRIES);
        let entries = blocks.range(block..).flatten().skip(skipped);
        for (offset, entry) in (begin..).zip(entries) {
            let position = base.wrapping_add(offset as u32);
            let same = |p: &u32| at(*p).key_hash == entry.key_hash;
            match table.entry(bits(entry.key_hash), same, |p| bits(at(*p).key_hash)) {
                Entry::Occupied(old) if at(*old.get()).first_seq > entry.first_seq => {}
                Entry::Occupied(mut old) => *old.get_mut() = position,
                Entry::Vacant(place) => {
                    place.insert(position);
                }
            }
        }
    }

    /// Brings the last entries into the order of the log: threads handed them over as they came.
    fn sort_last(&mut self, count: usize, spare: &mut Vec<KeyEntry>) {
        let begin = pushed_count(&self.blocks) - count;
        let (block, skipped) = (begin / BLOCK_ENTRIES, begin % BLOCK_ENTRIES);
        let entries = self.blocks.range(block..).flatten().skip(skipped);
        if entries.clone().is_sorted_by_key(|entry| entry.first_seq) {
            return;
        }
        sort_into(spare, entries, count);
        let places = self.blocks.range_mut(block..).flatten().skip(skipped);
        places.zip(spare.iter()).for_each(|(place, entry)| *place = *entry);
    }

    fn push_back(&mut self, entry: KeyEntry) {
        match self.blocks.back_mut() {
            Some(block) if block.len() < BLOCK_ENTRIES => block.push(entry),
            _ => {
                let mut block = Vec::with_capacity(BLOCK_ENTRIES);
                block.push(entry);
                self.blocks.push_back(block);
            }
        }
        self.entries += 1;
    }

    pub(super) fn pop_front(&mut self) -> Option<KeyEntry> {
        let entry = *self.front()?;
        let position = self.base.wrapping_add(self.popped as u32);
        if let Ok(found) = self.table.find_entry(bits(entry.key_hash), |at| *at == position) {
            found.remove();
        }
        self.entries -= 1;
        self.popped += 1;
        if self.popped == BLOCK_ENTRIES {
            self.blocks.pop_front();
            self.base = self.base.wrapping_add(BLOCK_ENTRIES as u32);
            self.popped = 0;
        }
        Some(entry)
    }

    pub(super) fn reserve(&mut self, additional: usize) {
        if self.table.len() + additional > self.table.capacity() {
            self.grow(additional);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let blocks = self.blocks.len() * BLOCK_ENTRIES * size_of::<KeyEntry>();
        let pointers = self.blocks.capacity() * size_of::<Vec<KeyEntry>>();
        blocks + pointers + self.table.allocation_size()
    }

    /// Rebuilds the table by walking the ring, which is in order, instead of the table, which
    /// would visit the ring at random.
    fn grow(&mut self, additional: usize) {
        let mut table = HashTable::with_capacity(self.table.len() + additional);
        let mut position = self.base.wrapping_add(self.popped as u32);
        for entry in self.iter() {
            let alive = self.table.find(bits(entry.key_hash), |at| *at == position).is_some();
            if alive {
                table.insert_unique(bits(entry.key_hash), position, |at| {
                    bits(self.at(*at).key_hash)
                });
            }
            position = position.wrapping_add(1);
        }
        self.table = table;
    }

    fn at(&self, position: u32) -> &KeyEntry {
        entry_at(&self.blocks, self.base, position)
    }
}

/// How many entries were ever pushed into the blocks that are still there.
fn pushed_count(blocks: &VecDeque<Vec<KeyEntry>>) -> usize {
    let last = blocks.back().map_or(0, Vec::len);
    blocks.len().saturating_sub(1) * BLOCK_ENTRIES + last
}

fn entry_at(blocks: &VecDeque<Vec<KeyEntry>>, base: u32, position: u32) -> &KeyEntry {
    let offset = position.wrapping_sub(base) as usize;
    &blocks[offset / BLOCK_ENTRIES][offset % BLOCK_ENTRIES]
}

/// Puts `count` entries into `sorted`, by seq and those of one seq as they came: seqs are spread
/// evenly enough that each entry's share of their range is nearly its place.
fn sort_into<'a>(
    sorted: &mut Vec<KeyEntry>,
    entries: impl Iterator<Item = &'a KeyEntry> + Clone,
    count: usize,
) {
    let seqs = entries.clone().map(|entry| entry.first_seq);
    let (first, last) =
        seqs.clone().fold((u64::MAX, 0), |(first, last), seq| (first.min(seq), last.max(seq)));
    let parts = count / PART_ENTRIES + 2;
    let shift = u64::BITS - (last.saturating_sub(first) / parts as u64).leading_zeros();
    let part = |seq: u64| ((seq - first) >> shift) as usize;
    let mut ends = vec![0_u32; parts + 1];
    seqs.for_each(|seq| ends[part(seq) + 1] += 1);
    let mut end = 0;
    for part in &mut ends {
        end += *part;
        *part = end;
    }
    let Some(any) = entries.clone().next() else { return };
    sorted.resize(count.max(sorted.len()), *any);
    for entry in entries {
        let place = &mut ends[part(entry.first_seq)];
        sorted[*place as usize] = *entry;
        *place += 1;
    }
    sorted.truncate(count);
    let mut begin = 0;
    for end in ends.into_iter().map(|end| end as usize) {
        sorted[begin..end].sort_by_key(|entry| entry.first_seq);
        begin = end;
    }
}

/// The bits that choose the place in the table; the shard was chosen by others.
fn bits(key_hash: u128) -> u64 {
    key_hash as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sorts entries of these seqs, told apart by how they came, as any stable sort does.
    fn check(seqs: &[u64], spare: &mut Vec<KeyEntry>) {
        let entry = |(index, seq): (usize, &u64)| KeyEntry {
            key_hash: index as u128,
            fingerprint: 0,
            first_seq: *seq,
            records: 1,
            claimed_at_s: 0,
        };
        let entries: Vec<_> = seqs.iter().enumerate().map(entry).collect();
        sort_into(spare, entries.iter(), entries.len());
        let mut expected = entries;
        expected.sort_by_key(|entry| entry.first_seq);
        assert_eq!(*spare, expected);
    }

    #[test]
    fn entries_are_sorted_however_unevenly_their_seqs_are_spread() {
        let mut spare = Vec::new();
        check(&[], &mut spare);
        check(&[7], &mut spare);
        check(&[u64::MAX, 0], &mut spare);
        check(&[5; 100], &mut spare);
        let scattered: Vec<u64> = (0..1000).map(|number| number * 7919 % 1000).collect();
        check(&scattered, &mut spare);
        let close: Vec<u64> = scattered.iter().map(|seq| seq / 100).collect();
        check(&close, &mut spare);
        let far: Vec<u64> =
            scattered.iter().map(|seq| seq + (seq / 999) * (u64::MAX / 2)).collect();
        check(&far, &mut spare);
        check(&scattered[..300], &mut spare);
    }
}
