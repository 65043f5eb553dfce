//! Loading a snapshot's sections with every core. It must never accept items whose digest isn't
//! the footer's.

use std::sync::mpsc;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use event_log::snapshot::{Section, SnapshotInfo, SnapshotReadError, SnapshotReader};
use event_log::storage::Storage;
use parking_lot::Mutex;
use shared::codec::PackedItem;
use shared::{Timestamp, digest};

use super::Replay;
use crate::idempotency::KeyTable;
use crate::ledger::items::{BlockDraft, Chunk, ITEM_SHARDS, LoadShard, hash_of, shard_of};
use crate::ledger::recovery::LedgerOpenError;
use crate::ledger::tables::{
    SECTION_COUNTS, SECTION_ITEMS, SECTION_KEYS, TableError, read_counts, read_items, read_keys,
};

/// How many sections wait to be decoded at most.
const SECTIONS_WAITING_MAX: usize = 4;

/// One loading thread.
struct Loader<'a> {
    items: &'a [Mutex<LoadShard>],
    keys: &'a KeyTable,
    now: Timestamp,
    /// Items on their way into each shard. With one at a time, the cores would hand the shards'
    /// memory to and fro.
    drafts: Vec<BlockDraft>,
    loaded: Loaded,
}

/// What one thread made of its sections.
#[derive(Default)]
struct Loaded {
    /// SKUs of each section in chunks, with the section's number.
    runs: Vec<(usize, Vec<Chunk>)>,
    with_reservations: Vec<(usize, u32)>,
    /// Of each shard the items that filled no block.
    rest: Vec<BlockDraft>,
    digest: u128,
    keys: u64,
    error: Option<TableError>,
}

impl Replay<'_> {
    /// Loads a snapshot into the empty tables.
    pub(crate) fn load<S: Storage>(
        &mut self,
        mut reader: SnapshotReader<S>,
        info: &SnapshotInfo,
    ) -> Result<(), LedgerOpenError> {
        let first = reader.next_section()?;
        if let Some(counts) = first.as_ref().filter(|section| section.kind == SECTION_COUNTS) {
            let (items, keys) = read_counts(&counts.bytes);
            self.reserve_items(items);
            self.keys.reserve(keys);
        }
        let workers = self.options.worker_count();
        let (items, keys, now) = (&self.shards[..], &*self.keys, self.options.now);
        let (spent_sender, spent) = mpsc::channel();
        let (read, mut parts) = std::thread::scope(|scope| {
            let (sender, sections) = mpsc::sync_channel(SECTIONS_WAITING_MAX);
            let sections = Arc::new(StdMutex::new(sections));
            let threads: Vec<_> = (0..workers)
                .map(|_| {
                    let sections = Arc::clone(&sections);
                    let spent = spent_sender.clone();
                    scope.spawn(move || Loader::new(items, keys, now).run(&sections, &spent))
                })
                .collect();
            drop(sections);
            let read = send_sections(first, &mut reader, &sender, &spent);
            drop(sender);
            let join = |thread: std::thread::ScopedJoinHandle<'_, Loaded>| {
                thread.join().expect("a loader that panics is a defect")
            };
            (read, threads.into_iter().map(join).collect::<Vec<_>>())
        });
        read?;
        if let Some(source) = parts.iter_mut().find_map(|part| part.error.take()) {
            return Err(LedgerOpenError::Table { file: info.file.clone(), source });
        }
        let (mut runs, mut rest) = (Vec::new(), Vec::new());
        for part in parts {
            rest.push(part.rest.into_iter());
            self.digest = self.digest.wrapping_add(part.digest);
            self.loaded_keys += part.keys;
            self.with_reservations.extend(part.with_reservations);
            runs.extend(part.runs);
        }
        let (expected, found) = (info.footer.items_digest, self.digest);
        if expected != found {
            return Err(LedgerOpenError::SnapshotDigest {
                file: info.file.clone(),
                expected,
                found,
            });
        }
        self.index_items(rest, workers);
        runs.sort_by_key(|(number, _)| *number);
        self.loaded.extend(runs.into_iter().flat_map(|(_, chunks)| chunks));
        self.hi = info.hi();
        Ok(())
    }
}

impl Replay<'_> {
    fn reserve_items(&mut self, items: usize) {
        // A little more than the even share: hashes don't spread evenly.
        let each = items / ITEM_SHARDS + items / ITEM_SHARDS / 16;
        for shard in &mut self.shards {
            shard.get_mut().reserve(each);
        }
    }

    /// Makes the items of every shard be found, those included that filled no block.
    fn index_items(&mut self, mut rest: Vec<std::vec::IntoIter<BlockDraft>>, workers: usize) {
        let each = self.shards.iter_mut().enumerate().map(|(number, shard)| {
            let rest: Vec<_> = rest.iter_mut().filter_map(Iterator::next).collect();
            (number, shard.get_mut(), rest)
        });
        let shards = Mutex::new(each.collect::<Vec<_>>().into_iter());
        let shards = &shards;
        let index = move || {
            let mut with_reservations = Vec::new();
            loop {
                let next = shards.lock().next();
                let Some((number, shard, rest)) = next else { return with_reservations };
                shard.index();
                for draft in rest {
                    draft.hand_over_rest(shard, |slot| with_reservations.push((number, slot)));
                }
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(index)).collect();
            for thread in threads {
                let with_reservations = thread.join().expect("to index can't fail");
                self.with_reservations.extend(with_reservations);
            }
        });
    }
}

fn send_sections<S: Storage>(
    first: Option<Section>,
    reader: &mut SnapshotReader<S>,
    sender: &mpsc::SyncSender<(usize, Section)>,
    spent: &mpsc::Receiver<Vec<u8>>,
) -> Result<(), SnapshotReadError> {
    let mut next = first;
    let mut number = 0;
    while let Some(section) = next {
        // All loaders gone: one of them tells why.
        if sender.send((number, section)).is_err() {
            return Ok(());
        }
        number += 1;
        for bytes in spent.try_iter() {
            reader.reuse(bytes);
        }
        next = reader.next_section()?;
    }
    Ok(())
}

impl<'a> Loader<'a> {
    fn new(items: &'a [Mutex<LoadShard>], keys: &'a KeyTable, now: Timestamp) -> Self {
        let drafts = items.iter().map(|_| BlockDraft::default()).collect();
        Self { items, keys, now, drafts, loaded: Loaded::default() }
    }

    fn run(
        mut self,
        sections: &StdMutex<mpsc::Receiver<(usize, Section)>>,
        spent: &mpsc::Sender<Vec<u8>>,
    ) -> Loaded {
        loop {
            let received = sections.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((number, section)) = received else {
                return Loaded { rest: self.drafts, ..self.loaded };
            };
            if self.loaded.error.is_none() {
                self.loaded.error = self.load_section(number, &section).err();
            }
            // The other end is there as long as this one.
            let _sent = spent.send(section.bytes);
        }
    }

    fn load_section(&mut self, number: usize, section: &Section) -> Result<(), TableError> {
        match section.kind {
            SECTION_COUNTS => Ok(()),
            SECTION_KEYS => read_keys(&section.bytes, |entry| {
                self.loaded.keys += 1;
                self.keys.restore_if_alive(entry, self.now);
            }),
            SECTION_ITEMS => {
                let (mut chunks, mut chunk) = (Vec::new(), Chunk::default());
                read_items(&section.bytes, |item| {
                    chunk.push(item.sku);
                    self.load_item(item);
                    if chunk.is_full() {
                        chunks.push(chunk.take());
                    }
                })?;
                chunks.push(chunk.take());
                self.loaded.runs.push((number, chunks));
                Ok(())
            }
            kind => Err(TableError::Kind(kind)),
        }
    }

    fn load_item(&mut self, item: PackedItem<'_>) {
        let digest = digest::digest_of(item.sku, &item.cell);
        self.loaded.digest = self.loaded.digest.wrapping_add(digest);
        let shard = shard_of(hash_of(item.sku.as_bytes()));
        let draft = &mut self.drafts[shard];
        if draft.push(item) {
            let promised = |number| self.loaded.with_reservations.push((shard, number));
            draft.hand_over(&mut self.items[shard].lock(), promised);
        }
    }
}
