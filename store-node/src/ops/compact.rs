//! `store-node compact`: archives or deletes what nobody needs any more, offline or at a running
//! node. It must never remove what a consumer, a kept snapshot or an idempotency key still needs.

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use event_log::{CompactionError, CompactionReport, Retention};
use serde::Serialize;
use shared::StoreId;

use super::OpError;
use super::remote::{Node, Remote};
use super::store::open_store;
use super::terminal::{Progress, print_report};

/// How long archived segments are kept at least, in days: the life of idempotency keys.
pub const ARCHIVE_KEEP_DAYS_DEFAULT: u32 = 400;
/// How many snapshots are kept.
pub const SNAPSHOTS_KEEP_DEFAULT: usize = 2;

/// Options of `compact`.
#[derive(Debug, Clone, Args)]
pub struct CompactArgs {
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
    /// How many snapshots to keep (at least 2).
    #[arg(long, value_name = "N", default_value_t = SNAPSHOTS_KEEP_DEFAULT)]
    pub keep_snapshots: usize,
    /// How many days archived segments are kept (at least the 30 of idempotency keys).
    #[arg(long, value_name = "DAYS", default_value_t = ARCHIVE_KEEP_DAYS_DEFAULT, value_parser = clap::value_parser!(u32).range(30..))]
    pub archive_days: u32,
    /// Alarm, and drop the slowest consumer, above so many bytes.
    #[arg(long, value_name = "BYTES")]
    pub disk_budget: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a compaction did.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CompactReport {
    /// Segments wholly at or below this seq went.
    pub floor: u64,
    /// What kept the floor from being higher.
    pub floor_held_by: String,
    /// How many segments were archived.
    pub archived: usize,
    /// How many segments were deleted.
    pub deleted: usize,
    /// How many archived segments were deleted for their age.
    pub archives_deleted: usize,
    /// Files that went because an earlier compaction had begun to remove them, or had removed them
    /// and they came back.
    pub leftovers_removed: Vec<String>,
    /// The snapshots that were deleted.
    pub snapshots_deleted: Vec<String>,
    /// The consumers that were dropped for the disk budget.
    pub consumers_dropped: Vec<String>,
    /// Bytes before.
    pub bytes_before: u64,
    /// Bytes afterwards.
    pub bytes_after: u64,
    /// Bytes over the budget that nothing can be done about.
    pub over_budget_bytes: u64,
}

impl CompactReport {
    /// The log's report in the words of the API.
    pub fn new(report: CompactionReport) -> Self {
        Self {
            floor: report.floor.get(),
            floor_held_by: report.floor_held_by,
            archived: report.archived.len(),
            deleted: report.deleted.len(),
            archives_deleted: report.archives_deleted.len(),
            leftovers_removed: report.leftovers_removed,
            snapshots_deleted: report.snapshots_deleted,
            consumers_dropped: report.consumers_dropped.into_iter().map(|c| c.id).collect(),
            bytes_before: report.bytes_before,
            bytes_after: report.bytes_after,
            over_budget_bytes: report.over_budget_bytes,
        }
    }
}

impl fmt::Display for CompactReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} segments archived, {} deleted, {} old archives and {} snapshots deleted",
            self.archived,
            self.deleted,
            self.archives_deleted,
            self.snapshots_deleted.len()
        )?;
        for file in &self.leftovers_removed {
            writeln!(f, "{file} was left over from an earlier compaction, and is removed")?;
        }
        writeln!(f, "floor at seq {}, held by {}", self.floor, self.floor_held_by)?;
        for consumer in &self.consumers_dropped {
            writeln!(
                f,
                "ALARM: consumer {consumer} was dropped for the disk budget, it must resync"
            )?;
        }
        if self.over_budget_bytes > 0 {
            writeln!(f, "ALARM: {} bytes over the disk budget", self.over_budget_bytes)?;
        }
        writeln!(f, "{} bytes before, {} after", self.bytes_before, self.bytes_after)
    }
}

/// Runs the command.
pub fn run(args: &CompactArgs) -> ExitCode {
    super::finish(compact_command(args))
}

fn compact_command(args: &CompactArgs) -> Result<ExitCode, OpError> {
    match (&args.remote.url, &args.data_dir) {
        (Some(url), _) => {
            let node = Node::new(url, args.remote.token.clone())?;
            let job = node.run_job("/api/admin/compact", "compact", args.wait)?;
            print_report(&job, args.json)?;
        }
        (None, Some(_)) => print_report(&compact_directory(args)?, args.json)?,
        (None, None) => return Err(OpError::Usage("--data-dir or --url is needed".to_owned())),
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the directory, compacts it, closes it again.
pub fn compact_directory(args: &CompactArgs) -> Result<CompactReport, OpError> {
    let data_dir = args.data_dir.clone().unwrap_or_default();
    super::store::require_log(&data_dir)?;
    let store = open_store(&data_dir, args.store_id.clone())?;
    let mut progress = Progress::begin("compacting");
    let retention = Retention {
        archive: true,
        archive_keep_us: i64::from(args.archive_days) * 24 * 3600 * 1_000_000,
        snapshots_keep: args.keep_snapshots,
        disk_budget_bytes: args.disk_budget,
    };
    let now_us = store.clock.now().as_micros();
    let compacted = store.ledger.log().compact(&retention, now_us, &mut |done, total| {
        progress.tell(done, total);
        ControlFlow::Continue(())
    });
    progress.end();
    let report = compacted.map_err(compaction_error)?;
    store.close()?;
    Ok(CompactReport::new(report))
}

fn compaction_error(error: CompactionError) -> OpError {
    match error {
        CompactionError::Damaged(damage) => OpError::Damage(damage.to_string()),
        CompactionError::Running
        | CompactionError::Cancelled
        | CompactionError::Refused { .. }
        | CompactionError::NoSpace
        | CompactionError::Io { .. }
        | CompactionError::Drop(_) => OpError::failed(error),
    }
}
