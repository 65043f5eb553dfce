//! A small world: a simulated disk, a ledger over it, a hand-driven committer, short ways to ask.

use std::sync::Arc;

use event_log::storage::sim::SimStorage;
use event_log::{CommitError, Committed, Log, LogId, LogOptions, OpenError, Seq};
use shared::command::{Action, NewItem};
use shared::{
    Command, Context, Item, OrderId, Quantity, Rejection, Sku, StoreId, Timestamp, Version,
};

use crate::ledger::{
    Answer, BatchLine, BatchRequest, Executed, ExecutedBatch, Ledger, LedgerError, LedgerOpenError,
    LedgerOptions, RecoveryReport, Request, RequestKey,
};

pub(super) const SECOND_US: i64 = 1_000_000;
pub(super) const START_US: i64 = 1_800_000_000 * SECOND_US;

/// Why a store couldn't be opened.
#[derive(Debug)]
pub(super) enum WorldError {
    Log(OpenError),
    Ledger(LedgerOpenError),
}

pub(super) struct World {
    pub(super) storage: SimStorage,
    pub(super) ledger: Arc<Ledger<SimStorage>>,
    pub(super) report: RecoveryReport,
    pub(super) now: Timestamp,
}

pub(super) fn log_options() -> LogOptions {
    LogOptions {
        owner: b"store-a".to_vec(),
        segment_bytes: 64 << 10,
        alignment: Some(512),
        new_log_id: LogId::new([7; 16]),
        epoch_random: 1,
        opened_at_us: START_US,
        holder: "a test".to_owned(),
        ..LogOptions::default()
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::open(&SimStorage::new(1), at(0)).unwrap()
    }

    pub(super) fn open(storage: &SimStorage, now: Timestamp) -> Result<Self, WorldError> {
        Self::open_with(storage, now, LedgerOptions::default())
    }

    pub(super) fn open_with(
        storage: &SimStorage,
        now: Timestamp,
        options: LedgerOptions,
    ) -> Result<Self, WorldError> {
        let log = Log::open(storage.clone(), log_options()).map_err(WorldError::Log)?;
        let store_id = StoreId::new("store-a").unwrap();
        let opened = Ledger::open(log, store_id, options, now, &mut |_, _| ());
        let (ledger, report) = opened.map_err(WorldError::Ledger)?;
        Ok(Self { storage: storage.clone(), ledger, report, now })
    }

    /// Closes cleanly and opens again.
    pub(super) fn reopen(self) -> Self {
        self.ledger.log().close().unwrap();
        let Self { storage, ledger, now, .. } = self;
        drop(ledger);
        Self::open(&storage, now).unwrap()
    }

    /// Commits everything that waits.
    pub(super) fn commit(&self) {
        self.try_commit().unwrap();
    }

    /// Takes a snapshot from its beginning to its end.
    pub(super) fn snapshot(&self) {
        self.commit();
        let pending = self.ledger.draw_snapshot(self.now, &mut event_log::go_on).unwrap();
        self.commit();
        pending.finish().unwrap();
    }

    pub(super) fn try_commit(&self) -> Result<(), CommitError> {
        while self.ledger.log().commit_once()? != Committed::Nothing {}
        // Where the disk is off, the next append says so.
        while matches!(self.ledger.log().preallocate_once(), Ok(true)) {}
        Ok(())
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.now = Timestamp::from_micros(self.now.as_micros() + seconds * SECOND_US);
    }

    pub(super) fn execute(&self, sku: &str, action: Action) -> Executed {
        self.try_execute(sku, action, None).unwrap()
    }

    pub(super) fn keyed(&self, sku: &str, action: Action, key: u64) -> Executed {
        self.try_execute(sku, action, Some(request_key(key))).unwrap()
    }

    pub(super) fn try_execute(
        &self,
        sku: &str,
        action: Action,
        key: Option<RequestKey>,
    ) -> Result<Executed, LedgerError> {
        let command = command(sku, action);
        self.ledger.execute(Request { command, context: Context::default(), key }, self.now)
    }

    pub(super) fn try_batch(
        &self,
        atomic: bool,
        lines: Vec<(&str, Action)>,
        key: Option<u64>,
    ) -> Result<ExecutedBatch, LedgerError> {
        let line = |(sku, action)| BatchLine::command(command(sku, action), Context::default());
        let request = BatchRequest {
            atomic,
            lines: lines.into_iter().map(line).collect(),
            key: key.map(request_key),
            context: Context { actor: Some("till-1".into()), ..Context::default() },
        };
        self.ledger.execute_batch(&request, self.now)
    }

    pub(super) fn batch(&self, atomic: bool, lines: Vec<(&str, Action)>) -> ExecutedBatch {
        self.try_batch(atomic, lines, None).unwrap()
    }

    pub(super) fn item(&self, text: &str) -> Item {
        self.ledger.read(&sku(text), self.now).unwrap().unwrap().item
    }

    /// Stock, reserved, sold, version.
    pub(super) fn state(&self, text: &str) -> (u64, u64, u64, u64) {
        let item = self.item(text);
        let quantities = &item.cell().quantities;
        let (stock, reserved) = (quantities.stock.get(), quantities.reserved.get());
        (stock, reserved, quantities.sold.get(), item.cell().version.get())
    }
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(START_US + seconds * SECOND_US)
}

pub(super) fn sku(text: &str) -> Sku {
    Sku::new(text).unwrap()
}

pub(super) fn order(text: &str) -> OrderId {
    OrderId::new(text).unwrap()
}

pub(super) fn units(number: u64) -> Quantity {
    Quantity::new(number).unwrap()
}

pub(super) fn request_key(number: u64) -> RequestKey {
    let hash = blake3::hash(&number.to_le_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    RequestKey { key_hash: u128::from_le_bytes(bytes), fingerprint: u128::from(number) }
}

pub(super) fn command(text: &str, action: Action) -> Command {
    Command { sku: sku(text), action, expected_version: None }
}

pub(super) fn create(stock: u64) -> Action {
    Action::create(NewItem { stock: units(stock), ..NewItem::default() })
}

pub(super) fn sell(number: u64) -> Action {
    Action::Sell { quantity: units(number) }
}

pub(super) fn receive(number: u64) -> Action {
    Action::Receive { quantity: units(number) }
}

pub(super) fn reserve(text: &str, number: u64) -> Action {
    Action::Reserve { order_id: order(text), quantity: units(number), expires_in_seconds: None }
}

pub(super) fn reserve_for(text: &str, number: u64, seconds: u64) -> Action {
    let expires_in_seconds = Some(seconds);
    Action::Reserve { order_id: order(text), quantity: units(number), expires_in_seconds }
}

pub(super) fn release(text: &str) -> Action {
    Action::Release { order_id: order(text), quantity: None }
}

pub(super) fn deduct(text: &str) -> Action {
    Action::Deduct { order_id: order(text), quantity: None }
}

/// The version that an answer made.
pub(super) fn changed_version(executed: &Executed) -> Option<Version> {
    match &executed.outcome {
        Ok(Answer::Changed { event, .. }) => Some(event.version),
        Ok(Answer::Unchanged { .. }) | Err(_) => None,
    }
}

pub(super) fn rejection(executed: &Executed) -> Option<&Rejection> {
    executed.outcome.as_ref().err().map(|refused| &refused.rejection)
}

/// The highest seq given out, for tests that compare before and after.
pub(super) fn last(world: &World) -> Seq {
    world.ledger.log().last()
}
