//! A store's file of the aggregator's view: container, state, cells, dead letters. The input is
//! the file.
//!
//! What is loaded must be saved and loaded again as the same: state, letters and every cell.

use aggregator::persistence::{LoadedStore, STORES_DIR, StoreFiles, load_all};
use aggregator::view::{MemoryView, ViewStore};
use event_log::SnapshotReader;
use event_log::storage::sim::SimStorage;
use shared::digest::item_digest;
use shared::{StoreId, Timestamp};

use crate::bound::Bound;
use crate::seal;

/// The reader's buffer and the view's empty shards; cells and letters, smaller than on disk but for
/// the maps that hold them.
const BOUND: Bound = Bound { fixed_bytes: 1 << 20, per_byte: 64 };

/// Checks the bytes as they are, then with right crcs.
pub fn check(bytes: &[u8]) {
    seal::as_is_and_sealed(bytes, seal::snapshot, examine);
}

fn examine(bytes: &[u8]) {
    let storage = SimStorage::new(1);
    storage.put("owner", bytes);
    let owner = SnapshotReader::open(&storage, "owner").map(|file| file.header().owner.clone());
    let owner = owner.ok().and_then(|owner| String::from_utf8(owner).ok());
    let store_id = owner.and_then(|owner| StoreId::new(&owner).ok());
    let store_id = store_id.unwrap_or_else(|| StoreId::new("store-a").expect("a legal id"));
    storage.take("owner");
    storage.put(&format!("{STORES_DIR}/{store_id}.{:020}.view", 7), bytes);

    let Some((view, loaded)) = BOUND.hold("a view", bytes.len(), || load(&storage)) else { return };
    assert_eq!((&loaded.saved.store_id, loaded.generation), (&store_id, 7));
    let copy = SimStorage::new(1);
    let mut files = StoreFiles::new(copy.clone(), store_id, 7);
    let cut = view.cut(&loaded.slot);
    let pending = files.write(&view, cut, &loaded.saved, Timestamp::EPOCH);
    let position = pending.and_then(aggregator::persistence::PendingSave::finish);
    assert_eq!(position.expect("the disk works"), loaded.saved.state.position);
    let (other, again) = load(&copy).expect("what was saved loads");
    assert_eq!(again.saved, loaded.saved);
    assert_eq!(cells(&other, &again), cells(&view, &loaded));
}

fn load(storage: &SimStorage) -> Option<(MemoryView, LoadedStore<MemoryView>)> {
    let view = MemoryView::default();
    let mut loaded = load_all(storage, &view).expect("the disk works");
    assert_eq!(loaded.stores.len() + loaded.damaged.len(), 1, "a file is used or reported");
    loaded.stores.pop().map(|store| (view, store))
}

/// The cells, comparable; they must make the digest that was saved with them.
fn cells(view: &MemoryView, loaded: &LoadedStore<MemoryView>) -> Vec<String> {
    let mut cells = Vec::new();
    let mut digest = 0_u128;
    view.for_each(&loaded.slot, &mut |sku, held, texts| {
        digest = digest.wrapping_add(item_digest(sku, &held.cell));
        cells.push(format!("{sku:?} {held:?} {texts:?}"));
    });
    assert_eq!(digest, loaded.saved.state.digest, "other cells than those of the digest");
    cells.sort();
    cells
}
