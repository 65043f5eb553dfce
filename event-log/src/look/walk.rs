//! From a known place forward, frame by frame with every check, to where the log can no longer be
//! believed. It must never pass over damage, nor stop before it.

use std::io;
use std::ops::ControlFlow;

use super::Damages;
use crate::archive;
use crate::catalog::{Catalog, Place, Segment};
use crate::error::{Damage, OpenError, ReadError};
use crate::format::{SEGMENT_BYTES_MAX, SegmentHeader, align_up, segment_file_name};
use crate::frame::{FrameError, FrameHeader, verify_link};
use crate::headers::Page;
use crate::recovery::{TailError, ask_witnesses, scan_tail};
use crate::seq::{LogId, Seq, Tip};
use crate::storage::{OpenMode, Storage, StorageFile};
use crate::walk::{SegmentWalk, Step, read_segment};
use crate::window::{SegmentReader, empty_frame};

/// How much is read at once from a disk that refuses some of it, bytes.
const PIECE_BYTES: usize = 4096;

/// Where what can be shown ends.
pub(super) struct Reached {
    pub(super) tip: Tip,
    /// The last segment that may be read, and where its good frames end.
    pub(super) segment: Seq,
    pub(super) end: u64,
    pub(super) epoch_counter: u64,
    pub(super) torn_bytes: u64,
}

/// The walk over the segments of a directory.
pub(super) struct Walk<'a, S: Storage> {
    pub(super) storage: &'a S,
    pub(super) pages: &'a [Page],
    pub(super) log_id: LogId,
    /// A process writes the log: its last frame may be in flight.
    pub(super) is_written: bool,
    pub(super) damages: &'a mut Damages,
}

impl<S: Storage> Walk<'_, S> {
    /// Walks from the frame end that `start` names. Where the log has no such place, `start` is all
    /// that is known, and the segments before it may still be read.
    pub(super) fn from(mut self, start: Tip, catalog: &mut Catalog) -> Result<Reached, OpenError> {
        let found = self.find(&start)?;
        let Some((index, place)) = found else {
            if !self.damages.explain(start.seq) {
                self.damages.add(no_such_place(&start));
            }
            return self.before(start);
        };
        catalog.mark(self.pages[index].header.first_seq, place);
        self.follow(index, place, start)
    }

    /// The segment and place of the frame end at `start`, past any damage before it.
    fn find(&mut self, start: &Tip) -> Result<Option<(usize, Place)>, OpenError> {
        let is_there = |header: &SegmentHeader| {
            header.first_seq.previous() == start.seq && header.previous_chain == start.chain
        };
        if let Some(index) = self.pages.iter().position(|page| is_there(&page.header)) {
            let header = &self.pages[index].header;
            let offset = u64::from(header.header_len);
            return Ok(Some((index, Place { offset, seq: start.seq, chain: start.chain })));
        }
        let after = self.pages.partition_point(|page| page.header.first_seq <= start.seq);
        let Some(index) = after.checked_sub(1) else { return Ok(None) };
        let bytes = self.bytes_of(index);
        let header = &self.pages[index].header;
        let mut walk = SegmentWalk::new(&bytes, header);
        let mut last = header.first_seq.previous();
        let place_at = |offset| Place { offset, seq: start.seq, chain: start.chain };
        loop {
            match walk.step() {
                // The snapshot knows its chain: a frame that follows it proves the place as well.
                Step::Frame { offset, header: frame, stored }
                    if frame.first_seq.previous() == start.seq
                        && verify_link(&start.chain, &frame, stored) =>
                {
                    return Ok(Some((index, place_at(offset))));
                }
                Step::Frame { offset, header: frame, stored } => {
                    last = frame.last_seq();
                    if last == start.seq && frame.chain == start.chain {
                        let end = offset + stored.len() as u64;
                        return Ok(Some((index, place_at(align_up(end, header.alignment)))));
                    }
                }
                Step::BadPayload { offset, length, error, header: frame } => {
                    self.damaged(header.first_seq, (offset, length), last.next(), &error)?;
                    last = frame.last_seq();
                    if last == start.seq && frame.chain == start.chain {
                        return Ok(Some((index, place_at(offset + length))));
                    }
                }
                Step::Garbage { offset, length, error } => {
                    self.damaged(header.first_seq, (offset, length), last.next(), &error)?;
                }
                Step::End { .. } => return Ok(None),
            }
        }
    }

    /// Names a damaged frame on the way to the start.
    fn damaged(
        &mut self,
        segment: Seq,
        (offset, length): (u64, u64),
        first_seq: Seq,
        error: &FrameError,
    ) -> Result<(), OpenError> {
        let file = segment_file_name(segment);
        if let Some(found) = error.unsupported_version() {
            return Err(OpenError::UnsupportedVersion { file, found });
        }
        let what = error.to_string();
        self.damages.add(Damage { file, offset, length, first_seq, last_seq: first_seq, what });
        Ok(())
    }

    /// Only the start is known: what may be read are the segments before it.
    fn before(mut self, start: Tip) -> Result<Reached, OpenError> {
        let after = self.pages.partition_point(|page| page.header.first_seq <= start.seq);
        let Some(index) = after.checked_sub(1) else {
            let (segment, epoch_counter) = (Seq::ZERO, 0);
            return Ok(Reached { tip: start, segment, end: 0, epoch_counter, torn_bytes: 0 });
        };
        let begin = begin_of(&self.pages[index]);
        let mut reached = self.at(index, begin, start);
        // Whatever follows this segment lies beyond the start.
        let _ends = self.segment(index, begin, &mut reached)?;
        Ok(Reached { tip: start, ..reached })
    }

    fn follow(mut self, mut index: usize, place: Place, start: Tip) -> Result<Reached, OpenError> {
        let mut reached = self.at(index, place, start);
        let mut place = place;
        while self.segment(index, place, &mut reached)?.is_continue() {
            index += 1;
            place = begin_of(&self.pages[index]);
            let Reached { tip, epoch_counter, torn_bytes, .. } = reached;
            reached = Reached { epoch_counter, torn_bytes, ..self.at(index, place, tip) };
        }
        Ok(reached)
    }

    fn at(&self, index: usize, place: Place, tip: Tip) -> Reached {
        let header = &self.pages[index].header;
        Reached {
            tip,
            segment: header.first_seq,
            end: place.offset,
            epoch_counter: header.epoch.counter,
            torn_bytes: 0,
        }
    }

    /// Reads one segment from `place` on; goes on where it ends as the next one says.
    fn segment(
        &mut self,
        index: usize,
        place: Place,
        reached: &mut Reached,
    ) -> Result<ControlFlow<()>, OpenError> {
        let page = &self.pages[index];
        let first = page.header.first_seq;
        let next = self.pages.get(index + 1).map(begin_of);
        let segment = Segment::new(&page.header, page.archived, page.bytes);
        let identity = (self.log_id, page.header.alignment);
        let mut reader = match SegmentReader::open(self.storage, identity, first, &segment) {
            Ok(reader) => reader,
            Err(error) => {
                self.damages.add(damage_of(error, place)?);
                return Ok(ControlFlow::Break(()));
            }
        };
        reader.seek(place);
        let mut frame = empty_frame();
        let mut newest = None;
        let stopped = loop {
            let here = reader.place;
            if next.is_some_and(|next| next.seq == here.seq && next.chain == here.chain) {
                break None;
            }
            match reader.read_into(&mut frame, u64::MAX) {
                // Each frame was begun only when the one before it was durable.
                Ok(true) => {
                    let whole = (frame.header.clone(), reader.place.offset);
                    if let Some((header, end)) = newest.replace(whole) {
                        reached.take(&header, end);
                    }
                }
                Ok(false) => break Some(None),
                Err(error) => break Some(Some(error)),
            }
        };
        if let Some((header, end)) = newest.filter(|_| next.is_some() || !self.is_written) {
            reached.take(&header, end);
        }
        let Some(error) = stopped else { return Ok(ControlFlow::Continue(())) };
        let error = error.map(|error| damage_of(error, reader.place)).transpose()?;
        match next {
            Some(next) => self.broken_off(first, reader.place, next, error),
            None => self.tail(index, reader.place, error, reached)?,
        }
        Ok(ControlFlow::Break(()))
    }

    /// A sealed segment ended before the next one begins.
    fn broken_off(&mut self, first: Seq, place: Place, next: Place, error: Option<Damage>) {
        if let Some(damage) = error {
            self.damages.add(Damage { last_seq: damage.last_seq.max(next.seq), ..damage });
        } else if !self.damages.explain(place.seq) {
            self.damages.add(Damage {
                file: segment_file_name(first),
                offset: place.offset,
                length: 0,
                first_seq: place.seq.next(),
                last_seq: next.seq.max(place.seq.next()),
                what: "zeros where a frame should be".to_owned(),
            });
        }
    }

    /// The end of the last segment: clean, torn, or damaged.
    fn tail(
        &mut self,
        index: usize,
        place: Place,
        error: Option<Damage>,
        reached: &mut Reached,
    ) -> Result<(), OpenError> {
        let page = &self.pages[index];
        let header = &page.header;
        let file = segment_file_name(header.first_seq);
        if page.archived {
            let what = "the segments that follow are missing".to_owned();
            let (first_seq, offset) = (place.seq.next(), place.offset);
            let missing = Damage { file, offset, length: 0, first_seq, last_seq: Seq::MAX, what };
            self.damages.add(error.unwrap_or(missing));
            return Ok(());
        }
        let bytes = self.bytes_of(index);
        match scan_tail(&bytes, header) {
            Ok(tail) => {
                reached.torn_bytes = tail.torn_bytes;
                if !self.is_written {
                    match ask_witnesses(self.storage, header, &tail, &file) {
                        Ok(()) => {}
                        Err(OpenError::Corrupt(damage)) => self.damages.add(damage),
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(TailError::UnsupportedVersion { found }) => {
                return Err(OpenError::UnsupportedVersion { file, found });
            }
            Err(TailError::Corrupt(damage)) => {
                self.damages.add(damage);
                // It may be another one than that which ended the walk.
                if let Some(damage) = error.filter(|_| !self.damages.explain(place.seq)) {
                    self.damages.add(damage);
                }
            }
        }
        Ok(())
    }

    /// All bytes of a segment, zeros where the disk gives none.
    fn bytes_of(&mut self, index: usize) -> Vec<u8> {
        let page = &self.pages[index];
        let first = page.header.first_seq;
        let file = segment_file_name(first);
        let (bytes, read) = if page.archived {
            archive::read_whole(self.storage, first)
        } else {
            match read_segment(self.storage, &file) {
                Ok(bytes) => (bytes, Ok(())),
                Err(error) => (piece_by_piece(self.storage, &file), Err(error)),
            }
        };
        if let Err(error) = read {
            self.damages.add(unreadable(file, first, &error));
        }
        bytes
    }
}

impl Reached {
    fn take(&mut self, header: &FrameHeader, end: u64) {
        self.tip = Tip {
            seq: header.last_seq(),
            chain: header.chain,
            digest: header.state_digest,
            logged_at_us: header.logged_at_us,
        };
        self.end = end;
        self.epoch_counter = self.epoch_counter.max(header.epoch_counter);
    }
}

fn begin_of(page: &Page) -> Place {
    let header = &page.header;
    let (seq, chain) = (header.first_seq.previous(), header.previous_chain);
    Place { offset: u64::from(header.header_len), seq, chain }
}

/// What can be read of a file whose disk refuses some of it; zeros elsewhere.
fn piece_by_piece<S: Storage>(storage: &S, file: &str) -> Vec<u8> {
    let Ok(file) = storage.open(file, OpenMode::Read) else { return Vec::new() };
    let length = file.len().unwrap_or(0).min(SEGMENT_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    for (index, piece) in bytes.chunks_mut(PIECE_BYTES).enumerate() {
        if file.read_at(piece, (index * PIECE_BYTES) as u64).is_err() {
            piece.fill(0);
        }
    }
    bytes
}

/// A reading error as damage; a version that this build doesn't know is none.
fn damage_of(error: ReadError, place: Place) -> Result<Damage, OpenError> {
    match error {
        ReadError::Corrupt(damage) => Ok(damage),
        ReadError::UnsupportedVersion { file, found } => {
            Err(OpenError::UnsupportedVersion { file, found })
        }
        ReadError::Io { file, source } => {
            let damage = unreadable(file, place.seq.next(), &source);
            Ok(Damage { offset: place.offset, ..damage })
        }
        other @ (ReadError::Compacted { .. } | ReadError::NotALog { .. }) => {
            Err(OpenError::NotALog { what: other.to_string() })
        }
    }
}

fn unreadable(file: String, first_seq: Seq, error: &io::Error) -> Damage {
    let what = format!("unreadable: {error}");
    Damage { file, offset: 0, length: 0, first_seq, last_seq: first_seq, what }
}

fn no_such_place(start: &Tip) -> Damage {
    let last_seq = start.seq.next();
    Damage {
        file: segment_file_name(start.seq.next()),
        offset: 0,
        length: 0,
        first_seq: start.seq.next(),
        last_seq,
        what: format!("no frame ends at {}, where the newest snapshot begins", start.seq),
    }
}
