//! Answering a keyed request again, from its records in the log. It must never decide anything
//! anew: the answer is what was appended.

use event_log::Seq;
use event_log::storage::Storage;
use shared::codec::{Record, decode_record};
use shared::receipt::RequestShape;
use shared::{Event, Flags, LineOutcome, Receipt, Sku, Version};

use super::Ledger;
use super::decide::not_an_answer;
use super::request::{
    Answer, BatchOutcome, Executed, ExecutedBatch, LedgerError, Refused, Unchanged,
};
use crate::idempotency::KeyEntry;

impl<S: Storage> Ledger<S> {
    /// The answer to a single request: its receipt's one line, or the last event of its append.
    pub(super) fn retell_single(&self, entry: &KeyEntry) -> Result<Executed, LedgerError> {
        let first = Seq::new(entry.first_seq);
        let last = entry.last_seq();
        let outcome = match self.answer_record(entry, first)? {
            Record::Receipt(receipt) => self.retold_line(receipt, first)?,
            Record::Event(event) if first == last => Ok(Answer::Changed { seq: last, event }),
            Record::Event(_) => match self.answer_record(entry, last)? {
                Record::Event(event) => Ok(Answer::Changed { seq: last, event }),
                Record::Receipt(_) => return Err(not_an_answer(last, "a receipt ends it")),
            },
        };
        Ok(Executed { outcome, settle: last, replayed: true })
    }

    /// The answer to a batch: its receipt, with the events that follow it.
    pub(super) fn retell_batch(&self, entry: &KeyEntry) -> Result<ExecutedBatch, LedgerError> {
        let first = Seq::new(entry.first_seq);
        self.require_durable(entry)?;
        let mut records = Vec::new();
        for record in self.log.read_records(first, entry.records)? {
            let seq = Seq::new(entry.first_seq + records.len() as u64);
            let record = decode_record(&record).map_err(|e| not_an_answer(seq, e.to_string()))?;
            records.push(Some(record));
        }
        let Some(Some(Record::Receipt(receipt))) = records.first_mut().map(Option::take) else {
            return Err(not_an_answer(first, "it doesn't begin with a receipt"));
        };
        let atomic = match receipt.shape {
            RequestShape::AtomicBatch => true,
            RequestShape::BestEffortBatch => false,
            RequestShape::Single => return Err(LedgerError::KeyReused),
        };
        let mut lines = Vec::with_capacity(receipt.lines.len());
        for line in receipt.lines {
            lines.push(batch_outcome(line, first, &mut records)?);
        }
        Ok(ExecutedBatch { atomic, lines, settle: entry.last_seq(), replayed: true })
    }

    fn require_durable(&self, entry: &KeyEntry) -> Result<(), LedgerError> {
        let settle = entry.last_seq();
        if self.log.durable() < settle { Err(LedgerError::Unsettled { settle }) } else { Ok(()) }
    }

    fn answer_record(&self, entry: &KeyEntry, seq: Seq) -> Result<Record, LedgerError> {
        self.require_durable(entry)?;
        let records = self.log.read_records(seq, 1)?;
        let record = records.first().ok_or_else(|| not_an_answer(seq, "no record"))?;
        decode_record(record).map_err(|error| not_an_answer(seq, error.to_string()))
    }

    fn retold_line(
        &self,
        receipt: Receipt,
        seq: Seq,
    ) -> Result<Result<Answer, Refused>, LedgerError> {
        if receipt.shape != RequestShape::Single {
            return Err(LedgerError::KeyReused);
        }
        match receipt.lines.into_iter().next() {
            Some(LineOutcome::Unchanged { sku, version, quantities, flags, reservation }) => {
                // The receipt doesn't say which verb it was: those about reservations need no item.
                let item = reservation.is_none().then(|| self.item_at(&sku, version)).flatten();
                let item = item.map(Box::new);
                let flags = Flags::from_bits(flags);
                Ok(Ok(Answer::Unchanged { sku, version, quantities, flags, reservation, item }))
            }
            Some(LineOutcome::Refused { sku, rejection }) => Ok(Err(Refused { sku, rejection })),
            Some(
                LineOutcome::Applied { .. } | LineOutcome::NotApplied { .. } | LineOutcome::Invalid,
            )
            | None => Err(not_an_answer(seq, "a single request's receipt of another kind")),
        }
    }

    fn item_at(&self, sku: &Sku, version: Version) -> Option<shared::Item> {
        let handle = self.items().get(sku)?;
        let slot = handle.lock();
        (slot.item.cell().version == version).then(|| slot.item.clone())
    }
}

fn batch_outcome(
    line: LineOutcome,
    first: Seq,
    records: &mut [Option<Record>],
) -> Result<BatchOutcome, LedgerError> {
    Ok(match line {
        LineOutcome::Applied { offset } => {
            let seq = Seq::new(first.get() + u64::from(offset));
            let event = take_event(records, offset)
                .ok_or_else(|| not_an_answer(seq, "no event where a line's should be"))?;
            BatchOutcome::changed(seq, &event)
        }
        LineOutcome::Unchanged { sku, version, quantities, flags, reservation } => {
            let flags = Flags::from_bits(flags);
            let unchanged = Unchanged { sku, version, quantities, flags, reservation };
            BatchOutcome::Unchanged(Box::new(unchanged))
        }
        LineOutcome::Refused { sku, rejection } => {
            BatchOutcome::Refused(Box::new(Refused { sku, rejection }))
        }
        LineOutcome::NotApplied { sku } => BatchOutcome::NotApplied { sku },
        LineOutcome::Invalid => BatchOutcome::Invalid,
    })
}

fn take_event(records: &mut [Option<Record>], offset: u32) -> Option<Event> {
    match records.get_mut(offset as usize)?.take()? {
        Record::Event(event) => Some(event),
        Record::Receipt(_) => None,
    }
}
