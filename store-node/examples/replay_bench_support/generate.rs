//! Logs to replay, written by the real ledger and committer.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use event_log::storage::disk::DiskStorage;
use event_log::{AppendError, Committed, Log};
use shared::command::{Action, NewItem};
use shared::{Command, Context, OrderId, Quantity, Sku, StoreId, Timestamp};
use store_node::clock::wall_now;
use store_node::ledger::{
    BatchLine, BatchRequest, Ledger, LedgerError, LedgerOptions, Request, RequestKey,
};
use store_node::ops::store::log_options;

use super::{STORE, failed};

type Store = Arc<Ledger<DiskStorage>>;

/// Items made by one batch.
const CREATE_LINES: u64 = 10_000;
/// Keyed requests that wait for one commit together.
const KEYS_A_FRAME: u64 = 4096;
/// A file that says that a directory is complete, and what it holds.
const DONE: &str = "bench-complete";

/// A log of `events` events: creations of `skus` items, then of each ten events about
/// random ones six sales, two receipts of goods and two reservations.
pub(crate) fn events(dir: &Path, events: u64, skus: u64, frame_records: u64, keyed_percent: u64) {
    let made =
        format!("{events} events, {skus} SKUs, {frame_records} a frame, {keyed_percent} % keyed");
    let Some(store) = begin(dir, &made) else { return };
    let now = wall_now();
    create(&store, skus, now, never_short);
    let mut random = 1_u64;
    for number in skus..events {
        random = step(random);
        let sku = sku((random >> 20) % skus);
        let quantity = Quantity::new(1 + (random >> 60)).unwrap_or_default();
        let action = match number % 10 {
            0 | 5 => Action::Receive { quantity },
            1..=4 | 6 | 7 => Action::Sell { quantity },
            _ => Action::Reserve { order_id: order(number), quantity, expires_in_seconds: None },
        };
        let key = (number * 37 % 100 < keyed_percent).then(|| request_key(number));
        let command = Command { sku, action, expected_version: None };
        execute(&store, &Request { command, context: Context::default(), key }, now);
        if number % frame_records == 0 {
            commit(&store);
        }
    }
    end(dir, &store, &made);
}

/// A log with a snapshot of `items` items at its end, and behind it `keys` receipts of goods with
/// an idempotency key each.
pub(crate) fn snapshot(dir: &Path, items: u64, keys: u64, start: fn(u64) -> Start) {
    let shape = if start(0).has_place { "" } else { "plain " };
    let made = format!("{items} {shape}SKUs, {keys} keys");
    let Some(store) = begin(dir, &made) else { return };
    let now = wall_now();
    create(&store, items, now, start);
    store.snapshot(now, &mut event_log::go_on).unwrap_or_else(|error| failed(&error));
    for number in 0..keys {
        let action = Action::Receive { quantity: Quantity::new(1).unwrap_or_default() };
        let command = Command { sku: sku(number % items), action, expected_version: None };
        let key = Some(request_key(number));
        execute(&store, &Request { command, context: Context::default(), key }, now);
        if number % KEYS_A_FRAME == 0 {
            commit(&store);
        }
    }
    end(dir, &store, &made);
}

fn begin(dir: &Path, made: &str) -> Option<Store> {
    if let Ok(found) = std::fs::read_to_string(dir.join(DONE)) {
        if found != made {
            failed(&format!("{} is there already, with {found} instead of {made}", dir.display()));
        }
        return None;
    }
    eprintln!("making {}", dir.display());
    std::fs::create_dir_all(dir).unwrap_or_else(|error| failed(&error));
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        failed(&format!("{} isn't empty, and no earlier run completed it", dir.display()));
    }
    let store_id = StoreId::new(STORE).unwrap_or_else(|error| failed(&error));
    let storage = DiskStorage::new(dir.to_owned());
    let log = Log::open(storage, log_options(&store_id)).unwrap_or_else(|error| failed(&error));
    let opened = Ledger::open(log, store_id, LedgerOptions::default(), wall_now(), &mut |_, _| ());
    Some(opened.unwrap_or_else(|error| failed(&error)).0)
}

fn end(dir: &Path, store: &Store, made: &str) {
    commit(store);
    store.log().close().unwrap_or_else(|error| failed(&error));
    std::fs::write(dir.join(DONE), made).unwrap_or_else(|error| failed(&error));
}

/// How an item begins: what there is of it, at how much it is to be ordered again, and whether it
/// has a category and a place.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    pub(crate) stock: u64,
    pub(crate) reorder_point: Option<u64>,
    pub(crate) has_place: bool,
}

/// Enough of every item for all that a run sells.
pub(crate) fn never_short(_number: u64) -> Start {
    Start { stock: 1_000_000, reorder_point: None, has_place: true }
}

fn create(store: &Store, items: u64, now: Timestamp, start: fn(u64) -> Start) {
    for first in (0..items).step_by(CREATE_LINES as usize) {
        create_some(store, first..items.min(first + CREATE_LINES), now, start);
    }
}

fn create_some(store: &Store, numbers: Range<u64>, now: Timestamp, start: fn(u64) -> Start) {
    let line = |number: u64| {
        let command = Command {
            sku: sku(number),
            action: Action::create(new_item(number, start(number))),
            expected_version: None,
        };
        BatchLine::command(command, Context::default())
    };
    let lines: Vec<BatchLine> = numbers.map(line).collect();
    let request = BatchRequest { atomic: true, lines, key: None, context: Context::default() };
    retry(store, || store.execute_batch(&request, now).map(|_| ()));
    commit(store);
}

fn new_item(number: u64, start: Start) -> NewItem {
    let Start { stock, reorder_point, has_place } = start;
    let placed = |text: String| if has_place { text } else { String::new() };
    NewItem {
        stock: Quantity::new(stock).unwrap_or_default(),
        reorder_point: reorder_point.and_then(Quantity::new),
        name: format!("Item number {number:012}").into(),
        category: placed(["kitchen", "garden", "toys"][(number % 3) as usize].to_owned()).into(),
        location: placed(format!("W-{}", number % 500)).into(),
        ..NewItem::default()
    }
}

fn execute(store: &Store, request: &Request, now: Timestamp) {
    retry(store, || {
        let executed = store.execute(request.clone(), now)?;
        assert!(executed.outcome.is_ok(), "the workload is never refused: {:?}", executed.outcome);
        Ok(())
    });
}

fn retry(store: &Store, mut work: impl FnMut() -> Result<(), LedgerError>) {
    for _ in 0..1000 {
        match work() {
            Err(LedgerError::Append(AppendError::Busy)) => commit(store),
            done => return done.unwrap_or_else(|error| failed(&error)),
        }
    }
    failed(&"the log stays busy");
}

fn commit(store: &Store) {
    let log = store.log();
    loop {
        let committed = log.commit_once().unwrap_or_else(|error| failed(&error));
        while log.preallocate_once().unwrap_or_else(|error| failed(&error)) {}
        if committed == Committed::Nothing {
            return;
        }
    }
}

/// Twelve bytes, in no order; those of different numbers below 10^11 differ, because the factor
/// shares none with 10.
fn sku(number: u64) -> Sku {
    let scattered = number.wrapping_mul(7_368_787) % 100_000_000_000;
    Sku::new(&format!("S{scattered:011}")).unwrap_or_else(|error| failed(&error))
}

fn order(number: u64) -> OrderId {
    OrderId::new(&format!("order-{number:010}")).unwrap_or_else(|error| failed(&error))
}

/// Hashes as a request's are.
fn request_key(number: u64) -> RequestKey {
    let hash = blake3::hash(&number.to_le_bytes());
    let half = |range: std::ops::Range<usize>| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[range]);
        u128::from_le_bytes(bytes)
    };
    RequestKey { key_hash: half(0..16), fingerprint: half(16..32) }
}

/// One step of a linear congruential generator (Knuth, MMIX).
fn step(state: u64) -> u64 {
    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}
