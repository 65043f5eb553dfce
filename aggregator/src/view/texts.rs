//! Texts that many cells share: names, categories, places, units. Each is kept once for a shard and
//! freed with its last user. It must never hand out an id whose text could change.

use std::hash::BuildHasher;

use compact_str::CompactString;
use hashbrown::HashTable;
use shared::FixedHasher;

use super::chunked::Chunked;

/// The id of the empty text, which is never counted.
pub(super) const EMPTY: u32 = 0;

#[derive(Debug, Clone, Default)]
struct Entry {
    text: CompactString,
    users: u32,
}

/// A pool of counted texts.
#[derive(Debug)]
pub(super) struct Texts {
    entries: Chunked<Entry>,
    index: HashTable<u32>,
    free: Vec<u32>,
}

impl Default for Texts {
    fn default() -> Self {
        let mut entries = Chunked::default();
        entries.push(Entry::default());
        Self { entries, index: HashTable::new(), free: Vec::new() }
    }
}

fn hash(text: &str) -> u64 {
    FixedHasher::default().hash_one(text)
}

impl Texts {
    /// The text of an id.
    pub(super) fn get(&self, id: u32) -> &str {
        &self.entries[id].text
    }

    /// The id of `text`, if somebody uses it.
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        if text.is_empty() {
            return Some(EMPTY);
        }
        self.index.find(hash(text), |id| self.entries[*id].text == text).copied()
    }

    /// The id of `text`, with one user more.
    pub(super) fn take(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return EMPTY;
        }
        let hashed = hash(text);
        let entries = &mut self.entries;
        if let Some(id) = self.index.find(hashed, |id| entries[*id].text == text) {
            entries[*id].users += 1;
            return *id;
        }
        let entry = Entry { text: CompactString::new(text), users: 1 };
        let id = if let Some(id) = self.free.pop() {
            entries[id] = entry;
            id
        } else {
            entries.push(entry)
        };
        self.index.insert_unique(hashed, id, |id| hash(&entries[*id].text));
        id
    }

    /// One user more of a text that has some.
    pub(super) fn retain(&mut self, id: u32) {
        if id != EMPTY {
            self.entries[id].users += 1;
        }
    }

    /// One user less; the last one frees the text.
    pub(super) fn release(&mut self, id: u32) {
        if id == EMPTY {
            return;
        }
        let entry = &mut self.entries[id];
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        let hashed = hash(&entry.text);
        *entry = Entry::default();
        if let Ok(found) = self.index.find_entry(hashed, |other| *other == id) {
            found.remove();
        }
        self.free.push(id);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_lives_as_long_as_its_users() {
        let mut texts = Texts::default();
        let mug = texts.take("Mug");
        assert_eq!(texts.take("Mug"), mug);
        let cup = texts.take("Cup");
        assert_eq!((texts.get(mug), texts.get(cup), texts.len()), ("Mug", "Cup", 2));
        texts.release(mug);
        assert_eq!(texts.get(mug), "Mug");
        texts.release(mug);
        assert_eq!(texts.len(), 1);
        assert_eq!(texts.take("Bowl"), mug, "the freed place is used again");
        assert_eq!((texts.take(""), texts.get(EMPTY)), (EMPTY, ""));
        texts.release(EMPTY);
    }
}
