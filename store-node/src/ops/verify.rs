//! `store-node verify`: reads every byte of a data directory beside whatever runs there, and names
//! every range that can't be trusted. It must never change anything or stop at the first damage.

use std::fmt;
use std::process::ExitCode;

use clap::Args;
use event_log::storage::disk::DiskStorage;
use serde::Serialize;
use shared::wire::node::log::DamageView;

use super::store::DataDir;
use super::terminal::{Progress, print_report};
use super::{EXIT_DAMAGE, OpError};
use crate::damage;

/// Options of `verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Where.
    #[command(flatten)]
    pub dir: DataDir,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What is in a directory, and what of it can't be trusted.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// Whether nothing acknowledged is damaged.
    pub sound: bool,
    /// The log's id.
    pub log_id: Option<String>,
    /// Live segments.
    pub segments: u64,
    /// Archived segments.
    pub archived: u64,
    /// Valid frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of segments.
    pub bytes: u64,
    /// Valid snapshots.
    pub snapshots: u64,
    /// The first seq there.
    pub first_seq: u64,
    /// The last seq there.
    pub last_seq: u64,
    /// The chain at the end.
    pub chain: Option<String>,
    /// A torn write at the end that was never acknowledged, or a frame in flight.
    pub torn_tail: Option<DamageView>,
    /// Every damaged range.
    pub damages: Vec<DamageView>,
    /// How many there are, those beyond the list included.
    pub damage_count: u64,
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segments, archived, frames, records, bytes, snapshots, .. } = self;
        let counted = |count: &u64, one: &str| match count {
            1 => format!("1 {one}"),
            count => format!("{count} {one}s"),
        };
        let (records, frames) = (counted(records, "record"), counted(frames, "frame"));
        writeln!(f, "{records} in {frames}, {}", counted(bytes, "byte"))?;
        let (segments, snapshots) = (counted(segments, "segment"), counted(snapshots, "snapshot"));
        writeln!(f, "{segments}, {archived} archived, {snapshots}")?;
        writeln!(f, "seq {} to {}", self.first_seq, self.last_seq)?;
        if let Some(torn) = &self.torn_tail {
            writeln!(f, "torn tail (never acknowledged, or being written): {torn}")?;
        }
        for damage in &self.damages {
            writeln!(f, "DAMAGED {damage}")?;
        }
        if self.sound {
            writeln!(f, "sound")
        } else {
            writeln!(f, "{}", counted(&self.damage_count, "damage"))
        }
    }
}

/// Runs the command; exit 3 when there is damage.
pub fn run(args: &VerifyArgs) -> ExitCode {
    super::finish(verify_command(args))
}

fn verify_command(args: &VerifyArgs) -> Result<ExitCode, OpError> {
    let report = verify_directory(args)?;
    print_report(&report, args.json)?;
    Ok(if report.sound { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DAMAGE) })
}

/// Verifies the directory.
pub fn verify_directory(args: &VerifyArgs) -> Result<VerifyReport, OpError> {
    super::store::require_log(&args.dir.data_dir)?;
    let storage = DiskStorage::new(args.dir.data_dir.clone());
    let mut progress = Progress::begin("verifying");
    let verified =
        event_log::verify::verify(&storage, &mut |done, total| progress.tell(done, total));
    progress.end();
    let report = verified.map_err(OpError::failed)?;
    Ok(VerifyReport {
        sound: report.is_sound(),
        log_id: report.log_id.map(|id| id.to_string()),
        segments: report.segments,
        archived: report.archived,
        frames: report.frames,
        records: report.records,
        bytes: report.bytes,
        snapshots: report.snapshots,
        first_seq: report.first.get(),
        last_seq: report.last.get(),
        chain: report.chain.map(|chain| chain.to_string()),
        torn_tail: report.torn_tail.as_ref().map(damage::view),
        damages: report.damages.iter().map(damage::view).collect(),
        damage_count: report.damage_count,
    })
}
