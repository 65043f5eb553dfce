//! Each store's part of the view on disk: cells, cursor, digest, binding and dead letters in *one*
//! file, so that no crash can tear them apart.
//!
//! A file is a snapshot container of the event log: written under a temporary name, synced,
//! renamed, its directory synced, read back and verified. Files carry a generation; the newest two
//! are kept and the newest valid one counts, so that a file that went bad costs a little replay and
//! never the state. What can't be read is kept and reported, never removed.
//!
//! ```text
//! stores/<store id>.<generation, 20 digits>.view
//!   header    log id · owner = store id · lo, chain, digest = where the follower stands
//!   section 1 the rest of the follower's state, the binding (persistence/codec.rs)
//!   section 2 cells, in pieces of up to 4 MiB
//!   section 3 dead letters, likewise
//!   footer    hi = lo · items digest = the digest of the cells
//! ```

mod codec;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use event_log::Seq;
use event_log::snapshot::{
    SnapshotFile, SnapshotHeader, SnapshotReadError, SnapshotReader, SnapshotWriteError,
};
use event_log::storage::{Storage, join, list_if_there, remove_if_there};
use shared::codec::{DecodeError, VarintReader};
use shared::digest::item_digest;
use shared::{StoreId, Timestamp};

use crate::dead_letter::DeadLetters;
use crate::follower::{FollowerState, Position};
use crate::offload::thread_count;
use crate::view::ViewStore;

/// Where the files are, below the data directory.
pub const STORES_DIR: &str = "stores";
/// Bytes of a section before the next one begins; a few hundred cells or a letter more may fit in. Few
/// enough that a thread that saves touches little new memory for it.
const SECTION_BYTES: usize = 32 << 10;
/// Generations that are kept.
const GENERATIONS_KEPT: u64 = 2;

const KIND_STATE: u16 = 1;
const KIND_CELLS: u16 = 2;
const KIND_LETTERS: u16 = 3;

/// What is persisted of a store besides its cells.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedStore {
    /// The store.
    pub store_id: StoreId,
    /// The node's URL that it is bound to.
    pub url: String,
    /// Where the follower stands.
    pub state: FollowerState,
    /// Why the store is fenced, if it is.
    pub quarantine: Option<String>,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// Up to when everything at the store is known.
    pub as_of: Option<Timestamp>,
    /// When the node last said something valid.
    pub last_contact_at: Option<Timestamp>,
    /// Its dead letters.
    pub letters: DeadLetters,
}

/// A store read back, its cells in a slot that nobody sees yet.
#[derive(Debug)]
pub struct LoadedStore<V: ViewStore> {
    /// What was saved.
    pub saved: SavedStore,
    /// Its cells.
    pub slot: V::Slot,
    /// The generation of its file.
    pub generation: u64,
}

/// Why a store's file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The container is damaged or couldn't be read.
    #[error(transparent)]
    Container(#[from] SnapshotReadError),
    /// The container is whole and what is in it isn't.
    #[error("{file}: {error}")]
    Content {
        /// The file.
        file: String,
        /// What is wrong.
        error: DecodeError,
    },
    /// The cells don't add up to the digest that was saved with them.
    #[error("{file}: its cells don't make its digest")]
    Digest {
        /// The file.
        file: String,
    },
}

/// Why a store wasn't saved. What was saved before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The directory couldn't be made or listed.
    #[error("the directory {STORES_DIR}: {0}")]
    Directory(#[from] io::Error),
    /// The file couldn't be written.
    #[error(transparent)]
    Write(#[from] SnapshotWriteError),
}

/// Everything that a data directory holds.
#[derive(Debug)]
pub struct LoadedView<V: ViewStore> {
    /// Each store's newest valid file.
    pub stores: Vec<LoadedStore<V>>,
    /// Files that can't be used; they are kept.
    pub damaged: Vec<LoadError>,
}

/// Writes one store's files.
#[derive(Debug, Clone)]
pub struct StoreFiles<S: Storage> {
    storage: S,
    store_id: StoreId,
    generation: u64,
    /// Whether the directory's own name is known to survive a crash.
    is_directory_durable: bool,
    /// Whether the store has no files but those that are kept. Looking costs more the more stores there
    /// are, so it is done once, and after whatever went wrong.
    is_swept: bool,
}

/// A file whose bytes are written and not yet durable.
pub struct PendingSave<S: Storage> {
    storage: S,
    file: SnapshotFile<S>,
    store_id: StoreId,
    generation: u64,
    position: Position,
    digest: u128,
}

impl<S: Storage> StoreFiles<S> {
    /// Files of `store_id`, the newest of which is `generation` (0 = there is none).
    pub fn new(storage: S, store_id: StoreId, generation: u64) -> Self {
        Self { storage, store_id, generation, is_directory_durable: false, is_swept: false }
    }

    /// Writes the state and the cells of the cut that belongs to it, makes the file durable, verifies
    /// it and removes those that it replaces. Returns where the follower stood.
    pub fn save<V: ViewStore>(
        &mut self,
        view: &V,
        cut: V::Cut,
        saved: &SavedStore,
        now: Timestamp,
    ) -> Result<Position, SaveError> {
        let is_swept = std::mem::take(&mut self.is_swept);
        let position = self.write(view, cut, saved, now)?.finish_where(is_swept)?;
        self.is_swept = true;
        Ok(position)
    }

    /// Writes the state and the cells of the cut that belongs to it. [`PendingSave::finish`] makes
    /// the file count.
    pub fn write<V: ViewStore>(
        &mut self,
        view: &V,
        cut: V::Cut,
        saved: &SavedStore,
        now: Timestamp,
    ) -> Result<PendingSave<S>, SaveError> {
        if !self.is_directory_durable {
            self.storage.create_dir("")?;
            self.storage.create_dir(STORES_DIR)?;
            self.storage.sync_dir("")?;
            self.is_directory_durable = true;
        }
        let position = saved.state.position;
        let digest = saved.state.digest;
        let header = SnapshotHeader {
            log_id: saved.state.log_id,
            owner: self.store_id.as_str().as_bytes().to_vec(),
            lo: position.seq,
            chain: position.chain,
            state_digest: digest,
            logged_at_us: saved.state.logged_at.as_micros(),
            created_at_us: now.as_micros(),
        };
        let temporary = join(STORES_DIR, &format!("{}.tmp", self.store_id));
        let mut file = SnapshotFile::create(self.storage.clone(), &temporary, header)?;
        file.section(KIND_STATE, 0, &codec::encode_state(saved))?;
        write_cells(&mut file, view, cut)?;
        write_letters(&mut file, &saved.letters)?;
        self.generation += 1;
        let (storage, store_id) = (self.storage.clone(), self.store_id.clone());
        let generation = self.generation;
        Ok(PendingSave { storage, file, store_id, generation, position, digest })
    }

    /// The highest generation that was written.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Removes every file of the store.
    pub fn remove_all(&self) -> io::Result<()> {
        for (generation, store_id) in list(&self.storage)? {
            if store_id == self.store_id {
                remove_if_there(&self.storage, &path(&store_id, generation))?;
            }
        }
        self.storage.sync_dir(STORES_DIR)
    }
}

impl<S: Storage> PendingSave<S> {
    /// Makes the file durable, verifies it and removes those that it replaces. Returns where the
    /// follower stood: up to there the node may forget.
    pub fn finish(self) -> Result<Position, SaveError> {
        self.finish_where(false)
    }

    /// The same where the last save may have left nothing but what was kept then.
    fn finish_where(self, is_swept: bool) -> Result<Position, SaveError> {
        let Self { storage, file, store_id, generation, position, digest } = self;
        file.finish(&path(&store_id, generation), position.seq, digest)?;
        if is_swept {
            let replaced = generation.saturating_sub(GENERATIONS_KEPT);
            remove_if_there(&storage, &path(&store_id, replaced))?;
            return Ok(position);
        }
        for (old, owner) in list(&storage)? {
            if owner == store_id && old + GENERATIONS_KEPT <= generation {
                remove_if_there(&storage, &path(&owner, old))?;
            }
        }
        Ok(position)
    }
}

/// Reads every store of a data directory into slots of the view.
pub fn load_all<S: Storage, V: ViewStore>(storage: &S, view: &V) -> io::Result<LoadedView<V>> {
    load_those(storage, view, |_| true)
}

/// Reads the stores that pass the test into slots of the view, several at a time where there are
/// threads to spare.
pub fn load_those<S: Storage, V: ViewStore>(
    storage: &S,
    view: &V,
    test: impl Fn(&StoreId) -> bool,
) -> io::Result<LoadedView<V>> {
    let mut files = list(storage)?;
    files.retain(|(_, store_id)| test(store_id));
    files.sort_unstable_by(|a, b| (&a.1, b.0).cmp(&(&b.1, a.0)));
    let stores: Vec<&[(u64, StoreId)]> = files.chunk_by(|a, b| a.1 == b.1).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(files) = stores.get(place) else { return done };
            done.push((place, load_newest(storage, view, files)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let helpers: Vec<_> =
            (1..thread_count().min(stores.len())).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for helper in helpers {
            let helped = helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done.extend(helped);
        }
        done
    });
    done.sort_unstable_by_key(|(place, _)| *place);
    let mut loaded = LoadedView { stores: Vec::new(), damaged: Vec::new() };
    for (_, (store, damaged)) in done {
        loaded.stores.extend(store);
        loaded.damaged.extend(damaged);
    }
    Ok(loaded)
}

/// Reads the newest valid one of a store's files, which come newest first, and says which aren't.
fn load_newest<S: Storage, V: ViewStore>(
    storage: &S,
    view: &V,
    files: &[(u64, StoreId)],
) -> (Option<LoadedStore<V>>, Vec<LoadError>) {
    let highest = files.first().map_or(0, |(generation, _)| *generation);
    let mut damaged = Vec::new();
    for (generation, store_id) in files {
        match load(storage, view, store_id, *generation) {
            // The next file must not take the name of a damaged one, which is kept.
            Ok(store) => return (Some(LoadedStore { generation: highest, ..store }), damaged),
            Err(error) => damaged.push(error),
        }
    }
    (None, damaged)
}

/// The highest generation of a store's files, valid or not; 0 = there is none.
pub fn highest_generation<S: Storage>(storage: &S, store_id: &StoreId) -> io::Result<u64> {
    let files = list(storage)?.into_iter().filter(|(_, owner)| owner == store_id);
    Ok(files.map(|(generation, _)| generation).max().unwrap_or(0))
}

fn load<S: Storage, V: ViewStore>(
    storage: &S,
    view: &V,
    store_id: &StoreId,
    generation: u64,
) -> Result<LoadedStore<V>, LoadError> {
    let file = path(store_id, generation);
    let invalid = |error| LoadError::Content { file: file.clone(), error };
    let mut reader = SnapshotReader::open(storage, &file)?;
    let header = reader.header().clone();
    if header.owner != store_id.as_str().as_bytes() {
        return Err(invalid(DecodeError::Invalid("owner")));
    }
    let slot = view.open_slot();
    let mut saved = None;
    let mut letters = DeadLetters::default();
    let mut digest = 0_u128;
    while let Some(section) = reader.next_section()? {
        let mut bytes = VarintReader::new(&section.bytes);
        match section.kind {
            KIND_STATE => {
                saved = Some(codec::decode_state(bytes, &header, store_id).map_err(invalid)?);
            }
            KIND_CELLS => {
                while !bytes.rest().is_empty() {
                    let (sku, held, metadata) = codec::decode_cell(&mut bytes).map_err(invalid)?;
                    digest = digest.wrapping_add(item_digest(&sku, &held.cell));
                    view.put(&slot, &sku, &held, Some(&metadata));
                }
            }
            KIND_LETTERS => {
                while !bytes.rest().is_empty() {
                    let letter = codec::decode_letter(&mut bytes).map_err(invalid)?;
                    letters.push(letter).map_err(|_| invalid(DecodeError::Invalid("letters")))?;
                }
            }
            _ => return Err(invalid(DecodeError::Invalid("kind of section"))),
        }
        reader.reuse(section.bytes);
    }
    let mut saved = saved.ok_or_else(|| invalid(DecodeError::Invalid("state")))?;
    saved.letters = letters;
    if digest != header.state_digest || digest != reader.footer().items_digest {
        return Err(LoadError::Digest { file });
    }
    Ok(LoadedStore { saved, slot, generation })
}

fn write_cells<S: Storage, V: ViewStore>(
    file: &mut SnapshotFile<S>,
    view: &V,
    mut cut: V::Cut,
) -> Result<(), SnapshotWriteError> {
    let mut sections =
        Sections { file, kind: KIND_CELLS, id: 0, bytes: Vec::new(), result: Ok(()) };
    while view.show_more(&mut cut, &mut |sku, held, texts| {
        codec::encode_cell(&mut sections.bytes, sku, held, &texts);
    }) {
        sections.flush_above(SECTION_BYTES);
    }
    sections.flush_above(0);
    sections.result
}

fn write_letters<S: Storage>(
    file: &mut SnapshotFile<S>,
    letters: &DeadLetters,
) -> Result<(), SnapshotWriteError> {
    let mut sections =
        Sections { file, kind: KIND_LETTERS, id: 0, bytes: Vec::new(), result: Ok(()) };
    for letter in letters.iter() {
        codec::encode_letter(&mut sections.bytes, letter);
        sections.flush_above(SECTION_BYTES);
    }
    sections.flush_above(0);
    sections.result
}

/// Gathers bytes into sections of one kind; after the first error nothing more is written.
struct Sections<'a, S: Storage> {
    file: &'a mut SnapshotFile<S>,
    kind: u16,
    id: u32,
    bytes: Vec<u8>,
    result: Result<(), SnapshotWriteError>,
}

impl<S: Storage> Sections<'_, S> {
    fn flush_above(&mut self, bytes: usize) {
        if self.bytes.len() <= bytes {
            return;
        }
        if self.result.is_ok() {
            self.result = self.file.section(self.kind, self.id, &self.bytes);
        }
        self.id += 1;
        self.bytes.clear();
    }
}

fn path(store_id: &StoreId, generation: u64) -> String {
    join(STORES_DIR, &format!("{store_id}.{generation:020}.view"))
}

fn parse_file_name(name: &str) -> Option<(u64, StoreId)> {
    let (store_id, generation) = name.strip_suffix(".view")?.rsplit_once('.')?;
    let is_number = generation.len() == 20 && generation.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Some((generation.parse().ok()?, StoreId::new(store_id).ok()?)))?
}

fn list<S: Storage>(storage: &S) -> io::Result<Vec<(u64, StoreId)>> {
    let names = list_if_there(storage, STORES_DIR)?;
    Ok(names.iter().filter_map(|name| parse_file_name(name)).collect())
}

/// Whether a position is one that may be acknowledged: there is something to acknowledge.
pub fn is_acknowledgeable(position: &Position) -> bool {
    position.seq > Seq::ZERO
}
