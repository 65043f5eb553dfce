//! The log with its threads, appended to, snapshotted, tailed and compacted from many threads at once,
//! on a simulated disk whose power goes in the middle of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_log::storage::sim::SimStorage;
use event_log::{AppendError, Cursor, Log, RecordBuffer, Seq};

use crate::world::{SEGMENT_BYTES, options, read_all, retention};

const APPENDERS: u64 = 4;
const ROUNDS: u64 = 6;
const ROUND: Duration = Duration::from_millis(250);

/// Every record names its thread and its number there.
fn record(thread: u64, number: u64) -> Vec<u8> {
    let mut record = vec![b'.'; (number % 300) as usize];
    record.extend_from_slice(&thread.to_le_bytes());
    record.extend_from_slice(&number.to_le_bytes());
    record
}

/// Appends until the log is gone; what was acknowledged, by seq.
fn append_until_dark(log: &Arc<Log<SimStorage>>, thread: u64) -> BTreeMap<u64, Vec<u8>> {
    let mut acknowledged = BTreeMap::new();
    let mut buffer = RecordBuffer::new();
    for number in 0.. {
        buffer.clear();
        let records: Vec<Vec<u8>> =
            (0..=number % 3).map(|index| record(thread, number * 3 + index)).collect();
        for record in &records {
            buffer.push(record);
        }
        let range = match log.append(&buffer, 5, 1) {
            Ok(range) => range,
            Err(AppendError::Busy | AppendError::NoSpace | AppendError::ReadOnly { .. }) => {
                std::thread::yield_now();
                continue;
            }
            Err(_) => break,
        };
        if log.wait_blocking(range.last).is_err() {
            break;
        }
        assert!(log.durable() >= range.last);
        acknowledged.extend((range.first.get()..).zip(records));
    }
    acknowledged
}

/// Snapshots, acknowledges and compacts until the disk is gone.
fn keep_house(log: &Arc<Log<SimStorage>>, storage: &SimStorage) {
    while !storage.is_off() {
        let tip = log.tip();
        let _ = log.acknowledge("tail", tip.seq, tip.chain, 5);
        if let Ok(mut writer) = log.begin_snapshot(5) {
            let sealed = writer.section(1, 1, b"state").map(|()| writer.seal());
            if sealed.is_ok_and(|hi| log.wait_blocking(hi).is_ok()) {
                let _ = writer.finish(0);
            }
        }
        let _ = log.compact(&retention(true), 5, &mut event_log::go_on);
    }
}

/// Tails the log; every frame that comes must be durable, and none may be missing.
fn tail(log: &Arc<Log<SimStorage>>, storage: &SimStorage) {
    let mut reader = log.reader(Cursor::START).unwrap();
    let mut next = Seq::new(1);
    while !storage.is_off() {
        match reader.next() {
            Ok(Some(frame)) => {
                assert_eq!(frame.header.first_seq, next, "a frame is missing");
                next = frame.header.last_seq().next();
                assert!(
                    next.previous() <= log.durable(),
                    "a frame that isn't durable was delivered"
                );
            }
            Ok(None) => {
                let _ = log.wait_blocking(next);
            }
            Err(error) => {
                assert!(storage.is_off(), "{error}");
                return;
            }
        }
    }
}

#[test]
fn whatever_runs_when_the_power_goes() {
    let mut storage = SimStorage::new(1);
    let mut acknowledged: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for round in 0..ROUNDS {
        let log = Log::open(storage.clone(), options(SEGMENT_BYTES)).unwrap();
        log.start().unwrap();
        let after = std::thread::scope(|scope| {
            let appenders: Vec<_> = (0..APPENDERS)
                .map(|thread| {
                    let log = Arc::clone(&log);
                    scope.spawn(move || append_until_dark(&log, round * APPENDERS + thread))
                })
                .collect();
            scope.spawn(|| keep_house(&log, &storage));
            scope.spawn(|| tail(&log, &storage));
            let end = Instant::now() + ROUND;
            while Instant::now() < end {
                std::thread::yield_now();
            }
            let after = storage.crash(round);
            for appender in appenders {
                acknowledged.extend(appender.join().unwrap());
            }
            after
        });
        drop(log);
        storage = after;
        let log = Log::open(storage.clone(), options(SEGMENT_BYTES)).unwrap();
        let (first, records, _) = read_all(&log).unwrap();
        assert_eq!(first, 1);
        for (seq, record) in &acknowledged {
            assert_eq!(
                records.get(*seq as usize - 1),
                Some(record),
                "record {seq} was acknowledged"
            );
        }
        assert!(event_log::verify(&storage, &mut |_, _| {}).unwrap().is_sound());
        // Those that were told "unknown" may be there or not; from now on they are settled.
        acknowledged.extend((1..).zip(records));
    }
    assert!(acknowledged.len() > 100, "only {} records in {ROUNDS} rounds", acknowledged.len());
}
