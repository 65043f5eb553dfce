//! A glance at a directory without its lock: whose log it is and how far it goes.
//!
//! Read-only, and only headers: nothing here says that a frame is whole, let alone durable.

use super::{open_segment, plain_read_error};
use crate::error::ReadError;
use crate::headers::catalog_of;
use crate::seq::{LogId, Seq};
use crate::snapshot::scan_names;
use crate::storage::Storage;

/// Whose log a directory holds, and how far it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryTip {
    /// The log's id.
    pub log_id: LogId,
    /// Opaque: whose log it is.
    pub owner: Vec<u8>,
    /// The counter of the opening that wrote last.
    pub epoch_counter: u64,
    /// The last seq that a frame's header speaks of; it may not be durable, or never become so.
    pub last: Seq,
    /// Files that are called snapshots.
    pub snapshot_count: usize,
}

impl DirectoryTip {
    /// Looks at the directory.
    pub fn read<S: Storage>(storage: &S) -> Result<Self, ReadError> {
        let (catalog, newest) = catalog_of(storage).map_err(plain_read_error)?;
        let names = scan_names(storage);
        let names =
            names.map_err(|source| ReadError::Io { file: "the snapshots".to_owned(), source })?;
        let mut segment = open_segment(storage, &catalog, &newest, newest.first_seq)?;
        let mut epoch_counter = newest.epoch.counter;
        // Whatever ends the walk, torn or not written yet, is where the log ends for a glance.
        while let Ok(Some(header)) = segment.peek(u64::MAX) {
            epoch_counter = header.epoch_counter;
            segment.skip(&header);
        }
        Ok(Self {
            log_id: newest.log_id,
            owner: newest.owner,
            epoch_counter,
            last: segment.place.seq,
            snapshot_count: names.len(),
        })
    }
}
