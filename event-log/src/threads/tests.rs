//! Tests of the two threads: nothing waits for ever, whatever the order in which things happen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{AppendError, WaitError};
use crate::frame::FrameKind;
use crate::log::{Log, LogOptions};
use crate::record::RecordBuffer;
use crate::seq::{Cursor, LogId, Seq};
use crate::status::LogState;
use crate::storage::Storage;
use crate::storage::disk::DiskStorage;
use crate::storage::sim::{Fault, SimStorage};

const PATIENCE: Duration = Duration::from_secs(30);

fn started<S: Storage>(storage: S, checkpoint_after_ms: u64) -> Arc<Log<S>> {
    let options = LogOptions {
        segment_bytes: 64 * 1024,
        new_log_id: LogId::new([9; 16]),
        checkpoint_after_ms,
        ..LogOptions::default()
    };
    let log = Log::open(storage, options).unwrap();
    log.start().unwrap();
    log
}

fn record(length: usize) -> RecordBuffer {
    let mut buffer = RecordBuffer::new();
    buffer.push(&vec![1; length]);
    buffer
}

/// Appends, trying again while the log is busy.
fn append<S: Storage>(log: &Log<S>, length: usize) -> Result<Seq, AppendError> {
    let begun = Instant::now();
    loop {
        match log.append(&record(length), 1, 1) {
            Err(AppendError::Busy) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_micros(200));
            }
            other => return other.map(|appended| appended.last),
        }
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what} takes too long");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn many_writers_on_a_real_disk_across_many_segments() {
    let directory = tempfile::tempdir().unwrap();
    let log = started(DiskStorage::new(directory.path().to_path_buf()), 1000);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for number in 0..200 {
                    let seq = append(&log, 100 + number * 7).unwrap();
                    log.wait_blocking(seq).unwrap();
                    assert!(log.durable() >= seq);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(log.durable(), Seq::new(800));
    assert!(log.status().segments.len() > 4);
    let mut reader = log.reader(Cursor::START).unwrap();
    let mut count = 0;
    while let Some(frame) = reader.next().unwrap() {
        count += frame.records().count();
    }
    assert_eq!(count, 800);
    log.close().unwrap();
}

#[test]
fn a_checkpoint_comes_by_itself_once() {
    let log = started(SimStorage::new(1), 20);
    let seq = append(&log, 10).unwrap();
    log.wait_blocking(seq).unwrap();
    until("the checkpoint", || log.status().sync.count >= 2);
    std::thread::sleep(Duration::from_millis(100));
    let mut reader = log.reader(Cursor::START).unwrap();
    let mut kinds = Vec::new();
    while let Some(frame) = reader.next().unwrap() {
        kinds.push(frame.header.kind);
    }
    assert_eq!(kinds, [FrameKind::Data, FrameKind::Checkpoint]);
}

#[test]
fn closing_commits_what_waits_and_tells_the_rest() {
    let log = started(SimStorage::new(1), 1000);
    let last = (0..50).fold(None, |_, _| Some(append(&log, 10).unwrap())).unwrap();
    let tailer = {
        let log = Arc::clone(&log);
        std::thread::spawn(move || log.wait_blocking(Seq::new(51)))
    };
    log.close().unwrap();
    assert_eq!((log.durable(), log.wait_blocking(last)), (last, Ok(())));
    assert_eq!(tailer.join().unwrap(), Err(WaitError::Closed));
}

#[test]
fn a_failure_wakes_everyone_and_closing_says_so() {
    let storage = SimStorage::new(1);
    let log = started(storage.clone(), 1000);
    until("the spares", || log.status().spares == 2);
    storage.fail_at(storage.op_count(), Fault::Eio);
    let seq = append(&log, 10).unwrap();
    assert!(matches!(log.wait_blocking(seq), Err(WaitError::OutcomeUnknown(_))));
    assert!(matches!(append(&log, 10), Err(AppendError::Poisoned { .. })));
    assert!(log.close().is_err());
}

#[test]
fn a_full_disk_makes_it_read_only_until_there_is_room() {
    let storage = SimStorage::new(1);
    let log = started(storage.clone(), 1000);
    until("the spares", || log.status().spares == 2);
    let used: usize = storage.contents().iter().map(|(_, bytes)| bytes.len()).sum();
    storage.set_capacity(Some(used as u64));
    let refused = (0..1000).find_map(|_| append(&log, 4000).err());
    assert_eq!(refused, Some(AppendError::NoSpace));
    assert!(matches!(log.status().state, LogState::ReadOnly { .. }));
    let last = log.last();
    assert_eq!(log.wait_blocking(last), Ok(()), "what was accepted had its room");
    storage.set_capacity(None);
    until("the room", || log.status().state == LogState::Writable);
    let seq = append(&log, 4000).unwrap();
    assert_eq!((seq, log.wait_blocking(seq)), (last.next(), Ok(())));
}

#[test]
fn dropping_without_closing_ends_the_threads_and_the_lock() {
    let storage = SimStorage::new(1);
    let log = started(storage.clone(), 1000);
    append(&log, 10).unwrap();
    drop(log);
    drop(started(storage, 1000));
}
