//! Opening a directory to look at it, however damaged it is and whoever writes it.
//!
//! The state that can be shown is the newest readable snapshot and the frames behind it up to the
//! first damage: what lies beyond can't be proven to follow. This file must never change a byte,
//! take the lock, or show a frame that its own checks or a process still writing put in doubt.

mod walk;

use std::sync::Arc;

use crate::catalog::Catalog;
use crate::committer::Committer;
use crate::error::{Damage, OpenError};
use crate::format::{ALIGNMENT_BYTES_MIN, LOCK_FILE, SNAPSHOTS_DIR, segment_file_name};
use crate::headers::{Identity, Listing, Page, failed};
use crate::links;
use crate::log::{Limits, LogOptions, Published, Shared};
use crate::queue::{Batch, Gate, Queue, Room, SPARES_RESERVED};
use crate::recovery::check_options;
use crate::seq::{Chain, Epoch, LogId, Seq, Tip};
use crate::snapshot::{
    SnapshotInfo, damage_of_file, parse_snapshot_file_name, scan_names, verify_snapshot,
};
use crate::status::{OpenedAs, ReadOnlyOpening, SyncClock};
use crate::storage::{Storage, join};
use crate::verify::DAMAGES_MAX;
use crate::waiters::Waiters;

use walk::{Reached, Walk};

/// How often the directory is listed again because a process that writes it moved a file meanwhile.
const LOOKS_MAX: usize = 5;

/// What was seen, and what is wrong with it.
struct Seen {
    pages: Vec<Page>,
    identity: Identity,
    unknown_files: Vec<String>,
    damages: Damages,
}

/// Damages in the order of the log, each place once.
#[derive(Default)]
struct Damages(Vec<Damage>);

impl Damages {
    /// Adds a damage; one that begins where a known one begins only tells how far that goes.
    fn add(&mut self, damage: Damage) {
        let is_same =
            |known: &&mut Damage| known.file == damage.file && known.first_seq == damage.first_seq;
        if let Some(known) = self.0.iter_mut().find(is_same) {
            known.last_seq = known.last_seq.max(damage.last_seq);
        } else if self.0.len() < DAMAGES_MAX {
            let at = self.0.partition_point(|known| known.first_seq < damage.first_seq);
            self.0.insert(at, damage);
        }
    }

    /// Whether a segment that begins in this gap is there, and damaged.
    fn lie_in(&self, gap: &Damage) -> bool {
        let begins_in =
            |damage: &Damage| (gap.first_seq..=gap.last_seq).contains(&damage.first_seq);
        let is_snapshot = |damage: &Damage| damage.file.starts_with(SNAPSHOTS_DIR);
        self.0.iter().any(|damage| begins_in(damage) && !is_snapshot(damage))
    }

    /// Whether it is known why no segment holds what follows this seq.
    fn explain(&self, last: Seq) -> bool {
        let mut of_segments =
            self.0.iter().filter(|damage| !damage.file.starts_with(SNAPSHOTS_DIR));
        of_segments.any(|damage| damage.first_seq <= last.next() && last <= damage.last_seq)
    }
}

/// Opens a directory for reading only; see [`crate::Log::open_read_only`]. Also answers the
/// snapshot that the state begins with.
pub(crate) fn open<S: Storage>(
    storage: S,
    options: &LogOptions,
) -> Result<(Shared<S>, Option<SnapshotInfo>), OpenError> {
    check_options(options)?;
    // Who can't be asked may well be writing.
    let holder = storage.lock_holder(LOCK_FILE).unwrap_or_else(|error| Some(error.to_string()));
    let mut seen = look(&storage, options, holder.is_some())?;
    let base = newest_snapshot(&storage, &mut seen)?;
    let Some(log_id) = seen.identity.log_id else {
        return Err(match seen.damages.0.into_iter().next() {
            Some(damage) => OpenError::Corrupt(damage),
            None => OpenError::NotALog { what: "no segment and no snapshot".to_owned() },
        });
    };
    let damages = &seen.damages;
    let (broken, leftovers) =
        links::check_all(&storage, &mut seen.pages, |gap| damages.lie_in(gap))?;
    for damage in broken {
        seen.damages.add(damage);
    }
    let start = base.as_ref().map_or(
        Tip { seq: Seq::ZERO, chain: Chain::genesis(log_id), digest: 0, logged_at_us: 0 },
        |info| Tip {
            seq: info.lo(),
            chain: info.header.chain,
            digest: info.header.state_digest,
            logged_at_us: info.header.logged_at_us,
        },
    );
    let mut catalog = Catalog::default();
    for page in &seen.pages {
        catalog.push(&page.header, page.archived, page.bytes);
    }
    let walk = Walk {
        storage: &storage,
        pages: &seen.pages,
        log_id,
        is_written: holder.is_some(),
        damages: &mut seen.damages,
    };
    let reached = walk.from(start, &mut catalog)?;
    let shown = base.as_ref().map_or(Seq::ZERO, SnapshotInfo::hi).max(reached.tip.seq);
    let opening = ReadOnlyOpening {
        holder,
        snapshot: base.clone(),
        last: shown,
        is_exact: shown == reached.tip.seq,
        torn_bytes: reached.torn_bytes,
        leftovers,
        damages: std::mem::take(&mut seen.damages.0),
    };
    Ok((share(storage, options, seen, catalog, (reached, log_id), opening), base))
}

/// Reads the header pages; again if a process that writes the log moved a file meanwhile.
fn look<S: Storage>(
    storage: &S,
    options: &LogOptions,
    is_written: bool,
) -> Result<Seen, OpenError> {
    let mut looks = 1;
    loop {
        let may_change = is_written && looks < LOOKS_MAX;
        if let Some(seen) = look_once(storage, options, may_change)? {
            return Ok(seen);
        }
        looks += 1;
    }
}

fn look_once<S: Storage>(
    storage: &S,
    options: &LogOptions,
    may_change: bool,
) -> Result<Option<Seen>, OpenError> {
    let listing = Listing::read(storage)?;
    let mut seen = Seen {
        pages: Vec::new(),
        identity: Identity { owner: Some(options.owner.clone()), log_id: None },
        unknown_files: Vec::new(),
        damages: Damages::default(),
    };
    for (first, archived) in listing.in_order(storage)? {
        let unusable = |what: String| Damage {
            file: segment_file_name(first),
            offset: 0,
            length: 0,
            first_seq: first,
            last_seq: first,
            what,
        };
        match seen.identity.read_page(storage, (first, archived)) {
            Ok(mut page) => {
                page.cut_off.take().into_iter().for_each(|damage| seen.damages.add(damage));
                seen.pages.push(page);
            }
            Err(OpenError::Corrupt(damage)) => seen.damages.add(damage),
            Err(OpenError::Io { source, .. })
                if may_change && source.kind() == std::io::ErrorKind::NotFound =>
            {
                return Ok(None);
            }
            Err(error @ (OpenError::Io { .. } | OpenError::NotALog { .. })) => {
                seen.damages.add(unusable(error.to_string()));
            }
            Err(
                error @ (OpenError::Locked { .. }
                | OpenError::WrongOwner { .. }
                | OpenError::UnsupportedVersion { .. }
                | OpenError::Options { .. }
                | OpenError::NoSpace),
            ) => return Err(error),
        }
    }
    seen.unknown_files = listing.unknown;
    Ok(Some(seen))
}

/// The newest snapshot of this log that is whole; without any segment it says whose log this is.
fn newest_snapshot<S: Storage>(
    storage: &S,
    seen: &mut Seen,
) -> Result<Option<SnapshotInfo>, OpenError> {
    let names = scan_names(storage).map_err(failed("listing the snapshots"))?;
    for name in names.iter().rev() {
        let file = join(SNAPSHOTS_DIR, name);
        let info = match verify_snapshot(storage, &file) {
            Ok(info) => info,
            Err(error) => {
                seen.damages.add(damage_of_file(storage, file, &error));
                continue;
            }
        };
        let is_ours = seen.identity.log_id.is_none_or(|id| id == info.header.log_id)
            && seen.identity.owner.as_ref().is_none_or(|owner| *owner == info.header.owner);
        if is_ours && parse_snapshot_file_name(name) == Some((info.lo(), info.hi())) {
            seen.identity.log_id = Some(info.header.log_id);
            return Ok(Some(info));
        }
    }
    Ok(None)
}

/// A log that ends where the walk did and takes nothing.
fn share<S: Storage>(
    storage: S,
    options: &LogOptions,
    seen: Seen,
    mut catalog: Catalog,
    (reached, log_id): (Reached, LogId),
    opening: ReadOnlyOpening,
) -> Shared<S> {
    catalog.end_with(reached.segment);
    let newest = seen.pages.last().map(|page| &page.header);
    let limits = Limits {
        alignment: newest.map_or(ALIGNMENT_BYTES_MIN, |header| header.alignment),
        segment_bytes: options.segment_bytes,
        frame_bytes_max: options.frame_bytes_max,
        spare_segments: SPARES_RESERVED + 1,
        disk_floor_bytes: options.disk_floor_bytes,
        checkpoint_after_ms: options.checkpoint_after_ms,
    };
    let epoch = Epoch {
        counter: reached.epoch_counter,
        random: newest.map_or(0, |header| header.epoch.random),
    };
    let room = Room { offset: reached.end, capacity: reached.end };
    let shown = Tip { seq: opening.last, ..reached.tip };
    let mut queue = Queue::new(&shown, reached.segment, room, &limits);
    queue.gate = Gate::ReadOnly { reason: opening.to_string() };
    let committer = Committer {
        file: None,
        segment: reached.segment,
        chain: reached.tip.chain,
        batch: Batch::new(),
        unsealed: false,
        wakers: Vec::new(),
    };
    let published = Published { segment: reached.segment, end: reached.end, tip: reached.tip };
    Shared {
        queue: threading::Mutex::new(queue),
        limits,
        log_id,
        owner: seen.identity.owner.unwrap_or_default(),
        epoch,
        work: threading::Condvar::new(),
        room: threading::Condvar::new(),
        committer: threading::Mutex::new(committer),
        waiters: Waiters::new(opening.last),
        catalog: threading::Mutex::new(catalog),
        published: threading::Mutex::new(published),
        sync_clock: SyncClock::default(),
        opened: OpenedAs::ReadOnly(Arc::new(opening)),
        unknown_files: seen.unknown_files,
        storage,
    }
}
