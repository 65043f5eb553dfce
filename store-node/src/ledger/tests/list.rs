//! Lists against the obvious way of making them.

use proptest::prelude::*;
use shared::{Action, Item};

use super::world::*;
use crate::ledger::items::{hash_of, shard_of};
use crate::ledger::list::Effort;
use crate::ledger::{LIST_LIMIT_MAX, ListQuery, ListRead, Sort, SortKey};

/// Every key that a list can be sorted by.
pub(super) const KEYS: [SortKey; 8] = [
    SortKey::Sku,
    SortKey::Name,
    SortKey::Stock,
    SortKey::Available,
    SortKey::Reserved,
    SortKey::Sold,
    SortKey::UpdatedAt,
    SortKey::CreatedAt,
];

/// What an item is sorted by, as a text that sorts the same.
fn value(key: SortKey, item: &Item) -> String {
    let quantities = &item.cell().quantities;
    let number = |number: u64| format!("{number:020}");
    match key {
        SortKey::Sku => String::new(),
        SortKey::Name => item.metadata().name.to_string(),
        SortKey::Stock => number(quantities.stock.get()),
        SortKey::Available => number(quantities.available().get()),
        SortKey::Reserved => number(quantities.reserved.get()),
        SortKey::Sold => number(quantities.sold.get()),
        SortKey::UpdatedAt => item.updated_at().to_string(),
        SortKey::CreatedAt => item.created_at().to_string(),
    }
}

/// The obvious way: every item, filtered, sorted.
fn expected(world: &World, names: &[String], query: &ListQuery) -> Vec<String> {
    let mut rows: Vec<(String, String)> = Vec::new();
    for name in names {
        let item = world.item(name);
        let available = item.cell().quantities.available().get();
        let fits = query.prefix.as_deref().is_none_or(|prefix| name.starts_with(prefix))
            && query.category.as_deref().is_none_or(|c| c == item.metadata().category)
            && query.available_min.is_none_or(|min| available >= min)
            && query.available_max.is_none_or(|max| available <= max)
            && query.low_stock.is_none_or(|low| low == (available <= 10))
            && query.out_of_stock.is_none_or(|out| out == (available == 0))
            && (query.skus.is_empty() || query.skus.iter().any(|sku| sku.as_str() == name))
            && query.text.as_deref().is_none_or(|text| {
                let all = format!("{name}\n{}", item.metadata().name).to_lowercase();
                all.contains(&text.to_lowercase())
            });
        if fits {
            rows.push((value(query.sort.key, &item), name.clone()));
        }
    }
    let by_sku = query.sort.key == SortKey::Sku;
    rows.sort_by(|a, b| {
        let values = a.0.cmp(&b.0);
        let skus = a.1.cmp(&b.1);
        match (query.sort.descending, by_sku) {
            (false, _) => values.then(skus),
            (true, false) => values.reverse().then(skus),
            (true, true) => skus.reverse(),
        }
    });
    rows.into_iter().map(|(_, name)| name).collect()
}

/// The page as it is usually made, and as it is when all items are looked at, by one thread and by
/// several.
fn page(world: &World, query: &ListQuery) -> ListRead {
    let usual = world.ledger.list(query, world.now);
    for items_a_thread in [usize::MAX, 1] {
        let effort = Effort { walked_pages_max: 0, sorted_pages_max: 0, items_a_thread };
        assert_eq!(world.ledger.list_with(query, world.now, effort), usual);
    }
    usual
}

fn pages(world: &World, query: &ListQuery) -> Vec<String> {
    let mut query = query.clone();
    let mut found = Vec::new();
    loop {
        let page = page(world, &query);
        assert!(page.rows.len() <= query.limit);
        found.extend(page.rows.iter().map(|(sku, _, _)| sku.to_string()));
        let Some(next) = page.next else { return found };
        assert_eq!(page.rows.len(), query.limit, "only the last page is short");
        query.after = Some(next);
    }
}

fn shop() -> (World, Vec<String>) {
    let world = World::new();
    let mut names = Vec::new();
    for number in 0..700_u64 {
        let name = match number % 4 {
            0 => format!("P-{number}"),
            1 => format!("P {number}"),
            2 => format!("q/{}", number % 97 + 1000 * number),
            _ => format!("Ä{number}"),
        };
        let new = shared::command::NewItem {
            stock: units(number * 7919 % 40),
            name: ["Mug", "mug, blue", "Plate", "Ünder"][(number / 3 % 4) as usize].into(),
            category: ["kitchen", "garden"][(number % 2) as usize].into(),
            ..Default::default()
        };
        world.execute(&name, shared::Action::create(new));
        world.commit();
        if number % 5 == 0 && number * 7919 % 40 > 1 {
            world.execute(&name, reserve("o", number * 7919 % 40 / 2));
        }
        names.push(name);
    }
    (world, names)
}

#[test]
fn lists_are_what_filtering_and_sorting_everything_gives() {
    let (world, names) = shop();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    let prefix = prop_oneof![
        Just(None),
        Just(Some("P".to_owned())),
        Just(Some("P ".to_owned())),
        Just(Some("q/1".to_owned())),
        Just(Some("zz".to_owned())),
        Just(Some("Ä".to_owned()))
    ];
    let text = prop_oneof![
        Just(None),
        Just(Some("MUG".to_owned())),
        Just(Some("ü".to_owned())),
        Just(Some("p-1".to_owned()))
    ];
    let flag = || prop_oneof![Just(None), Just(Some(true)), Just(Some(false))];
    let bound = || proptest::option::of(0_u64..40);
    let rest = (0..KEYS.len(), any::<bool>(), 1_usize..300, proptest::bool::weighted(0.2));
    let strategy = (prefix, text, flag(), flag(), bound(), bound(), rest);
    let names = &names;
    runner
        .run(
            &strategy,
            |(prefix, text, low_stock, out_of_stock, available_min, available_max, rest)| {
                let (key, descending, limit, picks) = rest;
                let picked = names.iter().step_by(3).map(|name| sku(name));
                let query = ListQuery {
                    skus: if picks { picked.collect() } else { Vec::new() },
                    prefix,
                    text,
                    low_stock,
                    out_of_stock,
                    available_min,
                    available_max,
                    sort: Sort { key: KEYS[key], descending },
                    limit,
                    ..ListQuery::default()
                };
                prop_assert_eq!(pages(&world, &query), expected(&world, names, &query));
                Ok(())
            },
        )
        .unwrap();
}

/// Names that begin so and whose items lie in one shard of memory, in their order.
fn neighbours(beginning: &str, count: usize) -> impl Iterator<Item = String> {
    let name = move |number| format!("{beginning}-{number:07}");
    let is_there = |name: &String| shard_of(hash_of(name.as_bytes())) == 5;
    (0..).map(name).filter(is_there).take(count)
}

/// A store whose first pages are unlike all others: of a category of their own, which came last. Of
/// the others every third is of a category, and three are, at the end of the order, of one more.
fn unlike_its_beginning(begins: &str) -> (World, Vec<String>) {
    let mut world = World::new();
    let create_all = |world: &World, names: &[String], category: fn(usize) -> &'static str| {
        for (number, name) in names.iter().enumerate() {
            let (stock, category) = (units(number as u64 % 25), category(number).into());
            let new = shared::command::NewItem { stock, category, ..Default::default() };
            world.execute(name, Action::create(new));
            world.commit();
        }
    };
    let mut names: Vec<String> = neighbours("M", 1600).collect();
    create_all(&world, &names, |number| match number {
        1597.. => "last",
        _ if number % 3 == 0 => "third",
        _ => "",
    });
    // From a snapshot, items come in the order of their names.
    world.snapshot();
    world = world.reopen();
    let beginning: Vec<String> = neighbours(begins, 1300).collect();
    create_all(&world, &beginning, |_| "new");
    names.extend(beginning);
    (world, names)
}

#[test]
fn a_beginning_unlike_the_rest_changes_no_list() {
    for begins in ["A", "Z"] {
        let (world, names) = unlike_its_beginning(begins);
        let text = |text: &str| Some(text.to_owned());
        let categories = ["third", "last", "new", "none", ""].map(text);
        for category in categories.into_iter().chain([None]) {
            for (low_stock, prefix) in [
                (None, None),
                (Some(true), None),
                (None, text("M")),
                (Some(true), text("M-00")),
                (None, text("B")),
            ] {
                for (key, descending) in [
                    (SortKey::Sku, false),
                    (SortKey::Sku, true),
                    (SortKey::Available, true),
                    (SortKey::Name, false),
                ] {
                    let sort = Sort { key, descending };
                    let category = category.clone();
                    let prefix = prefix.clone();
                    let mut query =
                        ListQuery { prefix, category, low_stock, sort, ..ListQuery::default() };
                    let expected = expected(&world, &names, &query);
                    // Just a page, one row less and one more, and pages that begin in the middle.
                    let count = expected.len();
                    for limit in [count, count + 1, count.saturating_sub(1), count / 4] {
                        query.limit = limit.clamp(1, LIST_LIMIT_MAX);
                        if count <= 5 * query.limit {
                            assert_eq!(pages(&world, &query), expected, "{query:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_page_stays_where_it_was_under_writes() {
    let world = World::new();
    for name in ["b", "d", "f", "h"] {
        world.execute(name, create(1));
    }
    let mut query = ListQuery { limit: 2, ..ListQuery::default() };
    let first = world.ledger.list(&query, world.now);
    query.after = first.next;
    world.execute("a", create(1));
    world.execute("e", create(1));
    let second = world.ledger.list(&query, world.now);
    let names: Vec<_> = second.rows.iter().map(|(sku, _, _)| sku.as_str().to_owned()).collect();
    assert_eq!(names, ["e", "f"]);
    assert_eq!(second.settle, last(&world));
}

#[test]
fn nothing_overdue_is_counted_by_a_list_that_looks_at_all() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.execute(name, create(5));
        world.execute(name, reserve_for("o", 5, if name == "b" { 10 } else { 1000 }));
    }
    world.pass(20);
    let query = ListQuery { out_of_stock: Some(false), limit: 10, ..ListQuery::default() };
    let effort = Effort { walked_pages_max: 0, sorted_pages_max: 0, items_a_thread: usize::MAX };
    let page = world.ledger.list_with(&query, world.now, effort);
    let names: Vec<_> = page.rows.iter().map(|(sku, _, _)| sku.as_str()).collect();
    assert_eq!(names, ["b"]);
    assert_eq!(page.settle, last(&world), "the expiry must be durable first");
}

#[test]
fn an_item_that_was_never_created_is_nowhere() {
    let world = World::new();
    world.execute("a", create(5));
    world.execute("gone", sell(1));
    let refused = Action::create(shared::command::NewItem::default());
    let lines = vec![("gone", refused), ("a", sell(6))];
    world.batch(true, lines);
    let query = ListQuery { limit: 10, ..ListQuery::default() };
    let names: Vec<_> = page(&world, &query).rows.into_iter().map(|(sku, _, _)| sku).collect();
    assert_eq!(names, [sku("a")]);
}
