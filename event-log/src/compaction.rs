//! Compaction: what lies below the floor goes to the archive or away.
//!
//! The floor is the lowest of: `lo` of the oldest kept snapshot, every consumer's cursor, every
//! pin. At least two snapshots, verified at this very moment, are kept; with fewer nothing goes.
//! Writers are never held. Whatever metadata can't be read, nothing may be deleted. Segments go
//! oldest first, each removal durable before the next (`removal.rs`), so that no crash leaves a hole.

mod plan;
mod removal;

use std::io;
use std::ops::ControlFlow;

use crate::archive::{self, ArchiveError};
use crate::consumers::{AcknowledgeError, Consumer};
use crate::error::Damage;
use crate::format::segment_file_name;
use crate::log::Log;
use crate::planted;
use crate::seq::Seq;
use crate::snapshot::SnapshotInfo;
use crate::storage::Storage;

use plan::Holders;

pub(crate) use plan::SealedSegment;

/// The fewest snapshots that are kept, and without which nothing is removed.
pub const SNAPSHOTS_KEEP_MIN: usize = 2;

/// Told how much of a long work is done, and how much there is; says whether to go on.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// A [`Progress`] that nobody watches and that never says stop.
pub fn go_on(_done: u64, _total: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// What to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Whether segments below the floor are archived. If not they are deleted, and with them what
    /// was archived before: history never has a hole.
    pub archive: bool,
    /// How long archived segments are kept after their last record was logged, µs.
    pub archive_keep_us: i64,
    /// How many verified snapshots are kept; at least [`SNAPSHOTS_KEEP_MIN`].
    pub snapshots_keep: usize,
    /// The most bytes of segments, archive and snapshots together before the slowest consumer is
    /// dropped; `None` is no limit.
    pub disk_budget_bytes: Option<u64>,
}

/// What a compaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Segments wholly at or below this seq went.
    pub floor: Seq,
    /// What kept the floor from being higher, by name.
    pub floor_held_by: String,
    /// The first seqs of the segments that were archived.
    pub archived: Vec<Seq>,
    /// The first seqs of the segments that were deleted without an archive.
    pub deleted: Vec<Seq>,
    /// The first seqs of the archived segments that were deleted for their age.
    pub archives_deleted: Vec<Seq>,
    /// Files that an earlier compaction had begun to remove, or that came back after it: gone now.
    pub leftovers_removed: Vec<String>,
    /// The files of the snapshots that were deleted.
    pub snapshots_deleted: Vec<String>,
    /// Consumers dropped for the disk budget: raise an alarm; each has to resync from a snapshot.
    pub consumers_dropped: Vec<Consumer>,
    /// Bytes of segments, archive and snapshots before.
    pub bytes_before: u64,
    /// The same afterwards.
    pub bytes_after: u64,
    /// Bytes over the disk budget that nothing can be done about: raise an alarm.
    pub over_budget_bytes: u64,
}

/// Why a compaction stopped. What it had done by then is durable and whole.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// Another compaction of this log runs: wait for it.
    #[error("another compaction is running")]
    Running,
    /// `progress` said to stop.
    #[error("cancelled")]
    Cancelled,
    /// Metadata can't be read, so nobody knows what may go. Repair it or remove it by hand.
    #[error("nothing is deleted while {what}")]
    Refused {
        /// What can't be read, with the file.
        what: String,
    },
    /// A segment that should be archived is damaged. It stays where it is.
    #[error("a segment is damaged: {0}")]
    Damaged(Damage),
    /// No room for the archive: make room, or let segments be deleted.
    #[error("no space for the archive")]
    NoSpace,
    /// The disk failed.
    #[error("{operation} failed: {source}")]
    Io {
        /// What was tried, with the file.
        operation: String,
        /// What the system said.
        source: io::Error,
    },
    /// The dropped consumer couldn't be written away.
    #[error("dropping a consumer failed: {0}")]
    Drop(#[source] AcknowledgeError),
}

impl<S: Storage> Log<S> {
    /// Archives or deletes what nobody needs any more. `progress` is told (segments done, segments
    /// to do) before each and may say stop. Writers, readers and snapshots go on meanwhile.
    pub fn compact(
        &self,
        retention: &Retention,
        now_us: i64,
        progress: Progress<'_>,
    ) -> Result<CompactionReport, CompactionError> {
        let _running = self.retained.compacting.try_lock().ok_or(CompactionError::Running)?;
        if self.read_only().is_some() {
            let what = "the log is open for reading only".to_owned();
            return Err(CompactionError::Refused { what });
        }
        if let Some(problem) = self.consumers_problem() {
            return Err(CompactionError::Refused { what: problem });
        }
        let snapshots = self.snapshots_or_refuse()?;
        let keep = retention.snapshots_keep.max(SNAPSHOTS_KEEP_MIN);
        let (old, kept) = snapshots.split_at(snapshots.len().saturating_sub(keep));
        let mut report = CompactionReport {
            bytes_before: plan::used_bytes(self.storage())?,
            ..Default::default()
        };
        self.finish_begun_removal(&mut report)?;
        let holders = Holders::new(kept, self.consumers(), self.retained.pins(now_us));
        self.remove_leftovers(retention, holders.floor().0, now_us, &mut report)?;
        self.remove_below_floor(retention, kept, now_us, &mut report, progress)?;
        self.remove_snapshots(old, &mut report)?;
        let holders = Holders::new(kept, self.consumers(), self.retained.pins(now_us));
        self.remove_archives(retention.archive_keep_us, now_us, &holders, &mut report)?;
        self.keep_budget(retention, kept, now_us, &mut report, progress)?;
        report.bytes_after = plan::used_bytes(self.storage())?;
        report.over_budget_bytes = retention
            .disk_budget_bytes
            .map_or(0, |budget| report.bytes_after.saturating_sub(budget));
        Ok(report)
    }

    /// Does what takes little space; on a full disk it gives up the spare segment that is kept for
    /// this, and tries once more.
    pub(crate) fn with_reserve<T, E>(
        &self,
        is_full: impl Fn(&E) -> bool,
        mut attempt: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let first = attempt();
        match &first {
            Err(error) if is_full(error) && self.release_reserve() => attempt(),
            Ok(_) | Err(_) => first,
        }
    }

    fn release_reserve(&self) -> bool {
        let spare = self.shared.queue.lock().release_spare(&self.shared.limits);
        spare.is_some_and(|spare| self.storage().remove(&spare.path).is_ok())
    }

    /// Every snapshot, verified now and not earlier; a file that isn't valid stops everything.
    fn snapshots_or_refuse(&self) -> Result<Vec<SnapshotInfo>, CompactionError> {
        self.retained.verified.lock().clear();
        let refused = |what: String| CompactionError::Refused { what };
        let list = self.list_snapshots().map_err(|error| refused(error.to_string()))?;
        match list.damaged.into_iter().next() {
            None => Ok(list.valid),
            Some((_, error)) => Err(refused(error.to_string())),
        }
    }

    fn remove_below_floor(
        &self,
        retention: &Retention,
        kept: &[SnapshotInfo],
        now_us: i64,
        report: &mut CompactionReport,
        progress: Progress<'_>,
    ) -> Result<(), CompactionError> {
        let holders = Holders::new(kept, self.consumers(), self.retained.pins(now_us));
        let (floor, held_by) = holders.floor();
        report.floor = floor;
        report.floor_held_by = held_by;
        let segments: Vec<SealedSegment> = self.sealed_segments();
        let may_go = |segment: &&SealedSegment| {
            !planted::is("compact nothing")
                && segment.last <= floor
                && !holders.need_end_of(segment.last, segment.end_chain)
        };
        let going: Vec<&SealedSegment> = segments.iter().take_while(may_go).collect();
        for (done, segment) in going.iter().enumerate() {
            if progress(done as u64, going.len() as u64).is_break() {
                return Err(CompactionError::Cancelled);
            }
            if !retention.archive {
                self.remove_archives(i64::MIN, now_us, &holders, report)?;
            }
            self.remove_segment(segment, retention.archive, report)?;
        }
        let _all_done = progress(going.len() as u64, going.len() as u64);
        Ok(())
    }

    fn remove_segment(
        &self,
        segment: &SealedSegment,
        to_archive: bool,
        report: &mut CompactionReport,
    ) -> Result<(), CompactionError> {
        if to_archive {
            let is_full = |error: &ArchiveError| matches!(error, ArchiveError::NoSpace);
            self.with_reserve(is_full, || archive::archive_segment(self.storage(), segment))
                .map_err(archive_error)?;
        }
        let file = segment_file_name(segment.first);
        // From here on readers look for it in the archive; those that have the file open keep it.
        self.segment_removed(segment.first, to_archive);
        self.remove_durably(&file)?;
        if to_archive {
            report.archived.push(segment.first);
        } else {
            report.deleted.push(segment.first);
        }
        Ok(())
    }

    /// Over the budget, drops the slowest consumer as long as that lets segments go.
    fn keep_budget(
        &self,
        retention: &Retention,
        kept: &[SnapshotInfo],
        now_us: i64,
        report: &mut CompactionReport,
        progress: Progress<'_>,
    ) -> Result<(), CompactionError> {
        let Some(budget) = retention.disk_budget_bytes else {
            return Ok(());
        };
        // Bounded: each turn drops a consumer.
        while plan::used_bytes(self.storage())? > budget {
            let holders = Holders::new(kept, self.consumers(), self.retained.pins(now_us));
            let Some(slowest) = holders.slowest_consumer_at_floor() else {
                return Ok(());
            };
            let Some(first_sealed) = self.sealed_segments().into_iter().next() else {
                return Ok(());
            };
            if holders.floor_without_consumers() < first_sealed.last {
                return Ok(());
            }
            self.deregister(&slowest.id).map_err(CompactionError::Drop)?;
            report.consumers_dropped.push(slowest);
            self.remove_below_floor(retention, kept, now_us, report, progress)?;
            let holders = Holders::new(kept, self.consumers(), self.retained.pins(now_us));
            self.remove_archives(retention.archive_keep_us, now_us, &holders, report)?;
        }
        Ok(())
    }
}

fn archive_error(error: ArchiveError) -> CompactionError {
    match error {
        ArchiveError::Damaged(damage) => CompactionError::Damaged(damage),
        ArchiveError::NoSpace => CompactionError::NoSpace,
        ArchiveError::Io { file, source } => io_error("archiving to", &file, source),
    }
}

fn io_error(operation: &str, file: &str, source: io::Error) -> CompactionError {
    CompactionError::Io { operation: format!("{operation} {file}"), source }
}
