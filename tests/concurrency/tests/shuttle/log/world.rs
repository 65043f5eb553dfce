//! A small log on a simulated disk, and short ways to append. Nothing here may look at a clock.

use std::sync::Arc;

use event_log::storage::sim::SimStorage;
use event_log::{AppendError, Cursor, Log, LogId, LogOptions, RecordBuffer, Seq};
use threading::thread;

/// A disk, and the log on it with its two threads running.
pub(crate) struct World {
    pub(crate) disk: SimStorage,
    pub(crate) log: Arc<Log<SimStorage>>,
}

/// Three frames of small records fill a segment: rotation and preallocation happen at once.
fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 4096 + 5 * 512,
        alignment: Some(512),
        new_log_id: LogId::new([3; 16]),
        holder: "a test".to_owned(),
        ..LogOptions::default()
    }
}

impl World {
    /// A new log whose threads aren't started.
    pub(crate) fn quiet() -> Self {
        let disk = SimStorage::new(1);
        let log = Log::open(disk.clone(), options()).unwrap();
        while log.preallocate_once().unwrap() {}
        Self { disk, log }
    }

    /// A new log as in production.
    pub(crate) fn started() -> Self {
        let disk = SimStorage::new(1);
        let log = Log::open(disk.clone(), options()).unwrap();
        log.start().unwrap();
        Self { disk, log }
    }
}

/// Appends one record that names its writer and number, again while the log is busy.
pub(crate) fn append(log: &Log<SimStorage>, text: &str) -> Result<Seq, AppendError> {
    let mut records = RecordBuffer::new();
    records.push(text.as_bytes());
    loop {
        match log.append(&records, 1, 1) {
            Err(AppendError::Busy) => thread::yield_now(),
            appended => return appended.map(|range| range.last),
        }
    }
}

/// Every durable record, in order: the first has seq 1.
pub(crate) fn records(log: &Arc<Log<SimStorage>>) -> Vec<String> {
    let mut reader = log.reader(Cursor::START).unwrap();
    let mut all = Vec::new();
    while let Some(frame) = reader.next().unwrap() {
        for (seq, bytes) in frame.records() {
            assert_eq!(seq.get(), all.len() as u64 + 1, "seqs have no gap");
            all.push(String::from_utf8(bytes.to_vec()).unwrap());
        }
    }
    all
}

/// What a power cut now would leave, opened again.
pub(crate) fn after_a_power_cut(image: &SimStorage) -> Arc<Log<SimStorage>> {
    Log::open(image.clone(), options()).unwrap()
}
