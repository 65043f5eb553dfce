//! Opening: lock, look, decide, and only then repair.
//!
//! The first invalid frame is *torn* if nothing valid lies beyond it and no witness speaks of a
//! later seq, else the log is *corrupt* and the opening is refused. Nothing may be changed before
//! every reason to refuse has been looked at.

mod tail;

use std::io;

use crate::catalog::{Catalog, Spare};
use crate::committer::Committer;
use crate::consumers::{remove_leftovers, witnesses};
use crate::error::{Damage, OpenError};
use crate::format::{
    ALIGNMENT_BYTES_MIN, ARCHIVE_DIR, CONSUMERS_FILE, FRAME_BYTES_MAX, LOCK_FILE, OWNER_BYTES_MAX,
    SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES, SNAPSHOTS_DIR, SegmentHeader, TEMPORARY_SUFFIX,
    alignment_is_valid, header_len_for, segment_file_name, spare_file_name,
};
use crate::frame::FRAME_HEADER_BYTES;
use crate::headers::{Identity, Listing, catalog_of_pages, failed, read_pages};
use crate::leftovers::Leftover;
use crate::links;
use crate::log::{Limits, LogOptions, Published, Shared};
use crate::planted;
use crate::queue::{Batch, Queue, Room, SPARES_RESERVED};
use crate::seq::{Chain, Epoch, Seq, Tip};
use crate::status::{OpenedAs, SyncClock};
use crate::storage::{
    OpenMode, Storage, StorageFile, is_no_space, list_if_there, read_exact_at, remove_if_there,
};
use crate::waiters::Waiters;

pub(crate) use tail::{Tail, TailError, scan_tail};

/// A log that was read and, where it was needed, repaired.
struct Found<S: Storage> {
    file: S::File,
    header: SegmentHeader,
    catalog: Catalog,
    /// Where the next frame goes, and how long the file is.
    room: Room,
    tip: Tip,
    epoch_counter: u64,
    /// The last frame holds records: a checkpoint should follow, for those who read the directory.
    unsealed: bool,
    opened: OpenedAs,
    leftovers: Vec<Leftover>,
}

/// What an opening yields: the log, its lock, and the segments that are no part of it any more.
pub(crate) type Opened<S> = (Shared<S>, <S as Storage>::Lock, Vec<Leftover>);

/// Opens or makes the log; see [`crate::Log::open`].
pub(crate) fn open<S: Storage>(storage: S, options: &LogOptions) -> Result<Opened<S>, OpenError> {
    check_options(options)?;
    let listing = Listing::read(&storage)?;
    if listing.segments.is_empty() {
        refuse_leftovers(&storage, &listing)?;
    }
    let lock = match storage.try_lock(LOCK_FILE, &options.holder).map_err(failed("locking"))? {
        Ok(lock) => lock,
        Err(holder) => return Err(OpenError::Locked { holder }),
    };
    // Again: now nobody else changes it.
    let listing = Listing::read(&storage)?;
    let mut found = if listing.segments.is_empty() {
        make(&storage, options, &listing)?
    } else {
        let found = recover(&storage, options, &listing)?;
        remove_temporary(&storage, &listing).map_err(failed("removing leftovers"))?;
        found
    };
    let leftovers = std::mem::take(&mut found.leftovers);
    Ok((share(storage, options, listing.unknown, found), lock, leftovers))
}

fn share<S: Storage>(
    storage: S,
    options: &LogOptions,
    unknown_files: Vec<String>,
    found: Found<S>,
) -> Shared<S> {
    let limits = Limits {
        alignment: found.header.alignment,
        segment_bytes: options.segment_bytes,
        frame_bytes_max: options.frame_bytes_max,
        // With fewer the log could never rotate: one stays in reserve.
        spare_segments: options.spare_segments.max(SPARES_RESERVED + 1),
        disk_floor_bytes: options.disk_floor_bytes,
        checkpoint_after_ms: options.checkpoint_after_ms,
    };
    let mut tip = found.tip;
    let published = Published { segment: found.header.first_seq, end: found.room.offset, tip };
    tip.logged_at_us = tip.logged_at_us.max(options.opened_at_us);
    let committer = Committer {
        file: Some(found.file),
        segment: found.header.first_seq,
        chain: tip.chain,
        batch: Batch::new(),
        unsealed: found.unsealed,
        wakers: Vec::new(),
    };
    Shared {
        queue: threading::Mutex::new(Queue::new(&tip, found.header.first_seq, found.room, &limits)),
        limits,
        log_id: found.header.log_id,
        owner: found.header.owner,
        epoch: Epoch { counter: found.epoch_counter + 1, random: options.epoch_random },
        work: threading::Condvar::new(),
        room: threading::Condvar::new(),
        committer: threading::Mutex::new(committer),
        waiters: Waiters::new(tip.seq),
        catalog: threading::Mutex::new(found.catalog),
        published: threading::Mutex::new(published),
        sync_clock: SyncClock::default(),
        opened: found.opened,
        unknown_files,
        storage,
    }
}

pub(crate) fn check_options(options: &LogOptions) -> Result<(), OpenError> {
    let refuse = |what| Err(OpenError::Options { what });
    if options.owner.len() > OWNER_BYTES_MAX {
        return refuse("the owner is longer than 256 bytes");
    }
    if options.alignment.is_some_and(|alignment| !alignment_is_valid(alignment)) {
        return refuse("the alignment isn't a power of two from 512 to 32768");
    }
    let alignment = options.alignment.unwrap_or(ALIGNMENT_BYTES_MIN);
    if options.segment_bytes < u64::from(header_len_for(alignment)) + 4 * u64::from(alignment) {
        return refuse("a segment must hold its header and at least four blocks");
    }
    if options.segment_bytes > SEGMENT_BYTES_MAX {
        return refuse("a segment has at most 1 GiB, which is what every reader takes");
    }
    if options.frame_bytes_max > FRAME_BYTES_MAX
        || options.frame_bytes_max < 4 * FRAME_HEADER_BYTES + 2 * alignment as usize
    {
        return refuse("the longest frame is out of range");
    }
    Ok(())
}

/// A directory without segments is a new log only if nothing in it says otherwise.
fn refuse_leftovers<S: Storage>(storage: &S, listing: &Listing) -> Result<(), OpenError> {
    let refuse = |what: String| Err(OpenError::NotALog { what });
    if let Some(name) = listing.unknown.first() {
        return refuse(format!("the directory holds {name:?}, but no segment"));
    }
    // The first segment is made from spare 0; any other one proves that there was a log.
    if let Some(spare) = listing.spares.iter().find(|name| **name != spare_file_name(0)) {
        return refuse(format!("the directory holds {spare}, but no segment"));
    }
    if listing.has_consumers {
        return refuse(format!("the directory holds {CONSUMERS_FILE}, but no segment"));
    }
    for dir in [ARCHIVE_DIR, SNAPSHOTS_DIR] {
        let names = list_if_there(storage, dir).map_err(failed("listing the directory"))?;
        if let Some(name) = names.iter().find(|name| !name.ends_with(TEMPORARY_SUFFIX)) {
            return refuse(format!("the directory holds {dir}/{name}, but no segment"));
        }
    }
    Ok(())
}

fn make<S: Storage>(
    storage: &S,
    options: &LogOptions,
    listing: &Listing,
) -> Result<Found<S>, OpenError> {
    remove_temporary(storage, listing).map_err(failed("removing leftovers"))?;
    let block = storage.block_bytes().map_err(failed("asking for the block size"))?;
    let usable = if alignment_is_valid(block) { block } else { ALIGNMENT_BYTES_MIN };
    let alignment = options.alignment.unwrap_or(usable);
    let chain = Chain::genesis(options.new_log_id);
    let header = SegmentHeader {
        header_len: header_len_for(alignment),
        alignment,
        log_id: options.new_log_id,
        epoch: Epoch { counter: 1, random: options.epoch_random },
        first_seq: Seq::new(1),
        previous_chain: chain,
        previous_digest: 0,
        previous_logged_at_us: options.opened_at_us,
        created_at_us: options.opened_at_us,
        capacity_bytes: options.segment_bytes,
        owner: options.owner.clone(),
    };
    let spare = Spare::make(storage, 0, options.segment_bytes)
        .map_err(space_or("making the first segment"))?;
    let capacity = spare.bytes;
    let file =
        spare.become_segment(storage, &header).map_err(space_or("making the first segment"))?;
    let mut catalog = Catalog::default();
    catalog.push(&header, false, capacity);
    let room = Room { offset: u64::from(header.header_len), capacity };
    let tip = Tip { seq: Seq::ZERO, chain, digest: 0, logged_at_us: options.opened_at_us };
    Ok(Found {
        file,
        header,
        catalog,
        room,
        tip,
        epoch_counter: 0,
        unsealed: false,
        opened: OpenedAs::New,
        leftovers: Vec::new(),
    })
}

fn recover<S: Storage>(
    storage: &S,
    options: &LogOptions,
    listing: &Listing,
) -> Result<Found<S>, OpenError> {
    let identity = Identity { owner: Some(options.owner.clone()), log_id: None };
    let mut pages = read_pages(storage, identity, listing)?;
    let leftovers = links::check(storage, &mut pages)?;
    let (catalog, header) = catalog_of_pages(pages)?;
    let name = segment_file_name(header.first_seq);
    let file =
        storage.open(&name, OpenMode::ReadWrite).map_err(failed("opening the last segment"))?;
    let capacity = file.len().map_err(failed("opening the last segment"))?;
    let mut bytes =
        vec![
            0;
            usize::try_from(capacity)
                .map_err(|error| failed("opening the last segment")(io::Error::other(error)))?
        ];
    read_exact_at(&file, &mut bytes, 0).map_err(failed("reading the last segment"))?;
    let tail = scan_tail(&bytes, &header).map_err(|error| match error {
        TailError::Corrupt(damage) => OpenError::Corrupt(damage),
        TailError::UnsupportedVersion { found } => {
            OpenError::UnsupportedVersion { file: name.clone(), found }
        }
    })?;
    ask_witnesses(storage, &header, &tail, &name)?;
    // A close frame whose own sync failed looks just like a clean one: it is written again as well.
    let repaired =
        repair(storage, &file, &bytes, &tail).map_err(failed("rewriting the unwitnessed tail"))?;
    let opened = if tail.closed && tail.torn_bytes == 0 { OpenedAs::Clean } else { repaired };
    let mut catalog = catalog;
    for place in &tail.places {
        catalog.active().note(*place);
    }
    let room = Room { offset: tail.end, capacity };
    let unsealed = tail.unsealed;
    Ok(Found {
        file,
        header,
        catalog,
        room,
        tip: tail.tip,
        epoch_counter: tail.epoch_counter,
        unsealed,
        opened,
        leftovers,
    })
}

/// Refuses if a snapshot or a consumer proves that the log was longer, or was another.
pub(crate) fn ask_witnesses<S: Storage>(
    storage: &S,
    header: &SegmentHeader,
    tail: &Tail,
    name: &str,
) -> Result<(), OpenError> {
    let last = tail.tip.seq;
    for witness in witnesses(storage, header.log_id).map_err(failed("reading the witnesses"))? {
        let damage = |first_seq: Seq, what: String| {
            OpenError::Corrupt(Damage {
                file: name.to_owned(),
                offset: tail.end,
                length: if first_seq > last { tail.torn_bytes } else { 0 },
                first_seq,
                last_seq: witness.seq,
                what,
            })
        };
        if witness.seq > last {
            let what = format!(
                "the log ends at {last}, but {} proves it was durable up to {}",
                witness.source, witness.seq
            );
            return Err(damage(last.next(), what));
        }
        let in_tail = witness.seq >= header.first_seq;
        if let Some(chain) = witness.chain
            && in_tail
            && !tail.chains.contains(&(witness.seq, chain))
        {
            let what =
                format!("the log has another chain at {} than {}", witness.seq, witness.source);
            return Err(damage(witness.seq, what));
        }
    }
    Ok(())
}

/// Zeroes what is torn, and writes and syncs again what no later watermark covers: after a failed
/// sync such pages are readable and clean, yet not on the disk.
fn repair<S: Storage>(
    storage: &S,
    file: &S::File,
    bytes: &[u8],
    tail: &Tail,
) -> io::Result<OpenedAs> {
    if tail.torn_bytes > 0 {
        file.write_at(&vec![0; tail.torn_bytes as usize], tail.end)?;
    }
    if planted::is("serve without rewriting the tail") {
        return Ok(OpenedAs::Unclean { torn_bytes: tail.torn_bytes, frames_rewritten: 0 });
    }
    file.write_at(&bytes[..SEGMENT_HEADER_BYTES], 0)?;
    for unwitnessed in &tail.unwitnessed {
        file.write_at(&bytes[unwitnessed.clone()], unwitnessed.start as u64)?;
    }
    file.sync_data()?;
    storage.sync_dir("")?;
    Ok(OpenedAs::Unclean {
        torn_bytes: tail.torn_bytes,
        frames_rewritten: tail.unwitnessed.len() as u64,
    })
}

fn remove_temporary<S: Storage>(storage: &S, listing: &Listing) -> io::Result<()> {
    for spare in &listing.spares {
        remove_if_there(storage, spare)?;
    }
    remove_leftovers(storage)
}

fn space_or(operation: &'static str) -> impl Fn(io::Error) -> OpenError {
    move |source| if is_no_space(&source) { OpenError::NoSpace } else { failed(operation)(source) }
}
