//! Opening a store's data directory for a command: for writing (as the one process that may), or
//! for reading beside a running node.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use event_log::storage::Storage;
use event_log::storage::disk::DiskStorage;
use event_log::{
    Cursor, CursorError, DirectoryReader, Log, LogId, LogOptions, OpenError, ReadError, Seq,
    parse_segment_file_name,
};
use shared::{StoreId, Timestamp};

use super::OpError;
use super::terminal::Progress;
use crate::clock::{LoggedClock, wall_now};
use crate::ledger::{Ledger, LedgerOpenError, LedgerOptions, RecoveryReport};

/// Free space below which a node's log stops taking records, in bytes.
pub const DISK_FLOOR_BYTES: u64 = 64 << 20;

/// Which directory.
#[derive(Debug, Clone, Args)]
pub struct DataDir {
    /// The store's data directory.
    #[arg(long, value_name = "DIR", env = "STORE_NODE_DATA_DIR")]
    pub data_dir: PathBuf,
}

/// A store opened for writing.
pub struct OpenStore {
    /// The ledger over its log, whose threads run.
    pub ledger: Arc<Ledger<DiskStorage>>,
    /// Logged time.
    pub clock: LoggedClock,
    /// What the opening found.
    pub report: RecoveryReport,
}

impl OpenStore {
    /// Closes the log cleanly.
    pub fn close(self) -> Result<(), OpError> {
        self.ledger.log().close().map_err(OpError::failed)
    }
}

/// Whether a data directory holds a log.
pub fn require_log(data_dir: &Path) -> Result<(), OpError> {
    if data_dir.is_dir() {
        return Ok(());
    }
    Err(OpError::Failed(format!("{} is not a directory", data_dir.display())))
}

/// Options for opening a store's log here and now.
pub fn log_options(store_id: &StoreId) -> LogOptions {
    let now_us = wall_now().as_micros();
    // The last ten bytes of a UUID v7 are random but for six fixed bits.
    let random = || *uuid::Uuid::now_v7().as_bytes();
    let mut id_random = [0; 10];
    id_random.copy_from_slice(&random()[6..]);
    let mut epoch_random = [0; 8];
    epoch_random.copy_from_slice(&random()[8..]);
    LogOptions {
        owner: store_id.as_str().as_bytes().to_vec(),
        new_log_id: LogId::from_parts(now_us, id_random),
        epoch_random: u64::from_le_bytes(epoch_random),
        opened_at_us: now_us,
        disk_floor_bytes: DISK_FLOOR_BYTES,
        holder: format!("process {}", std::process::id()),
        ..LogOptions::default()
    }
}

/// Opens a store for writing: lock, log, ledger; starts the log's threads. Without a store id the
/// directory's own is taken.
pub fn open_store(data_dir: &Path, store_id: Option<StoreId>) -> Result<OpenStore, OpError> {
    let store_id = match store_id {
        Some(store_id) => store_id,
        None => owner(data_dir)?,
    };
    let storage = DiskStorage::new(data_dir.to_owned());
    let log = Log::open(storage, log_options(&store_id)).map_err(open_error(data_dir))?;
    for leftover in log.leftovers() {
        eprintln!("note: {leftover}");
    }
    let tip = log.tip();
    let clock = LoggedClock::open(Timestamp::from_micros(tip.logged_at_us), false);
    let clock = clock.map_err(OpError::failed)?;
    let mut progress = Progress::begin("recovering");
    let opened = Ledger::open(
        Arc::clone(&log),
        store_id,
        LedgerOptions::default(),
        clock.now(),
        &mut |done, total| progress.tell(done, total),
    );
    progress.end();
    let (ledger, report) = opened.map_err(ledger_error)?;
    log.start().map_err(OpError::failed)?;
    Ok(OpenStore { ledger, clock, report })
}

/// Reads a directory from the beginning, or from the first record that is still there: that is
/// told on standard error.
pub fn read_directory(data_dir: &Path) -> Result<DirectoryReader<DiskStorage>, OpError> {
    let first = first_seq(data_dir)?;
    if first > Seq::new(1) {
        eprintln!("records before {first} are compacted away");
    }
    let after = Cursor { seq: first.previous(), chain: None };
    DirectoryReader::open(DiskStorage::new(data_dir.to_owned()), after).map_err(cursor_error)
}

/// The first record that is still there (1 in an empty log).
pub fn first_seq(data_dir: &Path) -> Result<Seq, OpError> {
    require_log(data_dir)?;
    match DirectoryReader::open(DiskStorage::new(data_dir.to_owned()), Cursor::START) {
        Ok(_) => Ok(Seq::new(1)),
        Err(CursorError::Compacted { resume_from }) => Ok(resume_from),
        Err(error) => Err(cursor_error(error)),
    }
}

/// A seq that the log has certainly reached, by the names of its segments: for progress.
pub fn seq_reached(data_dir: &Path) -> Result<Seq, OpError> {
    let names = DiskStorage::new(data_dir.to_owned()).list("").map_err(OpError::failed)?;
    Ok(names.iter().filter_map(|name| parse_segment_file_name(name)).max().unwrap_or(Seq::ZERO))
}

/// The store id that the directory's segments name.
pub fn owner(data_dir: &Path) -> Result<StoreId, OpError> {
    let reader = read_directory(data_dir)?;
    let owner = String::from_utf8_lossy(reader.owner()).into_owned();
    StoreId::new(&owner)
        .map_err(|error| OpError::Failed(format!("the log's owner {owner:?} {error}")))
}

/// An opening's error with its exit code; it names the directory.
pub fn open_error(data_dir: &Path) -> impl Fn(OpenError) -> OpError {
    let place = data_dir.display().to_string();
    move |error| match error {
        OpenError::Locked { holder } => OpError::Locked(format!("{place} is in use by {holder}")),
        OpenError::Corrupt(_) => OpError::Damage(format!("{place}: {error}")),
        OpenError::WrongOwner { .. }
        | OpenError::UnsupportedVersion { .. }
        | OpenError::NotALog { .. }
        | OpenError::Options { .. }
        | OpenError::NoSpace
        | OpenError::Io { .. } => OpError::Failed(format!("{place}: {error}")),
    }
}

/// A ledger opening's error with its exit code.
pub fn ledger_error(error: LedgerOpenError) -> OpError {
    match error {
        LedgerOpenError::Replay { .. }
        | LedgerOpenError::SnapshotDigest { .. }
        | LedgerOpenError::Table { .. }
        | LedgerOpenError::Read(ReadError::Corrupt(_)) => OpError::Damage(error.to_string()),
        LedgerOpenError::Snapshots(_)
        | LedgerOpenError::SnapshotRead(_)
        | LedgerOpenError::Cursor(_)
        | LedgerOpenError::Read(_) => OpError::failed(error),
    }
}

/// A cursor's error with its exit code.
pub fn cursor_error(error: CursorError) -> OpError {
    match error {
        CursorError::Read(error) => read_error(error),
        CursorError::Compacted { .. }
        | CursorError::Rewritten { .. }
        | CursorError::Ahead { .. }
        | CursorError::NotAFrameEnd { .. } => OpError::failed(error),
    }
}

/// A reading error with its exit code.
pub fn read_error(error: ReadError) -> OpError {
    match error {
        ReadError::Corrupt(damage) => OpError::Damage(format!("the log is damaged: {damage}")),
        ReadError::UnsupportedVersion { .. }
        | ReadError::Compacted { .. }
        | ReadError::NotALog { .. }
        | ReadError::Io { .. } => OpError::failed(error),
    }
}
