//! Deciding one command on one item: expirations first, then the rules, then the check. Pure; it
//! must never append or apply anything.

use event_log::Seq;
use shared::receipt::ReservationNote;
use shared::{Action, Cell, Command, Event, Item, OrderId, Rejection, rules};

use super::request::{Answer, LedgerError};

/// Decides `command` on `item`, on which nothing is overdue, and checks what comes out.
pub(super) fn decide(
    item: &Item,
    command: &Command,
    now: shared::Timestamp,
) -> Result<Option<Event>, Rejection> {
    let decided = rules::decide(item, command, now)?;
    if let Some(event) = &decided
        && let Err(error) = rules::check(item, event)
    {
        // Law: a broken invariant is a crash, in release builds too. Nothing is appended yet.
        panic!("the rules decided what their check refuses: {error}: {event:?}");
    }
    Ok(decided)
}

/// The answer to a command that had happened already.
pub(super) fn unchanged(item: &Item, command: &Command) -> Answer {
    let Cell { version, quantities, flags, .. } = *item.cell();
    let wants_item = matches!(command.action, Action::Update(_) | Action::Deactivate);
    Answer::Unchanged {
        sku: command.sku.clone(),
        version,
        quantities,
        flags,
        reservation: promised_order(&command.action).and_then(|order| note(item, order)),
        item: wants_item.then(|| Box::new(item.clone())),
    }
}

/// The order whose live reservation the answer to this action shows.
pub(super) fn promised_order(action: &Action) -> Option<&OrderId> {
    match action {
        Action::Reserve { order_id, .. } | Action::Extend { order_id, .. } => Some(order_id),
        Action::Create(_)
        | Action::Update(_)
        | Action::Deactivate
        | Action::Receive { .. }
        | Action::Sell { .. }
        | Action::Return { .. }
        | Action::Adjust { .. }
        | Action::Release { .. }
        | Action::Deduct { .. } => None,
    }
}

/// An order's live reservation as answers show it.
pub(super) fn note(item: &Item, order_id: &OrderId) -> Option<ReservationNote> {
    let live = item.reservations()?.live(order_id)?;
    let (quantity, expires_at) = (live.remaining, live.expires_at);
    Some(ReservationNote { order_id: order_id.clone(), quantity, expires_at })
}

/// A stored answer that makes no sense.
pub(super) fn not_an_answer(seq: Seq, what: impl Into<String>) -> LedgerError {
    LedgerError::Answer { seq, what: what.into() }
}
