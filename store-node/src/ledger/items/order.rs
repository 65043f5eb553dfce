//! The SKUs of a store in byte order: sorted chunks in a tree, so that a snapshot's ten million
//! become one without a second copy. It must never hold a SKU twice, nor an empty chunk.

use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::ops::Bound;

use shared::Sku;

/// How many SKUs a chunk holds at most: looking one up is going through half of them.
const CHUNK_SKUS_MAX: usize = 64;

/// A full chunk may have an eighth of its bytes to spare.
const SPARE_PART_MAX: usize = 8;

/// Some SKUs in order, in as many bytes as they have and one for each.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// Of each SKU its length, as the character of that number, and the SKU. (A SKU has at most 64
    /// bytes, and every number below 128 is a character of one byte.)
    text: String,
    count: usize,
}

/// Where a SKU is in a chunk, or would be, in bytes from its start.
enum Found {
    At(usize),
    Before(usize),
}

impl Chunk {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// A chunk with one SKU, and room for as many as `skus` of the same length.
    pub(super) fn beginning_with(sku: &Sku, skus: usize) -> Self {
        let text = String::with_capacity(skus * (1 + sku.as_str().len()));
        let mut chunk = Self { text, count: 0 };
        chunk.push(sku.as_str());
        chunk
    }

    /// The first byte of what it holds.
    pub(super) fn first_byte(&self) -> usize {
        self.text.as_bytes().first().map_or(0, |byte| usize::from(*byte))
    }

    /// Whether the one at this place of the row, which must be there, is this SKU.
    pub(super) fn has_at(&self, index: usize, sku: &[u8]) -> bool {
        let bytes = self.text.as_bytes();
        let at = (0..index).fold(0, |at, _| at + 1 + usize::from(bytes[at]));
        usize::from(bytes[at]) == sku.len() && bytes[at + 1..].starts_with(sku)
    }

    /// Takes no more.
    pub(crate) fn is_full(&self) -> bool {
        self.count == CHUNK_SKUS_MAX
    }

    /// Adds a text that is known to be a SKU behind the others; to be shrunk when there are no more.
    pub(crate) fn push(&mut self, sku: &str) {
        if self.text.capacity() == 0 {
            self.text.reserve_exact(CHUNK_SKUS_MAX * (1 + sku.len()));
        }
        self.text.push(char::from(sku.len() as u8));
        self.text.push_str(sku);
        self.count += 1;
    }

    /// A chunk of these in no more memory than they need; this one is empty afterwards, its memory
    /// to be used again.
    pub(crate) fn take(&mut self) -> Self {
        let taken = Self { text: self.text.as_str().into(), count: self.count };
        self.text.clear();
        self.count = 0;
        taken
    }

    /// Gives back the memory that it doesn't need. (By a copy: shrunk in place, an allocator may
    /// keep up to twice as much.)
    pub(super) fn shrink(&mut self) {
        if self.text.capacity() - self.text.len() > self.text.len() / SPARE_PART_MAX {
            self.text = self.text.as_str().into();
        }
    }

    /// Gives one of them, by its place in the row, another SKU.
    pub(super) fn replace(&mut self, index: usize, sku: &Sku) {
        let at = self.iter().take(index).map(|sku| 1 + sku.len()).sum();
        self.remove_at(at);
        self.insert_at(at, sku);
    }

    /// The SKUs as they lie.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let mut rest = self.text.as_str();
        std::iter::from_fn(move || {
            let length = usize::from(*rest.as_bytes().first()?);
            let (sku, tail) = rest[1..].split_at(length);
            rest = tail;
            Some(sku)
        })
    }

    fn find(&self, sku: &Sku) -> Found {
        let mut at = 0;
        for known in self.iter() {
            match known.cmp(sku.as_str()) {
                std::cmp::Ordering::Less => at += 1 + known.len(),
                std::cmp::Ordering::Equal => return Found::At(at),
                std::cmp::Ordering::Greater => break,
            }
        }
        Found::Before(at)
    }

    fn insert_at(&mut self, at: usize, sku: &Sku) {
        let sku = sku.as_str();
        self.text.reserve_exact(1 + sku.len());
        self.text.insert_str(at, sku);
        self.text.insert(at, char::from(sku.len() as u8));
        self.count += 1;
    }

    fn remove_at(&mut self, at: usize) {
        let length = usize::from(self.text.as_bytes()[at]);
        self.text.replace_range(at..=at + length, "");
        self.count -= 1;
    }

    /// Keeps so many SKUs and answers the others.
    fn split_off(&mut self, kept: usize) -> Self {
        let at = self.iter().take(kept).map(|sku| 1 + sku.len()).sum();
        let tail = Self { text: self.text.split_off(at), count: self.count - kept };
        self.count = kept;
        tail
    }

    fn first(&self) -> Option<Sku> {
        self.iter().next().map(whole)
    }
}

/// A set of SKUs.
#[derive(Default)]
pub(super) struct SkuOrder {
    /// Sorted chunks, each under a SKU that is at most its first and greater than all before it.
    chunks: BTreeMap<Sku, Chunk>,
}

impl SkuOrder {
    /// Takes over chunks, which should follow each other in the right order, and any number of
    /// other SKUs.
    pub(super) fn of(chunks: Vec<Chunk>, others: Vec<Sku>) -> Self {
        let count: usize = chunks.iter().map(|chunk| chunk.count).sum();
        if others.len() > count / 8 || !are_in_order(&chunks) {
            let mut all: Vec<Sku> = chunks.iter().flat_map(Chunk::iter).map(whole).collect();
            all.extend(others);
            // Stable, because that is fast for long runs.
            all.sort();
            all.dedup();
            return Self { chunks: all.chunks(CHUNK_SKUS_MAX).map(keyed).collect() };
        }
        let keyed = chunks.into_iter().filter_map(|chunk| Some((chunk.first()?, chunk)));
        let mut order = Self { chunks: keyed.collect() };
        for sku in others {
            order.insert(&sku);
        }
        order
    }

    /// Adds a SKU, if it isn't there.
    pub(super) fn insert(&mut self, sku: &Sku) {
        let Some((_, chunk)) = self.chunks.range_mut::<Sku, _>(..=sku).next_back() else {
            return self.insert_first(sku);
        };
        let Found::Before(at) = chunk.find(sku) else {
            return;
        };
        if !chunk.is_full() {
            return chunk.insert_at(at, sku);
        }
        // SKUs that come in ascending order leave full chunks behind them.
        let is_last = at == chunk.text.len();
        let mut tail = chunk.split_off(if is_last { CHUNK_SKUS_MAX } else { CHUNK_SKUS_MAX / 2 });
        match at.checked_sub(chunk.text.len()) {
            Some(at) => tail.insert_at(at, sku),
            None => chunk.insert_at(at, sku),
        }
        let first = tail.first().expect("a tail has half of the SKUs, or the new one");
        self.chunks.insert(first, tail);
    }

    /// Adds a SKU before all others.
    fn insert_first(&mut self, sku: &Sku) {
        let with_room = |entry: &OccupiedEntry<Sku, Chunk>| !entry.get().is_full();
        let first = self.chunks.first_entry().filter(with_room).map(OccupiedEntry::remove);
        let mut first = first.unwrap_or_default();
        first.insert_at(0, sku);
        self.chunks.insert(sku.clone(), first);
    }

    /// Takes a SKU out, if it is there.
    pub(super) fn remove(&mut self, sku: &Sku) {
        let Some((key, chunk)) = self.chunks.range_mut::<Sku, _>(..=sku).next_back() else {
            return;
        };
        if let Found::At(at) = chunk.find(sku) {
            chunk.remove_at(at);
            if chunk.count == 0 {
                let key = key.clone();
                self.chunks.remove(&key);
            }
        }
    }

    /// The SKUs behind a bound, in ascending order.
    pub(super) fn ascending<'a>(&'a self, after: Bound<&'a Sku>) -> impl Iterator<Item = Sku> {
        let holding = match after {
            Bound::Included(sku) | Bound::Excluded(sku) => {
                self.chunks.range::<Sku, _>(..=sku).next_back().map(|(key, _)| key)
            }
            Bound::Unbounded => None,
        };
        let from = holding.map_or(Bound::Unbounded, Bound::Included);
        let is_before = move |sku: &&str| match after {
            Bound::Included(bound) => *sku < bound.as_str(),
            Bound::Excluded(bound) => *sku <= bound.as_str(),
            Bound::Unbounded => false,
        };
        let chunks = self.chunks.range::<Sku, _>((from, Bound::Unbounded));
        chunks.flat_map(move |(_, chunk)| chunk.iter().skip_while(is_before)).map(whole)
    }

    /// The SKUs before a bound, in descending order.
    pub(super) fn descending<'a>(&'a self, before: Bound<&'a Sku>) -> impl Iterator<Item = Sku> {
        let is_within = move |sku: &&str| match before {
            Bound::Included(bound) => *sku <= bound.as_str(),
            Bound::Excluded(bound) => *sku < bound.as_str(),
            Bound::Unbounded => true,
        };
        let chunks = self.chunks.range::<Sku, _>((Bound::Unbounded, before)).rev();
        let backwards = move |chunk: &'a Chunk| {
            let within: Vec<&str> = chunk.iter().take_while(is_within).collect();
            within.into_iter().rev()
        };
        chunks.flat_map(move |(_, chunk)| backwards(chunk)).map(whole)
    }
}

/// A text that was put in as a SKU, as one.
pub(super) fn whole(text: &str) -> Sku {
    Sku::new(text).expect("only SKUs were put in")
}

/// A chunk of these and its key.
fn keyed(skus: &[Sku]) -> (Sku, Chunk) {
    let mut chunk = Chunk::default();
    for sku in skus {
        chunk.push(sku.as_str());
    }
    chunk.shrink();
    (skus[0].clone(), chunk)
}

/// Whether every SKU is greater than the one before it.
fn are_in_order(chunks: &[Chunk]) -> bool {
    chunks.iter().flat_map(Chunk::iter).is_sorted_by(|before, after| before < after)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn sku(number: u16) -> Sku {
        Sku::new(&format!("S{number}")).unwrap()
    }

    /// The order holds what the set holds, from every bound and both ways.
    fn check(order: &SkuOrder, set: &BTreeSet<Sku>, bounds: &[Sku]) {
        assert!(order.ascending(Bound::Unbounded).eq(set.iter().cloned()));
        assert!(order.descending(Bound::Unbounded).eq(set.iter().rev().cloned()));
        assert!(order.chunks.values().all(|chunk| chunk.count == chunk.iter().count()));
        assert!(order.chunks.values().all(|chunk| (1..=CHUNK_SKUS_MAX).contains(&chunk.count)));
        for bound in bounds {
            for bound in [Bound::Included(bound), Bound::Excluded(bound)] {
                let above = set.range::<Sku, _>((bound, Bound::Unbounded)).cloned();
                assert!(order.ascending(bound).eq(above), "from {bound:?}");
                let below = set.range::<Sku, _>((Bound::Unbounded, bound)).rev().cloned();
                assert!(order.descending(bound).eq(below), "down from {bound:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn an_order_is_a_set(
            loaded in 0_u16..3000,
            shuffled in any::<bool>(),
            others in prop::collection::vec(0_u16..9000, 0..300),
            changes in prop::collection::vec((any::<bool>(), 0_u16..9000), 0..900),
            cleared in any::<bool>(),
        ) {
            let mut skus: Vec<Sku> = (0..loaded).map(|number| sku(number * 3)).collect();
            if !shuffled {
                skus.sort();
            }
            let others: Vec<Sku> = others.into_iter().map(sku).collect();
            let mut set: BTreeSet<Sku> = skus.iter().chain(&others).cloned().collect();
            let chunks = skus.chunks(CHUNK_SKUS_MAX).map(|skus| keyed(skus).1).collect();
            let mut order = SkuOrder::of(chunks, others);
            for (is_new, number) in changes {
                if is_new {
                    order.insert(&sku(number));
                    set.insert(sku(number));
                } else {
                    order.remove(&sku(number));
                    set.remove(&sku(number));
                }
            }
            check(&order, &set, &[sku(0), sku(7), sku(4500), sku(9), sku(8999)]);
            if cleared {
                for sku in std::mem::take(&mut set) {
                    order.remove(&sku);
                }
                check(&order, &set, &[sku(7)]);
            }
        }
    }

    #[test]
    fn chunks_split_before_all_others_and_behind_them() {
        let (mut order, mut set) = (SkuOrder::default(), BTreeSet::new());
        for number in (0..2000).rev().chain(2000..4000) {
            let sku = Sku::new(&format!("S{number:05}")).unwrap();
            order.insert(&sku);
            set.insert(sku);
        }
        check(&order, &set, &[sku(0), Sku::new("S02000").unwrap(), Sku::new("T").unwrap()]);
    }
}
