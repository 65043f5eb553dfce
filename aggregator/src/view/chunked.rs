//! A vector that grows chunk by chunk: nothing is ever copied to a bigger place, and no more than a
//! chunk is kept in reserve. The view is mostly made of these. Elements are never removed.

use std::ops::{Index, IndexMut};

/// Elements of a chunk.
const CHUNK: usize = 256;

/// A growing sequence with ids from 0.
#[derive(Debug)]
pub(super) struct Chunked<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> Chunked<T> {
    /// How many elements there are.
    pub(super) fn len(&self) -> usize {
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        full + self.chunks.last().map_or(0, Vec::len)
    }

    /// Adds an element and returns its id.
    pub(super) fn push(&mut self, value: T) -> u32 {
        let id = self.len();
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(value),
            // Small stores keep small vectors: only the first chunk grows by doubling.
            None => self.chunks.push(vec![value]),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
        u32::try_from(id).expect("a shard holds far fewer than 2^32 of anything")
    }

    /// The element of an id, if there is one.
    pub(super) fn get(&self, id: u32) -> Option<&T> {
        self.chunks.get(id as usize / CHUNK)?.get(id as usize % CHUNK)
    }

    /// The elements from an id on that lie together; empty only where there are none.
    pub(super) fn run_from(&self, id: u32) -> &[T] {
        let chunk = self.chunks.get(id as usize / CHUNK);
        chunk.and_then(|chunk| chunk.get(id as usize % CHUNK..)).unwrap_or_default()
    }

    /// All elements by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T> Index<u32> for Chunked<T> {
    type Output = T;

    fn index(&self, id: u32) -> &T {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }
}

impl<T> IndexMut<u32> for Chunked<T> {
    fn index_mut(&mut self, id: u32) -> &mut T {
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_vector_over_chunk_bounds() {
        let mut numbers = Chunked::default();
        for number in 0..=CHUNK as u32 * 3 {
            assert_eq!(numbers.len(), number as usize);
            assert_eq!(numbers.push(number), number);
        }
        numbers[CHUNK as u32] = 7;
        let expected: Vec<u32> =
            (0..=CHUNK as u32 * 3).map(|n| if n == CHUNK as u32 { 7 } else { n }).collect();
        assert_eq!(numbers.iter().copied().collect::<Vec<_>>(), expected);
        assert_eq!((numbers.get(CHUNK as u32 * 3), numbers[0]), (Some(&(CHUNK as u32 * 3)), 0));
        assert_eq!(numbers.get(CHUNK as u32 * 3 + 1), None);
        assert_eq!(numbers.run_from(CHUNK as u32 - 2), &expected[CHUNK - 2..CHUNK]);
        assert_eq!(numbers.run_from(CHUNK as u32 * 3), &expected[CHUNK * 3..]);
        assert_eq!(numbers.run_from(CHUNK as u32 * 3 + 1), &[0; 0]);
    }
}
