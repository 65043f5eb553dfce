//! The life of the golden log under `fixtures/event-log-v1`, the same bytes every time: written by
//! `examples/make_golden.rs`, and lived again by the test that notices when the format changes.
//!
//! A change here that changes bytes needs a new directory; what was released is opened for ever.

use event_log::storage::Storage;
use event_log::{Log, LogId, LogOptions, RecordBuffer, Retention};
use std::sync::Arc;

const TIME_US: i64 = 1_750_000_000_000_000;
/// The smallest that rotates a few times and keeps the fixture small.
pub(crate) const SEGMENT_BYTES: u64 = 10 * 1024;
/// How many records the golden log holds.
pub(crate) const RECORDS: u64 = 40;

pub(crate) fn options() -> LogOptions {
    LogOptions {
        owner: b"golden store".to_vec(),
        segment_bytes: SEGMENT_BYTES,
        alignment: Some(512),
        new_log_id: LogId::from_parts(TIME_US, *b"goldenlog1"),
        epoch_random: 0x6f6e_6861_6e64,
        opened_at_us: TIME_US,
        holder: "make_golden".to_owned(),
        ..LogOptions::default()
    }
}

/// The record of a seq: short and long ones, empty ones, every byte.
pub(crate) fn record(seq: u64) -> Vec<u8> {
    let length = match seq % 5 {
        0 => 0,
        1 => 900,
        _ => seq * 7,
    };
    (0..length).map(|index| (seq * 31 + index * 17) as u8).collect()
}

/// What each record adds to the state digest.
pub(crate) fn digest(seq: u64) -> u128 {
    u128::from(seq) << 64 | u128::from(seq * seq)
}

fn append<S: Storage>(log: &Arc<Log<S>>, count: u64) {
    let first = log.last().get() + 1;
    let mut buffer = RecordBuffer::new();
    (first..first + count).for_each(|seq| buffer.push(&record(seq)));
    let delta = (first..first + count).map(digest).sum();
    let now_us = TIME_US + first as i64 * 1000;
    if log.append(&buffer, now_us, delta).is_err() {
        while log.preallocate_once().expect("there is room for a spare") {}
        log.append(&buffer, now_us, delta).expect("there is a spare now");
    }
    while log.durable() < log.last() {
        log.commit_once().expect("the disk works");
    }
}

fn snapshot<S: Storage>(log: &Arc<Log<S>>) {
    let digest = log.tip().digest;
    let mut writer = log.begin_snapshot(TIME_US + 1).expect("the disk works");
    for id in 0..3_u32 {
        writer.section(1, id, &record(u64::from(id) + 2)).expect("the disk works");
    }
    writer.seal();
    writer.finish(digest).expect("the disk works");
}

/// Writes the golden log into an empty directory.
pub(crate) fn live<S: Storage>(storage: &S) {
    let log = Log::open(storage.clone(), options()).expect("an empty directory");
    for _ in 0..12 {
        append(&log, 1);
    }
    append(&log, 6);
    log.checkpoint_once().expect("the disk works");
    snapshot(&log);
    let slow = log.tip();
    append(&log, 4);
    snapshot(&log);
    append(&log, 10);
    let fast = log.tip();
    log.acknowledge("aggregator", slow.seq, slow.chain, TIME_US + 2).expect("a durable cursor");
    log.acknowledge("till-2", fast.seq, fast.chain, TIME_US + 3).expect("a durable cursor");
    let retention = Retention {
        archive: true,
        archive_keep_us: i64::MAX,
        snapshots_keep: 2,
        disk_budget_bytes: None,
    };
    log.compact(&retention, TIME_US + 4, &mut event_log::go_on).expect("the disk works");
    log.close().expect("the disk works");
    drop(log);
    // A second life, so that there are two epochs.
    let log = Log::open(storage.clone(), options()).expect("it was closed");
    append(&log, 8);
    log.close().expect("the disk works");
    assert_eq!(log.last().get(), RECORDS, "the golden log holds what it should");
}
