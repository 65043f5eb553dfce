//! A small store on a simulated disk, and short ways to ask it. Nothing here may look at a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use event_log::storage::sim::SimStorage;
use event_log::{Committed, Cursor, Log, LogId, LogOptions, StateDigest};
use shared::codec::{Record, decode_record};
use shared::command::{Action, NewItem};
use shared::{Command, Context, Event, Quantity, Sku, StoreId, Timestamp, digest};
use store_node::ledger::{
    BatchLine, BatchRequest, Executed, ExecutedBatch, Ledger, LedgerError, LedgerOptions, Request,
    RequestKey,
};

/// A store; clones are the same one.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) ledger: Arc<Ledger<SimStorage>>,
}

impl World {
    /// A store with these SKUs, whose log is committed when it is asked to.
    pub(crate) fn quiet(stock: &[(&str, u64)]) -> Self {
        let options = LogOptions {
            segment_bytes: 64 << 10,
            alignment: Some(512),
            new_log_id: LogId::new([7; 16]),
            holder: "a test".to_owned(),
            ..LogOptions::default()
        };
        let log = Log::open(SimStorage::new(1), options).unwrap();
        let (store, options) = (StoreId::new("store-a").unwrap(), LedgerOptions::default());
        let (ledger, _) = Ledger::open(log, store, options, now(), &mut |_, _| ()).unwrap();
        let world = Self { ledger };
        for (name, units) in stock {
            world.ask(name, create(*units), None).unwrap().outcome.unwrap();
        }
        world
    }

    /// A store as in production: with the log's threads.
    pub(crate) fn started(stock: &[(&str, u64)]) -> Self {
        let world = Self::quiet(stock);
        world.ledger.log().start().unwrap();
        world
    }

    /// Asks once.
    pub(crate) fn ask(
        &self,
        name: &str,
        action: Action,
        key: Option<RequestKey>,
    ) -> Result<Executed, LedgerError> {
        let command = command(name, action);
        self.ledger.execute(Request { command, context: Context::default(), key }, now())
    }

    /// Asks until what was answered before is durable and can be told again.
    pub(crate) fn insist(
        &self,
        name: &str,
        action: &Action,
        key: RequestKey,
    ) -> Result<Executed, LedgerError> {
        loop {
            match self.ask(name, action.clone(), Some(key)) {
                Err(LedgerError::Unsettled { settle }) => {
                    self.ledger.log().wait_blocking(settle).unwrap();
                }
                executed => return executed,
            }
        }
    }

    /// Asks for several verbs at once.
    pub(crate) fn batch(
        &self,
        atomic: bool,
        lines: &[(&str, Action)],
        key: Option<RequestKey>,
    ) -> Result<ExecutedBatch, LedgerError> {
        let line = |(name, action): &(&str, Action)| {
            BatchLine::command(command(name, action.clone()), Context::default())
        };
        let lines = lines.iter().map(line).collect();
        let request = BatchRequest { atomic, lines, key, context: Context::default() };
        self.ledger.execute_batch(&request, now())
    }

    /// Commits what waits and demands: every SKU's versions without a gap, each event's state
    /// following from the one before, nothing sold that wasn't there, items and digest as the log
    /// says. Returns the events.
    pub(crate) fn audit(&self) -> Vec<Event> {
        let log = self.ledger.log();
        while log.commit_once().unwrap() != Committed::Nothing {}
        let events = self.events();
        let mut items = BTreeMap::new();
        for event in &events {
            let cell: &mut shared::Cell = items.entry(event.sku.clone()).or_default();
            assert_eq!(event.version.get(), cell.version.get() + 1, "{}: no gap", event.sku);
            cell.apply(event);
        }
        let mut sum: StateDigest = 0;
        for (sku, cell) in &items {
            let read = self.ledger.read(sku, now()).unwrap().unwrap();
            assert_eq!(read.item.cell(), cell, "{sku} is what the log says");
            sum = sum.wrapping_add(digest::item_digest(sku, cell));
        }
        assert_eq!(self.ledger.stats().items, items.len(), "no slot is left behind");
        assert_eq!(log.tip().digest, sum, "the digest is that of the items");
        events
    }

    fn events(&self) -> Vec<Event> {
        let mut reader = self.ledger.log().reader(Cursor::START).unwrap();
        let mut events = Vec::new();
        while let Some(frame) = reader.next().unwrap() {
            for (_, record) in frame.records() {
                match decode_record(record).unwrap() {
                    Record::Event(event) => events.push(event),
                    Record::Receipt(_) => {}
                }
            }
        }
        events
    }

    /// Stock and sold.
    pub(crate) fn stock_and_sold(&self, name: &str) -> (u64, u64) {
        let item = self.ledger.read(&sku(name), now()).unwrap().unwrap().item;
        let quantities = item.cell().quantities;
        (quantities.stock.get(), quantities.sold.get())
    }
}

pub(crate) fn sku(text: &str) -> Sku {
    Sku::new(text).unwrap()
}

pub(crate) fn create(units: u64) -> Action {
    let stock = Quantity::new(units).unwrap();
    Action::create(NewItem { stock, ..NewItem::default() })
}

pub(crate) fn sell(units: u64) -> Action {
    Action::Sell { quantity: Quantity::new(units).unwrap() }
}

/// One key, sent with this request.
pub(crate) fn key(fingerprint: u128) -> RequestKey {
    RequestKey { key_hash: 1, fingerprint }
}

/// The one instant at which everything happens.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000)
}

fn command(name: &str, action: Action) -> Command {
    Command { sku: sku(name), action, expected_version: None }
}
