//! What time does to the ledger besides commands: which SKUs have a reservation that ends next,
//! and which closed reservations may be forgotten. Both queues are derived from the items and
//! rebuilt at opening; neither may ever decide anything: the item itself is asked again.

use std::collections::{BTreeSet, VecDeque};

use shared::{OrderId, Sku, Timestamp};
use threading::Mutex;

/// SKUs by the end of their next reservation; at most one entry for each SKU.
#[derive(Default)]
pub(crate) struct ExpiryQueue {
    queue: Mutex<BTreeSet<(Timestamp, Sku)>>,
}

impl ExpiryQueue {
    /// A queue of distinct SKUs.
    pub(crate) fn holding(entries: Vec<(Timestamp, Sku)>) -> Self {
        Self { queue: Mutex::new(entries.into_iter().collect()) }
    }

    /// Moves a SKU from the place it has (if any) to `next`.
    pub(crate) fn requeue(&self, sku: &Sku, old: Option<Timestamp>, next: Timestamp) {
        let mut queue = self.queue.lock();
        if let Some(old) = old {
            queue.remove(&(old, sku.clone()));
        }
        queue.insert((next, sku.clone()));
    }

    /// Takes out the first SKU whose time has come, with the time it was queued under.
    pub(crate) fn pop_due(&self, now: Timestamp) -> Option<(Timestamp, Sku)> {
        let mut queue = self.queue.lock();
        if queue.first().is_some_and(|(at, _)| *at <= now) { queue.pop_first() } else { None }
    }

    /// How many SKUs wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.lock().len()
    }
}

/// A reservation that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClosedEntry {
    pub(crate) closed_at: Timestamp,
    pub(crate) sku: Sku,
    pub(crate) order_id: OrderId,
}

/// Closed reservations in the order of their ending.
pub(crate) struct ClosedQueue {
    queue: Mutex<VecDeque<ClosedEntry>>,
    entries_max: usize,
}

impl ClosedQueue {
    /// A queue of these entries, in any order, that is full at `entries_max`.
    pub(crate) fn holding(entries_max: usize, mut entries: Vec<ClosedEntry>) -> Self {
        entries.sort_by(|a, b| {
            (a.closed_at, &a.sku, &a.order_id).cmp(&(b.closed_at, &b.sku, &b.order_id))
        });
        let queue = Mutex::new(entries.into());
        Self { queue, entries_max }
    }

    pub(crate) fn push(&self, entry: ClosedEntry) {
        self.queue.lock().push_back(entry);
    }

    /// Takes out the oldest that ended at or before `before`, or any while the queue is over full.
    pub(crate) fn pop_old(&self, before: Timestamp) -> Option<ClosedEntry> {
        let mut queue = self.queue.lock();
        let over_full = queue.len() > self.entries_max;
        let old = queue.front().is_some_and(|entry| entry.closed_at <= before);
        if over_full || old { queue.pop_front() } else { None }
    }

    /// How many closed reservations are remembered.
    pub(crate) fn len(&self) -> usize {
        self.queue.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sku(text: &str) -> Sku {
        Sku::new(text).unwrap()
    }

    #[test]
    fn due_skus_come_out_in_order_and_only_once() {
        let queue = ExpiryQueue::default();
        let at = Timestamp::from_micros;
        queue.requeue(&sku("B"), None, at(20));
        queue.requeue(&sku("A"), None, at(30));
        queue.requeue(&sku("A"), Some(at(30)), at(10));
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.pop_due(at(9)), None);
        assert_eq!(queue.pop_due(at(25)), Some((at(10), sku("A"))));
        assert_eq!(queue.pop_due(at(25)), Some((at(20), sku("B"))));
        assert_eq!(queue.pop_due(at(25)), None);
    }

    #[test]
    fn closed_reservations_leave_when_old_or_too_many() {
        let entry = |micros, order: &str| ClosedEntry {
            closed_at: Timestamp::from_micros(micros),
            sku: sku("A"),
            order_id: OrderId::new(order).unwrap(),
        };
        let queue = ClosedQueue::holding(2, vec![entry(30, "c"), entry(10, "a"), entry(20, "b")]);
        assert_eq!(queue.pop_old(Timestamp::from_micros(0)), Some(entry(10, "a")), "over full");
        assert_eq!(queue.pop_old(Timestamp::from_micros(19)), None);
        assert_eq!(queue.pop_old(Timestamp::from_micros(20)), Some(entry(20, "b")));
        assert_eq!(queue.len(), 1);
    }
}
