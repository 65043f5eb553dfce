//! What another process may believe of a directory.

use crate::log::{Committed, Log, LogOptions};
use crate::record::RecordBuffer;
use crate::seq::{Cursor, LogId, Seq};
use crate::storage::sim::SimStorage;
use crate::{DirectoryReader, DirectoryTip};

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
