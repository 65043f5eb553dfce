//! Saving and loading over the simulated disk, with a crash or a fault between any two operations.

use event_log::storage::sim::{Fault, SimStorage};
use shared::command::Action;
use shared::command::ItemPatch;
use shared::{Quantity, Sku};

use super::*;
use crate::dead_letter::DeadLetter;
use crate::follower::{Follower, digest_of_slot};
use crate::testing::{LOG_ID, Node, create, sell, sku};
use crate::view::MemoryView;

type View = MemoryView;

fn store() -> StoreId {
    StoreId::new("store-a").unwrap()
}

/// A follower with a marked cell, letters and wide numbers, and the node that made it.
fn rich() -> (View, Node, Follower<View>, DeadLetters) {
    let view = View::default();
    let slot = view.open_slot();
    let mut follower = Follower::new(view.clone(), slot, FollowerState::at_beginning(LOG_ID));
    let mut node = Node::new();
    let big = Action::Receive { quantity: Quantity::new(1 << 50).unwrap() };
    let many: Vec<String> = (0..200).map(|n| format!("SKU {n}")).collect();
    let creates: Vec<(&str, Action)> = many.iter().map(|name| (name.as_str(), create(9))).collect();
    follower.absorb(&node.commit(&creates)).unwrap();
    follower.absorb(&node.commit(&[("SKU 7", big), ("SKU 8", sell(2))])).unwrap();
    let patch = ItemPatch { name: Some("Becher".into()), ..ItemPatch::default() };
    let mut records = Node::records(&node.events(&[("SKU 9", Action::update(patch))]));
    records[0].push(0);
    let frame = node.seal(event_log::frame::FrameKind::Data, &records);
    let mut letters = DeadLetters::default();
    for refused in follower.absorb(&frame).unwrap().refused {
        letters.push(DeadLetter::new(refused, node.now)).unwrap();
    }
    assert_eq!((follower.state().marks.len(), letters.open_count()), (1, 1));
    (view, node, follower, letters)
}

fn saved(follower: &Follower<View>, letters: &DeadLetters) -> SavedStore {
    SavedStore {
        store_id: store(),
        url: "http://127.0.0.1:4101".to_owned(),
        state: follower.state().clone(),
        quarantine: None,
        paused: true,
        as_of: Some(Timestamp::from_micros(5)),
        last_contact_at: None,
        letters: letters.clone(),
    }
}

fn save(
    files: &mut StoreFiles<SimStorage>,
    view: &View,
    follower: &Follower<View>,
    saved: &SavedStore,
) -> Result<Position, SaveError> {
    files.save(view, view.cut(follower.slot()), saved, Timestamp::EPOCH)
}

/// All cells of a slot, comparable.
fn cells(view: &View, slot: &<View as ViewStore>::Slot) -> Vec<String> {
    let mut cells = Vec::new();
    view.for_each(slot, &mut |sku: &Sku, held, texts| {
        cells.push(format!("{sku} {held:?} {texts:?}"));
    });
    cells.sort();
    cells
}

fn load_one(storage: &SimStorage) -> Option<(View, LoadedStore<View>)> {
    let view = View::default();
    let mut loaded = load_all(storage, &view).unwrap();
    assert!(loaded.stores.len() <= 1);
    loaded.stores.pop().map(|store| (view, store))
}

#[test]
fn everything_comes_back_and_the_follower_goes_on() {
    let (view, mut node, follower, letters) = rich();
    let storage = SimStorage::new(1);
    let mut files = StoreFiles::new(storage.clone(), store(), 0);
    let saved = saved(&follower, &letters);
    assert_eq!(save(&mut files, &view, &follower, &saved).unwrap(), follower.state().position);
    let (other, loaded) = load_one(&storage).unwrap();
    assert_eq!(loaded.saved, saved);
    assert_eq!(loaded.generation, 1);
    assert_eq!(cells(&other, &loaded.slot), cells(&view, follower.slot()));
    let mut resumed = Follower::new(other, loaded.slot, loaded.saved.state);
    let patch = ItemPatch { category: Some("kitchen".into()), ..ItemPatch::default() };
    let frame = node.commit(&[("SKU 9", Action::update(patch)), ("NEW", create(1))]);
    assert_eq!(resumed.absorb(&frame).unwrap().healed, [sku("SKU 9")]);
    assert!(resumed.state().is_verified());
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_are_read_side_by_side_come_back_in_order_each_with_its_own() {
    let (view, _, follower, letters) = rich();
    let storage = SimStorage::new(1);
    let ids: Vec<StoreId> =
        (0..9).map(|number| StoreId::new(&format!("store-{number}")).unwrap()).collect();
    for (number, id) in ids.iter().enumerate() {
        let mut files = StoreFiles::new(storage.clone(), id.clone(), number as u64);
        let saved = SavedStore { store_id: id.clone(), ..saved(&follower, &letters) };
        save(&mut files, &view, &follower, &saved).unwrap();
    }
    storage.flip_bit(&path(&ids[4], 5), 300, 3).unwrap();
    let other = View::default();
    let loaded = load_all(&storage, &other).unwrap();
    assert_eq!(loaded.damaged.len(), 1);
    let generations: Vec<(usize, u64)> = loaded
        .stores
        .iter()
        .map(|store| {
            (ids.iter().position(|id| *id == store.saved.store_id).unwrap(), store.generation)
        })
        .collect();
    let expected: Vec<(usize, u64)> =
        (0..9).filter(|n| *n != 4).map(|n| (n, n as u64 + 1)).collect();
    assert_eq!(generations, expected);
    for store in &loaded.stores {
        assert_eq!(cells(&other, &store.slot), cells(&view, follower.slot()));
    }
}

#[test]
fn a_restart_applies_what_comes_again_once() {
    let (view, mut node) = (View::default(), Node::new());
    let slot = view.open_slot();
    let mut follower = Follower::new(view.clone(), slot, FollowerState::at_beginning(LOG_ID));
    follower.absorb(&node.commit(&[("A", create(9))])).unwrap();
    let storage = SimStorage::new(1);
    let mut files = StoreFiles::new(storage.clone(), store(), 0);
    let letters = DeadLetters::default();
    save(&mut files, &view, &follower, &saved(&follower, &letters)).unwrap();
    // Taken over, visible, and then lost with the process.
    let lost = [node.commit(&[("A", sell(1))]), node.commit(&[("A", sell(2))])];
    for frame in &lost {
        follower.absorb(frame).unwrap();
    }
    let (other, loaded) = load_one(&storage).unwrap();
    let mut resumed = Follower::new(other.clone(), loaded.slot, loaded.saved.state);
    for _ in 0..2 {
        for frame in &lost {
            resumed.absorb(frame).unwrap();
        }
    }
    assert_eq!(cells(&other, resumed.slot()), cells(&view, follower.slot()));
    assert!(resumed.state().is_verified());
}

/// What a load may find: exactly one of the states that were saved.
fn assert_whole(storage: &SimStorage, states: &[&SavedStore], at_least: usize, what: &str) {
    let Some((view, loaded)) = load_one(storage) else {
        assert_eq!(at_least, 0, "{what}: what was saved is gone");
        return;
    };
    let found = states.iter().position(|saved| **saved == loaded.saved);
    let found = found.unwrap_or_else(|| panic!("{what}: neither the old state nor the new one"));
    assert!(found + 1 >= at_least, "{what}: acknowledged, and gone back to state {found}");
    let digest = digest_of_slot(&view, &loaded.slot);
    assert_eq!(digest, loaded.saved.state.digest, "{what}: cells and digest are torn apart");
}

/// Saves three states one after another on `storage`; returns how many were finished.
fn save_three(storage: &SimStorage, states: &[(View, Follower<View>, SavedStore)]) -> usize {
    let mut files = StoreFiles::new(storage.clone(), store(), 0);
    let mut finished = 0;
    for (view, follower, saved) in states {
        if save(&mut files, view, follower, saved).is_err() {
            return finished;
        }
        finished += 1;
    }
    finished
}

fn three_states() -> Vec<(View, Follower<View>, SavedStore)> {
    (1..=3)
        .map(|count| {
            let view = View::default();
            let slot = view.open_slot();
            let mut follower =
                Follower::new(view.clone(), slot, FollowerState::at_beginning(LOG_ID));
            let mut node = Node::new();
            follower.absorb(&node.commit(&[("A", create(50)), ("B", create(50))])).unwrap();
            for _ in 0..count {
                follower.absorb(&node.commit(&[("A", sell(1)), ("B", sell(2))])).unwrap();
            }
            let saved = saved(&follower, &DeadLetters::default());
            (view, follower, saved)
        })
        .collect()
}

#[test]
fn a_crash_between_any_two_operations_leaves_a_whole_state() {
    let states = three_states();
    let saved: Vec<&SavedStore> = states.iter().map(|(_, _, saved)| saved).collect();
    let undisturbed = SimStorage::new(1);
    assert_eq!(save_three(&undisturbed, &states), 3);
    let operations = undisturbed.op_count();
    assert!(operations >= 15, "only {operations} operations");
    for operation in 0..=operations {
        for seed in 0..6 {
            let storage = SimStorage::new(seed);
            storage.fail_at(operation, Fault::Crash);
            let finished = save_three(&storage, &states);
            let what = format!("crash at operation {operation}, seed {seed}");
            assert_whole(&storage.crashed(seed), &saved, finished, &what);
        }
    }
}

#[test]
fn a_fault_at_any_operation_loses_nothing_that_was_saved() {
    let states = three_states();
    let saved: Vec<&SavedStore> = states.iter().map(|(_, _, saved)| saved).collect();
    let undisturbed = SimStorage::new(1);
    save_three(&undisturbed, &states);
    for fault in [Fault::Eio, Fault::Enospc] {
        for operation in 0..undisturbed.op_count() {
            let storage = SimStorage::new(operation);
            storage.fail_at(operation, fault);
            let finished = save_three(&storage, &states);
            let what = format!("{fault:?} at operation {operation}");
            assert_whole(&storage, &saved, finished, &what);
            assert_whole(&storage.crashed(operation), &saved, finished, &what);
        }
    }
}

#[test]
fn a_damaged_file_is_kept_and_the_one_before_it_counts() {
    let states = three_states();
    let storage = SimStorage::new(1);
    save_three(&storage, &states);
    let newest = path(&store(), 3);
    storage.flip_bit(&newest, 300, 3).unwrap();
    let view = View::default();
    let loaded = load_all(&storage, &view).unwrap();
    assert_eq!(loaded.damaged.len(), 1);
    assert_eq!(loaded.stores[0].saved, states[1].2);
    assert_eq!(loaded.stores[0].generation, 3, "the next file takes another name");
    let mut files = StoreFiles::new(storage.clone(), store(), 3);
    save(&mut files, &states[2].0, &states[2].1, &states[2].2).unwrap();
    assert!(storage.list(STORES_DIR).unwrap().iter().any(|name| newest.ends_with(name)), "kept");
    assert_eq!(load_all(&storage, &view).unwrap().stores[0].saved, states[2].2);
}

/// The generations of the store's files.
fn generations(storage: &SimStorage) -> Vec<u64> {
    let mut found: Vec<u64> =
        list(storage).unwrap().into_iter().map(|(number, _)| number).collect();
    found.sort_unstable();
    found
}

#[test]
fn only_the_newest_files_are_kept_whatever_went_wrong_before() {
    let (view, _, follower, letters) = rich();
    let saved = saved(&follower, &letters);
    let storage = SimStorage::new(1);
    for generation in [0, 1, 4] {
        let mut files = StoreFiles::new(storage.clone(), store(), generation);
        files.write(&view, view.cut(follower.slot()), &saved, Timestamp::EPOCH).unwrap();
        save(&mut files, &view, &follower, &saved).unwrap();
    }
    let mut files = StoreFiles::new(storage.clone(), store(), 6);
    let looks = |files: &mut StoreFiles<SimStorage>| {
        let before = storage.op_count();
        save(files, &view, &follower, &saved).map(|_| storage.op_count() - before)
    };
    let first = looks(&mut files).unwrap();
    assert_eq!(generations(&storage), [6, 7], "the first save looks for what others left");
    for generation in 8..12 {
        assert!(looks(&mut files).unwrap() <= first);
        assert_eq!(generations(&storage), [generation - 1, generation]);
    }
    // One that fails after its file counts leaves what it was to remove.
    let removal = storage.op_count() + first - 1;
    storage.fail_at(removal, Fault::Eio);
    let failed = looks(&mut files);
    assert!(failed.is_err(), "the last operation removes: {:?}", storage.operation(removal));
    assert_eq!(generations(&storage), [10, 11, 12]);
    looks(&mut files).unwrap();
    assert_eq!(generations(&storage), [12, 13], "the next save looks again");
}

#[test]
fn cells_that_do_not_make_the_digest_are_refused() {
    let (view, _, follower, letters) = rich();
    let storage = SimStorage::new(1);
    let mut files = StoreFiles::new(storage.clone(), store(), 0);
    let mut lying = saved(&follower, &letters);
    lying.state.digest ^= 1;
    save(&mut files, &view, &follower, &lying).unwrap();
    let loaded = load_all(&storage, &View::default()).unwrap();
    assert!(loaded.stores.is_empty());
    assert!(matches!(loaded.damaged[..], [LoadError::Digest { .. }]));
}

#[test]
fn file_names_are_read_back_and_others_are_left_alone() {
    for (name, expected) in [
        ("store-a.00000000000000000007.view", Some((7, "store-a"))),
        ("a.b.00000000000000000007.view", Some((7, "a.b"))),
        ("store-a.7.view", None),
        ("store-a.tmp", None),
        (".00000000000000000007.view", None),
    ] {
        let parsed = parse_file_name(name);
        let parsed = parsed.as_ref().map(|(generation, id)| (*generation, id.as_str()));
        assert_eq!(parsed, expected, "{name}");
    }
}

#[test]
fn what_is_saved_is_one_moment_however_much_happens_meanwhile() {
    let (view, mut node, mut follower, letters) = rich();
    let storage = SimStorage::new(1);
    let mut files = StoreFiles::new(storage.clone(), store(), 0);
    let saved = saved(&follower, &letters);
    let expected = cells(&view, follower.slot());
    let cut = view.cut(follower.slot());
    let many: Vec<String> = (0..150).map(|n| format!("SKU {n}")).collect();
    let sales: Vec<(&str, Action)> = many.iter().map(|name| (name.as_str(), sell(1))).collect();
    follower.absorb(&node.commit(&sales)).unwrap();
    follower.absorb(&node.commit(&[("NEW", create(1))])).unwrap();
    files.write(&view, cut, &saved, Timestamp::EPOCH).unwrap().finish().unwrap();
    let (other, loaded) = load_one(&storage).unwrap();
    assert_eq!((&loaded.saved, cells(&other, &loaded.slot)), (&saved, expected));
    assert_eq!(digest_of_slot(&other, &loaded.slot), saved.state.digest);
}
