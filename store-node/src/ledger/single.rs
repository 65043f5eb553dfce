//! One verb on one SKU: claim the key, lock the item, expire, decide, append, apply. It must never
//! wait for the disk, nor take a second SKU's lock.

use event_log::planted;
use event_log::storage::Storage;
use shared::receipt::RequestShape;
use shared::{Action, Event, Item, LineOutcome, Receipt, Rejection, Timestamp, rules};

use super::decide::{decide, promised_order, unchanged};
use super::items::{Handle, Slot};
use super::request::{Answer, Executed, LedgerError, Refused, Request};
use super::{Ledger, SCRATCH_RESERVATIONS_MAX, is_overdue, live_count};
use crate::idempotency::{Claim, Claimed};

impl<S: Storage> Ledger<S> {
    /// Does one verb on one SKU, once for each idempotency key. Waits only for other requests with
    /// the same key or SKU, never for the disk.
    pub fn execute(&self, request: Request, now: Timestamp) -> Result<Executed, LedgerError> {
        let Some(key) = request.key else {
            return self.execute_claimed(request, None, now);
        };
        let wrong = planted::is("claim the key after the SKU lock");
        let handle = wrong.then(|| self.items.get(&request.command.sku)).flatten();
        let slot = handle.as_ref().map(Handle::lock);
        let claimed = self.keys.claim(key, now);
        drop(slot);
        match claimed {
            Claimed::Fresh(claim) => {
                if planted::is("apply twice") {
                    self.execute_claimed(request.clone(), None, now)?;
                }
                self.execute_claimed(request, Some(claim), now)
            }
            Claimed::Answered(entry) => self.retell_single(&entry),
            Claimed::Reused => Err(LedgerError::KeyReused),
        }
    }

    fn execute_claimed(
        &self,
        request: Request,
        claim: Option<Claim<'_>>,
        now: Timestamp,
    ) -> Result<Executed, LedgerError> {
        let sku = &request.command.sku;
        let creates = matches!(request.command.action, Action::Create(_));
        // Each turn of the loop means that another request finished in between.
        loop {
            let handle =
                if creates { Some(self.items.get_or_insert(sku)) } else { self.items.get(sku) };
            let Some(handle) = handle else {
                let mut none = Slot::default();
                return self.execute_locked(&mut none, request, claim, now);
            };
            let mut slot = handle.lock();
            if slot.is_gone() {
                continue;
            }
            if !slot.exists() {
                let sku = sku.clone();
                let executed = self.execute_locked(&mut slot, request, claim, now);
                if !slot.exists() {
                    self.items.remove(&sku, &mut slot);
                }
                return executed;
            }
            if planted::is("decide without the SKU lock") {
                let mut copy = Slot::holding(slot.item.clone(), slot.last_seq);
                drop(slot);
                let executed = self.execute_locked(&mut copy, request, claim, now);
                *handle.lock() = copy;
                return executed;
            }
            return self.execute_locked(&mut slot, request, claim, now);
        }
    }

    fn execute_locked(
        &self,
        slot: &mut Slot,
        request: Request,
        claim: Option<Claim<'_>>,
        now: Timestamp,
    ) -> Result<Executed, LedgerError> {
        let command = &request.command;
        let mut expired = Vec::new();
        let mut scratch: Option<Item> = None;
        if is_overdue(&slot.item, now) {
            if live_count(&slot.item) > SCRATCH_RESERVATIONS_MAX {
                self.expire_overdue(&command.sku, slot, now)?;
            } else {
                expired = rules::expirations(&slot.item, &command.sku, now);
                let item = scratch.insert(slot.item.clone());
                for event in &expired {
                    item.apply(event);
                }
            }
        }
        let item = scratch.as_ref().unwrap_or(&slot.item);
        match decide(item, command, now) {
            Ok(Some(event)) => self.finish_changed(slot, request, expired, event, claim, now),
            Ok(None) => {
                let answer = unchanged(item, command);
                let line = || {
                    let note = promised_order(&command.action);
                    let note = note.and_then(|order| super::decide::note(item, order));
                    LineOutcome::unchanged(command.sku.clone(), item.cell(), note)
                };
                let line = claim.is_some().then(line);
                self.finish_told(slot, &request, &expired, Ok(answer), line, claim, now)
            }
            Err(rejection) => {
                let sku = command.sku.clone();
                let line = |rejection: &Rejection| {
                    let rejection = rejection.clone();
                    LineOutcome::Refused { sku: command.sku.clone(), rejection }
                };
                let line = claim.is_some().then(|| line(&rejection));
                let refused = Err(Refused { sku, rejection });
                self.finish_told(slot, &request, &expired, refused, line, claim, now)
            }
        }
    }

    /// Appends and applies the event, and the expirations before it.
    fn finish_changed(
        &self,
        slot: &mut Slot,
        request: Request,
        mut expired: Vec<Event>,
        mut event: Event,
        claim: Option<Claim<'_>>,
        now: Timestamp,
    ) -> Result<Executed, LedgerError> {
        event.context = request.context;
        event.context.key = None;
        let records = expired.len() as u32 + 1;
        if let Some(claim) = &claim {
            let first = expired.first_mut().unwrap_or(&mut event);
            first.context.key = Some(claim.key_claim(records));
        }
        let sku = &request.command.sku;
        let events = expired.iter().chain(std::iter::once(&event));
        let range = self.append_events(sku, slot, None, events, now)?;
        if let Some(claim) = claim {
            claim.complete(range.first, records, now);
        }
        let answer = Answer::Changed { seq: range.last, event };
        Ok(Executed { outcome: Ok(answer), settle: range.last, replayed: false })
    }

    /// Ends a request that changes nothing itself: a keyed one leaves a receipt, and expirations
    /// happen all the same.
    #[expect(clippy::too_many_arguments, reason = "private, and each is a separate thing")]
    fn finish_told(
        &self,
        slot: &mut Slot,
        request: &Request,
        expired: &[Event],
        outcome: Result<Answer, Refused>,
        line: Option<LineOutcome>,
        claim: Option<Claim<'_>>,
        now: Timestamp,
    ) -> Result<Executed, LedgerError> {
        let sku = &request.command.sku;
        let settle = match (claim, line) {
            (Some(claim), Some(line)) => {
                let records = expired.len() as u32 + 1;
                let receipt = Receipt {
                    recorded_at: now,
                    key: claim.key_claim(records),
                    shape: RequestShape::Single,
                    lines: vec![line],
                };
                let range = self.append_events(sku, slot, Some(&receipt), expired, now)?;
                claim.complete(range.first, records, now);
                range.last
            }
            _ if expired.is_empty() => slot.last_seq,
            _ => self.append_events(sku, slot, None, expired, now)?.last,
        };
        Ok(Executed { outcome, settle, replayed: false })
    }
}
