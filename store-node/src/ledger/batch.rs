//! Several verbs as one append: distinct SKUs locked in byte order, lines decided in request order,
//! each seeing the lines before it. An atomic batch with a refused line must change nothing (but
//! for what time itself has expired).

mod draft;

use event_log::planted;
use event_log::storage::Storage;
use event_log::{AppendError, Seq};
use shared::codec::{encode_event, encode_receipt};
use shared::receipt::RequestShape;
use shared::{Action, Command, Context, LineOutcome, Receipt, Sku, Timestamp, digest};

use super::items::{Handle, Slot};
use super::request::{
    BatchLine, BatchOutcome, BatchRequest, ExecutedBatch, LedgerError, Refused, Unchanged,
};
use super::{Ledger, with_buffer};
use crate::idempotency::{Claim, Claimed};
use draft::{Draft, MadeBy, Place, Placed, Verdict};

/// A batch that was decided and appended. What is made of it, and letting go of it, needs no lock:
/// other batches of the same SKUs wait for those.
struct Done {
    verdicts: Vec<Verdict>,
    events: Vec<Placed>,
    /// The seq of the first of the events.
    first_event: Seq,
    settle: Seq,
}

impl<S: Storage> Ledger<S> {
    /// Does several verbs as one append, once for each idempotency key. Waits only for other
    /// requests with the same key or SKUs, never for the disk.
    pub fn execute_batch(
        &self,
        request: &BatchRequest,
        now: Timestamp,
    ) -> Result<ExecutedBatch, LedgerError> {
        let Some(key) = request.key else {
            return self.batch_claimed(request, None, now);
        };
        match self.keys.claim(key, now) {
            Claimed::Fresh(claim) => self.batch_claimed(request, Some(claim), now),
            Claimed::Answered(entry) => self.retell_batch(&entry),
            Claimed::Reused => Err(LedgerError::KeyReused),
        }
    }

    fn batch_claimed(
        &self,
        request: &BatchRequest,
        claim: Option<Claim<'_>>,
        now: Timestamp,
    ) -> Result<ExecutedBatch, LedgerError> {
        let (skus, place_of_line) = distinct_skus(&request.lines);
        let creates = skus_to_create(&request.lines, &place_of_line, skus.len());
        // Each turn of the loop means that another request gave a slot up in between.
        loop {
            let mut handles: Vec<Option<Handle>> = self.items.get_many(&skus);
            for ((handle, sku), creates) in handles.iter_mut().zip(&skus).zip(&creates) {
                if *creates && handle.is_none() {
                    *handle = Some(self.items.get_or_insert(sku));
                }
            }
            let mut places: Vec<Place<'_>> = handles
                .iter()
                .zip(&skus)
                .map(|(handle, sku)| Place::new(sku, handle.as_ref().map(|handle| handle.lock())))
                .collect();
            if places.iter().any(Place::is_gone) {
                continue;
            }
            let done = self.batch_locked(&mut places, request, &place_of_line, claim, now);
            for place in &mut places {
                if let (sku, Some(slot)) = place.parts_mut()
                    && !slot.exists()
                {
                    self.items.remove(sku, slot);
                }
            }
            drop(places);
            // Taken after everything was looked at and let go.
            let settle = self.log.last();
            return done.map(|done| ExecutedBatch {
                atomic: request.atomic,
                settle: done.settle.max(settle),
                replayed: false,
                lines: done.outcomes(),
            });
        }
    }

    fn batch_locked(
        &self,
        places: &mut [Place<'_>],
        request: &BatchRequest,
        place_of_line: &[Option<usize>],
        claim: Option<Claim<'_>>,
        now: Timestamp,
    ) -> Result<Done, LedgerError> {
        self.expire_crowded(places, now)?;
        let BatchRequest { atomic, lines, context, .. } = request;
        let mut context = Context { key: None, ..context.clone() };
        let mut draft = Draft::new(places, lines.len(), now);
        for (line, place) in lines.iter().zip(place_of_line) {
            match (line, place) {
                (BatchLine::Command(command, own), Some(place)) => {
                    draft.decide_line(*place, command, own.as_deref(), &context);
                }
                (BatchLine::Command(..) | BatchLine::Invalid, _) => draft.invalid_line(),
            }
        }
        let (mut events, mut verdicts) = draft.finish();
        if *atomic && verdicts.iter().any(Verdict::is_failure) {
            verdicts = verdicts.into_iter().map(|verdict| verdict.not_applied(&events)).collect();
            events.retain(|placed| placed.made_by == MadeBy::Time);
        }
        let mut settle = Seq::ZERO;
        let mut first_event = Seq::ZERO;
        if let Some(claim) = claim {
            let records = events.len() as u32 + 1;
            let receipt = Receipt {
                recorded_at: now,
                key: claim.key_claim(records),
                shape: if *atomic {
                    RequestShape::AtomicBatch
                } else {
                    RequestShape::BestEffortBatch
                },
                lines: verdicts.iter().map(line_outcome).collect(),
            };
            let range =
                self.append_placed(places, &mut events, &mut context, Some(&receipt), now)?;
            claim.complete(range.first, records, now);
            (first_event, settle) = (range.first.next(), range.last);
        } else if !events.is_empty() {
            let range = self.append_placed(places, &mut events, &mut context, None, now)?;
            (first_event, settle) = (range.first, range.last);
        }
        Ok(Done { verdicts, events, first_event, settle })
    }

    /// Where copying an item would be dear, its overdue reservations expire in an append of their
    /// own, before any line is decided.
    fn expire_crowded(&self, places: &mut [Place<'_>], now: Timestamp) -> Result<(), AppendError> {
        for place in places {
            if place.is_crowded()
                && let (sku, Some(slot)) = place.parts_mut()
            {
                self.expire_overdue(sku, slot, now)?;
            }
        }
        Ok(())
    }

    fn append_placed(
        &self,
        places: &mut [Place<'_>],
        events: &mut [Placed],
        context: &mut Context,
        receipt: Option<&Receipt>,
        now: Timestamp,
    ) -> Result<event_log::SeqRange, AppendError> {
        let mut cells: Vec<_> = places.iter().map(Place::cell).collect();
        let range = with_buffer(|records| {
            if let Some(receipt) = receipt {
                records.push_with(|out| encode_receipt(out, receipt));
            }
            for Placed { place, event, made_by } in &mut *events {
                cells[*place].apply(event);
                if *made_by == MadeBy::PlainLine {
                    std::mem::swap(&mut event.context, context);
                    records.push_with(|out| encode_event(out, event));
                    std::mem::swap(&mut event.context, context);
                } else {
                    records.push_with(|out| encode_event(out, event));
                }
            }
            let moved = places.iter().zip(&cells).filter(|(place, cell)| place.cell() != **cell);
            let delta = moved
                .map(|(place, cell)| digest::delta(place.sku(), &place.cell(), cell))
                .fold(0_u128, u128::wrapping_add);
            self.log.append(records, now.as_micros(), delta)
        })?;
        let first = range.first.get() + u64::from(receipt.is_some());
        for (seq, Placed { place, event, .. }) in (first..).zip(events) {
            let slot: &mut Slot = places[*place].slot_mut().expect("an event has a slot");
            self.absorb(slot, event, Seq::new(seq));
        }
        Ok(range)
    }
}

/// The distinct SKUs in byte order, and for each line the index of its SKU.
fn distinct_skus(lines: &[BatchLine]) -> (Vec<Sku>, Vec<Option<usize>>) {
    let by_sku = lines.iter().enumerate();
    let by_sku =
        by_sku.filter_map(|(index, line)| sku_of(line).map(|sku| (start(sku), sku, index)));
    let mut by_sku: Vec<(u128, &Sku, usize)> = by_sku.collect();
    by_sku.sort_unstable();
    let mut skus: Vec<Sku> = Vec::with_capacity(by_sku.len());
    let mut place_of_line = vec![None; lines.len()];
    for (_, sku, index) in by_sku {
        if skus.last() != Some(sku) {
            skus.push(sku.clone());
        }
        place_of_line[index] = Some(skus.len() - 1);
    }
    if planted::is("lock a batch's SKUs in request order") {
        let order = place_of_line.clone();
        skus = order.iter().flatten().map(|place| skus[*place].clone()).collect();
        place_of_line = (0..skus.len()).map(Some).collect();
    }
    (skus, place_of_line)
}

/// The first bytes of a SKU as a number of the same order: most comparisons need no more.
fn start(sku: &Sku) -> u128 {
    let mut start = [0; 16];
    let bytes = sku.as_str().as_bytes();
    let length = bytes.len().min(start.len());
    start[..length].copy_from_slice(&bytes[..length]);
    u128::from_be_bytes(start)
}

fn skus_to_create(lines: &[BatchLine], place_of_line: &[Option<usize>], skus: usize) -> Vec<bool> {
    let mut creates = vec![false; skus];
    for (line, place) in lines.iter().zip(place_of_line) {
        if let (BatchLine::Command(Command { action: Action::Create(_), .. }, _), Some(place)) =
            (line, place)
        {
            creates[*place] = true;
        }
    }
    creates
}

fn sku_of(line: &BatchLine) -> Option<&Sku> {
    match line {
        BatchLine::Command(command, _) => Some(&command.sku),
        BatchLine::Invalid => None,
    }
}

fn line_outcome(verdict: &Verdict) -> LineOutcome {
    match verdict {
        Verdict::Changed { placed } => LineOutcome::Applied { offset: *placed as u32 + 1 },
        Verdict::Unchanged(unchanged) => {
            let Unchanged { sku, version, quantities, flags, reservation } = (**unchanged).clone();
            LineOutcome::Unchanged { sku, version, quantities, flags: flags.bits(), reservation }
        }
        Verdict::Refused(refused) => {
            let Refused { sku, rejection } = (**refused).clone();
            LineOutcome::Refused { sku, rejection }
        }
        Verdict::NotApplied { sku } => LineOutcome::NotApplied { sku: sku.clone() },
        Verdict::Invalid => LineOutcome::Invalid,
    }
}

impl Done {
    fn outcomes(self) -> Vec<BatchOutcome> {
        let Self { verdicts, events, first_event, .. } = self;
        let outcome = |verdict| match verdict {
            Verdict::Changed { placed: index } => {
                let seq = Seq::new(first_event.get() + index as u64);
                BatchOutcome::changed(seq, &events[index].event)
            }
            Verdict::Unchanged(unchanged) => BatchOutcome::Unchanged(unchanged),
            Verdict::Refused(refused) => BatchOutcome::Refused(refused),
            Verdict::NotApplied { sku } => BatchOutcome::NotApplied { sku },
            Verdict::Invalid => BatchOutcome::Invalid,
        };
        verdicts.into_iter().map(outcome).collect()
    }
}
