//! The columns that lists look at first: always what the items make of them, and never seen in an
//! answer. A list through them is held against a walk that knows nothing of them.

use event_log::storage::sim::SimStorage;
use proptest::prelude::*;
use shared::command::{ItemPatch, NewItem};
use shared::{Action, QUANTITY_MAX};

use super::list::KEYS;
use super::world::*;
use crate::ledger::list::Effort;
use crate::ledger::{LedgerOptions, ListQuery, Sort, SortKey};

const SKUS: [&str; 9] = ["A", "b/2", "C c", "mug-1", "MUG-22", "Ä7", "ΑΣ", "K-9", "grün mug"];
const NAMES: [&str; 12] = [
    "",
    "x",
    "ab",
    "Mug",
    "mug, blue",
    "Stoneware MUG",
    "ÄPFEL grün",
    "äpfel",
    "ΑΣ ΑΣΑ",
    "\u{212a}elvin",
    "İstanbul",
    "straße",
];
const TEXTS: [&str; 15] = [
    "",
    "u",
    "mu",
    "MUG",
    "g, b",
    "ÄPF",
    "ä",
    "σ",
    "ς",
    "ασ",
    "kel",
    "\u{212a}EL",
    "i̇s",
    "ß",
    "nowhere",
];
const PLACES: [&str; 4] = ["", "W-1", "W-2", "Keller"];
const STOCKS: [u64; 12] = [
    0,
    1,
    9,
    10,
    11,
    16_383,
    16_384,
    16_385,
    1 << 40,
    QUANTITY_MAX - 4097,
    QUANTITY_MAX - 1,
    QUANTITY_MAX,
];
/// Walks whatever there is, each item under its lock.
const WALKED: Effort =
    Effort { walked_pages_max: 1 << 40, sorted_pages_max: 1 << 40, items_a_thread: usize::MAX };
/// Looks at nothing but what the columns let through.
const SCANNED: Effort =
    Effort { walked_pages_max: 0, sorted_pages_max: 0, items_a_thread: usize::MAX };

#[derive(Debug, Clone)]
enum Step {
    One(usize, Action),
    Batch(Vec<(usize, Action)>),
    Pass,
    Snapshot,
    Reopen,
    /// From here on there are columns, of texts too if it says so.
    List(bool),
}

fn metadata() -> impl Strategy<Value = [&'static str; 3]> {
    let pick = prop::sample::select;
    (pick(&NAMES[..]), pick(&PLACES[..]), pick(&PLACES[..])).prop_map(|(a, b, c)| [a, b, c])
}

fn action() -> impl Strategy<Value = Action> {
    let stock = || prop::sample::select(&STOCKS[..]);
    let some = || prop_oneof![1_u64..12, stock()];
    prop_oneof![
        4 => (stock(), metadata(), prop::option::of(some())).prop_map(
            |(stock, [name, category, location], reorder_point)| {
                Action::create(NewItem {
                    stock: units(stock),
                    name: name.into(),
                    category: category.into(),
                    location: location.into(),
                    reorder_point: reorder_point.map(units),
                    ..NewItem::default()
                })
            }
        ),
        3 => (metadata(), prop::option::of(some()), any::<[bool; 4]>()).prop_map(
            |([name, category, location], reorder_point, [a, b, c, reactivate])| {
                Action::update(ItemPatch {
                    name: a.then(|| name.into()),
                    category: b.then(|| category.into()),
                    location: c.then(|| location.into()),
                    reorder_point: reorder_point.map(units),
                    reactivate,
                    ..ItemPatch::default()
                })
            }
        ),
        1 => Just(Action::Deactivate),
        2 => some().prop_filter("some", |units| *units > 0).prop_map(receive),
        3 => some().prop_filter("some", |units| *units > 0).prop_map(sell),
        3 => some().prop_filter("some", |units| *units > 0).prop_map(|units| reserve("o", units)),
        1 => (1_u64..12, 1_u64..5).prop_map(|(units, seconds)| reserve_for("p", units, seconds)),
        1 => Just(release("o")),
        1 => Just(deduct("o")),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let lines = prop::collection::vec((0..SKUS.len(), action()), 1..8);
    prop_oneof![
        10 => (0..SKUS.len(), action()).prop_map(|(place, action)| Step::One(place, action)),
        3 => lines.prop_map(Step::Batch),
        1 => Just(Step::Pass),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Reopen),
        2 => any::<bool>().prop_map(Step::List),
    ]
}

fn queries() -> impl Strategy<Value = ListQuery> {
    let flag = || prop_oneof![2 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let text = |from: &'static [&str]| prop_oneof![2 => Just(None), 1 => prop::sample::select(from).prop_map(|text| Some(text.to_owned()))];
    let bound =
        || prop_oneof![2 => Just(None), 1 => prop::sample::select(&STOCKS[..]).prop_map(Some)];
    let texts = (text(&TEXTS), text(&PLACES), text(&PLACES));
    let order = (0..KEYS.len(), any::<bool>(), 1_usize..6);
    (texts, flag(), flag(), flag(), bound(), bound(), order).prop_map(
        |((text, category, location), active, low_stock, out_of_stock, min, max, order)| {
            let (key, descending, limit) = order;
            ListQuery {
                text,
                category,
                location,
                active,
                low_stock,
                out_of_stock,
                available_min: min,
                available_max: max,
                sort: Sort { key: KEYS[key], descending },
                limit,
                ..ListQuery::default()
            }
        },
    )
}

/// Every page of a list, made both ways.
fn check(world: &World, query: &ListQuery) -> Result<(), TestCaseError> {
    let mut query = query.clone();
    for _ in 0..=SKUS.len() {
        let scanned = world.ledger.list_with(&query, world.now, SCANNED);
        let walked = world.ledger.list_with(&query, world.now, WALKED);
        prop_assert_eq!(&walked, &scanned, "{:?}", query);
        query.after = walked.next;
        if query.after.is_none() {
            return Ok(());
        }
    }
    Err(TestCaseError::fail("more pages than items"))
}

fn run(steps: Vec<Step>, queries: &[ListQuery], text_index: bool) -> Result<(), TestCaseError> {
    let options = LedgerOptions { text_index, ..LedgerOptions::default() };
    let mut world = World::open_with(&SimStorage::new(3), at(0), options).unwrap();
    for step in steps {
        match step {
            Step::One(place, action) => {
                world.execute(SKUS[place], action);
            }
            Step::Batch(lines) => {
                let lines = lines.into_iter().map(|(place, action)| (SKUS[place], action));
                world.batch(false, lines.collect());
            }
            Step::Pass => world.pass(3),
            Step::Snapshot => world.snapshot(),
            Step::Reopen => world = world.reopen(),
            Step::List(with_text) => {
                let text = with_text.then(|| "nowhere".to_owned());
                let query = ListQuery { text, limit: 1, ..ListQuery::default() };
                world.ledger.list_with(&query, world.now, SCANNED);
            }
        }
        world.commit();
        let wrong = world.ledger.items().slots_unlike_their_columns();
        prop_assert!(wrong.is_empty(), "{:?}", wrong);
    }
    for query in queries {
        check(&world, query)?;
    }
    let wrong = world.ledger.items().slots_unlike_their_columns();
    prop_assert!(wrong.is_empty(), "after all lists: {:?}", wrong);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn columns_are_what_the_items_make_of_them_and_change_no_list(
        steps in prop::collection::vec(step(), 1..50),
        queries in prop::collection::vec(queries(), 1..12),
        text_index in prop::bool::weighted(0.9),
    ) {
        run(steps, &queries, text_index)?;
    }
}

/// A list that is about the item in `changes`, in whichever of its states it is.
fn stays_found(changes: &[Action; 2], query: &ListQuery) {
    let world = World::new();
    for name in SKUS {
        world.execute(name, create(5));
    }
    let new = NewItem { stock: units(8), name: "old mug".into(), ..NewItem::default() };
    world.execute("changing", Action::create(new));
    world.commit();
    world.ledger.list_with(query, world.now, SCANNED);
    world.ledger.log().start().unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..2_000 {
                let action = &changes[number % 2];
                while world.try_execute("changing", action.clone(), None).is_err() {
                    std::thread::yield_now();
                }
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !is_over.load(std::sync::atomic::Ordering::Relaxed) && !writer.is_finished() {
            let found = world.ledger.list_with(query, world.now, SCANNED);
            assert!(found.rows.iter().any(|(sku, _, _)| sku.as_str() == "changing"));
        }
    });
}

#[test]
fn an_item_that_fits_before_and_after_a_change_is_found_during_it() {
    let rename = |name: &str| {
        let name = Some(name.into());
        Action::update(ItemPatch { name, ..ItemPatch::default() })
    };
    let text = Some("mug".to_owned());
    let query = ListQuery { text, limit: 10, ..ListQuery::default() };
    stays_found(&[rename("another mug"), rename("MUG of the year")], &query);
    let sort = Sort { key: SortKey::Available, descending: true };
    let low = ListQuery { low_stock: Some(true), sort, limit: 100, ..ListQuery::default() };
    stays_found(&[sell(7), receive(7)], &low);
}
