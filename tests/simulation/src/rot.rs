//! Bits that flip in what a machine has at rest, and what must come of it: damage is named, or it
//! lies where nothing counts; what the directory then says is the truth or an error, never
//! something else.
//!
//! The operator has a copy, made at the same moment; an older one would lose what came after it, and
//! no log can heal that. A disk that lies about syncs isn't rot: it breaks what the log asks of a
//! medium, and is a planted bug elsewhere.

use std::fmt;
use std::sync::Arc;

use event_log::storage::sim::SimStorage;
use event_log::{Chain, Cursor, FrameHeader, Log, LogOptions, Seq, verify};
use shared::{StoreId, Timestamp};
use store_node::ledger::{Ledger, LedgerOptions};

use crate::dice::Dice;

/// Bits that flip at once, at most.
const FLIPS_MAX: u64 = 3;
/// They lie within so many bytes.
const SECTOR_BYTES: u64 = 512;

/// A damaged file, and what was in it.
#[derive(Debug, Clone)]
pub struct Damage {
    /// Where it is on the disk.
    pub path: String,
    /// What was there.
    original: Vec<u8>,
    /// Whether the file was written no more when it was damaged: then the copy may be put back.
    is_closed: bool,
}

/// What became of rot in a store's directory.
#[derive(Debug)]
pub enum Outcome {
    /// There was nothing to damage, or not in a sound state.
    Nothing,
    /// The node refuses to open: its directory is taken from the copy.
    Refused(SimStorage),
    /// It opens, with the state that it had, and the damage is named by who verifies it.
    Named(Damage),
    /// It opens, and nothing that counts was hit in this file.
    Harmless(String),
    /// The very last frame was hit and nothing proves that it was ever there: that reads as a torn
    /// tail, as documented. The directory is taken from the copy.
    Limit(SimStorage),
    /// It opens and says something that isn't so.
    Unnoticed(String),
}

/// What a directory says, opened and read from its beginning to its end.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    state: State,
    /// The hash of all records; or why they can't be read.
    records: Result<blake3::Hash, String>,
    /// The chain before the last frame; none if there is no frame.
    before_last: Option<Chain>,
    /// Whether something besides the frames proves that the last one was durable.
    is_last_proven: bool,
}

/// What opening makes of a directory.
#[derive(Debug, PartialEq, Eq)]
struct State {
    last: Seq,
    chain: Chain,
    digest: u128,
    items: u64,
    keys: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "nothing to damage"),
            Self::Refused(_) => write!(f, "it refuses to open"),
            Self::Named(damage) => write!(f, "{} is named", damage.path),
            Self::Harmless(path) => write!(f, "nothing that counts in {path}"),
            Self::Limit(_) => write!(f, "the very last frame"),
            Self::Unnoticed(what) => write!(f, "UNNOTICED {what}"),
        }
    }
}

impl Damage {
    /// The operator repairs a directory at rest: a damaged snapshot goes, another file comes back
    /// from the copy.
    pub fn repair(&self, disk: &SimStorage) {
        let is_there = disk.contents().iter().any(|(path, _)| *path == self.path);
        if self.path.starts_with("snapshots/") {
            disk.take(&self.path);
        } else if is_there && self.is_closed {
            disk.put(&self.path, &self.original);
        }
    }
}

/// Flips bits in one file of a store's directory at rest, and looks what it then says.
pub fn strike(
    disk: &SimStorage,
    store: &StoreId,
    options: &LogOptions,
    dice: &mut Dice,
) -> Outcome {
    let clean = disk.fork();
    let Ok(before) = read(&clean, store, options) else {
        return Outcome::Nothing;
    };
    if before.records.is_err() || !names_nothing(&clean) {
        return Outcome::Nothing;
    }
    let Some(damage) = flip(disk, dice) else {
        return Outcome::Nothing;
    };
    let is_named = !names_nothing(disk);
    let after = match read(disk, store, options) {
        Ok(after) => after,
        Err(_) if is_named => return Outcome::Refused(clean),
        Err(error) => {
            let path = damage.path;
            return Outcome::Unnoticed(format!("{path}: refused by {error}, sound to verify"));
        }
    };
    if is_limit(&before, &after) {
        return Outcome::Limit(clean);
    }
    let lies = after.records.as_ref().is_ok_and(|records| Ok(records) != before.records.as_ref());
    if after.state != before.state || lies {
        let path = damage.path;
        return Outcome::Unnoticed(format!("{path}: {after:?} instead of {before:?}"));
    }
    let is_covered = damage.path.starts_with("snapshots/") || damage.path == "CONSUMERS";
    match (is_named, is_covered || after.records.is_err()) {
        (true, _) => Outcome::Named(damage),
        (false, false) => Outcome::Harmless(damage.path),
        (false, true) => Outcome::Unnoticed(format!("{}: sound to verify", damage.path)),
    }
}

/// Flips a few bits of one file.
pub fn flip(disk: &SimStorage, dice: &mut Dice) -> Option<Damage> {
    let files: Vec<(String, Vec<u8>)> = disk.contents().into_iter().filter(counts).collect();
    if files.is_empty() {
        return None;
    }
    let (path, original) = dice.pick(&files).clone();
    // Segments are mostly zeros: what counts is where something was written.
    let written = original.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64;
    // One place rots at a time.
    let sector = dice.between(0, written) / SECTOR_BYTES * SECTOR_BYTES;
    let last = written.min(sector + SECTOR_BYTES - 1);
    let mut flipped = Vec::new();
    for _ in 0..dice.between(1, FLIPS_MAX) {
        let (offset, bit) = (dice.between(sector, last), dice.between(0, 7) as u8);
        // A bit that is flipped twice is whole again.
        if !flipped.contains(&(offset, bit)) {
            disk.flip_bit(&path, offset, bit).ok()?;
            flipped.push((offset, bit));
        }
    }
    let newest = files.iter().map(|(path, _)| path).rfind(|path| is_segment(path));
    let is_closed = newest != Some(&path);
    Some(Damage { path, original, is_closed })
}

/// Whether a file holds anything.
fn counts((path, bytes): &(String, Vec<u8>)) -> bool {
    !bytes.is_empty() && !path.starts_with("spare-")
}

fn is_segment(path: &str) -> bool {
    event_log::parse_segment_file_name(path).is_some()
}

fn names_nothing(disk: &SimStorage) -> bool {
    verify(disk, &mut |_, _| ()).is_ok_and(|report| report.is_sound())
}

/// The last frame is gone, be it one without records, and only frames ever knew of it.
fn is_limit(before: &Told, after: &Told) -> bool {
    !before.is_last_proven && before.before_last == Some(after.state.chain) && after.records.is_ok()
}

/// Opens a copy of a directory and reads all of it.
fn read(disk: &SimStorage, store: &StoreId, options: &LogOptions) -> Result<Told, String> {
    let log = Log::open(disk.fork(), options.clone()).map_err(|error| error.to_string())?;
    let now = Timestamp::from_micros(log.tip().logged_at_us);
    let opened = Ledger::open(
        Arc::clone(&log),
        store.clone(),
        LedgerOptions::default(),
        now,
        &mut |_, _| (),
    );
    let (ledger, report) = opened.map_err(|error| error.to_string())?;
    let state = State {
        last: log.last(),
        chain: log.tip().chain,
        digest: report.digest,
        items: report.items,
        keys: report.keys,
    };
    drop(ledger);
    let (mut before_last, mut last) = (None, None);
    let records = read_records(&log, &mut |header, previous| {
        (before_last, last) = (Some(previous), Some(header.clone()));
    });
    let snapshots = log.snapshots().map_err(|error| error.to_string())?;
    let consumers = log.consumers();
    let cursors = snapshots.iter().map(|info| (info.hi(), info.header.chain));
    let mut cursors =
        cursors.chain(consumers.iter().map(|consumer| (consumer.seq, consumer.chain)));
    let is_last_proven = last.is_some_and(|last| {
        cursors.any(|(seq, chain)| seq >= last.first_seq || chain == last.chain)
    });
    Ok(Told { state, records, before_last, is_last_proven })
}

/// Reads all records, and tells of each frame with the chain before it.
fn read_records(
    log: &Log<SimStorage>,
    tell: &mut dyn FnMut(&FrameHeader, Chain),
) -> Result<blake3::Hash, String> {
    let segments = log.status().segments;
    let oldest = segments.first().map_or(Seq::ZERO, |segment| segment.first.previous());
    let mut hasher = blake3::Hasher::new();
    let cursor = Cursor { seq: oldest, chain: None };
    let mut reader = log.reader(cursor).map_err(|error| error.to_string())?;
    let mut previous = reader.cursor().chain;
    while let Some(frame) = reader.next().map_err(|error| error.to_string())? {
        if let Some(previous) = previous.replace(frame.header.chain) {
            tell(&frame.header, previous);
        }
        for (seq, record) in frame.records() {
            hasher.update(&seq.get().to_le_bytes());
            hasher.update(record);
        }
    }
    Ok(hasher.finalize())
}
