//! The promises made on one SKU: live ones, whose sum is `reserved`, and closed ones, kept so that
//! a repeated release or deduct can be told from a wrong one. The total must never drift from the
//! sum of the live ones: only this module can touch either.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::FixedHasher;
use crate::ids::OrderId;
use crate::quantity::Quantity;
use crate::time::Timestamp;

/// Units promised to one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// Units first promised.
    pub requested: Quantity,
    /// Units still promised, at least 1.
    pub remaining: Quantity,
    /// Units released so far.
    pub released: Quantity,
    /// Units deducted so far.
    pub deducted: Quantity,
    /// When the promise ends; none = never.
    pub expires_at: Option<Timestamp>,
}

impl Reservation {
    /// A promise of which nothing has left yet.
    pub fn new(requested: Quantity, expires_at: Option<Timestamp>) -> Self {
        let none = Quantity::ZERO;
        Self { requested, remaining: requested, released: none, deducted: none, expires_at }
    }
}

/// How a reservation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedReservation {
    /// Units released in all, expired ones included.
    pub released: Quantity,
    /// Units deducted in all.
    pub deducted: Quantity,
    /// Whether its time ran out.
    pub expired: bool,
    /// When it ended.
    pub closed_at: Timestamp,
}

/// All reservations of one SKU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reservations {
    live: HashMap<OrderId, Reservation, FixedHasher>,
    closed: HashMap<OrderId, ClosedReservation, FixedHasher>,
    expiries: BTreeSet<(Timestamp, OrderId)>,
    total: Quantity,
}

impl Reservations {
    /// The sum of what is still promised.
    pub fn total(&self) -> Quantity {
        self.total
    }

    /// The live reservation of an order.
    pub fn live(&self, order_id: &OrderId) -> Option<&Reservation> {
        self.live.get(order_id)
    }

    /// How the last reservation of an order ended.
    pub fn closed(&self, order_id: &OrderId) -> Option<&ClosedReservation> {
        self.closed.get(order_id)
    }

    /// All live reservations, in no particular (but repeatable) order.
    pub fn iter_live(&self) -> impl Iterator<Item = (&OrderId, &Reservation)> {
        self.live.iter()
    }

    /// All closed reservations, in no particular (but repeatable) order.
    pub fn iter_closed(&self) -> impl Iterator<Item = (&OrderId, &ClosedReservation)> {
        self.closed.iter()
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.closed.is_empty()
    }

    /// When the next live reservation ends.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// The orders whose time has come at `now`, oldest first.
    pub fn overdue(&self, now: Timestamp) -> impl Iterator<Item = &OrderId> {
        self.expiries.iter().take_while(move |(at, _)| *at <= now).map(|(_, order_id)| order_id)
    }

    /// Adds a live reservation. `None` if the order has one or the total leaves the range.
    pub(crate) fn open(&mut self, order_id: OrderId, reservation: Reservation) -> Option<()> {
        let total = self.total.checked_add(reservation.remaining)?;
        let Entry::Vacant(place) = self.live.entry(order_id) else {
            return None;
        };
        if !self.closed.is_empty() {
            self.closed.remove(place.key());
        }
        if let Some(at) = reservation.expires_at {
            self.expiries.insert((at, place.key().clone()));
        }
        place.insert(reservation);
        self.total = total;
        Some(())
    }

    /// Moves the end of a live reservation. `None` if there is none.
    pub(crate) fn extend(
        &mut self,
        order_id: &OrderId,
        expires_at: Option<Timestamp>,
    ) -> Option<()> {
        let reservation = self.live.get_mut(order_id)?;
        if let Some(at) = std::mem::replace(&mut reservation.expires_at, expires_at) {
            self.expiries.remove(&(at, order_id.clone()));
        }
        if let Some(at) = expires_at {
            self.expiries.insert((at, order_id.clone()));
        }
        Some(())
    }

    /// Takes units out of a live reservation and closes it when none is left. `None` if fewer are
    /// there.
    pub(crate) fn take(
        &mut self,
        order_id: &OrderId,
        quantity: Quantity,
        ending: Ending,
        at: Timestamp,
    ) -> Option<()> {
        let reservation = self.live.get_mut(order_id)?;
        let remaining = reservation.remaining.checked_sub(quantity)?;
        let total = self.total.checked_sub(quantity)?;
        let counter = match ending {
            Ending::Released | Ending::Expired => &mut reservation.released,
            Ending::Deducted => &mut reservation.deducted,
        };
        *counter = counter.checked_add(quantity)?;
        reservation.remaining = remaining;
        self.total = total;
        if remaining.is_zero() {
            let ended = self.live.remove(order_id)?;
            if let Some(expires_at) = ended.expires_at {
                self.expiries.remove(&(expires_at, order_id.clone()));
            }
            let closed = ClosedReservation {
                released: ended.released,
                deducted: ended.deducted,
                expired: matches!(ending, Ending::Expired),
                closed_at: at,
            };
            self.closed.insert(order_id.clone(), closed);
        }
        Some(())
    }

    /// Puts back a closed reservation read from a snapshot.
    pub fn restore_closed(&mut self, order_id: OrderId, closed: ClosedReservation) {
        self.closed.insert(order_id, closed);
    }

    /// Puts back a live reservation read from a snapshot. `None` if it can't be one.
    pub fn restore_live(&mut self, order_id: OrderId, reservation: Reservation) -> Option<()> {
        self.open(order_id, reservation)
    }

    /// Forgets a closed reservation whose time of remembrance is over; false if it was closed
    /// again after `closed_by` or isn't there.
    pub fn forget_closed(&mut self, order_id: &OrderId, closed_by: Timestamp) -> bool {
        let old = self.closed.get(order_id).is_some_and(|closed| closed.closed_at <= closed_by);
        let is_forgotten = old && self.closed.remove(order_id).is_some();
        give_room_back(&mut self.closed);
        give_room_back(&mut self.live);
        is_forgotten
    }
}

/// Gives back what a table no longer needs: it would keep the room of its fullest moment, and of many
/// thousand items' tables some reach theirs ever later.
fn give_room_back<V>(table: &mut HashMap<OrderId, V, FixedHasher>) {
    if table.len() * 4 < table.capacity() {
        table.shrink_to_fit();
    }
}

/// How units leave a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Freed on request.
    Released,
    /// Left the shelf.
    Deducted,
    /// The time ran out.
    Expired,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_takes_no_room() {
        let mut reservations = Reservations::default();
        let order = |number: u32| OrderId::new(&format!("order-{number}")).unwrap();
        let (at, released) = (Timestamp::from_micros(1), Quantity::ZERO);
        for number in 0..1_000 {
            let closed =
                ClosedReservation { released, deducted: released, expired: false, closed_at: at };
            reservations.restore_closed(order(number), closed);
        }
        for number in 1..1_000 {
            assert!(reservations.forget_closed(&order(number), at));
        }
        assert!(reservations.closed(&order(0)).is_some());
        assert!(reservations.closed.capacity() < 16, "{}", reservations.closed.capacity());
    }
}
