//! What may go: the floor, who holds it, and how many bytes there are.
//!
//! Decides nothing by guessing: what it can't read is an error, and the caller then deletes nothing.

use super::{CompactionError, SNAPSHOTS_KEEP_MIN, io_error};
use crate::archive;
use crate::consumers::Consumer;
use crate::format::{
    ARCHIVE_DIR, SNAPSHOTS_DIR, SPARE_PREFIX, SegmentHeader, parse_segment_file_name,
    segment_file_name,
};
use crate::planted;
use crate::seq::{Chain, Seq};
use crate::snapshot::SnapshotInfo;
use crate::storage::{OpenMode, Storage, StorageFile, join, list_if_there, read_exact_at};

/// A segment that is written to no more.
#[derive(Clone, Debug)]
pub(crate) struct SealedSegment {
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    /// The chain at its end, as the next segment's header has it.
    pub(crate) end_chain: Option<Chain>,
}

/// Everybody who needs what is above some seq.
pub(super) struct Holders {
    /// `lo` of the oldest kept snapshot; `None` when there are too few to let anything go.
    snapshot: Option<(Seq, String)>,
    /// Where a reader of a kept snapshot goes on.
    snapshot_ends: Vec<(Seq, Chain)>,
    consumers: Vec<Consumer>,
    pins: Vec<(String, Seq)>,
}

impl Holders {
    pub(super) fn new(
        kept: &[SnapshotInfo],
        consumers: Vec<Consumer>,
        pins: Vec<(String, Seq)>,
    ) -> Self {
        let enough = kept.len() >= SNAPSHOTS_KEEP_MIN;
        // The order of the names is that of `lo`.
        let oldest = kept.iter().min_by_key(|snapshot| snapshot.lo()).filter(|_| enough);
        let snapshot = oldest.map(|snapshot| (snapshot.lo(), snapshot.file.clone()));
        let consumers = if planted::is("compact past a consumer") { Vec::new() } else { consumers };
        let snapshot_ends =
            kept.iter().map(|snapshot| (snapshot.lo(), snapshot.header.chain)).collect();
        Self { snapshot, snapshot_ends, consumers, pins }
    }

    /// Whether somebody stands inside the segment that ends at `last` with `end_chain`, though at its
    /// last seq: before the frames without records that end it. Without the segment nobody could
    /// tell any more that their chain is the log's.
    pub(super) fn need_end_of(&self, last: Seq, end_chain: Option<Chain>) -> bool {
        let consumers = self.consumers.iter().map(|consumer| (consumer.seq, consumer.chain));
        let mut known = self.snapshot_ends.iter().copied().chain(consumers);
        let known_needs = known.any(|(seq, chain)| seq == last && end_chain != Some(chain));
        known_needs || self.pins.iter().any(|(_, seq)| *seq == last)
    }

    /// The floor, and what holds it there.
    pub(super) fn floor(&self) -> (Seq, String) {
        let Some((seq, file)) = &self.snapshot else {
            return (Seq::ZERO, format!("fewer than {SNAPSHOTS_KEEP_MIN} snapshots"));
        };
        let consumers = self
            .consumers
            .iter()
            .map(|consumer| (consumer.seq, format!("consumer {}", consumer.id)));
        let pins = self.pins.iter().map(|(id, seq)| (*seq, format!("pin {id}")));
        let snapshot = std::iter::once((*seq, file.clone()));
        snapshot.chain(consumers).chain(pins).min_by_key(|(seq, _)| *seq).unwrap_or_default()
    }

    /// The floor if no consumer held it.
    pub(super) fn floor_without_consumers(&self) -> Seq {
        let pins = self.pins.iter().map(|(_, seq)| *seq);
        let snapshot = self.snapshot.as_ref().map_or(Seq::ZERO, |(seq, _)| *seq);
        pins.fold(snapshot, Seq::min)
    }

    /// The consumer to drop when there is no room: the slowest, if it holds the floor at all.
    pub(super) fn slowest_consumer_at_floor(&self) -> Option<Consumer> {
        let slowest = self.consumers.iter().min_by_key(|consumer| consumer.seq)?;
        (slowest.seq < self.floor_without_consumers()).then(|| slowest.clone())
    }
}

/// Bytes of all segments, spares, archived segments and snapshots.
pub(super) fn used_bytes<S: Storage>(storage: &S) -> Result<u64, CompactionError> {
    let mut bytes = 0;
    for dir in ["", ARCHIVE_DIR, SNAPSHOTS_DIR] {
        for name in
            list_if_there(storage, dir).map_err(|source| io_error("listing", dir, source))?
        {
            let is_ours = !dir.is_empty()
                || parse_segment_file_name(&name).is_some()
                || name.starts_with(SPARE_PREFIX);
            if is_ours {
                bytes += length(storage, &join(dir, &name))?;
            }
        }
    }
    Ok(bytes)
}

/// The first seqs of all segments that aren't archived, in order.
pub(super) fn live_segments<S: Storage>(storage: &S) -> Result<Vec<Seq>, CompactionError> {
    let names = storage.list("").map_err(|source| io_error("listing", "the directory", source))?;
    Ok(names.iter().filter_map(|name| parse_segment_file_name(name)).collect())
}

/// The header page of the segment after the one that begins with `first`, archived or not.
pub(super) fn header_after<S: Storage>(
    storage: &S,
    first: Seq,
    live: &[Seq],
    archived: &[Seq],
) -> Result<SegmentHeader, CompactionError> {
    let after = |firsts: &[Seq]| firsts.iter().copied().find(|next| *next > first);
    match (after(archived), after(live)) {
        (Some(next), live) if live.is_none_or(|live| next < live) => {
            archive::read_header(storage, next)
                .map_err(|source| io_error("reading", ARCHIVE_DIR, source))
        }
        (_, Some(next)) => live_header(storage, next),
        (_, None) => Err(CompactionError::Refused { what: "there is no segment".to_owned() }),
    }
}

fn live_header<S: Storage>(storage: &S, first: Seq) -> Result<SegmentHeader, CompactionError> {
    let name = &segment_file_name(first);
    let failed = |source| io_error("reading", name, source);
    let file = storage.open(name, OpenMode::Read).map_err(failed)?;
    let mut page = [0; crate::format::SEGMENT_HEADER_BYTES];
    read_exact_at(&file, &mut page, 0).map_err(failed)?;
    SegmentHeader::decode(&page)
        .map_err(|error| CompactionError::Refused { what: format!("{name} is damaged: {error}") })
}

fn length<S: Storage>(storage: &S, path: &str) -> Result<u64, CompactionError> {
    match storage.open(path, OpenMode::Read).and_then(|file| file.len()) {
        Ok(bytes) => Ok(bytes),
        // A spare that got its name, a leftover that went.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(io_error("reading", path, source)),
    }
}
