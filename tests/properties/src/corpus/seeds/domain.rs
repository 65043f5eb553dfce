//! Records and items, as the encoders write them, and payloads that claim more than they bring.

use shared::cell::{Cell, Flags, Quantities, Version};
use shared::codec::{encode_event, encode_item, encode_receipt, put_varint};
use shared::command::{Action, AdjustReason, NewItem};
use shared::event::{Change, Context, Event, KeyClaim};
use shared::receipt::{LineOutcome, Receipt, RequestShape};
use shared::{Command, Item, Metadata, OrderId, Quantity, Rejection, Sku, Timestamp};

fn quantity(units: u64) -> Quantity {
    Quantity::new(units).expect("a legal quantity")
}

fn sku(text: &str) -> Sku {
    Sku::new(text).expect("a legal SKU")
}

fn order(text: &str) -> OrderId {
    OrderId::new(text).expect("a legal order id")
}

/// Every kind of change with a bare and a full context, and receipts.
pub(super) fn records() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (name, change) in changes() {
        for (suffix, context) in [("bare", Context::default()), ("full", full_context())] {
            let mut bytes = Vec::new();
            encode_event(&mut bytes, &event(change.clone(), context));
            files.push((format!("{name}-{suffix}"), bytes));
        }
    }
    files.push(("receipt".to_owned(), receipt()));
    files.push(("nasty-receipt-that-claims-lines".to_owned(), boastful_receipt()));
    let mut wide = Vec::new();
    let context = Context::default();
    let mut widest = event(Change::Sold { quantity: quantity(shared::QUANTITY_MAX) }, context);
    widest.version = Version::new(u64::MAX);
    encode_event(&mut wide, &widest);
    files.push(("sold-at-the-last-version".to_owned(), wide));
    files
}

fn changes() -> Vec<(&'static str, Change)> {
    let metadata = Metadata { name: "Mug".into(), unit: "each".into(), ..Metadata::default() };
    let metadata = Box::new(metadata);
    let at = Timestamp::from_micros(1_763_719_260_000_000);
    let (quantity, order_id) = (quantity(3), order("order-1"));
    vec![
        ("created", Change::Created { metadata: metadata.clone() }),
        ("updated", Change::Updated { metadata: metadata.clone(), created_at: at }),
        ("deactivated", Change::Deactivated { metadata, created_at: at }),
        ("received", Change::Received { quantity }),
        ("sold", Change::Sold { quantity }),
        ("returned", Change::Returned { quantity, restocked: true }),
        ("adjusted", Change::Adjusted { delta: -4, reason: AdjustReason::Theft }),
        (
            "reserved",
            Change::Reserved { order_id: order_id.clone(), quantity, expires_at: Some(at) },
        ),
        ("extended", Change::Extended { order_id: order_id.clone(), expires_at: None }),
        ("released", Change::Released { order_id: order_id.clone(), quantity }),
        ("deducted", Change::Deducted { order_id: order_id.clone(), quantity }),
        ("expired", Change::Expired { order_id, quantity }),
    ]
}

fn event(change: Change, context: Context) -> Event {
    Event {
        sku: sku("PROD-001"),
        version: Version::new(300),
        recorded_at: Timestamp::from_micros(1_763_719_200_000_000),
        after: Quantities { stock: quantity(98), sold: quantity(70_000), ..Quantities::default() },
        flags: Flags::default(),
        change,
        context,
    }
}

fn full_context() -> Context {
    Context {
        request_id: Some("0193b2c4".into()),
        actor: Some("till-3".into()),
        reference: Some("basket-77".into()),
        reason: Some("because".into()),
        note: Some("a note longer than what is kept inline: é, 🍎 and so on".into()),
        occurred_at: Some(Timestamp::from_micros(7)),
        fencing_token: Some(u64::MAX),
        key: Some(KeyClaim { key_hash: u128::MAX, fingerprint: u128::MAX - 1, records: 2 }),
    }
}

fn receipt() -> Vec<u8> {
    let cell = Cell { version: Version::new(4), ..Cell::default() };
    let current = Version::new(4);
    let rejection =
        Rejection::InsufficientStock { available: quantity(1), required: quantity(2), current };
    let receipt = Receipt {
        recorded_at: Timestamp::from_micros(11),
        key: KeyClaim { key_hash: u128::MAX, fingerprint: 2, records: 3 },
        shape: RequestShape::BestEffortBatch,
        lines: vec![
            LineOutcome::Applied { offset: 1 },
            LineOutcome::unchanged(sku("A"), &cell, None),
            LineOutcome::Refused { sku: sku("B/2"), rejection },
            LineOutcome::NotApplied { sku: sku("C") },
            LineOutcome::Invalid,
        ],
    };
    let mut bytes = Vec::new();
    encode_receipt(&mut bytes, &receipt);
    bytes
}

/// Twenty bytes that claim fifty thousand lines.
fn boastful_receipt() -> Vec<u8> {
    let receipt = Receipt {
        recorded_at: Timestamp::from_micros(11),
        key: KeyClaim { key_hash: 1, fingerprint: 2, records: 3 },
        shape: RequestShape::AtomicBatch,
        lines: Vec::new(),
    };
    let mut bytes = Vec::new();
    encode_receipt(&mut bytes, &receipt);
    assert_eq!(bytes.pop(), Some(0), "the count of lines is the last number");
    // A bincode number of two bytes.
    bytes.push(251);
    bytes.extend(50_000_u16.to_le_bytes());
    bytes
}

/// Items with and without reservations, and counts that nothing follows.
pub(super) fn items() -> Vec<(String, Vec<u8>)> {
    let (sku, item) = busy_item();
    let mut busy = Vec::new();
    encode_item(&mut busy, &sku, &item, 77);
    let mut plain = Vec::new();
    encode_item(&mut plain, &self::sku("a/b c"), &Item::default(), 0);
    let mut boastful = plain.clone();
    boastful.truncate(plain.len() - 2);
    put_varint(&mut boastful, u64::MAX);
    vec![
        ("two".to_owned(), [&busy[..], &plain[..]].concat()),
        ("nasty-reservations-without-end".to_owned(), boastful),
        ("plain".to_owned(), plain),
        ("reserved".to_owned(), busy),
    ]
}

fn busy_item() -> (Sku, Item) {
    let sku = sku("PROD-001");
    let mut item = Item::default();
    let new = NewItem { stock: quantity(50), name: "Mug".into(), ..NewItem::default() };
    let mut actions = vec![Action::create(new)];
    for number in 0..4 {
        actions.push(Action::Reserve {
            order_id: order(&format!("order-{number}")),
            quantity: quantity(number + 1),
            expires_in_seconds: (number % 2 == 0).then_some(60),
        });
    }
    actions.push(Action::Deduct { order_id: order("order-3"), quantity: Some(quantity(2)) });
    actions.push(Action::Release { order_id: order("order-1"), quantity: None });
    for action in actions {
        let command = Command { sku: sku.clone(), action, expected_version: None };
        let decided = shared::rules::decide(&item, &command, Timestamp::from_micros(9));
        item.apply(&decided.expect("it is allowed").expect("it changes something"));
    }
    (sku, item)
}
