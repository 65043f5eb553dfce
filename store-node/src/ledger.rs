//! The ledger: the one door to a store's items. Per-SKU locks, idempotency, decide → check →
//! append → apply; recovery, snapshots, expiry.
//!
//! It is synchronous and has no clock: time comes in with each call, and waiting for durability is
//! the caller's (every answer names the seq to wait for). It must never hold a lock over a sync,
//! apply what isn't appended, or append what `check` refuses.

mod batch;
mod decide;
mod items;
mod list;
mod orders;
mod recovery;
mod replay;
mod request;
mod reserved;
mod retell;
mod single;
mod snapshotting;
mod tables;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use event_log::planted;
use event_log::storage::Storage;
use event_log::{AppendError, Log, RecordBuffer, Seq, SeqRange};
use shared::codec::{encode_event, encode_receipt};
use shared::{Change, Event, Item, Receipt, Sku, StoreId, Timestamp, digest, rules};

use crate::expiry::{ClosedEntry, ClosedQueue, ExpiryQueue};
use crate::idempotency::KeyTable;
use items::{Items, Slot, SlotGuard};
use orders::{OrderEntry, OrderIndex};

pub use list::{ListCursor, ListQuery, ListRead, Sort, SortKey, SortValue};
pub use recovery::{LedgerOpenError, RecoveryReport};
pub use replay::{FrameSource, RebuildError, Rebuilt, ReplayError, ReplayOptions, ReplayReport};
pub use request::{
    Answer, AvailabilityRead, AvailabilityRow, BATCH_LINES_MAX, BatchLine, BatchOutcome,
    BatchRequest, Executed, ExecutedBatch, ItemRead, LedgerError, LedgerStats, Refused, Request,
    RequestKey, Unchanged,
};
pub use reserved::{ReservedQuery, ReservedRead, ReservedRow};
pub use snapshotting::{LedgerSnapshotError, PendingSnapshot};
pub use tables::TableError;

/// How many rows a page of a list may have.
pub const LIST_LIMIT_MAX: usize = 1000;
/// How many SKUs one sweep expires at most.
pub const SWEEP_SKUS_MAX: usize = 10_000;
/// How many closed reservations one call of [`Ledger::forget_expired_keys`] forgets at most.
pub const FORGET_CLOSED_MAX: usize = 10_000;
/// How many live reservations of a SKU may be copied so that overdue ones expire in the append of
/// the command that met them; with more, they expire in an append of their own just before.
const SCRATCH_RESERVATIONS_MAX: usize = 512;
/// A thread's record buffer is given back above so many bytes.
const BUFFER_BYTES_MAX: usize = 4 << 20;

threading::thread_local! {
    static BUFFER: RefCell<RecordBuffer> = const { RefCell::new(RecordBuffer::new()) };
}

/// How much the ledger remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerOptions {
    /// Idempotency keys at most (and closed reservations at most).
    pub keys_max: usize,
    /// How long a key (and a closed reservation) is remembered, in µs.
    pub key_life_us: i64,
    /// Whether searches for a text may make and keep an index of names and SKUs.
    pub text_index: bool,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self { keys_max: 5_000_000, key_life_us: 30 * 24 * 3600 * 1_000_000, text_index: true }
    }
}

/// The state of one store over its log.
pub struct Ledger<S: Storage> {
    log: Arc<Log<S>>,
    store_id: StoreId,
    options: LedgerOptions,
    items: Items,
    keys: KeyTable,
    expiries: ExpiryQueue,
    closed: ClosedQueue,
    orders: OrderIndex,
    reservations_live: AtomicU64,
}

impl<S: Storage> Ledger<S> {
    /// The log under the ledger.
    pub fn log(&self) -> &Arc<Log<S>> {
        &self.log
    }

    /// Which store this is.
    pub fn store_id(&self) -> &StoreId {
        &self.store_id
    }

    /// Figures of this moment.
    pub fn stats(&self) -> LedgerStats {
        LedgerStats {
            items: self.items.len(),
            keys: self.keys.len(),
            key_bytes: self.keys.memory_bytes(),
            keys_evicted: self.keys.evicted(),
            reservations_live: self.reservations_live.load(Ordering::Relaxed),
            reservations_closed: self.closed.len(),
            skus_expiring: self.expiries.len(),
        }
    }

    /// One item, overdue reservations expired first; none if it doesn't exist.
    pub fn read(&self, sku: &Sku, now: Timestamp) -> Result<Option<ItemRead>, LedgerError> {
        let Some(handle) = self.items.get(sku) else {
            return Ok(None);
        };
        let mut slot = handle.lock();
        if !slot.exists() {
            return Ok(None);
        }
        self.expire_for_reading(sku, &mut slot, now);
        Ok(Some(ItemRead { item: slot.item.clone(), settle: slot.last_seq }))
    }

    /// What there is of some SKUs, overdue reservations expired first.
    pub fn availability(&self, skus: &[Sku], now: Timestamp) -> AvailabilityRead {
        let row = |sku: &Sku| {
            let handle = self.items.get(sku)?;
            let mut slot = handle.lock();
            self.expire_for_reading(sku, &mut slot, now);
            let cell = slot.item.cell();
            let (version, quantities, flags) = (cell.version, cell.quantities, cell.flags);
            slot.exists().then_some(AvailabilityRow { version, quantities, flags })
        };
        let rows = skus.iter().map(row).collect();
        AvailabilityRead { rows, settle: self.log.last() }
    }

    /// Expires reservations whose time has come, a bounded number of SKUs; returns how many SKUs
    /// changed. To be called every second or more often.
    pub fn sweep_expired(&self, now: Timestamp) -> usize {
        let mut changed = 0;
        for _ in 0..SWEEP_SKUS_MAX {
            let Some((queued_at, sku)) = self.expiries.pop_due(swept_until(now)) else {
                break;
            };
            let Some(handle) = self.items.get(&sku) else {
                continue;
            };
            let mut slot = handle.lock();
            if slot.queued_expiry() == Some(queued_at) {
                slot.set_queued_expiry(None);
            }
            let expired = self.expire_overdue(&sku, &mut slot, now);
            changed += usize::from(matches!(expired, Ok(1..)));
            self.queue_expiry(&sku, &mut slot);
            if expired.is_err() {
                break;
            }
        }
        changed
    }

    /// Forgets idempotency keys and closed reservations whose life is over, a bounded number of
    /// each; returns how many.
    pub fn forget_expired_keys(&self, now: Timestamp) -> usize {
        let before = Timestamp::from_micros(now.as_micros() - self.options.key_life_us);
        let mut forgotten = self.keys.forget_expired(now);
        for _ in 0..FORGET_CLOSED_MAX {
            let Some(entry) = self.closed.pop_old(before) else {
                break;
            };
            let Some(handle) = self.items.get(&entry.sku) else {
                continue;
            };
            let mut slot = handle.lock();
            let forgot = slot
                .item
                .reservations_mut()
                .is_some_and(|all| all.forget_closed(&entry.order_id, entry.closed_at));
            forgotten += usize::from(forgot);
        }
        forgotten
    }

    fn items(&self) -> &Items {
        &self.items
    }

    /// Expires what is overdue before an item is shown. Where the log takes no records the item is
    /// shown as it is durable: version, digest and quantities agree either way.
    fn expire_for_reading(&self, sku: &Sku, slot: &mut SlotGuard<'_>, now: Timestamp) {
        if is_overdue(&slot.item, now) {
            let _read_only = self.expire_overdue(sku, slot, now);
        }
    }

    /// Expires what is overdue, in an append of its own; returns how many reservations.
    fn expire_overdue(
        &self,
        sku: &Sku,
        slot: &mut Slot,
        now: Timestamp,
    ) -> Result<usize, AppendError> {
        let mut events = rules::expirations(&slot.item, sku, swept_until(now));
        if planted::is("expire early") {
            for event in &mut events {
                event.recorded_at = now;
            }
        }
        if !events.is_empty() {
            self.append_events(sku, slot, None, &events, now)?;
        }
        Ok(events.len())
    }

    /// Appends the receipt and the events of one SKU as one unit and applies the events.
    fn append_events<'a>(
        &self,
        sku: &Sku,
        slot: &mut Slot,
        receipt: Option<&Receipt>,
        events: impl IntoIterator<Item = &'a Event> + Clone,
        now: Timestamp,
    ) -> Result<SeqRange, AppendError> {
        let before = *slot.item.cell();
        let mut after = before;
        let range = with_buffer(|records| {
            if let Some(receipt) = receipt {
                records.push_with(|out| encode_receipt(out, receipt));
            }
            for event in events.clone() {
                after.apply(event);
                records.push_with(|out| encode_event(out, event));
            }
            let mut delta = digest::delta(sku, &before, &after);
            if planted::is("forget to move the digest") {
                delta = 0;
            }
            self.log.append(records, now.as_micros(), delta)
        })?;
        let first_event = range.first.get() + u64::from(receipt.is_some());
        for (offset, event) in events.into_iter().enumerate() {
            self.absorb(slot, event, Seq::new(first_event + offset as u64));
        }
        Ok(range)
    }

    /// Applies an appended event to its slot and to what is derived from it.
    fn absorb(&self, slot: &mut Slot, event: &Event, seq: Seq) {
        let live_before = live_count(&slot.item);
        slot.item.apply(event);
        slot.last_seq = seq;
        let Some(order_id) = event.change.order_id() else {
            return;
        };
        let live_after = live_count(&slot.item);
        if live_after > live_before {
            self.reservations_live.fetch_add(1, Ordering::Relaxed);
            self.orders.insert(OrderEntry::new(order_id, event.sku.clone()));
        } else if live_after < live_before {
            self.reservations_live.fetch_sub(1, Ordering::Relaxed);
            let (closed_at, sku) = (event.recorded_at, event.sku.clone());
            self.orders.remove(&OrderEntry::new(order_id, sku.clone()));
            self.closed.push(ClosedEntry { closed_at, sku, order_id: order_id.clone() });
        }
        if let Change::Reserved { expires_at: Some(_), .. } | Change::Extended { .. } = event.change
        {
            self.queue_expiry(&event.sku, slot);
        }
    }

    /// Tells the expiry queue when this SKU's next reservation ends, if that is earlier than what
    /// it knows.
    fn queue_expiry(&self, sku: &Sku, slot: &mut Slot) {
        let next = slot.item.reservations().and_then(shared::Reservations::next_expiry);
        if let Some(next) = next
            && slot.queued_expiry().is_none_or(|queued| next < queued)
        {
            self.expiries.requeue(sku, slot.queued_expiry(), next);
            slot.set_queued_expiry(Some(next));
        }
    }
}

/// What ends by this moment is overdue at `now`: nothing but that moment itself, bugs aside.
fn swept_until(now: Timestamp) -> Timestamp {
    if planted::is("expire early") {
        return now.plus_seconds(2);
    }
    if planted::is("expire late") {
        return Timestamp::from_micros(now.as_micros() - 3_000_000);
    }
    now
}

fn is_overdue(item: &Item, now: Timestamp) -> bool {
    item.reservations().and_then(shared::Reservations::next_expiry).is_some_and(|at| at <= now)
}

/// How many live reservations an item has, without walking them.
fn live_count(item: &Item) -> usize {
    item.reservations().map_or(0, |all| all.iter_live().size_hint().0)
}

/// Runs `work` with this thread's record buffer, empty.
fn with_buffer<T>(work: impl FnOnce(&mut RecordBuffer) -> T) -> T {
    BUFFER.with(|buffer| {
        let mut records = buffer.borrow_mut();
        records.clear();
        let result = work(&mut records);
        if records.byte_len() > BUFFER_BYTES_MAX {
            *records = RecordBuffer::new();
        }
        result
    })
}
