//! Removing files one after another, each durably before the next.
//!
//! After a removal or a directory sync that failed nobody knows whether the file is gone, so it is
//! removed again, and the directory synced, before anything else may go. That sync isn't believed
//! blindly (after a failed one, nothing is known): a file that is back after a power cut is told
//! from damage when the log is opened (`leftovers.rs`), and removed here.

use super::{CompactionError, CompactionReport, Holders, Retention, io_error, plan};
use crate::archive::{self, archive_file_name};
use crate::format::ARCHIVE_DIR;
use crate::log::Log;
use crate::seq::Seq;
use crate::snapshot::SnapshotInfo;
use crate::storage::{Storage, remove_if_there};

impl<S: Storage> Log<S> {
    /// Removes a file and syncs its directory. Until both have succeeded no other file is removed.
    pub(super) fn remove_durably(&self, file: &str) -> Result<(), CompactionError> {
        let mut removing = self.retained.removing.lock();
        if let Some(begun) = &*removing {
            self.remove_and_sync(begun)?;
        }
        *removing = Some(file.to_owned());
        self.remove_and_sync(file)?;
        *removing = None;
        Ok(())
    }

    /// Does again what an earlier compaction failed at, before anything else.
    pub(super) fn finish_begun_removal(
        &self,
        report: &mut CompactionReport,
    ) -> Result<(), CompactionError> {
        let begun = self.retained.removing.lock().clone();
        if let Some(file) = begun {
            self.remove_durably(&file)?;
            report.leftovers_removed.push(file);
        }
        Ok(())
    }

    fn remove_and_sync(&self, file: &str) -> Result<(), CompactionError> {
        remove_if_there(self.storage(), file)
            .map_err(|source| io_error("removing", file, source))?;
        let dir = file.rsplit_once('/').map_or("", |(dir, _)| dir);
        let synced = self.storage().sync_dir(dir);
        synced.map_err(|source| io_error("syncing the directory after removing", file, source))
    }

    /// Removes what opening found before a gap, oldest first, by the rules for what is archived:
    /// where segments are archived, it stays as long as archives are kept.
    pub(super) fn remove_leftovers(
        &self,
        retention: &Retention,
        floor: Seq,
        now_us: i64,
        report: &mut CompactionReport,
    ) -> Result<(), CompactionError> {
        let may_go = |resume_from: Seq, logged_at_us: i64| {
            let is_old = now_us.saturating_sub(logged_at_us) > retention.archive_keep_us;
            resume_from.previous() <= floor && (is_old || !retention.archive)
        };
        // Bounded: each turn takes one away.
        while let Some(leftover) = self.leftovers().into_iter().next() {
            if !may_go(leftover.resume_from, leftover.logged_at_us) {
                break;
            }
            self.remove_durably(&leftover.file)?;
            self.retained.leftovers.lock().remove(0);
            report.leftovers_removed.push(leftover.file);
        }
        Ok(())
    }

    pub(super) fn remove_snapshots(
        &self,
        old: &[SnapshotInfo],
        report: &mut CompactionReport,
    ) -> Result<(), CompactionError> {
        for snapshot in old {
            self.remove_durably(&snapshot.file)?;
            report.snapshots_deleted.push(snapshot.file.clone());
        }
        Ok(())
    }

    /// Deletes archived segments for their age, oldest first and never above the floor: by the
    /// logged time that the segment after each one says it ended with.
    pub(super) fn remove_archives(
        &self,
        keep_us: i64,
        now_us: i64,
        holders: &Holders,
        report: &mut CompactionReport,
    ) -> Result<(), CompactionError> {
        let live = plan::live_segments(self.storage())?;
        let archived = archive::list(self.storage())
            .map_err(|source| io_error("reading", ARCHIVE_DIR, source))?;
        for first in &archived {
            // A segment whose removal came undone goes before what was archived after it.
            if live.first().is_some_and(|oldest| oldest < first) {
                break;
            }
            // The newest archive's end is told by the oldest segment that is still there.
            let next = plan::header_after(self.storage(), *first, &live, &archived)?;
            let is_young = now_us.saturating_sub(next.previous_logged_at_us) <= keep_us;
            let last = next.first_seq.previous();
            if is_young
                || last > report.floor
                || holders.need_end_of(last, Some(next.previous_chain))
            {
                break;
            }
            self.archive_removed(*first);
            self.remove_durably(&archive_file_name(*first))?;
            report.archives_deleted.push(*first);
        }
        Ok(())
    }
}
