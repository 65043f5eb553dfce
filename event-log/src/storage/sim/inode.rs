//! One simulated file: what a reader sees, what is durable, and what a crash leaves of the rest.
//!
//! A byte that no write changed since the last sync must come out of every crash as it was.

use std::collections::BTreeMap;

use super::random::Random;

const SECTOR_BYTES: usize = 512;
const BLOCK_SECTORS: u64 = 8;

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors written since the last sync, each with the contents it had in between.
    dirty: BTreeMap<u64, Vec<Vec<u8>>>,
}

/// A sector's index and the contents it had between the last sync and now.
type DirtySector = (u64, Vec<Vec<u8>>);

/// What a power cut does to the unsynced sectors of one 4096-byte block.
#[derive(Clone, Copy)]
enum Cut {
    /// Every sector on its own: the old content, the new, or one in between.
    Sectors,
    /// All of them made it.
    Kept,
    /// None of them made it.
    Lost,
    /// New bytes up to some byte, old ones behind it.
    TornAt(usize),
    /// Bytes that are neither, wherever old and new differ.
    Garbled,
}

impl Inode {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { current: bytes.to_vec(), durable: bytes.to_vec(), dirty: BTreeMap::new() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.current
    }

    pub(super) fn length(&self) -> u64 {
        self.current.len() as u64
    }

    pub(super) fn grow(&mut self, length: usize) {
        self.current.resize(length.max(self.current.len()), 0);
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        for sector in offset / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
            let before = sector_of(&self.current, sector as u64).to_vec();
            match self.dirty.entry(sector as u64) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(Vec::new());
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    entry.get_mut().push(before);
                }
            }
        }
        self.grow(end);
        self.current[offset..end].copy_from_slice(bytes);
    }

    pub(super) fn rot(&mut self, at: usize, change: impl Fn(u8) -> u8) {
        for bytes in [&mut self.current, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = change(*byte);
            }
        }
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.current.len(), 0);
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            self.keep(sector);
        }
    }

    /// A sync that failed: a few sectors made it, the others never will unless written again, and
    /// readers see all of them.
    pub(super) fn lose_sync(&mut self, random: &mut Random) {
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            if random.below(4) == 0 {
                self.keep(sector);
            }
        }
    }

    pub(super) fn crash(&mut self, random: &mut Random) {
        let dirty = std::mem::take(&mut self.dirty);
        let mut blocks: BTreeMap<u64, Vec<DirtySector>> = BTreeMap::new();
        for (sector, versions) in dirty {
            blocks.entry(sector / BLOCK_SECTORS).or_default().push((sector, versions));
        }
        for (block, sectors) in blocks {
            let cut = match random.below(8) {
                0..=3 => Cut::Sectors,
                4 => Cut::Kept,
                5 => Cut::Lost,
                6 => Cut::TornAt(
                    (block * BLOCK_SECTORS) as usize * SECTOR_BYTES + random.below(4096) as usize,
                ),
                _ => Cut::Garbled,
            };
            for (sector, versions) in sectors {
                self.cut(sector, &versions, cut, random);
            }
        }
        // The length is metadata of its own: the durable one, the last one, or one in between.
        let longest = self.current.len().max(self.durable.len());
        let least = self.durable.len();
        let length = match random.below(3) {
            0 => least,
            1 => longest,
            _ => least + random.below((longest - least) as u64 + 1) as usize,
        };
        self.durable.resize(longest, 0);
        self.durable.truncate(length.max(least));
        self.current = self.durable.clone();
    }

    fn cut(&mut self, sector: u64, versions: &[Vec<u8>], cut: Cut, random: &mut Random) {
        let length = self.current.len();
        let start = sector as usize * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(length);
        let before_length = self.durable.len();
        if before_length < end {
            self.durable.resize(end, 0);
        }
        match cut {
            Cut::Sectors => match random.below(versions.len() as u64 + 2) as usize {
                0 => {}
                1 => self.durable[start..end].copy_from_slice(&self.current[start..end]),
                index => {
                    let version = &versions[index - 2];
                    let count = version.len().min(end - start);
                    self.durable[start..start + count].copy_from_slice(&version[..count]);
                }
            },
            Cut::Kept => self.durable[start..end].copy_from_slice(&self.current[start..end]),
            Cut::Lost => {}
            Cut::TornAt(at) => {
                let at = at.clamp(start, end);
                self.durable[start..at].copy_from_slice(&self.current[start..at]);
            }
            Cut::Garbled => {
                for at in start..end {
                    if self.durable[at] != self.current[at] {
                        self.durable[at] = random.next() as u8;
                    }
                }
            }
        }
    }

    fn keep(&mut self, sector: u64) {
        let start = sector as usize * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.current.len());
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[start..end].copy_from_slice(&self.current[start..end]);
    }
}

fn sector_of(bytes: &[u8], sector: u64) -> &[u8] {
    let start = (sector as usize * SECTOR_BYTES).min(bytes.len());
    &bytes[start..(start + SECTOR_BYTES).min(bytes.len())]
}
