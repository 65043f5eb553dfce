//! Round trips of every kind, the frozen envelope byte for byte, and garbage that must be refused.

use proptest::prelude::*;

use super::*;
use crate::cell::{Cell, Flags, Quantities, Version};
use crate::command::AdjustReason;
use crate::event::{Change, Context, Event, KeyClaim};
use crate::ids::OrderId;
use crate::item::Metadata;
use crate::quantity::Quantity;
use crate::receipt::{LineOutcome, Receipt, RequestShape};
use crate::rejection::Rejection;
use crate::sku::Sku;
use crate::time::Timestamp;

fn q(units: u64) -> Quantity {
    Quantity::new(units).unwrap()
}

fn event(change: Change) -> Event {
    Event {
        sku: Sku::new("PROD-001").unwrap(),
        version: Version::new(300),
        recorded_at: Timestamp::from_micros(1_763_719_200_000_000),
        after: Quantities {
            stock: q(98),
            sold: q(2),
            reorder_point: q(10),
            ..Quantities::default()
        },
        flags: Flags::default(),
        change,
        context: Context::default(),
    }
}

fn every_change() -> Vec<Change> {
    let order_id = OrderId::new("order-1").unwrap();
    let metadata = Metadata { name: "Mug".into(), unit: "each".into(), ..Metadata::default() };
    let metadata = Box::new(metadata);
    let at = Timestamp::from_micros(5);
    let quantity = q(3);
    vec![
        Change::Created { metadata: metadata.clone() },
        Change::Updated { metadata: metadata.clone(), created_at: at },
        Change::Deactivated { metadata, created_at: at },
        Change::Received { quantity },
        Change::Sold { quantity },
        Change::Returned { quantity, restocked: false },
        Change::Adjusted { delta: -4, reason: AdjustReason::Theft },
        Change::Reserved { order_id: order_id.clone(), quantity, expires_at: Some(at) },
        Change::Extended { order_id: order_id.clone(), expires_at: None },
        Change::Released { order_id: order_id.clone(), quantity },
        Change::Deducted { order_id: order_id.clone(), quantity },
        Change::Expired { order_id, quantity },
    ]
}

fn full_context() -> Context {
    Context {
        request_id: Some("0193b2c4".into()),
        actor: Some("till-3".into()),
        reference: Some("basket-77".into()),
        reason: Some("because".into()),
        note: Some("x".repeat(500).into()),
        occurred_at: Some(Timestamp::from_micros(7)),
        fencing_token: Some(9),
        key: Some(KeyClaim { key_hash: u128::MAX, fingerprint: 1, records: 2 }),
    }
}

fn encoded(event: &Event) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_event(&mut bytes, event);
    bytes
}

#[test]
fn every_event_comes_back() {
    for change in every_change() {
        for context in [Context::default(), full_context()] {
            let event = Event { context, ..event(change.clone()) };
            let bytes = encoded(&event);
            assert_eq!(bytes[0], change.kind());
            assert_eq!(decode_record(&bytes).unwrap(), Record::Event(event));
        }
    }
}

/// These bytes are on disks: if this test fails, the change breaks every log in the field.
#[test]
fn the_first_schema_is_frozen_byte_for_byte() {
    let bytes = encoded(&event(Change::Sold { quantity: q(2) }));
    let expected = [
        &[5, 1, 0b101, 8][..],
        b"PROD-001",
        &1_763_719_200_000_000_i64.to_le_bytes(),
        &[0xac, 0x02],
        &[98, 0, 2, 0, 0, 10, 0],
        &[5, 2, 0],
    ]
    .concat();
    assert_eq!(bytes, expected);
}

#[test]
fn receipts_come_back() {
    let sku = Sku::new("A").unwrap();
    let cell = Cell { version: Version::new(4), ..Cell::default() };
    let rejection =
        Rejection::InsufficientStock { available: q(1), required: q(2), current: Version::new(4) };
    let receipt = Receipt {
        recorded_at: Timestamp::from_micros(11),
        key: KeyClaim { key_hash: 1, fingerprint: 2, records: 3 },
        shape: RequestShape::BestEffortBatch,
        lines: vec![
            LineOutcome::Applied { offset: 1 },
            LineOutcome::unchanged(sku.clone(), &cell, None),
            LineOutcome::Refused { sku: sku.clone(), rejection },
            LineOutcome::NotApplied { sku },
            LineOutcome::Invalid,
        ],
    };
    let mut bytes = Vec::new();
    encode_receipt(&mut bytes, &receipt);
    assert_eq!(decode_record(&bytes).unwrap(), Record::Receipt(receipt));
}

#[test]
fn the_envelope_outlives_its_payload() {
    let mut bytes = encoded(&event(Change::Sold { quantity: q(2) }));
    bytes[0] = 200;
    bytes[1] = 9;
    let unknown = DecodeError::Unknown { kind: 200, schema: 9 };
    assert_eq!(decode_record(&bytes).unwrap_err(), unknown);
    let (envelope, _) = decode_envelope(&bytes).unwrap();
    let state = envelope.state.unwrap();
    assert_eq!((state.version.get(), state.quantities.stock), (300, q(98)));
}

#[test]
fn every_cut_and_every_extra_byte_is_refused() {
    let mut whole = encoded(&Event { context: full_context(), ..event(every_change()[7].clone()) });
    for length in 0..whole.len() {
        assert!(decode_record(&whole[..length]).is_err(), "{length} bytes were accepted");
    }
    whole.push(0);
    assert_eq!(decode_record(&whole).unwrap_err(), DecodeError::Trailing(1));
}

#[test]
fn items_come_back_with_their_reservations() {
    use crate::command::{Action, Command, NewItem};
    let sku = Sku::new("A").unwrap();
    let mut item = crate::Item::default();
    let order_id = |n: u64| OrderId::new(&format!("o{n}")).unwrap();
    let mut actions = vec![Action::create(NewItem { stock: q(50), ..NewItem::default() })];
    for n in 0..5 {
        let expires_in_seconds = (n % 2 == 0).then_some(60);
        let quantity = q(n + 1);
        actions.push(Action::Reserve { order_id: order_id(n), quantity, expires_in_seconds });
    }
    actions.push(Action::Deduct { order_id: order_id(4), quantity: Some(q(2)) });
    actions.push(Action::Release { order_id: order_id(1), quantity: None });
    for action in actions {
        let command = Command { sku: sku.clone(), action, expected_version: None };
        let event = crate::rules::decide(&item, &command, Timestamp::EPOCH).unwrap().unwrap();
        item.apply(&event);
    }
    let mut bytes = Vec::new();
    encode_item(&mut bytes, &sku, &item, 77);
    let mut reader = VarintReader::new(&bytes);
    let read = decode_item(&mut reader).unwrap();
    reader.finish().unwrap();
    let mut state = Vec::new();
    encode_state(&mut state, &item, 77);
    let numbers = StateNumbers::read(&state).unwrap();
    let cell = item.cell();
    assert_eq!(
        (numbers.version, numbers.flags, numbers.quantities),
        (cell.version, cell.flags, cell.quantities)
    );
    assert_eq!(numbers.texts().unwrap(), StateTexts::of(&item));
    assert_eq!(read, SnapshotItem { sku, item, last_seq: 77 });
    for length in 0..bytes.len() {
        assert!(decode_item(&mut VarintReader::new(&bytes[..length])).is_err());
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_record(&bytes);
        let _ = decode_item(&mut VarintReader::new(&bytes));
    }

    /// One flipped bit is refused or read as another well-formed record, never as the same one.
    #[test]
    fn flipped_bits_never_pass_unseen(bit in 0_usize..8 * 40, change in prop::sample::select(every_change())) {
        let event = event(change);
        let mut bytes = encoded(&event);
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(Record::Event(read)) = decode_record(&bytes) {
            // Bits 3 to 6 of the flags byte are reserved and ignored.
            prop_assert!(read != event || (bit / 8 == 2 && (3..7).contains(&(bit % 8))));
        }
    }

    #[test]
    fn varints_come_back(value in any::<u64>()) {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, value);
        let mut reader = VarintReader::new(&bytes);
        prop_assert_eq!(reader.varint("value").unwrap(), value);
    }
}
