//! One verb on one SKU.

use shared::command::{Action, ItemPatch};
use shared::{Command, Context, Rejection, Version};

use super::world::*;
use crate::ledger::{Answer, Request};
use event_log::Seq;

#[test]
fn the_contracts_examples() {
    let world = World::new();
    let steps: [(&str, Action, Result<u64, &str>); 9] = [
        ("P1", sell(1), Err("UnknownSku")),
        ("P1", create(100), Ok(1)),
        ("P1", create(100), Err("AlreadyExists { current: Version(1) }")),
        ("P1", sell(2), Ok(2)),
        ("P1", reserve("order-456", 5), Ok(3)),
        (
            "P1",
            sell(94),
            Err(
                "InsufficientStock { available: Quantity(93), required: Quantity(94), current: Version(3) }",
            ),
        ),
        ("P1", deduct("order-456"), Ok(4)),
        ("P1", receive(1), Ok(5)),
        ("P1", release("order-9"), Err("UnknownReservation { order_id: \"order-9\" }")),
    ];
    for (text, action, expected) in steps {
        let name = format!("{action:?}");
        let executed = world.execute(text, action);
        let found = changed_version(&executed).map(Version::get);
        let refusal = rejection(&executed).map(|rejection| format!("{rejection:?}"));
        match expected {
            Ok(version) => assert_eq!(found, Some(version), "{name}: {refusal:?}"),
            Err(text) => assert_eq!(refusal.as_deref(), Some(text), "{name}"),
        }
    }
    assert_eq!(world.state("P1"), (94, 0, 7, 5));
}

#[test]
fn what_is_refused_or_done_already_appends_nothing() {
    let world = World::new();
    assert_eq!(world.execute("A", sell(1)).settle, Seq::ZERO, "nothing was looked at");
    assert_eq!(last(&world), Seq::ZERO);
    world.execute("A", create(3));
    let reserved = world.execute("A", reserve("o", 2));
    let again = world.execute("A", reserve("o", 2));
    assert_eq!(again.settle, reserved.settle, "the state it speaks of must be durable first");
    let Ok(Answer::Unchanged { reservation: Some(note), version, .. }) = again.outcome else {
        panic!("nothing to do")
    };
    assert_eq!((note.quantity.get(), version.get()), (2, 2));
    assert_eq!(world.execute("A", sell(2)).settle, reserved.settle);
    assert_eq!(last(&world), Seq::new(2));
    assert_eq!(world.ledger.stats().reservations_live, 1);
}

#[test]
fn a_sku_that_was_only_asked_for_leaves_no_trace() {
    let world = World::new();
    world.execute("ghost", sell(1));
    world.batch(true, vec![("ghost", create(1)), ("other", sell(1))]);
    assert_eq!(world.ledger.stats().items, 0);
    assert!(world.ledger.read(&sku("ghost"), world.now).unwrap().is_none());
    assert_eq!(changed_version(&world.execute("ghost", create(1))), Some(Version::new(1)));
}

#[test]
fn an_expected_version_is_compared_under_the_lock() {
    let world = World::new();
    world.execute("A", create(3));
    let command = Command { expected_version: Some(Version::new(2)), ..command("A", sell(1)) };
    let request = Request { command, context: Context::default(), key: None };
    let executed = world.ledger.execute(request, world.now).unwrap();
    assert!(matches!(rejection(&executed), Some(Rejection::VersionConflict { .. })));
}

#[test]
fn an_update_that_changes_nothing_shows_the_item() {
    let world = World::new();
    world.execute("A", create(3));
    let patch = || Action::update(ItemPatch { name: Some("Mug".into()), ..ItemPatch::default() });
    assert_eq!(changed_version(&world.execute("A", patch())), Some(Version::new(2)));
    let Ok(Answer::Unchanged { item: Some(item), .. }) = world.execute("A", patch()).outcome else {
        panic!("an item")
    };
    assert_eq!(item.metadata().name, "Mug");
}

#[test]
fn context_goes_into_the_record_and_survives() {
    let world = World::new();
    let context =
        Context { actor: Some("till-7".into()), note: Some("n".into()), ..Context::default() };
    let request = Request { command: command("A", create(1)), context: context.clone(), key: None };
    world.ledger.execute(request, world.now).unwrap();
    world.commit();
    let record = world.ledger.log().read_records(Seq::new(1), 1).unwrap().remove(0);
    let Ok(shared::codec::Record::Event(event)) = shared::codec::decode_record(&record) else {
        panic!("an event")
    };
    assert_eq!(event.context, context);
    let world = world.reopen();
    assert_eq!(world.state("A"), (1, 0, 0, 1));
}

#[test]
fn a_full_log_refuses_and_changes_nothing() {
    let world = World::new();
    world.execute("A", create(1_000_000));
    let mut sold = 0;
    let refused = loop {
        match world.try_execute("A", sell(1), None) {
            Ok(_) => sold += 1,
            Err(error) => break error,
        }
        assert!(sold < 1_000_000, "the queue is bounded");
    };
    assert!(matches!(refused, crate::ledger::LedgerError::Append(_)), "{refused}");
    assert_eq!(world.state("A"), (1_000_000 - sold, 0, sold, 1 + sold));
    assert!(world.try_execute("B", create(1), None).is_err());
    assert!(world.ledger.read(&sku("B"), world.now).unwrap().is_none());
    world.commit();
    let world = world.reopen();
    assert_eq!(world.state("A"), (1_000_000 - sold, 0, sold, 1 + sold));
}
