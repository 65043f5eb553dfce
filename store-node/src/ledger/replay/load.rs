//! Loading a snapshot's sections with every core. It must never accept items whose digest isn't
//! the footer's.

use std::sync::mpsc;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use event_log::snapshot::{Section, SnapshotInfo, SnapshotReadError, SnapshotReader};
use event_log::storage::Storage;
use parking_lot::Mutex;
use shared::codec::SnapshotItem;
use shared::{Timestamp, digest};

use super::Replay;
use crate::idempotency::KeyTable;
use crate::ledger::items::{Chunk, ITEM_SHARDS, LoadShard, PackedItem, hash_of, shard_of};
use crate::ledger::recovery::LedgerOpenError;
use crate::ledger::tables::{
    SECTION_COUNTS, SECTION_ITEMS, SECTION_KEYS, TableError, read_counts, read_items, read_keys,
};

/// How many sections wait to be decoded at most.
const SECTIONS_WAITING_MAX: usize = 4;

/// How many items of a shard a loader collects before it takes the shard's lock: with one at a
/// time, the cores would hand the shards' memory to and fro.
const ITEMS_TOGETHER: usize = 32;

/// One loading thread.
struct Loader<'a> {
    items: &'a [Mutex<LoadShard>],
    keys: &'a KeyTable,
    now: Timestamp,
    /// Items on their way into each shard.
    waiting: Vec<Vec<PackedItem>>,
    loaded: Loaded,
}

/// What one thread made of its sections.
#[derive(Default)]
struct Loaded {
    /// SKUs of each section in chunks, with the section's number.
    runs: Vec<(usize, Vec<Chunk>)>,
    with_reservations: Vec<(usize, u32)>,
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
        let mut runs = Vec::new();
        for part in parts {
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
        let waiting = items.iter().map(|_| Vec::with_capacity(ITEMS_TOGETHER)).collect();
        Self { items, keys, now, waiting, loaded: Loaded::default() }
    }

    fn run(
        mut self,
        sections: &StdMutex<mpsc::Receiver<(usize, Section)>>,
        spent: &mpsc::Sender<Vec<u8>>,
    ) -> Loaded {
        loop {
            let received = sections.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((number, section)) = received else {
                (0..self.items.len()).for_each(|shard| self.hand_over(shard));
                return self.loaded;
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
                read_items(&section.bytes, |item, state| {
                    chunk.push(&item.sku);
                    self.load_item(item, state);
                    if chunk.is_full() {
                        chunk.shrink();
                        chunks.push(std::mem::take(&mut chunk));
                    }
                })?;
                chunk.shrink();
                chunks.push(chunk);
                self.loaded.runs.push((number, chunks));
                Ok(())
            }
            kind => Err(TableError::Kind(kind)),
        }
    }

    fn load_item(&mut self, SnapshotItem { sku, item, .. }: SnapshotItem, state: &[u8]) {
        let digest = digest::item_digest(&sku, item.cell());
        self.loaded.digest = self.loaded.digest.wrapping_add(digest);
        let hash = hash_of(sku.as_str().as_bytes());
        let shard = shard_of(hash);
        self.waiting[shard].push(PackedItem::new(hash, sku, state, item));
        if self.waiting[shard].len() == ITEMS_TOGETHER {
            self.hand_over(shard);
        }
    }

    /// Puts the waiting items of a shard into it.
    fn hand_over(&mut self, shard: usize) {
        let mut items = self.items[shard].lock();
        for item in self.waiting[shard].drain(..) {
            let has_reservations = item.has_reservations();
            let number = items.insert_packed(item);
            if has_reservations {
                self.loaded.with_reservations.push((shard, number));
            }
        }
    }
}
