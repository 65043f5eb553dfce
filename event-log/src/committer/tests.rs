//! Tests of committing through the whole log on the simulated disk: one frame at a time, the watermark, latching, rotation.

use std::sync::Arc;

use crate::error::{AppendError, CommitError, WaitError};
use crate::frame::FrameKind;
use crate::log::{Committed, Log, LogOptions};
use crate::record::RecordBuffer;
use crate::seq::{Cursor, LogId, Seq};
use crate::status::{LogState, OpenedAs};
use crate::storage::sim::{Fault, SimStorage};

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 16 * 1024,
        new_log_id: LogId::new([9; 16]),
        ..LogOptions::default()
    }
}

fn open(storage: &SimStorage) -> Arc<Log<SimStorage>> {
    Log::open(storage.clone(), options()).unwrap()
}

fn records(lengths: &[usize]) -> RecordBuffer {
    let mut buffer = RecordBuffer::new();
    for length in lengths {
        buffer.push(&vec![1; *length]);
    }
    buffer
}

/// Appends one record of this length, making room as the preallocator would, and commits it.
fn put(log: &Log<SimStorage>, length: usize) {
    let buffer = records(&[length]);
    if log.append(&buffer, 1, 1) == Err(AppendError::Busy) {
        while log.preallocate_once().unwrap() {}
        log.append(&buffer, 1, 1).unwrap();
    }
    log.commit_once().unwrap();
}

fn kinds(log: &Log<SimStorage>) -> Vec<(FrameKind, u64)> {
    let mut reader = log.reader(Cursor::START).unwrap();
    let mut kinds = Vec::new();
    while let Some(frame) = reader.next().unwrap() {
        kinds.push((frame.header.kind, frame.header.last_seq().get()));
    }
    kinds
}

#[test]
fn what_waits_becomes_one_frame_and_the_watermark_follows_the_sync() {
    let log = open(&SimStorage::new(1));
    log.append(&records(&[1]), 5, 1).unwrap();
    log.append(&records(&[2, 3]), 6, 2).unwrap();
    assert_eq!((log.last(), log.durable()), (Seq::new(3), Seq::ZERO));
    assert!(
        matches!(log.commit_once(), Ok(Committed::Frame { seqs: Some(seqs), .. }) if seqs.count() == 3)
    );
    assert_eq!((log.durable(), log.tip().digest, log.tip().logged_at_us), (Seq::new(3), 3, 6));
    assert_eq!(log.commit_once(), Ok(Committed::Nothing));
    assert_eq!(kinds(&log), [(FrameKind::Data, 3)]);
}

#[test]
fn one_checkpoint_follows_the_data_and_none_follows_nothing() {
    let storage = SimStorage::new(1);
    let log = open(&storage);
    assert_eq!(log.checkpoint_once(), Ok(Committed::Nothing), "an empty log has nothing to seal");
    put(&log, 10);
    assert!(matches!(log.checkpoint_once(), Ok(Committed::Frame { seqs: None, .. })));
    assert_eq!(log.checkpoint_once(), Ok(Committed::Nothing), "none while idle");
    log.append(&records(&[1]), 1, 1).unwrap();
    assert_eq!(log.checkpoint_once(), Ok(Committed::Nothing), "records go first");
    log.close().unwrap();
    let all = [
        (FrameKind::Data, 1),
        (FrameKind::Checkpoint, 1),
        (FrameKind::Data, 2),
        (FrameKind::Close, 2),
    ];
    assert_eq!(kinds(&log), all);
    log.close().unwrap();
    assert_eq!(log.append(&records(&[1]), 1, 1), Err(AppendError::Closed));
    assert_eq!(log.wait_blocking(Seq::new(3)), Err(WaitError::Closed));
    drop(log);
    assert_eq!(open(&storage).status().opened, OpenedAs::Clean);
}

#[test]
fn a_failed_write_or_sync_latches() {
    for skip in 0..2 {
        let storage = SimStorage::new(1);
        let log = open(&storage);
        put(&log, 10);
        let lost = log.append(&records(&[20]), 1, 1).unwrap().last;
        storage.fail_at(storage.op_count() + skip, Fault::Eio);
        let Err(CommitError::Poisoned { reason }) = log.commit_once() else {
            panic!("operation {skip} didn't fail")
        };
        assert_eq!(log.wait_blocking(lost), Err(WaitError::OutcomeUnknown(reason.clone())));
        assert_eq!(log.wait_blocking(Seq::new(1)), Ok(()), "what was settled stays so");
        assert_eq!(
            log.append(&records(&[1]), 1, 1),
            Err(AppendError::Poisoned { reason: reason.clone() })
        );
        // The disk works again; the log must not believe it.
        assert!(
            log.commit_once().is_err() && log.checkpoint_once().is_err() && log.close().is_err()
        );
        assert_eq!(log.status().state, LogState::Poisoned { reason });
        assert_eq!(
            kinds(&log),
            [(FrameKind::Data, 1)],
            "settled frames stay readable, unsettled ones hidden"
        );
    }
}

#[test]
fn segments_link_up() {
    let storage = SimStorage::new(1);
    let log = open(&storage);
    for round in 0..40 {
        put(&log, 1500);
        if round % 3 == 0 {
            log.checkpoint_once().unwrap();
        }
    }
    assert!(log.status().segments.len() > 4);
    let data = kinds(&log).into_iter().filter(|(kind, _)| *kind == FrameKind::Data);
    assert!(data.map(|(_, last)| last).eq(1..=40));
    for seq in 1..=40 {
        let chain = log.chain_at(Seq::new(seq)).unwrap();
        let mut reader = log.reader(Cursor { seq: Seq::new(seq), chain: Some(chain) }).unwrap();
        // A checkpoint may come first, then the next record.
        let next = reader.next().unwrap().map(|frame| frame.header.first_seq.get());
        assert!(next.is_none_or(|next| next == seq + 1), "after {seq} comes {next:?}");
        assert_eq!(log.read_records(Seq::new(seq), 1).unwrap(), [vec![1; 1500]]);
    }
    assert_eq!(log.read_records(Seq::new(39), u32::MAX).unwrap().len(), 2);
    assert!(log.read_records(Seq::new(41), u32::MAX).unwrap().is_empty());
}

/// A reader that was there before the first, oversize append has the smaller file open.
#[test]
fn a_reader_follows_a_segment_that_was_outgrown() {
    let storage = SimStorage::new(1);
    let log = open(&storage);
    let mut reader = log.reader(Cursor::START).unwrap();
    let mut directory = crate::DirectoryReader::open(storage.clone(), Cursor::START).unwrap();
    assert!(reader.next().unwrap().is_none() && directory.next().unwrap().is_none());
    put(&log, 60_000);
    put(&log, 10);
    assert_eq!(reader.next().unwrap().unwrap().records().next().unwrap().1.len(), 60_000);
    assert_eq!(reader.next().unwrap().unwrap().header.first_seq, Seq::new(2));
    // The first call finds the old file's end and looks again.
    let found = (0..2).find_map(|_| directory.next().unwrap().map(|frame| frame.header.last_seq()));
    assert_eq!(found, Some(Seq::new(1)));
}

/// After a crash the last frame is proven to other processes by a checkpoint, without new records.
#[test]
fn an_unclean_end_gets_its_checkpoint() {
    let storage = SimStorage::new(1);
    let log = open(&storage);
    put(&log, 10);
    drop(log);
    let log = open(&storage);
    assert!(matches!(log.checkpoint_once(), Ok(Committed::Frame { seqs: None, .. })));
    let mut directory = crate::DirectoryReader::open(storage, Cursor::START).unwrap();
    assert_eq!(directory.next().unwrap().unwrap().header.last_seq(), Seq::new(1));
    drop(log);
}

/// A frame of this log stored as a record, torn around it, isn't proof of a later frame.
#[test]
fn a_copy_of_an_old_frame_inside_a_torn_one_is_no_evidence() {
    let storage = SimStorage::new(1);
    let log = open(&storage);
    put(&log, 10);
    let mut reader = log.reader(Cursor::START).unwrap();
    let copy = reader.next().unwrap().unwrap().stored.clone();
    // The frame begins at 4608; a record that begins 132 bytes into it has the copy at 5120.
    let mut record = vec![3; 512 - 132];
    record.extend_from_slice(&copy);
    record.resize(2000, 3);
    let mut buffer = RecordBuffer::new();
    buffer.push(&record);
    log.append(&buffer, 1, 1).unwrap();
    log.commit_once().unwrap();
    drop((reader, log));
    storage.flip_bit("00000000000000000001.log", 4608, 0).unwrap();
    let log = open(&storage);
    assert_eq!(log.last(), Seq::new(1));
    assert!(matches!(log.status().opened, OpenedAs::Unclean { torn_bytes: 1.., .. }));
}
