//! The rules as data: each case runs commands through decide, check and apply.

use proptest::prelude::*;

use super::*;
use crate::cell::Version;
use crate::command::AdjustReason;
use crate::ids::OrderId;

fn q(units: u64) -> Quantity {
    Quantity::new(units).unwrap()
}

fn order(text: &str) -> OrderId {
    OrderId::new(text).unwrap()
}

fn command(action: Action) -> Command {
    Command { sku: Sku::new("PROD-001").unwrap(), action, expected_version: None }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000).plus_seconds(seconds)
}

/// Expires what is due, then decides, checks and applies: what the ledger does, without its log.
fn run(item: &mut Item, action: Action, now: Timestamp) -> Result<Option<Event>, Rejection> {
    let command = command(action);
    for event in expirations(item, &command.sku, now) {
        check(item, &event).unwrap();
        apply(item, &event);
    }
    let event = decide(item, &command, now)?;
    if let Some(event) = &event {
        check(item, event).expect("a decided event passes the check");
        apply(item, event);
    }
    Ok(event)
}

fn stocked(stock: u64) -> Item {
    let mut item = Item::default();
    let new = NewItem { stock: q(stock), ..NewItem::default() };
    run(&mut item, Action::create(new), at(0)).unwrap();
    item
}

fn numbers(item: &Item) -> (u64, u64, u64, u64) {
    let cell = item.cell();
    let quantities = cell.quantities;
    let version = cell.version.get();
    (quantities.stock.get(), quantities.reserved.get(), quantities.sold.get(), version)
}

fn reserve(order_id: &str, units: u64, expires_in_seconds: Option<u64>) -> Action {
    Action::Reserve { order_id: order(order_id), quantity: q(units), expires_in_seconds }
}

fn release(order_id: &str, units: Option<u64>) -> Action {
    Action::Release { order_id: order(order_id), quantity: units.map(q) }
}

fn deduct(order_id: &str, units: Option<u64>) -> Action {
    Action::Deduct { order_id: order(order_id), quantity: units.map(q) }
}

#[test]
fn stock_moves_as_the_table_says() {
    let mut item = stocked(10);
    run(&mut item, Action::Receive { quantity: q(5) }, at(1)).unwrap();
    run(&mut item, Action::Sell { quantity: q(3) }, at(2)).unwrap();
    run(&mut item, Action::Return { quantity: q(1), restock: true }, at(3)).unwrap();
    run(&mut item, Action::Return { quantity: q(1), restock: false }, at(4)).unwrap();
    run(&mut item, Action::Adjust { delta: -4, reason: AdjustReason::Theft }, at(5)).unwrap();
    assert_eq!(numbers(&item), (9, 0, 3, 6));
}

#[test]
fn what_is_promised_cannot_be_sold_taken_or_promised_again() {
    let mut item = stocked(10);
    run(&mut item, reserve("o1", 8, None), at(1)).unwrap();
    let short =
        Rejection::InsufficientStock { available: q(2), required: q(3), current: Version::new(2) };
    for action in [
        Action::Sell { quantity: q(3) },
        reserve("o2", 3, None),
        Action::Adjust { delta: -3, reason: AdjustReason::Damage },
    ] {
        assert_eq!(run(&mut item, action, at(2)).unwrap_err(), short);
    }
    assert_eq!(numbers(&item), (10, 8, 0, 2));
}

#[test]
fn repeating_what_is_done_changes_nothing() {
    let mut item = stocked(10);
    run(&mut item, reserve("o1", 4, None), at(1)).unwrap();
    assert_eq!(run(&mut item, reserve("o1", 4, None), at(2)), Ok(None));
    run(&mut item, deduct("o1", Some(4)), at(3)).unwrap();
    assert_eq!(run(&mut item, deduct("o1", Some(4)), at(4)), Ok(None));
    assert_eq!(run(&mut item, deduct("o1", None), at(4)), Ok(None));
    run(&mut item, reserve("o2", 2, None), at(5)).unwrap();
    run(&mut item, release("o2", None), at(6)).unwrap();
    assert_eq!(run(&mut item, release("o2", None), at(7)), Ok(None));
    assert_eq!(numbers(&item), (6, 0, 4, 5));
}

#[test]
fn reservations_say_what_does_not_fit() {
    let mut item = stocked(10);
    run(&mut item, reserve("o1", 4, None), at(1)).unwrap();
    let order_id = order("o1");
    assert_eq!(
        run(&mut item, reserve("o1", 5, None), at(2)).unwrap_err(),
        Rejection::ReservationMismatch {
            order_id: order_id.clone(),
            reserved: q(4),
            required: q(5)
        }
    );
    assert_eq!(
        run(&mut item, deduct("o1", Some(5)), at(2)).unwrap_err(),
        Rejection::InsufficientReservedStock {
            order_id: order_id.clone(),
            reserved: q(4),
            required: q(5)
        }
    );
    run(&mut item, release("o1", None), at(3)).unwrap();
    assert_eq!(
        run(&mut item, reserve("o1", 4, None), at(4)).unwrap_err(),
        Rejection::ReservationClosed { order_id: order_id.clone() }
    );
    assert_eq!(
        run(&mut item, deduct("o1", Some(1)), at(4)).unwrap_err(),
        Rejection::InsufficientReservedStock { order_id, reserved: q(0), required: q(1) }
    );
    assert_eq!(
        run(&mut item, release("o9", None), at(4)).unwrap_err(),
        Rejection::UnknownReservation { order_id: order("o9") }
    );
}

#[test]
fn time_ends_promises_before_anything_else_happens() {
    let mut item = stocked(10);
    run(&mut item, reserve("o1", 10, Some(60)), at(0)).unwrap();
    assert!(run(&mut item, Action::Sell { quantity: q(1) }, at(59)).is_err());
    run(&mut item, Action::Sell { quantity: q(1) }, at(60)).unwrap();
    assert_eq!(numbers(&item), (9, 0, 1, 4));
    assert_eq!(
        run(&mut item, deduct("o1", None), at(61)).unwrap_err(),
        Rejection::ReservationExpired { order_id: order("o1") }
    );
    assert_eq!(run(&mut item, release("o1", None), at(61)), Ok(None));
    run(&mut item, reserve("o1", 2, Some(10)), at(62)).unwrap();
    let extend = Action::Extend { order_id: order("o1"), expires_in_seconds: Some(100) };
    run(&mut item, extend, at(63)).unwrap();
    assert_eq!(item.reservations().unwrap().next_expiry(), Some(at(163)));
}

#[test]
fn versions_guard_and_times_never_go_back() {
    let mut item = stocked(1);
    let mut stale = command(Action::Receive { quantity: q(1) });
    stale.expected_version = Some(Version::new(7));
    assert!(matches!(
        decide(&item, &stale, at(1)),
        Err(Rejection::VersionConflict { current, .. }) if current == Version::new(1)
    ));
    run(&mut item, Action::Receive { quantity: q(1) }, at(9)).unwrap();
    let event = run(&mut item, Action::Receive { quantity: q(1) }, at(3)).unwrap().unwrap();
    assert_eq!(event.recorded_at, at(9));
}

#[test]
fn items_come_change_and_go() {
    let mut item = Item::default();
    let unknown = run(&mut item, Action::Sell { quantity: q(1) }, at(0));
    assert_eq!(unknown, Err(Rejection::UnknownSku));
    run(&mut item, Action::create(NewItem::default()), at(0)).unwrap();
    let again = run(&mut item, Action::create(NewItem::default()), at(1));
    assert_eq!(again, Err(Rejection::AlreadyExists { current: Version::new(1) }));
    assert_eq!(item.metadata().unit, DEFAULT_UNIT);
    let patch = ItemPatch { name: Some("Mug".into()), ..ItemPatch::default() };
    run(&mut item, Action::update(patch.clone()), at(2)).unwrap();
    assert_eq!(run(&mut item, Action::update(patch.clone()), at(3)), Ok(None));
    run(&mut item, Action::Receive { quantity: q(2) }, at(4)).unwrap();
    assert!(matches!(
        run(&mut item, Action::Deactivate, at(5)),
        Err(Rejection::ItemNotEmpty { .. })
    ));
    run(&mut item, Action::Sell { quantity: q(2) }, at(6)).unwrap();
    run(&mut item, Action::Deactivate, at(7)).unwrap();
    let closed = run(&mut item, Action::Receive { quantity: q(1) }, at(8));
    assert_eq!(closed, Err(Rejection::ItemInactive));
    run(&mut item, Action::update(ItemPatch { reactivate: true, ..patch }), at(9)).unwrap();
    run(&mut item, Action::Receive { quantity: q(1) }, at(10)).unwrap();
}

#[test]
fn quantities_stop_at_two_to_the_53() {
    let mut item = stocked(crate::QUANTITY_MAX - 1);
    run(&mut item, Action::Receive { quantity: q(1) }, at(1)).unwrap();
    for action in [
        Action::Receive { quantity: q(1) },
        Action::Return { quantity: q(1), restock: true },
        Action::Adjust { delta: 1, reason: AdjustReason::Found },
        Action::Adjust { delta: i64::MIN, reason: AdjustReason::Other },
    ] {
        assert_eq!(run(&mut item, action, at(2)), Err(Rejection::QuantityOverflow));
    }
}

#[test]
fn the_low_stock_alert_arms_and_fires_on_crossings() {
    let mut item = stocked(20);
    assert!(item.cell().flags.low_stock_armed);
    run(&mut item, Action::Sell { quantity: q(10) }, at(1)).unwrap();
    assert!(!item.cell().flags.low_stock_armed);
    run(&mut item, Action::Receive { quantity: q(2) }, at(2)).unwrap();
    assert!(!item.cell().flags.low_stock_armed, "12 is not above 120 % of 10");
    run(&mut item, Action::Receive { quantity: q(1) }, at(3)).unwrap();
    assert!(item.cell().flags.low_stock_armed);
}

#[test]
fn a_tampered_event_is_refused() {
    let mut item = stocked(10);
    let event = decide(&item, &command(reserve("o1", 4, None)), at(1)).unwrap().unwrap();
    let tamper: [fn(&mut Event); 9] = [
        |e| e.version = e.version.next(),
        |e| e.after.stock = Quantity::ZERO,
        |e| e.after.reserved = Quantity::ZERO,
        |e| e.after.sold = e.after.stock,
        |e| e.after.incoming = q(1),
        |e| e.after.in_transit_out = q(1),
        |e| e.after.safety_stock = q(1),
        |e| e.after.reorder_point = Quantity::ZERO,
        |e| e.change = Change::Created { metadata: Box::default() },
    ];
    for change in tamper {
        let mut bad = event.clone();
        change(&mut bad);
        assert!(check(&item, &bad).is_err(), "{bad:?}");
    }
    check(&item, &event).unwrap();
    apply(&mut item, &event);
    assert!(check(&item, &event).is_err(), "twice is once too often");
}

fn any_action() -> impl Strategy<Value = Action> {
    let order_id = prop::sample::select(vec!["a", "b", "c"]);
    let quantity = (1_u64..6).prop_map(q);
    prop_oneof![
        quantity.clone().prop_map(|quantity| Action::Receive { quantity }),
        quantity.clone().prop_map(|quantity| Action::Sell { quantity }),
        (-5_i64..5)
            .prop_filter("not zero", |d| *d != 0)
            .prop_map(|delta| Action::Adjust { delta, reason: AdjustReason::Correction }),
        (order_id.clone(), 1_u64..6, prop::option::of(1_u64..20))
            .prop_map(|(o, units, expiry)| reserve(o, units, expiry)),
        (order_id.clone(), prop::option::of(1_u64..6)).prop_map(|(o, units)| release(o, units)),
        (order_id, prop::option::of(1_u64..6)).prop_map(|(o, units)| deduct(o, units)),
    ]
}

/// What `accept` does must be what `check` and `apply` do; says whether the event fits.
fn accept_is_check_and_apply(item: &Item, event: &Event) -> bool {
    let (mut accepted, mut applied) = (item.clone(), item.clone());
    let checked = check(&applied, event).map(|()| apply(&mut applied, event));
    assert_eq!(accepted.accept(event), checked, "{event:?}");
    assert_eq!(accepted, applied, "{event:?}");
    checked.is_ok()
}

#[test]
fn a_reservation_is_accepted_once_and_never_for_nothing() {
    let mut item = stocked(10);
    let reserving = |item: &Item, units| {
        let event = decide(&stocked(10), &command(reserve("o1", 1, Some(9))), at(1));
        let mut event = event.unwrap().unwrap();
        event.version = item.cell().version.next();
        event.after = item.cell().quantities;
        event.after.reserved = event.after.reserved.checked_add(q(units)).unwrap();
        let expires_at = None;
        event.change = Change::Reserved { order_id: order("o1"), quantity: q(units), expires_at };
        event
    };
    assert!(!accept_is_check_and_apply(&item, &reserving(&item, 0)));
    let first = reserving(&item, 4);
    assert!(accept_is_check_and_apply(&item, &first));
    item.accept(&first).unwrap();
    assert!(!accept_is_check_and_apply(&item, &first), "its version is over");
    assert!(!accept_is_check_and_apply(&item, &reserving(&item, 3)), "the order has one");
    run(&mut item, release("o1", None), at(3)).unwrap();
    assert!(accept_is_check_and_apply(&item, &reserving(&item, 3)), "it is open again");
}

proptest! {
    /// Whatever is asked: no oversell, a gapless version, and units are conserved.
    #[test]
    fn no_history_breaks_an_invariant(actions in prop::collection::vec((any_action(), 0_u64..8), 1..60)) {
        let mut item = stocked(10);
        let mut now = 0;
        let mut inflow = 10_i64;
        for (action, seconds) in actions {
            now += seconds;
            let before = item.cell().version;
            let earlier = item.clone();
            let decided = run(&mut item, action, at(now));
            if let Ok(Some(event)) = &decided {
                accept_is_check_and_apply(&earlier, event);
                accept_is_check_and_apply(&item, event);
            }
            if let Ok(Some(event)) = &decided {
                match event.change {
                    Change::Received { quantity } => inflow += quantity.get() as i64,
                    Change::Adjusted { delta, .. } => inflow += delta,
                    _ => {}
                }
            }
            prop_assert!(item.cell().version >= before);
            let quantities = item.cell().quantities;
            prop_assert!(quantities.reserved <= quantities.stock, "never oversold");
            prop_assert_eq!((quantities.stock.get() + quantities.sold.get()) as i64, inflow);
        }
    }
}
