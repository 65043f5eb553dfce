//! Segment files: making spares, and the catalog of what is live, sealed and archived.
//!
//! A segment file is zero-filled and synced before it is used, and never used twice. This file must
//! never delete a segment: compaction does, and tells the catalog.

use std::collections::BTreeMap;
use std::io;

use crate::compaction::SealedSegment;
use crate::format::{SegmentHeader, segment_file_name, spare_file_name};
use crate::planted;
use crate::seq::{Chain, Seq};
use crate::storage::gradual::Gradual;
use crate::storage::{OpenMode, Storage, StorageFile};

/// Zeros are written in pieces of this size.
const ZERO_PIECE_BYTES: usize = 256 << 10;
/// An index entry for about so many bytes of frames.
const INDEX_STEP_BYTES: u64 = 64 * 1024;

/// A zero-filled, synced file that will be a segment.
pub(crate) struct Spare<S: Storage> {
    pub(crate) file: S::File,
    pub(crate) path: String,
    /// Its length.
    pub(crate) bytes: u64,
}

impl<S: Storage> Spare<S> {
    /// Makes spare number `number`; on failure nothing is left behind.
    pub(crate) fn make(storage: &S, number: u64, bytes: u64) -> io::Result<Self> {
        let path = spare_file_name(number);
        let file = storage.open(&path, OpenMode::CreateNew)?;
        match zero_fill(&file, bytes) {
            Ok(()) => Ok(Self { file, path, bytes }),
            Err(error) => {
                // Best effort: a leftover is removed at the next opening too.
                let _ = storage.remove(&path);
                Err(error)
            }
        }
    }

    /// Turns the spare into a segment: header, sync, rename, directory sync.
    pub(crate) fn become_segment(self, storage: &S, header: &SegmentHeader) -> io::Result<S::File> {
        assert_eq!(header.capacity_bytes, self.bytes, "the header says how long its file is");
        self.file.write_at(&header.encode()[..], 0)?;
        self.file.sync_data()?;
        storage.rename(&self.path, &segment_file_name(header.first_seq))?;
        if !planted::is("skip the directory sync") {
            storage.sync_dir("")?;
        }
        Ok(self.file)
    }
}

fn zero_fill<F: StorageFile>(file: &F, bytes: u64) -> io::Result<()> {
    file.allocate(bytes)?;
    let zeros = vec![0; ZERO_PIECE_BYTES.min(usize::try_from(bytes).unwrap_or(ZERO_PIECE_BYTES))];
    let mut offset = 0;
    let mut gradual = Gradual::default();
    while offset < bytes {
        let piece = (bytes - offset).min(zeros.len() as u64) as usize;
        gradual.write_at(file, &zeros[..piece], offset)?;
        offset += piece as u64;
    }
    file.sync_data()
}

/// A place between two frames, from which a walk can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Byte offset of the next frame.
    pub(crate) offset: u64,
    /// The last seq before it.
    pub(crate) seq: Seq,
    /// The chain before it.
    pub(crate) chain: Chain,
}

/// What the catalog knows of one segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) archived: bool,
    /// Where its frames begin.
    pub(crate) start: Place,
    /// Last seq and chain at its end; none for the active one.
    pub(crate) end: Option<(Seq, Chain)>,
    /// Bytes of its file.
    pub(crate) bytes: u64,
    /// Where its frames ended when this process sealed it; otherwise its file's end is taken.
    used: Option<u64>,
    /// How often a larger file took the place of this one; open readers have the old file then.
    pub(crate) replaced: u32,
    /// Sparse index: ascending places, about one for each 64 KiB; derived, never evidence.
    index: Vec<Place>,
}

impl Segment {
    pub(crate) fn new(header: &SegmentHeader, archived: bool, bytes: u64) -> Self {
        let start = Place {
            offset: u64::from(header.header_len),
            seq: header.first_seq.previous(),
            chain: header.previous_chain,
        };
        Self { archived, start, end: None, bytes, used: None, replaced: 0, index: Vec::new() }
    }

    /// The same without its index: cheap to copy.
    pub(crate) fn without_index(&self) -> Self {
        Self { index: Vec::new(), ..*self }
    }

    /// Adds a place to the index if it is far enough from the last one.
    pub(crate) fn note(&mut self, place: Place) {
        let last = self.index.last().map_or(self.start.offset, |last| last.offset);
        if place.offset >= last + INDEX_STEP_BYTES {
            self.index.push(place);
        }
    }

    /// Adds a place that readers must be able to begin at, however near the last one is.
    pub(crate) fn mark(&mut self, place: Place) {
        let at = self.index.partition_point(|known| known.offset < place.offset);
        self.index.insert(at, place);
    }

    /// The known place with this seq and chain: a walk to it may lead over damage.
    pub(crate) fn place_at(&self, seq: Seq, chain: &Chain) -> Option<Place> {
        let first = self.index.partition_point(|place| place.seq < seq);
        let same = self.index[first..].iter().take_while(|place| place.seq == seq);
        same.copied().find(|place| place.chain == *chain)
    }

    /// The last known place before the frame whose end is at `seq`.
    pub(crate) fn place_before(&self, seq: Seq) -> Place {
        let count = self.index.partition_point(|place| place.seq < seq);
        if count == 0 { self.start } else { self.index[count - 1] }
    }
}

/// All segments by first seq. The last one is the active one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    segments: BTreeMap<Seq, Segment>,
}

impl Catalog {
    /// Adds a segment behind all others; the one before it is sealed by what the new header says.
    pub(crate) fn push(&mut self, header: &SegmentHeader, archived: bool, bytes: u64) {
        if let Some((_, before)) = self.segments.iter_mut().next_back() {
            before.end = Some((header.first_seq.previous(), header.previous_chain));
        }
        self.segments.insert(header.first_seq, Segment::new(header, archived, bytes));
    }

    /// Makes this segment the last one: what follows isn't to be read.
    pub(crate) fn end_with(&mut self, first: Seq) {
        self.segments.split_off(&first.next());
        if let Some(segment) = self.segments.get_mut(&first) {
            segment.end = None;
        }
    }

    /// Adds a place of a segment that readers must be able to begin at.
    pub(crate) fn mark(&mut self, first: Seq, place: Place) {
        if let Some(segment) = self.segments.get_mut(&first) {
            segment.mark(place);
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&Seq, &Segment)> {
        self.segments.iter()
    }

    pub(crate) fn get(&self, first: Seq) -> Option<&Segment> {
        self.segments.get(&first)
    }

    pub(crate) fn active(&mut self) -> &mut Segment {
        let last = self.segments.iter_mut().next_back();
        last.map(|(_, segment)| segment).expect("a log has an active segment")
    }

    /// Notes where the frames of the active segment end, for it is about to be sealed.
    pub(crate) fn note_end(&mut self, end: u64) {
        self.active().used = Some(end);
    }

    /// Bytes from the end of the frame at `seq` to `end` in the active segment, to the nearest
    /// place that is known. Archived segments count as they lie in the archive.
    pub(crate) fn bytes_after(&self, seq: Seq, end: u64) -> u64 {
        let left = |(first, segment): (&Seq, &Segment)| match segment.end {
            Some((last, _)) if last <= seq => 0,
            _ if segment.archived => segment.bytes,
            sealed => {
                let until =
                    if sealed.is_some() { segment.used.unwrap_or(segment.bytes) } else { end };
                let from =
                    if *first > seq { segment.start } else { segment.place_before(seq.next()) };
                until.saturating_sub(from.offset)
            }
        };
        self.segments.iter().map(left).sum()
    }

    /// The segment that begins after this one.
    pub(crate) fn after(&self, first: Seq) -> Option<Seq> {
        self.segments.range(first.next()..).next().map(|(first, _)| *first)
    }

    /// The segment that holds the end of the frame at `seq`; the first one for a seq just before it.
    pub(crate) fn holding(&self, seq: Seq) -> Option<Seq> {
        let inside = self.segments.range(..=seq).next_back().map(|(first, _)| *first);
        inside.or_else(|| self.segments.contains_key(&seq.next()).then(|| seq.next()))
    }

    /// The first seq that can still be read.
    pub(crate) fn first(&self) -> Seq {
        self.segments.keys().next().copied().unwrap_or_default()
    }

    pub(crate) fn sealed(&self) -> Vec<SealedSegment> {
        let live = self.segments.iter().filter(|(_, segment)| !segment.archived);
        live.filter_map(|(first, segment)| {
            let (last, chain) = segment.end?;
            Some(SealedSegment { first: *first, last, end_chain: Some(chain) })
        })
        .collect()
    }

    pub(crate) fn removed(&mut self, first: Seq, archived: bool) {
        if !archived {
            self.segments.remove(&first);
        } else if let Some(segment) = self.segments.get_mut(&first) {
            segment.archived = true;
            segment.used = None;
            segment.index.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header_len_for;
    use crate::seq::{Epoch, LogId};
    use crate::storage::sim::SimStorage;

    fn header(first: u64) -> SegmentHeader {
        SegmentHeader {
            header_len: header_len_for(512),
            alignment: 512,
            log_id: LogId::new([1; 16]),
            epoch: Epoch { counter: 1, random: 1 },
            first_seq: Seq::new(first),
            previous_chain: Chain::new([first as u8; 32]),
            previous_digest: 0,
            previous_logged_at_us: 0,
            created_at_us: 0,
            capacity_bytes: 0,
            owner: Vec::new(),
        }
    }

    #[test]
    fn the_catalog_finds_the_segment_of_a_frame_end() {
        let mut catalog = Catalog::default();
        for first in [11, 21, 31] {
            catalog.push(&header(first), first == 11, 1);
        }
        let holding = |seq| catalog.holding(Seq::new(seq)).map(Seq::get);
        assert_eq!(holding(9), None);
        assert_eq!(holding(10), Some(11));
        assert_eq!(holding(20), Some(11));
        assert_eq!(holding(21), Some(21));
        assert_eq!(holding(99), Some(31));
        let end = catalog.get(Seq::new(21)).unwrap().end;
        assert_eq!(end, Some((Seq::new(30), Chain::new([31; 32]))));
        assert_eq!(catalog.sealed().len(), 1);
        assert_eq!(catalog.after(Seq::new(11)), Some(Seq::new(21)));
    }

    #[test]
    fn a_spare_in_the_making_is_never_far_ahead_of_the_disk() {
        use crate::storage::gradual::{AHEAD_BYTES_MAX, most_ahead_bytes};

        let storage = SimStorage::new(1);
        let spare = Spare::make(&storage, 1, 16 << 20).unwrap();
        let most = most_ahead_bytes(&storage, &spare.path);
        assert!((1..=2 * AHEAD_BYTES_MAX).contains(&most), "a frame would wait for {most} bytes");
    }

    #[test]
    fn the_index_gives_the_last_place_before_a_frame_end() {
        let mut segment = Segment::new(&header(1), false, 1);
        let chain = Chain::new([0; 32]);
        for step in 1..=4_u64 {
            let offset = 4096 + step * INDEX_STEP_BYTES;
            segment.note(Place { offset, seq: Seq::new(step * 10), chain });
            segment.note(Place { offset: offset + 512, seq: Seq::new(step * 10 + 1), chain });
        }
        let offset = |seq| segment.place_before(Seq::new(seq)).offset;
        assert_eq!(offset(10), 4096, "the frame that ends at 10 lies before the place");
        assert_eq!(offset(11), 4096 + INDEX_STEP_BYTES);
        assert_eq!(offset(99), 4096 + 4 * INDEX_STEP_BYTES);
    }
}
