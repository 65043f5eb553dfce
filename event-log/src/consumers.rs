//! Consumers: who tails this log, and how far each has durably applied it.
//!
//! A cursor is accepted only at or below the durable watermark and with the log's own chain there,
//! so that it can serve as a witness later. The file is written tmp → sync → rename → directory
//! sync. When it can't be read, nothing here may write it or let anything be deleted: who needs
//! what is then unknown.
//!
//! ```text
//! CONSUMERS  0  magic "OHCONSM1"            8
//!            8  format version = 1          u16
//!           10  zeros                       2
//!           12  count                       u32   ≤ 1024
//!           16  log id                      16
//! each          seq                         u64
//!               chain at seq                32
//!               acknowledged at, µs         i64
//!               id length                   u16   1 to 128
//!               id                          UTF-8
//! end           crc32 of all before         u32
//! ```

mod codec;
mod witness;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicBool;

use threading::Mutex;

use crate::error::CursorError;
use crate::format::{ARCHIVE_DIR, CONSUMERS_FILE, SNAPSHOTS_DIR, TEMPORARY_SUFFIX};
use crate::leftovers::Leftover;
use crate::log::Log;
use crate::seq::{Chain, LogId, Seq};
use crate::snapshot::SnapshotInfo;
use crate::storage::{Storage, is_no_space, join, list_if_there, remove_if_there, replace_file};

pub use codec::{ConsumersError, read_consumers};
pub(crate) use witness::{Witness, witnesses};

/// How many consumers may be registered.
pub const CONSUMERS_MAX: usize = 1024;
/// The longest consumer id, in bytes.
pub const CONSUMER_ID_BYTES_MAX: usize = 128;
/// How many pins there may be at a time.
pub const PINS_MAX: usize = 1024;

/// A registered tailer of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its name.
    pub id: String,
    /// Everything up to here it has durably applied.
    pub seq: Seq,
    /// The log's chain there.
    pub chain: Chain,
    /// When it said so, µs since 1970 in UTC.
    pub acknowledged_at_us: i64,
}

/// Why a cursor wasn't accepted. The one before stays.
#[derive(Debug, thiserror::Error)]
pub enum AcknowledgeError {
    /// An empty id or one over [`CONSUMER_ID_BYTES_MAX`].
    #[error("a consumer's id has 1 to {CONSUMER_ID_BYTES_MAX} bytes")]
    Id,
    /// There are [`CONSUMERS_MAX`] consumers (or pins) already: deregister one.
    #[error("too many consumers")]
    TooMany,
    /// The cursor isn't a place in this log that is durable.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// The file of consumers can't be read, so it isn't written either: repair or remove it, and
    /// open the log again.
    #[error("the consumers are unreadable: {problem}")]
    Unreadable {
        /// What is wrong with the file.
        problem: String,
    },
    /// The log was opened for reading only: tell the process that writes it.
    #[error("the log was opened for reading only")]
    ReadOnly,
    /// The disk failed or is full.
    #[error("writing the consumers failed: {0}")]
    Io(#[source] io::Error),
}

#[derive(Debug)]
struct Pin {
    seq: Seq,
    until_us: i64,
}

#[derive(Debug)]
struct Consumers {
    by_id: BTreeMap<String, Consumer>,
    pins: BTreeMap<String, Pin>,
    problem: Option<String>,
}

/// What the log keeps about its consumers, snapshots and compaction while it is open.
#[derive(Debug)]
pub(crate) struct Retained {
    consumers: Mutex<Consumers>,
    /// Held while CONSUMERS is written, so that readers of the cursors never wait for the disk.
    writing: Mutex<()>,
    /// The snapshots this process has read whole, by name.
    pub(crate) verified: Mutex<BTreeMap<String, SnapshotInfo>>,
    pub(crate) snapshot_running: AtomicBool,
    pub(crate) compacting: Mutex<()>,
    /// Segments that opening found before a gap and that compaction hasn't removed yet.
    pub(crate) leftovers: Mutex<Vec<Leftover>>,
    /// The file whose removal was begun and isn't known to be durable: no other one goes before it.
    pub(crate) removing: Mutex<Option<String>>,
}

impl Retained {
    /// Reads CONSUMERS; when that fails, the problem is kept and latches.
    pub(crate) fn load<S: Storage>(storage: &S, log_id: LogId) -> Self {
        let (consumers, problem) = match read_consumers(storage, Some(log_id)) {
            Ok(consumers) => (consumers, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let by_id = consumers.into_iter().map(|consumer| (consumer.id.clone(), consumer)).collect();
        Self {
            consumers: Mutex::new(Consumers { by_id, pins: BTreeMap::new(), problem }),
            writing: Mutex::new(()),
            verified: Mutex::new(BTreeMap::new()),
            snapshot_running: AtomicBool::new(false),
            compacting: Mutex::new(()),
            leftovers: Mutex::default(),
            removing: Mutex::default(),
        }
    }

    /// Takes over a snapshot that was verified before the log was open.
    pub(crate) fn remember_snapshot(&self, info: SnapshotInfo) {
        let name = info.file.rsplit('/').next().unwrap_or_default().to_owned();
        self.verified.lock().insert(name, info);
    }

    /// The pins that still hold at this time, with their names.
    pub(crate) fn pins(&self, now_us: i64) -> Vec<(String, Seq)> {
        let mut consumers = self.consumers.lock();
        consumers.pins.retain(|_, pin| pin.until_us > now_us);
        consumers.pins.iter().map(|(id, pin)| (id.clone(), pin.seq)).collect()
    }
}

impl<S: Storage> Log<S> {
    /// The registered consumers, by id.
    pub fn consumers(&self) -> Vec<Consumer> {
        self.retained.consumers.lock().by_id.values().cloned().collect()
    }

    /// Bytes of the log from the frame that ends at `seq` to the watermark; 0 when there is nothing
    /// behind it. To the nearest 64 KiB; archived segments count as they lie in the archive.
    pub fn lag_bytes(&self, seq: Seq) -> u64 {
        let catalog = self.shared.catalog.lock();
        let published = *self.shared.published.lock();
        if seq >= published.tip.seq { 0 } else { catalog.bytes_after(seq, published.end) }
    }

    /// Until when (µs since 1970 in UTC) a pin of this name keeps what is behind it from being
    /// compacted; none when there is none at `now_us`.
    pub fn pinned_until(&self, id: &str, now_us: i64) -> Option<i64> {
        let consumers = self.retained.consumers.lock();
        consumers.pins.get(id).map(|pin| pin.until_us).filter(|until_us| *until_us > now_us)
    }

    /// What is wrong with the file of consumers, if it couldn't be read at opening: raise an alarm.
    /// Until it is repaired or removed and the log opened again, nothing is compacted.
    pub fn consumers_problem(&self) -> Option<String> {
        self.retained.consumers.lock().problem.clone()
    }

    /// Records, durably, that a consumer has durably applied everything up to `seq`, where the log
    /// has `chain`; registers it the first time. A cursor may also go back, to what is still there.
    pub fn acknowledge(
        &self,
        id: &str,
        seq: Seq,
        chain: Chain,
        now_us: i64,
    ) -> Result<(), AcknowledgeError> {
        if id.is_empty() || id.len() > CONSUMER_ID_BYTES_MAX {
            return Err(AcknowledgeError::Id);
        }
        let durable = self.durable();
        if seq > durable {
            return Err(CursorError::Ahead { last: durable }.into());
        }
        self.chain_matches(seq, &chain)?;
        let consumer = Consumer { id: id.to_owned(), seq, chain, acknowledged_at_us: now_us };
        self.change_consumers(|by_id| {
            if by_id.len() >= CONSUMERS_MAX && !by_id.contains_key(id) {
                return Err(AcknowledgeError::TooMany);
            }
            by_id.insert(id.to_owned(), consumer);
            Ok(true)
        })?;
        Ok(())
    }

    /// Forgets a consumer, durably; says whether it was registered. It no longer holds the floor.
    pub fn deregister(&self, id: &str) -> Result<bool, AcknowledgeError> {
        self.change_consumers(|by_id| Ok(by_id.remove(id).is_some()))
    }

    /// Keeps everything behind `seq` from being compacted until `until_us` (µs since 1970 in UTC),
    /// in the name of `id`: while a snapshot is being downloaded. Replaces an older pin of that
    /// name; forgotten when the log is closed.
    pub fn pin(&self, id: &str, seq: Seq, until_us: i64) -> Result<(), AcknowledgeError> {
        if id.is_empty() || id.len() > CONSUMER_ID_BYTES_MAX {
            return Err(AcknowledgeError::Id);
        }
        let mut consumers = self.retained.consumers.lock();
        if consumers.pins.len() >= PINS_MAX && !consumers.pins.contains_key(id) {
            return Err(AcknowledgeError::TooMany);
        }
        consumers.pins.insert(id.to_owned(), Pin { seq, until_us });
        Ok(())
    }

    /// Takes a pin away; says whether there was one.
    pub fn unpin(&self, id: &str) -> bool {
        self.retained.consumers.lock().pins.remove(id).is_some()
    }

    /// Writes what `change` made of the consumers, when it says that it changed something.
    fn change_consumers(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Consumer>) -> Result<bool, AcknowledgeError>,
    ) -> Result<bool, AcknowledgeError> {
        if self.read_only().is_some() {
            return Err(AcknowledgeError::ReadOnly);
        }
        let _writing = self.retained.writing.lock();
        let mut by_id = {
            let consumers = self.retained.consumers.lock();
            if let Some(problem) = &consumers.problem {
                return Err(AcknowledgeError::Unreadable { problem: problem.clone() });
            }
            consumers.by_id.clone()
        };
        if !change(&mut by_id)? {
            return Ok(false);
        }
        let bytes = codec::encode(by_id.values(), self.log_id());
        // A cursor that can't move on a full disk would keep compaction from making room.
        self.with_reserve(is_no_space, || replace_file(self.storage(), "", CONSUMERS_FILE, &bytes))
            .map_err(AcknowledgeError::Io)?;
        self.retained.consumers.lock().by_id = by_id;
        Ok(true)
    }
}

/// Removes what unfinished snapshots, archives and cursor files left behind. Only for the holder of
/// the lock, and only once opening can't be refused any more.
pub(crate) fn remove_leftovers<S: Storage>(storage: &S) -> io::Result<()> {
    remove_if_there(storage, &format!("{CONSUMERS_FILE}{TEMPORARY_SUFFIX}"))?;
    for (dir, ending) in [(SNAPSHOTS_DIR, ".snap.tmp"), (ARCHIVE_DIR, ".log.zst.tmp")] {
        for name in list_if_there(storage, dir)? {
            if name.ends_with(ending) {
                remove_if_there(storage, &join(dir, &name))?;
            }
        }
    }
    Ok(())
}
