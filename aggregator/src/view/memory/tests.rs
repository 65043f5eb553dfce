//! The view against a trivial model: maps of maps.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shared::cell::{Cell, Flags, Version};
use shared::wire::cursor::PageCursor;
use shared::{Quantities, Quantity, Timestamp};

use super::*;
use crate::view::query::{ItemFilter, PageRequest, Rank};

type Cells = BTreeMap<usize, (Held, Metadata)>;
type Model = BTreeMap<Sku, Cells>;

const STORES: usize = 3;

#[derive(Debug, Clone)]
struct Put {
    store: usize,
    sku: u16,
    stock: u64,
    reserved: u64,
    incoming: u64,
    name: Option<u8>,
}

fn put() -> impl Strategy<Value = Put> {
    let stock = prop_oneof![0..30_u64, 0..=shared::QUANTITY_MAX];
    (0..STORES, 0..60_u16, stock, 0..20_u64, 0..2_u64, prop::option::of(0..4_u8)).prop_map(
        |(store, sku, stock, reserved, incoming, name)| Put {
            store,
            sku,
            stock,
            reserved,
            incoming,
            name,
        },
    )
}

fn store_id(index: usize) -> StoreId {
    StoreId::new(&format!("store-{index}")).unwrap()
}

fn quantity(units: u64) -> Quantity {
    Quantity::new(units).unwrap()
}

fn apply(view: &MemoryView, slots: &[MemorySlot], model: &mut Model, put: &Put) {
    let sku = Sku::new(&format!("SKU-{:03}", u32::from(put.sku) * 7919 % 1000)).unwrap();
    let cells = model.entry(sku.clone()).or_default();
    let known = cells.get(&put.store).cloned();
    let version = known.as_ref().map_or(Version::ZERO, |(held, _)| held.cell.version).next();
    let quantities = Quantities {
        stock: quantity(put.stock),
        reserved: quantity(put.reserved),
        incoming: quantity(put.incoming),
        reorder_point: quantity(5),
        ..Quantities::default()
    };
    let flags = Flags { active: !put.reserved.is_multiple_of(3), ..Flags::default() };
    let cell = Cell { version, quantities, flags, ..Cell::default() };
    let held = Held { cell, seq: version.get() * 3, metadata_at: Timestamp::EPOCH };
    let metadata = put.name.map(|name| Metadata {
        name: format!("Name {name} É").into(),
        category: if name < 2 { "kitchen".into() } else { "".into() },
        location: format!("W-{}", (usize::from(name) + put.store) % 3).into(),
        ..Metadata::default()
    });
    view.put(&slots[put.store], &sku, &held, metadata.as_ref());
    let former = known.map(|(_, metadata)| metadata).unwrap_or_default();
    cells.insert(put.store, (held, metadata.unwrap_or(former)));
}

fn request(rank: Rank, descending: bool, limit: usize, filter: ItemFilter) -> PageRequest {
    PageRequest { filter, rank, descending, after: None, limit }
}

/// All pages after one another, as SKUs.
fn walk(view: &MemoryView, mut request: PageRequest) -> Vec<Sku> {
    let mut skus = Vec::new();
    loop {
        let (rows, cursor) = view.page(&request);
        assert!(rows.len() <= request.limit);
        skus.extend(rows.into_iter().map(|row| row.sku));
        let Some(cursor) = cursor else { return skus };
        request.after = Some(PageCursor::decode(&cursor.encode()).unwrap());
    }
}

fn available(cells: &Cells) -> u64 {
    cells.values().map(|(held, _)| held.cell.quantities.available().get()).sum()
}

fn is_low(cells: &Cells) -> bool {
    cells.values().any(|(held, _)| held.cell.quantities.is_low_stock())
}

fn check_cells(view: &MemoryView, slots: &[MemorySlot], model: &Model) {
    for (sku, cells) in model {
        let row = view.item(sku).expect("a held item is found");
        let parts: Vec<_> = row.parts.iter().map(|part| (part.held, part.name.clone())).collect();
        let expected: Vec<_> =
            cells.values().map(|(held, metadata)| (*held, metadata.name.clone())).collect();
        assert_eq!(parts, expected, "{sku}");
        for (store, slot) in slots.iter().enumerate() {
            let expected = cells.get(&store).map(|(held, _)| *held).unwrap_or_default();
            assert_eq!(view.held(slot, sku), expected);
        }
    }
    for (store, slot) in slots.iter().enumerate() {
        let mut visited = BTreeMap::new();
        view.for_each(slot, &mut |sku, held, texts| {
            let twice = visited.insert(sku.clone(), (*held, texts.to_metadata()));
            assert!(twice.is_none(), "{sku} was shown twice");
        });
        let expected: BTreeMap<_, _> = model
            .iter()
            .filter_map(|(sku, cells)| Some((sku.clone(), cells.get(&store)?.clone())))
            .collect();
        assert_eq!(visited, expected);
    }
}

fn check_sums(view: &MemoryView, model: &Model) {
    for (store, slot) in view.visible().iter().enumerate() {
        let mut expected = Sums::default();
        for (held, _) in model.values().filter_map(|cells| cells.get(&store)) {
            expected.add(&Sums::of(&held.cell.quantities));
        }
        assert_eq!(view.sums(slot), expected);
    }
    let count =
        |test: &dyn Fn(&Cells) -> bool| model.values().filter(|cells| test(cells)).count() as u64;
    let expected = (count(&|_| true), count(&is_low), count(&|cells| available(cells) == 0));
    assert_eq!(view.distinct(), expected);
}

fn check_lists(view: &MemoryView, model: &Model, limit: usize) {
    let all: Vec<Sku> = model.keys().cloned().collect();
    let none = ItemFilter::default;
    assert_eq!(walk(view, request(Rank::Sku, false, limit, none())), all);
    let reversed: Vec<Sku> = all.iter().rev().cloned().collect();
    assert_eq!(walk(view, request(Rank::Sku, true, limit, none())), reversed);
    let mut ranked: Vec<(u64, Sku)> =
        model.iter().map(|(sku, cells)| (available(cells), sku.clone())).collect();
    ranked.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let ranked: Vec<Sku> = ranked.into_iter().map(|(_, sku)| sku).collect();
    assert_eq!(walk(view, request(Rank::Available, true, limit, none())), ranked);
    for (filter, test) in filters(&all) {
        let fitting = model.iter().filter(|(sku, cells)| test(sku, cells));
        let expected: Vec<Sku> = fitting.map(|(sku, _)| sku.clone()).collect();
        let found = walk(view, request(Rank::Sku, false, limit, filter.clone()));
        assert_eq!(found, expected, "{filter:?}");
        let found = walk(view, request(Rank::Available, true, limit, filter.clone()));
        let looked_at =
            filter.store_id.as_ref().map(|id| (0..STORES).find(|n| store_id(*n) == *id));
        let by_rank = match looked_at.flatten() {
            None => ranked.iter().filter(|sku| expected.contains(sku)).cloned().collect(),
            Some(store) => by_rank_in(model, store, expected),
        };
        assert_eq!(found, by_rank, "by rank, {filter:?}");
    }
}

/// These SKUs by what one store has available, most first.
fn by_rank_in(model: &Model, store: usize, mut skus: Vec<Sku>) -> Vec<Sku> {
    let available = |sku: &Sku| model[sku][&store].0.cell.quantities.available();
    skus.sort_by(|a, b| available(b).cmp(&available(a)).then_with(|| a.cmp(b)));
    skus
}

type Test = fn(&Sku, &Cells) -> bool;

/// Filters, each with what it should let through.
fn filters(all: &[Sku]) -> Vec<(ItemFilter, Test)> {
    let with = |change: &dyn Fn(&mut ItemFilter)| {
        let mut filter = ItemFilter::default();
        change(&mut filter);
        filter
    };
    let is_low_test: Test = |_, cells| is_low(cells);
    let text = |text: &str| Some(text.to_owned());
    vec![
        (with(&|f| f.prefix = text("SKU-4")), |sku, _| sku.as_str().starts_with("SKU-4")),
        (with(&|f| f.low_stock = Some(true)), is_low_test),
        (with(&|f| f.low_stock = Some(false)), |_, cells| !is_low(cells)),
        (with(&|f| f.out_of_stock = Some(true)), |_, cells| available(cells) == 0),
        (with(&|f| (f.min_available, f.max_available) = (Some(10), Some(40))), |_, cells| {
            (10..=40).contains(&available(cells))
        }),
        (with(&|f| f.text = text("name 1")), |_, cells| {
            cells.values().any(|(_, metadata)| metadata.name == "Name 1 É")
        }),
        (with(&|f| f.text = text(" é")), |_, cells| {
            cells.values().any(|(_, metadata)| !metadata.name.is_empty())
        }),
        (with(&|f| f.text = text("u-4")), |sku, _| sku.as_str().starts_with("SKU-4")),
        (with(&|f| f.location = text("W-1")), |_, cells| {
            cells.values().any(|(_, metadata)| metadata.location == "W-1")
        }),
        (with(&|f| f.active = Some(true)), |_, cells| {
            cells.values().any(|(held, _)| held.cell.flags.active)
        }),
        (with(&|f| (f.location, f.store_id) = (text("W-1"), Some(store_id(1)))), |_, cells| {
            cells.get(&1).is_some_and(|(_, metadata)| metadata.location == "W-1")
        }),
        (with(&|f| (f.category, f.store_id) = (text("kitchen"), Some(store_id(2)))), |_, cells| {
            cells.get(&2).is_some_and(|(_, metadata)| metadata.category == "kitchen")
        }),
        (with(&|f| (f.text, f.store_id) = (text("name 1"), Some(store_id(1)))), |_, cells| {
            cells.get(&1).is_some_and(|(_, metadata)| metadata.name == "Name 1 É")
        }),
        (with(&|f| f.category = text("kitchen")), |_, cells| {
            cells.values().any(|(_, metadata)| metadata.category == "kitchen")
        }),
        (with(&|f| (f.skus, f.store_id) = (all.to_vec(), Some(store_id(1)))), |_, cells| {
            cells.contains_key(&1)
        }),
        (with(&|f| (f.max_available, f.store_id) = (Some(9), Some(store_id(1)))), |_, cells| {
            cells.get(&1).is_some_and(|cell| cell.0.cell.quantities.available().get() <= 9)
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn answers_as_maps_of_maps_do(
        puts in prop::collection::vec(put(), 0..250),
        limit in 1..40_usize,
        publish_after in 0..250_usize,
    ) {
        let view = MemoryView::default();
        let slots: Vec<MemorySlot> = (0..STORES).map(|_| view.open_slot()).collect();
        let publish = |view: &MemoryView| {
            slots.iter().enumerate().for_each(|(store, slot)| view.publish(slot, &store_id(store)));
        };
        let mut model = Model::new();
        for (index, put) in puts.iter().enumerate() {
            if index == publish_after {
                publish(&view);
            }
            apply(&view, &slots, &mut model, put);
        }
        publish(&view);
        check_cells(&view, &slots, &model);
        check_sums(&view, &model);
        check_lists(&view, &model, limit);
        // A store that leaves takes its cells, counts and texts along.
        for store in 0..STORES {
            view.withdraw(&store_id(store));
            for cells in model.values_mut() {
                cells.remove(&store);
            }
            model.retain(|_, cells| !cells.is_empty());
            let rest = &view.visible();
            prop_assert_eq!(rest.len(), STORES - 1 - store);
            let (items, ..) = view.distinct();
            prop_assert_eq!(items, model.len() as u64);
        }
        drop(slots);
        prop_assert_eq!(view.text_count(), 0);
    }
}

#[test]
fn a_swap_is_seen_whole_and_frees_the_former_slot() {
    let view = MemoryView::default();
    let store = store_id(0);
    let sku = Sku::new("A").unwrap();
    let held = |version| Held {
        cell: Cell { version: Version::new(version), ..Cell::default() },
        ..Held::default()
    };
    let old = view.open_slot();
    view.put(&old, &sku, &held(1), None);
    assert_eq!(view.item(&sku), None, "a slot is invisible until it is published");
    view.publish(&old, &store);
    let shadow = view.open_slot();
    view.put(&shadow, &sku, &held(2), None);
    let version = |view: &MemoryView| view.item(&sku).unwrap().parts[0].held.cell.version.get();
    assert_eq!(version(&view), 1);
    let during = view.visible();
    view.publish(&shadow, &store);
    drop(old);
    assert_eq!(version(&view), 2);
    assert_eq!(view.sums(&during[0]).items, 1, "whoever began before still sees the former slot");
    drop(during);
    let reused = view.open_slot();
    assert_eq!((reused.number(), view.held(&reused, &sku)), (0, Held::default()));
    assert_eq!(view.distinct().0, 1);
}

/// What each SKU of a slot holds, names included.
fn all_of(view: &MemoryView, slot: &MemorySlot) -> BTreeMap<Sku, (Held, Metadata)> {
    let mut cells = BTreeMap::new();
    view.for_each(slot, &mut |sku, held, texts| {
        assert!(cells.insert(sku.clone(), (*held, texts.to_metadata())).is_none(), "{sku} twice");
    });
    cells
}

proptest! {
    #[test]
    fn a_cut_stays_as_it_was_while_its_slot_changes(
        before in prop::collection::vec(put(), 0..80),
        meanwhile in prop::collection::vec(prop::collection::vec(put(), 0..12), 0..20),
        is_given_up in any::<bool>(),
    ) {
        let view = MemoryView::default();
        let slots: Vec<MemorySlot> = (0..STORES).map(|_| view.open_slot()).collect();
        let mut model = Model::new();
        for put in &before {
            apply(&view, &slots, &mut model, put);
        }
        let expected = all_of(&view, &slots[0]);
        let mut cut = view.cut(&slots[0]);
        let mut shown = BTreeMap::new();
        let mut meanwhile = meanwhile.iter();
        loop {
            for put in meanwhile.next().into_iter().flatten() {
                apply(&view, &slots, &mut model, put);
            }
            let is_more = view.show_more(&mut cut, &mut |sku, held, texts| {
                let is_new = shown.insert(sku.clone(), (*held, texts.to_metadata())).is_none();
                assert!(is_new, "{sku} twice");
            });
            if !is_more || is_given_up {
                break;
            }
        }
        if !is_given_up {
            prop_assert_eq!(shown, expected);
        }
        drop(cut);
        let held: BTreeMap<Sku, (Held, Metadata)> = model
            .iter()
            .filter_map(|(sku, cells)| Some((sku.clone(), cells.get(&0)?.clone())))
            .collect();
        prop_assert_eq!(all_of(&view, &slots[0]), held);
        // Texts that only the cut used are gone with it, and no other.
        drop(slots);
        prop_assert_eq!(view.text_count(), 0);
    }
}

#[test]
fn a_slot_goes_piece_by_piece_while_others_change_the_same_items() {
    let view = MemoryView::default();
    let sku = |number: u32| Sku::new(&format!("S{number}")).unwrap();
    let named = |name: &str| Metadata { name: name.into(), ..Metadata::default() };
    let held =
        Held { cell: Cell { version: Version::new(1), ..Cell::default() }, ..Held::default() };
    let items = CELLS_PER_LOCK_MAX as u32 * 3;
    let (old, new) = (view.open_slot(), view.open_slot());
    for number in 0..items {
        view.put(&old, &sku(number), &held, Some(&named("former name")));
        view.put(&new, &sku(number), &held, Some(&named("name")));
    }
    view.publish(&new, &store_id(0));
    std::thread::scope(|scope| {
        scope.spawn(|| drop(old));
        for number in 0..items {
            view.put(&new, &sku(number), &held, Some(&named("other name")));
        }
    });
    let with = |text: &str| {
        let filter = ItemFilter { text: Some(text.to_owned()), ..ItemFilter::default() };
        walk(&view, request(Rank::Stock, false, 1000, filter)).len() as u32
    };
    assert_eq!((with("other name"), with("former name")), (items, 0));
    drop(new);
    view.withdraw(&store_id(0));
    assert_eq!(view.text_count(), 0);
}
