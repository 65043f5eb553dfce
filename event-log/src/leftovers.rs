//! Segments that compaction had removed and that are there again: a removal whose directory sync
//! failed, or was a lie, may come undone with a power cut while later ones stay done. Then an old
//! segment lies before a gap.
//!
//! Nothing is missing as long as nothing needs what lies before the end of the gap, by the rules by
//! which compaction removes. Read-only. Where one of the rules can't be shown to hold, the gap must
//! stay damage: a segment that somebody needs and that is gone looks just the same.

use std::fmt;
use std::io;

use crate::archive::archive_file_name;
use crate::compaction::SNAPSHOTS_KEEP_MIN;
use crate::consumers::read_consumers;
use crate::format::{SNAPSHOTS_DIR, SegmentHeader, segment_file_name};
use crate::headers::Page;
use crate::seq::{Chain, Seq};
use crate::snapshot::{parse_snapshot_file_name, scan_names, verify_snapshot};
use crate::storage::{Storage, join};

/// A segment before a gap, which nothing needs. It is no part of the log any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its file, relative to the data directory.
    pub file: String,
    /// The seq it begins with.
    pub first_seq: Seq,
    /// The seq behind the gap: the log begins there.
    pub resume_from: Seq,
    /// Its records were logged no later than this, µs since 1970 in UTC.
    pub logged_at_us: i64,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, first_seq, resume_from, .. } = self;
        write!(
            f,
            "{file} (from seq {first_seq}) is left over from a compaction whose removal came \
             undone: what follows it is gone up to seq {resume_from}, where the log begins, and \
             nothing needs what lies before"
        )
    }
}

impl Leftover {
    pub(crate) fn new(first_seq: Seq, archived: bool, behind: &SegmentHeader) -> Self {
        let name = if archived { archive_file_name } else { segment_file_name };
        Self {
            file: name(first_seq),
            first_seq,
            resume_from: behind.first_seq,
            logged_at_us: behind.previous_logged_at_us,
        }
    }
}

/// Takes the first `count` pages away: they lie before a gap that nothing needs.
pub(crate) fn leave_out(pages: &mut Vec<Page>, count: usize) -> Vec<Leftover> {
    let rest = pages.split_off(count);
    let left = std::mem::replace(pages, rest);
    let Some(behind) = pages.first() else { return Vec::new() };
    let leftover =
        |page: &Page| Leftover::new(page.header.first_seq, page.archived, &behind.header);
    left.iter().map(leftover).collect()
}

/// Whether nothing needs what lies before the segment of this header: two verified snapshots stand
/// for it, and every consumer has applied it. What can't be read shows nothing.
pub(crate) fn nothing_needs_what_is_before<S: Storage>(
    storage: &S,
    behind: &SegmentHeader,
) -> io::Result<bool> {
    let last = behind.first_seq.previous();
    // Who stands right at the end must have the chain that is told there, or couldn't go on.
    let is_behind =
        |seq: Seq, chain: &Chain| seq > last || (seq == last && *chain == behind.previous_chain);
    let Ok(consumers) = read_consumers(storage, Some(behind.log_id)) else {
        return Ok(false);
    };
    if !consumers.iter().all(|consumer| is_behind(consumer.seq, &consumer.chain)) {
        return Ok(false);
    }
    let stands = |name: &String| {
        let seqs = parse_snapshot_file_name(name).filter(|(lo, _)| *lo >= last);
        let info = seqs.and_then(|_| verify_snapshot(storage, &join(SNAPSHOTS_DIR, name)).ok());
        info.is_some_and(|info| {
            info.header.log_id == behind.log_id
                && info.header.owner == behind.owner
                && seqs == Some((info.lo(), info.hi()))
                && is_behind(info.lo(), &info.header.chain)
        })
    };
    // Newest first, and no more of them are read than it takes.
    let names = scan_names(storage)?;
    let standing = names.iter().rev().filter(|name| stands(name)).take(SNAPSHOTS_KEEP_MIN);
    Ok(standing.count() == SNAPSHOTS_KEEP_MIN)
}
