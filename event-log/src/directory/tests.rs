//! What another process may believe of a directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::log::{Committed, Log, LogOptions};
use crate::record::RecordBuffer;
use crate::seq::{Cursor, LogId, Seq};
use crate::storage::paced::{Pace, PacedStorage};
use crate::storage::sim::SimStorage;
use crate::{DirectoryReader, DirectoryTip, ReadError, Retention};

fn open(storage: &SimStorage) -> std::sync::Arc<Log<SimStorage>> {
    let options = LogOptions {
        owner: b"store-a".to_vec(),
        segment_bytes: 64 << 10,
        new_log_id: LogId::new([7; 16]),
        ..LogOptions::default()
    };
    Log::open(storage.clone(), options).unwrap()
}

fn put(log: &Log<SimStorage>, moved: u128) {
    let mut records = RecordBuffer::new();
    records.push(b"sold one mug");
    log.append(&records, 5, moved).unwrap();
    log.commit_once().unwrap();
}

/// Nobody holds the log, so that [`DirectoryReader::next`] would go on; a power cut may still take
/// the frame.
#[test]
fn only_what_a_later_watermark_covers_is_delivered_to_those_who_keep_it() {
    let storage = SimStorage::new(1);
    let log = open(&storage);
    put(&log, 9);
    drop(log);
    let mut reader = DirectoryReader::open(storage.clone(), Cursor::START).unwrap();
    assert!(reader.next_covered().unwrap().is_none());
    assert_eq!(reader.unproven().map(|tip| (tip.seq, tip.digest)), Some((Seq::new(1), 9)));
    assert_eq!((reader.tip().seq, reader.tip().digest), (Seq::ZERO, 0));
    let log = open(&storage);
    assert!(matches!(log.checkpoint_once(), Ok(Committed::Frame { seqs: None, .. })));
    assert_eq!(reader.next_covered().unwrap().unwrap().header.last_seq(), Seq::new(1));
    assert_eq!(
        reader.tip(),
        &log.chain_at(Seq::new(1)).map(|chain| crate::Tip { chain, ..log.tip() }).unwrap()
    );
    assert_eq!(reader.unproven(), None);
    put(&log, 1);
    put(&log, 1);
    // The checkpoint is delivered too, now that a frame follows it; the last record still waits.
    let mut delivered = Vec::new();
    for _ in 0..6 {
        delivered.extend(reader.next_covered().unwrap().map(|frame| frame.header.last_seq().get()));
    }
    assert_eq!(delivered, [1, 2]);
    assert_eq!(reader.unproven().map(|tip| tip.seq), Some(Seq::new(3)));
}

#[test]
fn a_reader_knows_the_digest_at_its_cursor() {
    let storage = SimStorage::new(1);
    let log = open(&storage);
    put(&log, 9);
    put(&log, 9);
    let cursor = Cursor { seq: Seq::new(1), chain: Some(log.chain_at(Seq::new(1)).unwrap()) };
    let reader = DirectoryReader::open(storage, cursor).unwrap();
    assert_eq!((reader.tip().seq, reader.tip().digest), (Seq::new(1), 9));
}

#[test]
fn a_glance_says_whose_log_it_is_and_how_far_it_goes() {
    let storage = SimStorage::new(1);
    assert!(DirectoryTip::read(&storage).is_err());
    let log = open(&storage);
    let glance = || DirectoryTip::read(&storage).unwrap();
    assert_eq!((glance().last, glance().snapshot_count), (Seq::ZERO, 0));
    put(&log, 1);
    put(&log, 1);
    log.begin_snapshot(1).map(|mut writer| (writer.seal(), writer.finish(2).unwrap())).unwrap();
    let tip = glance();
    assert_eq!((tip.log_id, tip.owner.as_slice()), (LogId::new([7; 16]), b"store-a".as_slice()));
    assert_eq!((tip.last, tip.epoch_counter, tip.snapshot_count), (Seq::new(2), 1, 1));
}

/// Counts the bytes that are read.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicU64>);

impl Pace for Counted {
    fn pass(&self, bytes: u64) -> std::io::Result<()> {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// What a poll reads when nothing has changed, and what the next record costs.
#[test]
fn a_poll_costs_the_same_however_many_segments_there_are() {
    let mut costs = Vec::new();
    for segments in [2, 12] {
        let storage = SimStorage::new(1);
        let log = open(&storage);
        let mut records = RecordBuffer::new();
        records.push(&vec![7; 40 << 10]);
        for _ in 0..segments {
            while log.preallocate_once().unwrap() {}
            log.append(&records, 5, 0).unwrap();
            log.commit_once().unwrap();
        }
        log.checkpoint_once().unwrap();
        assert_eq!(log.status().segments.len(), segments);
        let counted = Counted::default();
        let paced = PacedStorage::new(storage, counted.clone());
        let mut reader = DirectoryReader::open(paced, Cursor::START).unwrap();
        while reader.next_covered().unwrap().is_some() {}
        assert_eq!(reader.tip().seq.get(), segments as u64);
        let before = counted.0.load(Ordering::Relaxed);
        assert!(reader.next_covered().unwrap().is_none());
        costs.push(counted.0.load(Ordering::Relaxed) - before);
        // A new segment is found by the same look.
        while log.preallocate_once().unwrap() {}
        log.append(&records, 5, 0).unwrap();
        log.commit_once().unwrap();
        log.checkpoint_once().unwrap();
        let mut delivered = 0;
        while reader.next_covered().unwrap().is_some() {
            delivered += 1;
        }
        assert!(delivered >= 1 && reader.tip().seq.get() == segments as u64 + 1);
    }
    assert_eq!(costs[0], costs[1], "bytes read by a poll beside 2 and 12 segments");
}

#[test]
fn a_reader_that_compaction_overtakes_goes_on_or_says_so() {
    for archive in [true, false] {
        let storage = SimStorage::new(1);
        let log = open(&storage);
        put(&log, 0);
        let mut reader = DirectoryReader::open(storage, Cursor::START).unwrap();
        while reader.next_covered().unwrap().is_some() {}
        let mut records = RecordBuffer::new();
        records.push(&vec![7; 40 << 10]);
        for _ in 0..5 {
            while log.preallocate_once().unwrap() {}
            log.append(&records, 5, 0).unwrap();
            log.commit_once().unwrap();
        }
        for _ in 0..2 {
            log.begin_snapshot(5)
                .map(|mut writer| (writer.seal(), writer.finish(0).unwrap()))
                .unwrap();
            put(&log, 0);
        }
        log.checkpoint_once().unwrap();
        let retention = Retention {
            archive,
            archive_keep_us: i64::MAX,
            snapshots_keep: 2,
            disk_budget_bytes: None,
        };
        log.compact(&retention, 5, &mut crate::go_on).unwrap();
        let end = loop {
            match reader.next_covered() {
                Ok(Some(_)) => {}
                other => break other.map(|_| ()),
            }
        };
        match end {
            Ok(()) => assert_eq!(reader.tip().seq, log.durable(), "archive {archive}"),
            Err(error) => assert!(
                !archive && matches!(error, ReadError::Compacted { .. }),
                "archive {archive}: {error}"
            ),
        }
    }
}
