//! Lists of live reservations, by SKU and order, in pages that stay stable under writes. It must
//! never hold an item's lock longer than it takes to look at its reservations once.

use std::ops::Bound;

use event_log::Seq;
use event_log::storage::Storage;
use shared::{OrderId, Reservation, Sku, Timestamp};

use super::{LIST_LIMIT_MAX, Ledger};

/// Which reservations, from where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReservedQuery {
    /// Only those of this order.
    pub order_id: Option<OrderId>,
    /// Only those of this SKU.
    pub sku: Option<Sku>,
    /// Only those that end before.
    pub expires_before: Option<Timestamp>,
    /// Begin after the reservation of this order on this SKU.
    pub after: Option<(Sku, OrderId)>,
    /// Rows at most, 1 to [`LIST_LIMIT_MAX`].
    pub limit: usize,
}

/// A live reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservedRow {
    /// The SKU.
    pub sku: Sku,
    /// The order.
    pub order_id: OrderId,
    /// What is promised.
    pub reservation: Reservation,
}

/// A page of reservations, by SKU and then order, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservedRead {
    /// The rows.
    pub rows: Vec<ReservedRow>,
    /// Whether more follow.
    pub more: bool,
    /// The reply may be sent once the log is durable up to here.
    pub settle: Seq,
}

impl ReservedQuery {
    /// Whether a page looks at the items of one order or SKU only; any other at every item.
    pub fn is_bounded(&self) -> bool {
        self.order_id.is_some() || self.sku.is_some()
    }

    fn matches(&self, sku: &Sku, order_id: &OrderId, reservation: &Reservation) -> bool {
        let in_time = |before| reservation.expires_at.is_some_and(|at| at < before);
        let behind =
            |(after_sku, after_order): &(Sku, OrderId)| (sku, order_id) > (after_sku, after_order);
        self.order_id.as_ref().is_none_or(|wanted| wanted == order_id)
            && self.expires_before.is_none_or(in_time)
            && self.after.as_ref().is_none_or(behind)
    }
}

impl<S: Storage> Ledger<S> {
    /// One page of the live reservations that match, overdue ones expired first.
    pub fn reserved(&self, query: &ReservedQuery, now: Timestamp) -> ReservedRead {
        let limit = query.limit.clamp(1, LIST_LIMIT_MAX);
        let mut rows = Vec::new();
        if let Some(sku) = &query.sku {
            self.add_reserved(query, sku, now, limit, &mut rows);
        } else if let Some(order_id) = &query.order_id {
            for sku in self.orders.skus(order_id) {
                self.add_reserved(query, &sku, now, limit, &mut rows);
            }
        } else {
            self.walk_reserved(query, now, limit, &mut rows);
        }
        let more = rows.len() > limit;
        rows.truncate(limit);
        ReservedRead { rows, more, settle: self.log().last() }
    }

    /// Looks at every item from the cursor on until the page is full.
    fn walk_reserved(
        &self,
        query: &ReservedQuery,
        now: Timestamp,
        limit: usize,
        rows: &mut Vec<ReservedRow>,
    ) {
        let after = query.after.as_ref().map(|(sku, _)| sku.clone());
        let mut from = after.map_or(Bound::Unbounded, Bound::Included);
        while rows.len() <= limit {
            let page = self.items().page(from.as_ref(), false);
            let Some(last) = page.last() else {
                return;
            };
            from = Bound::Excluded(last.clone());
            for sku in page {
                self.add_reserved(query, &sku, now, limit, rows);
            }
        }
    }

    /// Adds what matches on one SKU, until there is one row more than a page holds.
    fn add_reserved(
        &self,
        query: &ReservedQuery,
        sku: &Sku,
        now: Timestamp,
        limit: usize,
        rows: &mut Vec<ReservedRow>,
    ) {
        let room = (limit + 1).saturating_sub(rows.len());
        let Some(handle) = self.items().get(sku).filter(|_| room > 0) else {
            return;
        };
        let mut slot = handle.lock();
        if slot.item.reservations().is_none() {
            return;
        }
        self.expire_for_reading(sku, &mut slot, now);
        let live = slot.item.reservations().into_iter().flat_map(shared::Reservations::iter_live);
        let mut matching: Vec<_> =
            live.filter(|(order_id, found)| query.matches(sku, order_id, found)).collect();
        if matching.len() > room {
            // An item may have many more than a page: only those of the page are put in order.
            matching.select_nth_unstable_by_key(room, |(order_id, _)| *order_id);
            matching.truncate(room);
        }
        matching.sort_unstable_by_key(|(order_id, _)| *order_id);
        rows.extend(matching.into_iter().map(|(order_id, reservation)| ReservedRow {
            sku: sku.clone(),
            order_id: order_id.clone(),
            reservation: *reservation,
        }));
    }
}
