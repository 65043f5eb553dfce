//! Everything that a store's log ever called durable, written down as it came, so that it can be
//! compared with what was told after segments are gone. A log that later says something else about
//! a seq in the book is caught here: the book follows by cursor and chain, as any consumer does.

use std::sync::Arc;

use event_log::storage::sim::SimStorage;
use event_log::{Chain, Cursor, Log, Seq};
use parking_lot::Mutex;
use shared::codec::{Record, decode_record};
use shared::{Change, Event, Timestamp};
use tests::audit::{LogEvent, LogReceipt, StoreLog};

/// The book of one store. Clones are the same book.
#[derive(Debug, Clone)]
pub struct Book(Arc<Mutex<Pages>>);

#[derive(Debug)]
struct Pages {
    log: StoreLog,
    seq: Seq,
    chain: Option<Chain>,
    broken: Vec<String>,
    is_damaged: bool,
}

impl Book {
    /// An empty book.
    pub fn new(store: &str) -> Self {
        let log = StoreLog { store: store.to_owned(), ..StoreLog::default() };
        let (seq, broken) = (Seq::ZERO, Vec::new());
        Self(Arc::new(Mutex::new(Pages { log, seq, chain: None, broken, is_damaged: false })))
    }

    /// Reads on, up to the watermark; says whether it got there.
    pub fn catch_up(&self, log: &Log<SimStorage>) -> bool {
        let mut pages = self.0.lock();
        let read = pages.read(log);
        let is_there = read.is_ok();
        if let Err(what) = read
            && !pages.is_damaged
            && !log.storage().is_off()
        {
            pages.broken.push(what);
        }
        is_there
    }

    /// Whether the log is known to be damaged: then it may say so.
    pub fn set_damaged(&self, is_damaged: bool) {
        self.0.lock().is_damaged = is_damaged;
    }

    /// The last seq in the book.
    pub fn last(&self) -> Seq {
        self.0.lock().seq
    }

    /// What was written down.
    pub fn log(&self) -> StoreLog {
        self.0.lock().log.clone()
    }

    /// What the log said that can't be.
    pub fn broken(&self) -> Vec<String> {
        self.0.lock().broken.clone()
    }
}

impl Pages {
    fn read(&mut self, log: &Log<SimStorage>) -> Result<(), String> {
        let store = self.log.store.clone();
        let told = |error: &dyn ToString| format!("{store}: the log says: {}", error.to_string());
        let cursor = Cursor { seq: self.seq, chain: self.chain };
        let mut reader = log.reader(cursor).map_err(|error| told(&error))?;
        while let Some(frame) = reader.next().map_err(|error| told(&error))? {
            for (seq, record) in frame.records() {
                match decode_record(record).map_err(|error| told(&error))? {
                    Record::Event(event) => self.log.events.push(plain(seq, &event)),
                    Record::Receipt(_) => self.log.receipts.push(LogReceipt { seq: seq.get() }),
                }
            }
            self.seq = frame.header.last_seq();
            self.chain = Some(frame.header.chain);
        }
        Ok(())
    }
}

/// An event as the checker reads it.
fn plain(seq: Seq, event: &Event) -> LogEvent {
    let after = &event.after;
    let units = |quantity: &shared::Quantity| quantity.get() as i64;
    let moved = match &event.change {
        Change::Created { .. } => (units(&after.stock), 0, 0),
        Change::Updated { .. } | Change::Deactivated { .. } | Change::Extended { .. } => (0, 0, 0),
        Change::Received { quantity } => (units(quantity), 0, 0),
        Change::Sold { quantity } => (-units(quantity), 0, units(quantity)),
        Change::Returned { quantity, restocked } => {
            (if *restocked { units(quantity) } else { 0 }, 0, 0)
        }
        Change::Adjusted { delta, .. } => (*delta, 0, 0),
        Change::Reserved { quantity, .. } => (0, units(quantity), 0),
        Change::Released { quantity, .. } | Change::Expired { quantity, .. } => {
            (0, -units(quantity), 0)
        }
        Change::Deducted { quantity, .. } => (-units(quantity), -units(quantity), units(quantity)),
    };
    let mut told = LogEvent {
        seq: seq.get(),
        sku: event.sku.to_string(),
        version: event.version.get(),
        change: event.change.name().to_owned(),
        moved,
        after: (after.stock.get(), after.reserved.get(), after.sold.get()),
        order: event.change.order_id().map(ToString::to_string).unwrap_or_default(),
        request_id: event.context.request_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        at_us: event.recorded_at.as_micros(),
        expires_at_us: None,
    };
    if let Change::Reserved { expires_at, .. } | Change::Extended { expires_at, .. } = &event.change
    {
        told.expires_at_us = expires_at.map(Timestamp::as_micros);
    }
    told
}
