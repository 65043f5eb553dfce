//! `store-node replay`: rebuilds the state from a directory's log beside whatever runs there,
//! checking every record and comparing every frame's digest, and compares the result with what
//! recovery would make of the newest snapshot. It must never write anything.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use event_log::snapshot::SnapshotInfo;
use event_log::storage::disk::DiskStorage;
use event_log::{Cursor, DirectoryReader, Seq};
use serde::Serialize;
use shared::{Sku, Timestamp};

use super::OpError;
use super::history::parse_sku;
use super::store::{DataDir, cursor_error, first_seq, seq_reached};
use super::terminal::{Progress, print_report};
use crate::clock::wall_now;
use crate::ledger::{RebuildError, Rebuilt, ReplayOptions};

/// Options of `replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// Where.
    #[command(flatten)]
    pub dir: DataDir,
    /// Stop behind this record.
    #[arg(long, value_name = "SEQ")]
    pub to_seq: Option<u64>,
    /// Stop before the first group of records logged later than this RFC 3339 time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub to_time: Option<Timestamp>,
    /// Show this item at the end.
    #[arg(long, value_name = "SKU", value_parser = parse_sku)]
    pub sku: Option<Sku>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| error.to_string())
}

/// What a replay came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayCommandReport {
    /// Frames read.
    pub frames: u64,
    /// Records read.
    pub records: u64,
    /// Receipts among them.
    pub receipts: u64,
    /// Bytes of frames read.
    pub bytes: u64,
    /// Items at the end.
    pub items: u64,
    /// Idempotency keys met.
    pub keys: u64,
    /// The last seq.
    pub last_seq: u64,
    /// Logged time at the end.
    pub logged_at: Timestamp,
    /// The state digest at the end, 32 hex digits.
    pub digest: String,
    /// Frames whose sealed digest was compared, and equal.
    pub frames_verified: u64,
    /// Whether the state began with a snapshot, because earlier records are compacted away.
    pub from_snapshot: Option<String>,
    /// The comparison with the newest snapshot, if there is one inside the limits.
    pub snapshot: Option<SnapshotComparison>,
    /// Seconds of replaying.
    pub seconds: f64,
    /// Records a second.
    pub records_per_second: f64,
    /// The item asked for.
    pub item: Option<ItemState>,
}

/// What the newest snapshot and the records behind it come to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotComparison {
    /// The file.
    pub file: String,
    /// Its `lo`.
    pub lo: u64,
    /// Its `hi`.
    pub hi: u64,
    /// The digest at the same end.
    pub digest: String,
    /// Whether it is the replay's.
    pub equal: bool,
}

/// One item at the end of a replay.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemState {
    /// The item.
    pub sku: Sku,
    /// Its version; 0 when it doesn't exist there.
    pub version: u64,
    /// Units on hand.
    pub stock: u64,
    /// Units reserved.
    pub reserved: u64,
    /// Units sold.
    pub sold: u64,
    /// Live reservations.
    pub reservations: usize,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl fmt::Display for ReplayCommandReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.from_snapshot {
            writeln!(f, "began with {file}")?;
        }
        writeln!(
            f,
            "{} records in {} frames, {} receipts, {} keys, {} bytes",
            self.records, self.frames, self.receipts, self.keys, self.bytes
        )?;
        writeln!(f, "{:.3} s, {:.0} records/s", self.seconds, self.records_per_second)?;
        writeln!(f, "{} items at seq {}, logged {}", self.items, self.last_seq, self.logged_at)?;
        writeln!(f, "digest {}, equal in {} frames", self.digest, self.frames_verified)?;
        if let Some(snapshot) = &self.snapshot {
            let verdict = if snapshot.equal { "equal" } else { "DIFFERENT" };
            writeln!(f, "from {}: digest {}, {verdict}", snapshot.file, snapshot.digest)?;
        }
        if let Some(item) = &self.item {
            writeln!(
                f,
                "{:?}: version {}, stock {}, reserved {} in {} reservations, sold {}, changed {}",
                item.sku,
                item.version,
                item.stock,
                item.reserved,
                item.reservations,
                item.sold,
                item.updated_at
            )?;
        }
        Ok(())
    }
}

/// Runs the command; exit 3 when a record doesn't fit or a digest differs.
pub fn run(args: &ReplayArgs) -> ExitCode {
    super::finish(replay_command(args))
}

fn replay_command(args: &ReplayArgs) -> Result<ExitCode, OpError> {
    let report = replay_directory(args)?;
    print_report(&report, args.json)?;
    let differs = report.snapshot.as_ref().is_some_and(|snapshot| !snapshot.equal);
    Ok(if differs { ExitCode::from(super::EXIT_DAMAGE) } else { ExitCode::SUCCESS })
}

/// Replays the directory.
pub fn replay_directory(args: &ReplayArgs) -> Result<ReplayCommandReport, OpError> {
    let data_dir = &args.dir.data_dir;
    let options = ReplayOptions {
        until_seq: args.to_seq.map_or(Seq::MAX, Seq::new),
        until_us: args.to_time.map_or(i64::MAX, Timestamp::as_micros),
        ..ReplayOptions::opening(wall_now())
    };
    let began_late = first_seq(data_dir)? > Seq::new(1);
    let snapshot = newest_snapshot(data_dir)?;
    let usable = snapshot.filter(|info| {
        info.hi() <= options.until_seq && info.header.logged_at_us <= options.until_us
    });
    let base = usable.as_ref().filter(|_| began_late);
    if began_late && base.is_none() {
        let what =
            "the beginning of the log is compacted away and no snapshot lies inside the limits";
        return Err(OpError::Failed(what.to_owned()));
    }
    let started = Instant::now();
    let rebuilt = rebuild(data_dir, base, options)?;
    let seconds = started.elapsed().as_secs_f64();
    let comparison = match usable.as_ref().filter(|_| base.is_none()) {
        Some(info) => Some(compare(data_dir, info, options, &rebuilt)?),
        None => None,
    };
    Ok(report(args, &rebuilt, base, comparison, seconds))
}

fn report(
    args: &ReplayArgs,
    rebuilt: &Rebuilt,
    base: Option<&SnapshotInfo>,
    snapshot: Option<SnapshotComparison>,
    seconds: f64,
) -> ReplayCommandReport {
    let replay = &rebuilt.report;
    ReplayCommandReport {
        frames: replay.frames,
        records: replay.records,
        receipts: replay.receipts,
        bytes: replay.bytes,
        items: rebuilt.items() as u64,
        keys: replay.keys,
        last_seq: replay.last.get(),
        logged_at: Timestamp::from_micros(replay.logged_at_us),
        digest: format!("{:032x}", replay.digest),
        frames_verified: replay.frames_verified,
        from_snapshot: base.map(|info| info.file.clone()),
        snapshot,
        seconds,
        records_per_second: replay.records as f64 / seconds.max(1e-9),
        item: args.sku.as_ref().map(|sku| item_state(sku, rebuilt)),
    }
}

fn item_state(sku: &Sku, rebuilt: &Rebuilt) -> ItemState {
    let item = rebuilt.item(sku).unwrap_or_default();
    let quantities = &item.cell().quantities;
    ItemState {
        sku: sku.clone(),
        version: item.cell().version.get(),
        stock: quantities.stock.get(),
        reserved: quantities.reserved.get(),
        sold: quantities.sold.get(),
        reservations: item.reservations().map_or(0, |all| all.iter_live().count()),
        updated_at: item.updated_at(),
    }
}

fn compare(
    data_dir: &Path,
    info: &SnapshotInfo,
    options: ReplayOptions,
    rebuilt: &Rebuilt,
) -> Result<SnapshotComparison, OpError> {
    let digest = rebuild(data_dir, Some(info), options)?.report.digest;
    Ok(SnapshotComparison {
        file: info.file.clone(),
        lo: info.lo().get(),
        hi: info.hi().get(),
        digest: format!("{digest:032x}"),
        equal: digest == rebuilt.report.digest,
    })
}

/// Rebuilds the state from the log's beginning, or from a snapshot.
fn rebuild(
    data_dir: &Path,
    base: Option<&SnapshotInfo>,
    options: ReplayOptions,
) -> Result<Rebuilt, OpError> {
    let storage = DiskStorage::new(data_dir.to_owned());
    let cursor = base
        .map_or(Cursor::START, |info| Cursor { seq: info.lo(), chain: Some(info.header.chain) });
    let mut source = DirectoryReader::open(storage.clone(), cursor).map_err(cursor_error)?;
    let mut progress = Progress::begin("replaying");
    let reached = seq_reached(data_dir)?.get();
    let rebuilt = Rebuilt::new(&storage, base, &mut source, options, &mut |seq| {
        progress.tell(seq.get(), reached.max(seq.get()));
    });
    progress.end();
    rebuilt.map_err(|error| match error {
        RebuildError::Replay(_) | RebuildError::Load(_) => OpError::Damage(error.to_string()),
    })
}

/// The newest snapshot that is whole.
fn newest_snapshot(data_dir: &Path) -> Result<Option<SnapshotInfo>, OpError> {
    let storage = DiskStorage::new(data_dir.to_owned());
    let names =
        event_log::storage::list_if_there(&storage, "snapshots").map_err(OpError::failed)?;
    let is_snapshot =
        |name: &&String| event_log::snapshot::parse_snapshot_file_name(name).is_some();
    Ok(names.iter().rev().filter(is_snapshot).find_map(|name| {
        event_log::snapshot::verify_snapshot(&storage, &format!("snapshots/{name}")).ok()
    }))
}
