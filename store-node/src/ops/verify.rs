//! `store-node verify`: reads every byte of a data directory beside whatever runs there, and names
//! every range that can't be trusted. It must never change anything or stop at the first damage.

use std::fmt;
use std::process::ExitCode;

use clap::Args;
use event_log::Leftover;
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
    /// Segments before a gap that nothing needs: no damage, and compaction removes them.
    pub leftovers: Vec<LeftoverView>,
    /// Every damaged range.
    pub damages: Vec<DamageView>,
    /// How many there are, those beyond the list included.
    pub damage_count: u64,
}

/// A segment that a compaction had removed and that is there again.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftoverView {
    /// The file, relative to the data directory.
    pub file: String,
    /// The seq it begins with.
    pub first_seq: u64,
    /// The seq behind the gap that follows it: the log begins there.
    pub resume_from: u64,
    /// The same for people.
    pub what: String,
}

impl LeftoverView {
    fn new(leftover: &Leftover) -> Self {
        Self {
            file: leftover.file.clone(),
            first_seq: leftover.first_seq.get(),
            resume_from: leftover.resume_from.get(),
            what: leftover.to_string(),
        }
    }
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
        for leftover in &self.leftovers {
            writeln!(f, "note: {}", leftover.what)?;
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
        leftovers: report.leftovers.iter().map(LeftoverView::new).collect(),
        damages: report.damages.iter().map(damage::view).collect(),
        damage_count: report.damage_count,
    })
}

#[cfg(test)]
mod tests {
    use event_log::{Log, LogOptions, RecordBuffer, Retention};

    use super::*;

    /// A log whose oldest segment is back after a compaction removed it and others.
    fn compacted_and_undone(data_dir: &std::path::Path) {
        let options = LogOptions { segment_bytes: 16 << 10, ..LogOptions::default() };
        let log = Log::open(DiskStorage::new(data_dir.to_owned()), options).unwrap();
        let append = |count: usize| {
            for _ in 0..count {
                while log.preallocate_once().unwrap() {}
                let mut records = RecordBuffer::new();
                records.push(&[7; 2900]);
                log.append(&records, 1, 0).unwrap();
                log.commit_once().unwrap();
            }
        };
        append(16);
        for _ in 0..2 {
            append(1);
            let mut writer = log.begin_snapshot(1).unwrap();
            writer.seal();
            writer.finish(0).unwrap();
        }
        let oldest = data_dir.join("00000000000000000001.log");
        let bytes = std::fs::read(&oldest).unwrap();
        let retention = Retention {
            archive: false,
            archive_keep_us: 0,
            snapshots_keep: 2,
            disk_budget_bytes: None,
        };
        assert!(log.compact(&retention, 1, &mut event_log::go_on).unwrap().deleted.len() > 1);
        log.close().unwrap();
        std::fs::write(oldest, bytes).unwrap();
    }

    #[test]
    fn what_is_left_over_is_a_note_and_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        compacted_and_undone(dir.path());
        let args = || VerifyArgs { dir: DataDir { data_dir: dir.path().to_owned() }, json: false };
        let report = verify_directory(&args()).unwrap();
        assert!(report.sound, "{report}");
        assert_eq!(report.leftovers[0].file, "00000000000000000001.log");
        assert_eq!(report.first_seq, report.leftovers[0].resume_from);
        assert!(report.to_string().contains("note: 00000000000000000001.log"), "{report}");
        // With a single snapshot the same gap is damage.
        let snapshot = std::fs::read_dir(dir.path().join("snapshots")).unwrap().next();
        std::fs::remove_file(snapshot.unwrap().unwrap().path()).unwrap();
        let report = verify_directory(&args()).unwrap();
        assert!(!report.sound && report.leftovers.is_empty(), "{report}");
    }
}
