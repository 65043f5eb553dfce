//! The snapshots of an open log: making them beside the writers, listing the valid ones.
//!
//! A snapshot may count only once the log is durable up to its `hi` and the file was read back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{
    SnapshotFile, SnapshotHeader, SnapshotInfo, SnapshotReadError, SnapshotReader,
    SnapshotWriteError, parse_snapshot_file_name, snapshot_file_name, verify_snapshot,
};
use crate::error::{CursorError, Damage};
use crate::format::SNAPSHOTS_DIR;
use crate::log::Log;
use crate::planted;
use crate::seq::{LogId, Seq};
use crate::storage::{FileReader, OpenMode, Storage, StorageFile, join, list_if_there};

/// Why there is no new snapshot. Older ones are as they were.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Another snapshot of this log is being made: wait for it.
    #[error("another snapshot is being made")]
    Running,
    /// The log was opened for reading only.
    #[error("the log was opened for reading only")]
    ReadOnly,
    /// The log isn't durable up to the snapshot's end yet: wait for this seq, then finish again.
    #[error("the log isn't durable up to {hi} yet")]
    NotDurableYet {
        /// The seq to wait for.
        hi: Seq,
    },
    /// `finish` before `seal`, or a section after it: a bug of the caller.
    #[error("out of order: {what}")]
    Order {
        /// Which rule was broken.
        what: &'static str,
    },
    /// Writing it failed.
    #[error(transparent)]
    Write(#[from] SnapshotWriteError),
    /// Listing the directory failed.
    #[error("listing the snapshots failed: {0}")]
    List(#[source] std::io::Error),
}

/// What the snapshot directory holds.
#[derive(Debug, Default)]
pub struct SnapshotList {
    /// Verified snapshots of this log, oldest first.
    pub valid: Vec<SnapshotInfo>,
    /// Files with a snapshot's name that aren't valid, each with what is wrong.
    pub damaged: Vec<(String, SnapshotReadError)>,
}

/// A snapshot of an open log being made. Dropped unfinished, it leaves nothing behind.
pub struct SnapshotWriter<S: Storage> {
    log: Arc<Log<S>>,
    file: Option<SnapshotFile<S>>,
    hi: Option<Seq>,
}

impl<S: Storage> Log<S> {
    /// The valid snapshots, oldest first. Those this process hasn't verified yet are read whole.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>, SnapshotError> {
        Ok(self.list_snapshots()?.valid)
    }

    /// Like [`snapshots`](Self::snapshots), and the files that aren't valid, by name.
    pub fn list_snapshots(&self) -> Result<SnapshotList, SnapshotError> {
        let mut list = SnapshotList::default();
        for name in scan_names(self.storage()).map_err(SnapshotError::List)? {
            match self.verified(&name) {
                Ok(info) => list.valid.push(info),
                Err(error) => list.damaged.push((join(SNAPSHOTS_DIR, &name), error)),
            }
        }
        Ok(list)
    }

    /// The newest valid snapshot; older ones aren't looked at.
    pub fn latest_snapshot(&self) -> Result<Option<SnapshotInfo>, SnapshotError> {
        let names = scan_names(self.storage()).map_err(SnapshotError::List)?;
        Ok(names.iter().rev().find_map(|name| self.verified(name).ok()))
    }

    /// Reads a snapshot section by section.
    pub fn open_snapshot(
        &self,
        info: &SnapshotInfo,
    ) -> Result<SnapshotReader<S>, SnapshotReadError> {
        SnapshotReader::open(self.storage(), &info.file)
    }

    /// Reads a snapshot's file as it is, for sending it away: `info.footer.file_bytes` bytes.
    pub fn open_snapshot_file(
        &self,
        info: &SnapshotInfo,
    ) -> Result<FileReader<S::File>, SnapshotReadError> {
        let file = self.storage().open(&info.file, OpenMode::Read);
        let file =
            file.map_err(|source| SnapshotReadError::Io { file: info.file.clone(), source })?;
        Ok(FileReader::new(file, 0))
    }

    /// Begins a snapshot: `lo` is the durable watermark now. Writers go on.
    pub fn begin_snapshot(
        self: &Arc<Self>,
        now_us: i64,
    ) -> Result<SnapshotWriter<S>, SnapshotError> {
        if self.read_only().is_some() {
            return Err(SnapshotError::ReadOnly);
        }
        if self.retained.snapshot_running.swap(true, Ordering::AcqRel) {
            return Err(SnapshotError::Running);
        }
        // From here on the writer's drop gives the place free again.
        let mut writer = SnapshotWriter { log: Arc::clone(self), file: None, hi: None };
        let failed = |source| SnapshotWriteError::Io { file: SNAPSHOTS_DIR.to_owned(), source };
        self.storage().create_dir(SNAPSHOTS_DIR).map_err(failed)?;
        self.storage().sync_dir("").map_err(failed)?;
        let tip = self.tip();
        let header = SnapshotHeader {
            log_id: self.log_id(),
            owner: self.owner().to_vec(),
            lo: tip.seq,
            chain: tip.chain,
            state_digest: tip.digest,
            logged_at_us: tip.logged_at_us,
            created_at_us: now_us,
        };
        let temporary = join(SNAPSHOTS_DIR, &format!("{:020}.snap.tmp", tip.seq.get()));
        writer.file = Some(SnapshotFile::create(self.storage().clone(), &temporary, header)?);
        Ok(writer)
    }

    fn verified(&self, name: &str) -> Result<SnapshotInfo, SnapshotReadError> {
        if let Some(info) = self.retained.verified.lock().get(name) {
            return Ok(info.clone());
        }
        let info = self.verify_own(name)?;
        self.retained.verified.lock().insert(name.to_owned(), info.clone());
        Ok(info)
    }

    /// Verifies the file and that it is a snapshot of this very log.
    fn verify_own(&self, name: &str) -> Result<SnapshotInfo, SnapshotReadError> {
        let info = verify_snapshot(self.storage(), &join(SNAPSHOTS_DIR, name))?;
        let damaged =
            |what| Err(SnapshotReadError::Damaged { file: info.file.clone(), offset: 0, what });
        if info.header.log_id != self.log_id() || info.header.owner != self.owner() {
            return damaged("a snapshot of another log");
        }
        if parse_snapshot_file_name(name) != Some((info.lo(), info.hi())) {
            return damaged("its name says other seqs than it holds");
        }
        if info.hi() > self.durable() {
            return damaged("it ends behind the log");
        }
        match self.chain_matches(info.lo(), &info.header.chain) {
            // What is compacted away can't be compared any more.
            Ok(()) | Err(CursorError::Compacted { .. }) => Ok(info),
            Err(
                CursorError::Rewritten { .. }
                | CursorError::NotAFrameEnd { .. }
                | CursorError::Ahead { .. },
            ) => damaged("the log has another chain at its lo"),
            Err(CursorError::Read(error)) => {
                let source = std::io::Error::other(error);
                Err(SnapshotReadError::Io { file: info.file, source })
            }
        }
    }
}

impl<S: Storage> SnapshotWriter<S> {
    /// The seq replay begins behind.
    pub fn lo(&self) -> Seq {
        self.file.as_ref().map_or(Seq::ZERO, |file| file.header().lo)
    }

    /// Adds one section; `kind` and `id` are the caller's.
    pub fn section(&mut self, kind: u16, id: u32, bytes: &[u8]) -> Result<(), SnapshotError> {
        if self.hi.is_some() {
            return Err(SnapshotError::Order { what: "a section after the seal" });
        }
        let file =
            self.file.as_mut().ok_or(SnapshotError::Order { what: "a section after the end" })?;
        Ok(file.section(kind, id, bytes)?)
    }

    /// After the last section: takes the last seq given out as `hi` and returns it.
    pub fn seal(&mut self) -> Seq {
        *self.hi.get_or_insert_with(|| self.log.last())
    }

    /// Makes it a snapshot: footer, sync, rename, directory sync, read back, verify. While the log
    /// isn't durable up to `hi` it refuses and may be called again.
    pub fn finish(&mut self, items_digest: u128) -> Result<SnapshotInfo, SnapshotError> {
        let hi = self.hi.ok_or(SnapshotError::Order { what: "finish before the seal" })?;
        if self.log.durable() < hi && !planted::is("snapshot what isn't durable") {
            return Err(SnapshotError::NotDurableYet { hi });
        }
        let file = self.file.take().ok_or(SnapshotError::Order { what: "finished twice" })?;
        let name = snapshot_file_name(file.header().lo, hi);
        // One that stands for the same seqs is as good, and is never put at risk.
        if let Ok(info) = self.log.verify_own(&name) {
            let synced = self.log.storage().sync_dir(SNAPSHOTS_DIR);
            synced.map_err(|source| SnapshotWriteError::Io { file: info.file.clone(), source })?;
            return Ok(info);
        }
        self.log.retained.verified.lock().remove(&name);
        let info = file.finish(&join(SNAPSHOTS_DIR, &name), hi, items_digest)?;
        self.log.retained.verified.lock().insert(name, info.clone());
        Ok(info)
    }
}

impl<S: Storage> Drop for SnapshotWriter<S> {
    fn drop(&mut self) {
        self.log.retained.snapshot_running.store(false, Ordering::Release);
    }
}

/// The names of snapshot files, oldest first.
pub(crate) fn scan_names<S: Storage>(storage: &S) -> std::io::Result<Vec<String>> {
    let mut names = list_if_there(storage, SNAPSHOTS_DIR)?;
    names.retain(|name| parse_snapshot_file_name(name).is_some());
    Ok(names)
}

/// The newest valid snapshot of this log in a directory, without the log's lock; those behind it
/// aren't looked at. A snapshot of `owner` that ends behind `last` isn't this log's.
pub fn newest_in_directory<S: Storage>(
    storage: &S,
    log_id: LogId,
    owner: &[u8],
    last: Seq,
) -> std::io::Result<Option<SnapshotInfo>> {
    let verified = |name: &String| {
        let info = verify_snapshot(storage, &join(SNAPSHOTS_DIR, name)).ok()?;
        let header = &info.header;
        let is_own = header.log_id == log_id && header.owner == owner && info.hi() <= last;
        (is_own && parse_snapshot_file_name(name) == Some((info.lo(), info.hi()))).then_some(info)
    };
    Ok(scan_names(storage)?.iter().rev().find_map(verified))
}

/// Verifies every snapshot of a directory afresh, without a log.
pub(crate) fn list_verified<S: Storage>(
    storage: &S,
    log_id: Option<LogId>,
) -> std::io::Result<SnapshotList> {
    let mut list = SnapshotList::default();
    for name in scan_names(storage)? {
        let file = join(SNAPSHOTS_DIR, &name);
        match verify_snapshot(storage, &file) {
            Ok(info) if log_id.is_none_or(|id| id == info.header.log_id) => list.valid.push(info),
            Ok(_) => {
                let what = "a snapshot of another log";
                list.damaged
                    .push((file.clone(), SnapshotReadError::Damaged { file, offset: 0, what }));
            }
            Err(error) => list.damaged.push((file, error)),
        }
    }
    Ok(list)
}

/// What is wrong with a snapshot's file, as damage.
pub(crate) fn damage_of_file<S: Storage>(
    storage: &S,
    file: String,
    error: &SnapshotReadError,
) -> Damage {
    let offset = match error {
        SnapshotReadError::Damaged { offset, .. } => *offset,
        SnapshotReadError::UnsupportedVersion { .. } | SnapshotReadError::Io { .. } => 0,
    };
    let end = storage.open(&file, OpenMode::Read).and_then(|file| file.len()).unwrap_or(offset);
    let name = file.rsplit_once('/').map_or(file.as_str(), |(_, name)| name);
    let (first_seq, last_seq) = parse_snapshot_file_name(name).unwrap_or_default();
    let (length, what) = (end.saturating_sub(offset), error.to_string());
    Damage { file, offset, length, first_seq, last_seq, what }
}
