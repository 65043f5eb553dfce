//! Witnesses outside the segments: what durably proves that a seq was durable.
//!
//! Read-only. A file that can't be read proves nothing and hides nothing: a snapshot's name alone
//! is evidence, because it is given only after the log was durable up to the seq in it.

use std::io;

use super::read_consumers;
use crate::format::{CONSUMERS_FILE, SNAPSHOTS_DIR};
use crate::seq::{Chain, LogId, Seq};
use crate::snapshot::{parse_snapshot_file_name, peek, scan_names};
use crate::storage::{Storage, join};

/// Proof that the log was durable up to a seq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    /// It was durable up to here.
    pub(crate) seq: Seq,
    /// A chain it had at that seq, where the witness knows it.
    pub(crate) chain: Option<Chain>,
    /// The file that proves it, and whose cursor.
    pub(crate) source: String,
}

/// What the snapshots and the consumers' cursors prove.
pub(crate) fn witnesses<S: Storage>(storage: &S, log_id: LogId) -> io::Result<Vec<Witness>> {
    let mut witnesses = Vec::new();
    for name in scan_names(storage)? {
        let file = join(SNAPSHOTS_DIR, &name);
        let Some((lo, hi)) = parse_snapshot_file_name(&name) else {
            continue;
        };
        let chain = match peek(storage, &file) {
            // Put there by hand: it says nothing about this log.
            Ok(info) if info.header.log_id != log_id => continue,
            Ok(info) if info.lo() == lo => Some(info.header.chain),
            Ok(_) | Err(_) => None,
        };
        witnesses.push(Witness { seq: lo, chain, source: file.clone() });
        witnesses.push(Witness { seq: hi, chain: None, source: file });
    }
    // An unreadable file is reported by `Retained`, which then refuses to compact.
    for consumer in read_consumers(storage, Some(log_id)).unwrap_or_default() {
        let source = format!("{CONSUMERS_FILE} ({})", consumer.id);
        witnesses.push(Witness { seq: consumer.seq, chain: Some(consumer.chain), source });
    }
    Ok(witnesses)
}
