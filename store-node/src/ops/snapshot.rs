//! `store-node snapshot`: takes a snapshot, offline or at a running node.

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use event_log::snapshot::SnapshotInfo;
use serde::Serialize;
use shared::StoreId;

use super::OpError;
use super::remote::{Node, Remote};
use super::store::open_store;
use super::terminal::{Progress, print_report};

/// Options of `snapshot`.
#[derive(Debug, Clone, Args)]
pub struct SnapshotArgs {
    /// The store's data directory (no node may be running on it).
    #[arg(long, value_name = "DIR", required_unless_present = "url", conflicts_with = "url")]
    pub data_dir: Option<PathBuf>,
    /// The store id, to be checked against the directory's.
    #[arg(long, value_name = "ID")]
    pub store_id: Option<StoreId>,
    /// The running node.
    #[command(flatten)]
    pub remote: Remote,
    /// With --url: wait until it is done.
    #[arg(long)]
    pub wait: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A snapshot that was taken.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotReport {
    /// Its file, relative to the data directory.
    pub file: String,
    /// Recovery replays from behind this seq.
    pub lo: u64,
    /// Nothing behind this seq is in it.
    pub hi: u64,
    /// Items in it.
    pub items: u64,
    /// Idempotency keys in it.
    pub keys: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The digest of its items, 32 hex digits.
    pub digest: String,
}

impl SnapshotReport {
    /// The report about a finished snapshot.
    pub fn new(info: &SnapshotInfo, items: u64, keys: u64) -> Self {
        Self {
            file: info.file.clone(),
            lo: info.lo().get(),
            hi: info.hi().get(),
            items,
            keys,
            bytes: info.footer.file_bytes,
            digest: format!("{:032x}", info.footer.items_digest),
        }
    }
}

impl fmt::Display for SnapshotReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} items, {} keys, {} bytes",
            self.file, self.items, self.keys, self.bytes
        )?;
        writeln!(f, "covers seq {} to {}, digest {}", self.lo, self.hi, self.digest)
    }
}

/// Runs the command.
pub fn run(args: &SnapshotArgs) -> ExitCode {
    super::finish(snapshot_command(args))
}

fn snapshot_command(args: &SnapshotArgs) -> Result<ExitCode, OpError> {
    match (&args.remote.url, &args.data_dir) {
        (Some(url), _) => {
            let node = Node::new(url, args.remote.token.clone())?;
            let job = node.run_job("/api/admin/snapshot", "snapshot", args.wait)?;
            print_report(&job, args.json)?;
        }
        (None, Some(_)) => print_report(&take_snapshot(args)?, args.json)?,
        (None, None) => return Err(OpError::Usage("--data-dir or --url is needed".to_owned())),
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the directory, takes a snapshot, closes it again.
pub fn take_snapshot(args: &SnapshotArgs) -> Result<SnapshotReport, OpError> {
    let data_dir = args.data_dir.clone().unwrap_or_default();
    super::store::require_log(&data_dir)?;
    let store = open_store(&data_dir, args.store_id.clone())?;
    let mut progress = Progress::begin("snapshot");
    let taken = store.ledger.snapshot(store.clock.now(), &mut |done, total| {
        progress.tell(done, total);
        ControlFlow::Continue(())
    });
    progress.end();
    let info = taken.map_err(OpError::failed)?;
    let stats = store.ledger.stats();
    store.close()?;
    Ok(SnapshotReport::new(&info, stats.items as u64, stats.keys as u64))
}
