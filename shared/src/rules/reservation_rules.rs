//! The rules of promises: reserve, extend, release and deduct. Repeating what is done already
//! succeeds and changes nothing; it must never move a unit twice.

use super::{Moved, require_available};
use crate::event::Change;
use crate::ids::OrderId;
use crate::item::Item;
use crate::quantity::Quantity;
use crate::rejection::Rejection;
use crate::reservations::{ClosedReservation, Reservation};
use crate::time::Timestamp;

pub(super) fn reserve(
    item: &Item,
    order_id: &OrderId,
    quantity: Quantity,
    expires_at: Option<Timestamp>,
) -> Result<Option<Moved>, Rejection> {
    if let Some(live) = live(item, order_id) {
        return if live.requested == quantity {
            Ok(None)
        } else {
            Err(Rejection::ReservationMismatch {
                order_id: order_id.clone(),
                reserved: live.remaining,
                required: quantity,
            })
        };
    }
    if closed(item, order_id).is_some_and(|closed| !closed.expired) {
        return Err(Rejection::ReservationClosed { order_id: order_id.clone() });
    }
    require_available(item, quantity)?;
    let mut after = item.cell().quantities;
    after.reserved = after.reserved.checked_add(quantity).ok_or(Rejection::QuantityOverflow)?;
    let change = Change::Reserved { order_id: order_id.clone(), quantity, expires_at };
    Ok(Some(Moved { after, change }))
}

pub(super) fn extend(
    item: &Item,
    order_id: &OrderId,
    expires_at: Option<Timestamp>,
) -> Result<Option<Moved>, Rejection> {
    let Some(live) = live(item, order_id) else {
        let order_id = order_id.clone();
        return Err(match closed(item, &order_id) {
            Some(closed) if closed.expired => Rejection::ReservationExpired { order_id },
            Some(_) => Rejection::ReservationClosed { order_id },
            None => Rejection::UnknownReservation { order_id },
        });
    };
    if live.expires_at == expires_at {
        return Ok(None);
    }
    let change = Change::Extended { order_id: order_id.clone(), expires_at };
    Ok(Some(Moved { after: item.cell().quantities, change }))
}

pub(super) fn release(
    item: &Item,
    order_id: &OrderId,
    quantity: Option<Quantity>,
) -> Result<Option<Moved>, Rejection> {
    let done = |closed: &ClosedReservation| closed.released;
    let Some(quantity) = units_to_take(item, order_id, quantity, done)? else {
        return Ok(None);
    };
    let mut after = item.cell().quantities;
    after.reserved = after.reserved.saturating_sub(quantity);
    let change = Change::Released { order_id: order_id.clone(), quantity };
    Ok(Some(Moved { after, change }))
}

pub(super) fn deduct(
    item: &Item,
    order_id: &OrderId,
    quantity: Option<Quantity>,
) -> Result<Option<Moved>, Rejection> {
    if live(item, order_id).is_none()
        && closed(item, order_id).is_some_and(|closed| closed.expired && closed.deducted.is_zero())
    {
        return Err(Rejection::ReservationExpired { order_id: order_id.clone() });
    }
    let done = |closed: &ClosedReservation| closed.deducted;
    let Some(quantity) = units_to_take(item, order_id, quantity, done)? else {
        return Ok(None);
    };
    let mut after = item.cell().quantities;
    let available = after.stock;
    after.stock = available.checked_sub(quantity).ok_or(Rejection::InsufficientStock {
        available,
        required: quantity,
        current: item.cell().version,
    })?;
    after.reserved = after.reserved.saturating_sub(quantity);
    after.sold = after.sold.checked_add(quantity).ok_or(Rejection::QuantityOverflow)?;
    let change = Change::Deducted { order_id: order_id.clone(), quantity };
    Ok(Some(Moved { after, change }))
}

/// How many units a release or deduct takes; none where a closed reservation shows that it is
/// done already (`done` picks the counter that proves it).
fn units_to_take(
    item: &Item,
    order_id: &OrderId,
    asked: Option<Quantity>,
    done: impl Fn(&ClosedReservation) -> Quantity,
) -> Result<Option<Quantity>, Rejection> {
    if let Some(live) = live(item, order_id) {
        let quantity = asked.unwrap_or(live.remaining);
        return if quantity > live.remaining {
            Err(insufficient(order_id, live.remaining, quantity))
        } else {
            Ok(Some(quantity))
        };
    }
    let Some(closed) = closed(item, order_id) else {
        return Err(Rejection::UnknownReservation { order_id: order_id.clone() });
    };
    let done = done(closed);
    if !done.is_zero() && asked.is_none_or(|asked| asked <= done) {
        return Ok(None);
    }
    let required = asked.or(Quantity::new(1)).unwrap_or_default();
    Err(insufficient(order_id, Quantity::ZERO, required))
}

fn insufficient(order_id: &OrderId, reserved: Quantity, required: Quantity) -> Rejection {
    Rejection::InsufficientReservedStock { order_id: order_id.clone(), reserved, required }
}

fn live<'a>(item: &'a Item, order_id: &OrderId) -> Option<&'a Reservation> {
    item.reservations().and_then(|all| all.live(order_id))
}

fn closed<'a>(item: &'a Item, order_id: &OrderId) -> Option<&'a ClosedReservation> {
    item.reservations().and_then(|all| all.closed(order_id))
}
