//! Verifying a directory: every frame of every segment and archive, the chain over all of them,
//! every snapshot, the consumers; names each damaged range of bytes and goes on.
//!
//! Read-only, takes no lock: it may run beside a writer, whose frames in flight look like a torn
//! tail, and beside a compaction, which moves and removes files. It must never change a byte, never
//! stop at the first thing it finds, and never call damage what a writer has just done.

mod segments;

use std::io;

use crate::archive;
use crate::consumers::{Witness, read_consumers, witnesses};
use crate::error::Damage;
use crate::format::{ARCHIVE_DIR, CONSUMERS_FILE};
use crate::headers::{Identity, Listing};
use crate::leftovers::Leftover;
use crate::seq::{Chain, LogId, Seq};
use crate::snapshot::{SnapshotReadError, damage_of_file, list_verified};
use crate::storage::{OpenMode, Storage, StorageFile};

use segments::Walker;

/// The most damages that are listed; beyond, they are only counted.
pub const DAMAGES_MAX: usize = 10_000;

/// What a directory holds, and what of it can't be trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The log, by its first readable segment.
    pub log_id: Option<LogId>,
    /// Live segments read.
    pub segments: u64,
    /// Archived segments read.
    pub archived: u64,
    /// Valid frames, those without records included.
    pub frames: u64,
    /// Records in valid frames.
    pub records: u64,
    /// Bytes of segments, live and archived, as they were written.
    pub bytes: u64,
    /// Valid snapshots.
    pub snapshots: u64,
    /// Consumers with a readable cursor.
    pub consumers: u64,
    /// The first seq that is there; what is left over before a gap doesn't count.
    pub first: Seq,
    /// The last seq that is there.
    pub last: Seq,
    /// The chain at the end.
    pub chain: Option<Chain>,
    /// Bytes behind the last frame that nothing proves were ever acknowledged: a torn write, which
    /// the next opening zeroes, or a frame in flight.
    pub torn_tail: Option<Damage>,
    /// Segments before a gap that nothing needs: no damage, and gone with the next compaction.
    pub leftovers: Vec<Leftover>,
    /// What can't be trusted, in the order of the log; at most [`DAMAGES_MAX`].
    pub damages: Vec<Damage>,
    /// How many damages there were, those not listed included.
    pub damage_count: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong with anything that was acknowledged.
    pub fn is_sound(&self) -> bool {
        self.damage_count == 0
    }

    fn add(&mut self, damage: Damage) {
        self.damage_count += 1;
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(damage);
        }
    }
}

/// Why a directory couldn't be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is neither a segment nor an archived one.
    #[error("not a log: no segments")]
    NotALog,
    /// The directory itself can't be listed.
    #[error("listing {dir} failed: {source}")]
    Io {
        /// The directory, relative to the storage root.
        dir: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Verifies the log in a directory. `progress` is told (bytes done, bytes in all) of the files after
/// each of them; it may sleep, which is how a scrub in the background is kept slow.
pub fn verify<S: Storage>(
    storage: &S,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, VerifyError> {
    let listed = |dir: &str| {
        let dir = dir.to_owned();
        move |source| VerifyError::Io { dir, source }
    };
    // Before anything is listed and read: a writer goes on, and what it proves later lies in later
    // frames and files.
    let known = match first_log_id(storage) {
        Some(log_id) => witnesses(storage, log_id).map_err(listed(crate::format::SNAPSHOTS_DIR))?,
        None => Vec::new(),
    };
    let archived = archive::list(storage).map_err(listed(ARCHIVE_DIR))?;
    let live =
        Listing::read(storage).map_err(|error| listed("")(io::Error::other(error)))?.segments;
    if archived.is_empty() && live.is_empty() {
        return Err(VerifyError::NotALog);
    }
    let files =
        archived.iter().map(|first| (*first, true)).chain(live.iter().map(|first| (*first, false)));
    let files: Vec<(Seq, bool, u64)> = files
        .map(|(first, is_archive)| (first, is_archive, file_bytes(storage, first, is_archive)))
        .collect();
    let total: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
    let mut done = 0;
    // An archive whose segment is still there (a compaction was cut short) comes right before it.
    let mut ordered = files;
    ordered.sort_by_key(|(first, is_archive, _)| (*first, !is_archive));
    let mut walker = Walker::new(storage, &live, known.clone());
    for (first, is_archive, bytes) in ordered {
        walker.file(first, is_archive);
        done += bytes;
        progress(done, total);
    }
    let mut report = walker.finish();
    let log_id = report.log_id;
    check_snapshots(storage, log_id, &mut report).map_err(listed(crate::format::SNAPSHOTS_DIR))?;
    check_consumers(storage, log_id, &mut report);
    check_witnesses(known, &mut report);
    Ok(report)
}

/// The log's id by the first header page that is whole.
fn first_log_id<S: Storage>(storage: &S) -> Option<LogId> {
    let places = Listing::read(storage).ok()?.in_order(storage).ok()?;
    let page = |place| Identity::default().read_page(storage, place).ok();
    places.into_iter().find_map(page).map(|page| page.header.log_id)
}

fn file_bytes<S: Storage>(storage: &S, first: Seq, is_archive: bool) -> u64 {
    let file = if is_archive {
        archive::archive_file_name(first)
    } else {
        crate::format::segment_file_name(first)
    };
    storage.open(&file, OpenMode::Read).and_then(|file| file.len()).unwrap_or(0)
}

fn check_snapshots<S: Storage>(
    storage: &S,
    log_id: Option<LogId>,
    report: &mut VerifyReport,
) -> io::Result<()> {
    let list = list_verified(storage, log_id)?;
    report.snapshots = list.valid.len() as u64;
    for (file, error) in list.damaged {
        // Removed by a compaction since it was listed.
        if matches!(&error, SnapshotReadError::Io { source, .. }
            if source.kind() == io::ErrorKind::NotFound)
        {
            continue;
        }
        report.add(damage_of_file(storage, file, &error));
    }
    Ok(())
}

fn check_consumers<S: Storage>(storage: &S, log_id: Option<LogId>, report: &mut VerifyReport) {
    match read_consumers(storage, log_id) {
        Ok(consumers) => report.consumers = consumers.len() as u64,
        Err(error) => report.add(Damage {
            file: CONSUMERS_FILE.to_owned(),
            offset: 0,
            length: storage
                .open(CONSUMERS_FILE, OpenMode::Read)
                .and_then(|file| file.len())
                .unwrap_or(0),
            first_seq: Seq::ZERO,
            last_seq: Seq::ZERO,
            what: error.to_string(),
        }),
    }
}

/// What was durable once must still be there: then a torn tail is no torn tail.
fn check_witnesses(known: Vec<Witness>, report: &mut VerifyReport) {
    let beyond = known.into_iter().filter(|witness| witness.seq > report.last);
    let Some(furthest) = beyond.max_by_key(|witness| witness.seq) else {
        return;
    };
    let what = format!("missing, though {} proves that it was durable", furthest.source);
    let damage = report.torn_tail.take().unwrap_or_else(|| Damage {
        file: furthest.source.clone(),
        offset: 0,
        length: 0,
        first_seq: report.last.next(),
        last_seq: furthest.seq,
        what: String::new(),
    });
    report.add(Damage { last_seq: furthest.seq, what, ..damage });
}
