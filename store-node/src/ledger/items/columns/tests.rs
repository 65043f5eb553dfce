//! Columns asked about what they hold, by tests as they come or arranged by a sample: more may be
//! found, nothing may be missing.

use proptest::prelude::*;
use shared::codec::encode_state;
use shared::{Cell, Item, ItemState, Metadata, Quantity, Sku, Timestamp, Version};

use super::*;
use crate::ledger::items::scan::COLUMNS_AT_ONCE;
use crate::ledger::items::{ITEM_SHARDS, Items, LoadShard, Seeker, SkuAt, SkuRange};

const CATEGORIES: [&str; 5] = ["", "kitchen", "garden", "toys", "unheard of"];
const NAMES: [&str; 5] = ["", "Stoneware mug", "mug, blue", "MUGS of the year", "lamp"];
const SLOTS: usize = COLUMN_BLOCKS * BLOCK_SLOTS;

#[derive(Debug, Clone, Copy)]
struct Known {
    category: &'static str,
    name: &'static str,
    stock: u64,
    reserved: u64,
}

impl Known {
    fn state(self) -> Vec<u8> {
        let metadata = Metadata {
            name: self.name.into(),
            category: self.category.into(),
            ..Metadata::default()
        };
        let mut cell = Cell { version: Version::new(1), ..Cell::default() };
        cell.quantities.stock = Quantity::new(self.stock).unwrap();
        cell.metadata_hash = metadata.hash();
        let at = Timestamp::from_micros(5);
        let state = ItemState { cell, metadata, created_at: at, updated_at: at };
        let mut packed = Vec::new();
        encode_state(&mut packed, &Item::restore(state, None).unwrap(), 1);
        // The third byte on: the stock, then what is reserved, which has no reservations here.
        let mut reader = shared::codec::VarintReader::new(&packed[2..]);
        reader.varint("stock").unwrap();
        let at = packed.len() - reader.rest().len();
        let mut reserved = Vec::new();
        shared::codec::put_varint(&mut reserved, self.reserved);
        packed.splice(at..=at, reserved);
        packed
    }

    fn available(self) -> u64 {
        self.stock.saturating_sub(self.reserved)
    }
}

fn known() -> impl Strategy<Value = Known> {
    let stock = prop_oneof![3 => 0_u64..30, 1 => 16_000_u64..17_000, 1 => 0..1_u64 << 53];
    let reserved = prop_oneof![3 => Just(0), 1 => 1_u64..20];
    (prop::sample::select(&CATEGORIES[..4]), prop::sample::select(&NAMES[..]), stock, reserved)
        .prop_map(|(category, name, stock, reserved)| Known { category, name, stock, reserved })
}

fn columns(all: &[Known]) -> Arc<Columns> {
    let mut columns = Vec::new();
    for (block, known) in all.chunks(BLOCK_SLOTS).enumerate() {
        let lane = Lane::of(&mut columns, block);
        let states: Vec<Vec<u8>> = known.iter().map(|known| known.state()).collect();
        lane.keep_numbers(states.iter().map(Vec::as_slice));
        lane.keep_texts(states.iter().map(Vec::as_slice), known.iter().map(|_| "SKU-1"));
    }
    columns.swap_remove(0)
}

#[derive(Debug, Clone)]
struct Question {
    category: Option<&'static str>,
    out_of_stock: Option<bool>,
    text: Option<&'static str>,
    least: u64,
    of: Counted,
}

impl Question {
    fn probe(&self) -> Probe {
        let mut probe = Probe::default();
        probe.category(self.category);
        probe.out_of_stock(self.out_of_stock);
        if let Some(text) = self.text {
            probe.text(text);
        }
        probe.bound(self.of, self.least, u64::MAX);
        probe
    }

    fn fits(&self, known: Known) -> bool {
        let value = match self.of {
            Counted::Available => known.available(),
            Counted::Stock => known.stock,
            Counted::Reserved => known.reserved,
        };
        let has = |text: &str| known.name.to_lowercase().contains(text) || "sku-1".contains(text);
        self.category.is_none_or(|category| category == known.category)
            && self.out_of_stock.is_none_or(|out| out == (known.available() == 0))
            && self.text.is_none_or(has)
            && value >= self.least
    }
}

fn question() -> impl Strategy<Value = Question> {
    let of = prop::sample::select(vec![Counted::Available, Counted::Stock, Counted::Reserved]);
    let text = prop::sample::select(vec!["mug", "stoneware", "u-1", "gs of", "nowhere", "la"]);
    let least = prop_oneof![Just(0), 1_u64..30, 16_000_u64..17_000, 0..1_u64 << 53];
    (
        prop::option::of(prop::sample::select(&CATEGORIES[..])),
        any::<Option<bool>>(),
        prop::option::of(text),
        (least, of),
    )
        .prop_map(|(category, out_of_stock, text, (least, of))| Question {
            category,
            out_of_stock,
            text,
            least,
            of,
        })
}

proptest! {
    #[test]
    fn what_fits_is_found_however_the_tests_were_arranged(
        all in prop::collection::vec(known(), 2 * SLOTS), question in question(),
    ) {
        let both = [columns(&all[..SLOTS]), columns(&all[SLOTS..])];
        let mut arranged = question.probe();
        arranged.arrange(&both[..1]);
        let all_of = [&*both[0], &*both[1]];
        let (found, more) = (find(&all_of, &question.probe()), find(&all_of, &arranged));
        for ((found, more), known) in found.iter().zip(&more).zip(all.chunks(SLOTS)) {
            for (number, known) in known.iter().enumerate() {
                let bit = |found: &Found| {
                    slots(found, number / BLOCK_SLOTS) >> (number % BLOCK_SLOTS) & 1 == 1
                };
                prop_assert!(bit(found) || !question.fits(*known), "{known:?} is missing");
                prop_assert!(bit(more) || !bit(found), "{known:?} was lost");
            }
        }
    }
}

#[test]
fn columns_unlike_the_sample_are_asked_what_told_nothing_apart_in_it() {
    let known = |category| Known { category, name: "mug", stock: 1, reserved: 0 };
    let both: Vec<Known> =
        (0..SLOTS).map(|number| known(["kitchen", "garden"][number % 2])).collect();
    let mut probe = Probe::default();
    probe.category(Some("kitchen"));
    probe.arrange(&[columns(&both)]);
    assert!(probe.entries.len() < probe.left_out.len(), "a test or a few tell them apart");
    for category in ["", "a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        let others = columns(&vec![known(category); SLOTS]);
        assert_eq!(count(&find(&[&others], &probe)[0]), 0, "{category:?} passes for the kitchen");
    }
    assert_eq!(count(&find(&[&columns(&both)], &probe)[0]) as usize, SLOTS / 2);
}

/// Remembers what it is shown.
struct Shown {
    probe: Probe,
    skus: Vec<String>,
}

impl Seeker for Shown {
    fn probe(&self) -> &Probe {
        &self.probe
    }

    fn is_descending(&self) -> bool {
        false
    }

    fn admits_within(&self, _: &SkuRange) -> bool {
        true
    }

    fn admits(&self, _: SkuAt<'_>) -> bool {
        true
    }

    fn look(&mut self, sku: SkuAt<'_>, _: &[u8]) {
        self.skus.push(sku.text().to_owned());
    }
}

/// Stores whose items all lie in one shard, few of them of a category.
#[test]
fn every_column_of_a_shard_is_asked_however_many_there_are() {
    let together = COLUMNS_AT_ONCE * SLOTS;
    let known = |category| Known { category, name: "blue mug", stock: 1, reserved: 0 };
    let (sought, other) = (known("garden").state(), known("").state());
    for count in [0, 1, together - 1, together, together + 1, 2 * together + SLOTS + 1] {
        let mut shards: Vec<LoadShard> = (0..ITEM_SHARDS).map(|_| LoadShard::default()).collect();
        let mut expected = Vec::new();
        for number in 0..count {
            let sku = Sku::new(&format!("S{number}")).unwrap();
            // The first slot of each block, and the very last.
            let is_sought = number % BLOCK_SLOTS == 0 || number + 1 == count;
            if is_sought {
                expected.push(sku.to_string());
            }
            let state = if is_sought { &sought } else { &other };
            shards[0].insert_packed(&sku, state, None);
        }
        let items = Items::from_loaded(shards, Vec::new(), Vec::new());
        let mut shown = Shown { probe: Probe::default(), skus: Vec::new() };
        shown.probe.category(Some("garden"));
        shown.probe.text("mug");
        items.scan(0..ITEM_SHARDS, &mut shown);
        assert_eq!(shown.skus, expected, "of {count}");
    }
}
