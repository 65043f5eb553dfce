//! Files of the aggregator's view, written by itself: cells, a mark, dead letters, none of them.

use aggregator::dead_letter::{DeadLetter, DeadLetters};
use aggregator::follower::marks::Mark;
use aggregator::follower::{FollowerState, Position};
use aggregator::persistence::{SavedStore, StoreFiles};
use aggregator::view::{Held, MemoryView, ViewStore};
use event_log::storage::sim::SimStorage;
use event_log::{Chain, LogId, Seq};
use shared::cell::{Cell, Version};
use shared::digest::item_digest;
use shared::{Metadata, Quantity, Sku, StoreId, Timestamp};

pub(super) fn views() -> Vec<(String, Vec<u8>)> {
    vec![
        ("cells-and-letters".to_owned(), view(3, true)),
        ("letters-without-cells".to_owned(), view(0, true)),
        ("empty".to_owned(), view(0, false)),
    ]
}

fn view(cells: u64, with_trouble: bool) -> Vec<u8> {
    let store_id = StoreId::new("store-a").expect("a legal id");
    let view = MemoryView::default();
    let slot = view.open_slot();
    let mut state = FollowerState::at_beginning(LogId::new([8; 16]));
    state.position = Position { seq: Seq::new(40), chain: Chain::new([6; 32]) };
    for number in 1..=cells {
        let (sku, held, metadata) = cell(number);
        state.digest = state.digest.wrapping_add(item_digest(&sku, &held.cell));
        view.put(&slot, &sku, &held, Some(&metadata));
    }
    let mut letters = DeadLetters::default();
    if with_trouble {
        state.marks.insert(sku(2), Mark::new(Seq::new(17)));
        state.verified_seq = Some(Seq::new(16));
        for seq in [17, 18] {
            letters.push(letter(seq)).expect("there is room for two");
        }
    }
    let saved = SavedStore {
        store_id: store_id.clone(),
        url: "http://127.0.0.1:4101".to_owned(),
        state,
        quarantine: with_trouble.then(|| "its chain breaks".to_owned()),
        paused: with_trouble,
        as_of: Some(Timestamp::from_micros(5)),
        last_contact_at: None,
        letters,
    };
    let storage = SimStorage::new(1);
    let mut files = StoreFiles::new(storage.clone(), store_id, 0);
    let pending = files.write(&view, view.cut(&slot), &saved, Timestamp::from_micros(9));
    pending.and_then(aggregator::persistence::PendingSave::finish).expect("the disk works");
    storage.contents().remove(0).1
}

fn sku(number: u64) -> Sku {
    Sku::new(&format!("SKU {number}")).expect("a legal SKU")
}

fn cell(number: u64) -> (Sku, Held, Metadata) {
    let metadata = Metadata { name: "Mug".into(), unit: "each".into(), ..Metadata::default() };
    let mut cell = Cell { version: Version::new(number), ..Cell::default() };
    cell.quantities.stock = Quantity::new(number << 40).expect("a legal quantity");
    cell.metadata_hash = metadata.hash();
    (sku(number), Held { cell, seq: number * 3, metadata_at: Timestamp::from_micros(4) }, metadata)
}

fn letter(seq: u64) -> DeadLetter {
    DeadLetter {
        seq: Seq::new(seq),
        sku: sku(2),
        version: seq,
        reason: "one byte too many".to_owned(),
        record: vec![5, 1, 0, 0, 9],
        first_seen_at: Timestamp::from_micros(6),
        last_tried_at: Timestamp::from_micros(7),
        tries: 3,
        healed_by: Seq::ZERO,
    }
}
