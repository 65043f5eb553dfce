//! Reading frames of one segment file, live or archived, through a bounded buffer.
//!
//! Read-only. It must never look beyond the limit it is given: what lies there may be half written.

use std::io::{self, Read};

use crate::archive::{self, ArchiveReader};
use crate::catalog::{Place, Segment};
use crate::error::{Damage, ReadError};
use crate::format::{align_up, segment_file_name};
use crate::frame::{
    FRAME_HEADER_BYTES, Frame, FrameError, FrameHeader, check_payload, verify_link,
};
use crate::seq::{LogId, Seq};
use crate::storage::{OpenMode, Storage, StorageFile};

/// How much is read at once.
const WINDOW_BYTES: usize = 256 * 1024;

enum Source<S: Storage> {
    Live(S::File),
    /// Can only be read forwards.
    Archive(ArchiveReader<S>),
}

/// A position in one segment.
pub(crate) struct SegmentReader<S: Storage> {
    pub(crate) first: Seq,
    pub(crate) place: Place,
    /// [`Segment::replaced`] when the file was opened.
    pub(crate) replaced: u32,
    file: String,
    source: Source<S>,
    log_id: LogId,
    alignment: u32,
    bytes: Vec<u8>,
    /// Offset of `bytes` in the segment.
    start: u64,
}

impl<S: Storage> SegmentReader<S> {
    /// Opens a segment at its first frame.
    pub(crate) fn open(
        storage: &S,
        (log_id, alignment): (LogId, u32),
        first: Seq,
        segment: &Segment,
    ) -> Result<Self, ReadError> {
        let file = if segment.archived {
            archive::archive_file_name(first)
        } else {
            segment_file_name(first)
        };
        let source = if segment.archived {
            archive::open(storage, first).map(Source::Archive)
        } else {
            storage.open(&file, OpenMode::Read).map(Source::Live)
        };
        let source = source.map_err(|source| ReadError::Io { file: file.clone(), source })?;
        let replaced = segment.replaced;
        Ok(Self {
            first,
            place: segment.start,
            replaced,
            file,
            source,
            log_id,
            alignment,
            bytes: Vec::new(),
            start: 0,
        })
    }

    /// Goes to a known place ahead (in an archive) or anywhere (in a live segment).
    pub(crate) fn seek(&mut self, place: Place) {
        if matches!(self.source, Source::Live(_)) || place.offset >= self.place.offset {
            self.place = place;
        }
    }

    /// Reads again what it has read: another process may have written since.
    pub(crate) fn forget_window(&mut self) {
        if matches!(self.source, Source::Live(_)) {
            self.bytes.clear();
            self.start = self.place.offset;
        }
    }

    /// The header of the next frame; none at the limit or where zeros begin.
    pub(crate) fn peek(&mut self, limit: u64) -> Result<Option<FrameHeader>, ReadError> {
        let log_id = self.log_id;
        let bytes = self.look(FRAME_HEADER_BYTES, limit)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let decoded = FrameHeader::decode(bytes, log_id);
        match decoded {
            Ok(Some(header))
                if header.segment_first_seq == self.first
                    && header.first_seq == self.place.seq.next() =>
            {
                Ok(Some(header))
            }
            Ok(Some(header)) => Err(self.damage(&header, "a frame that doesn't follow".to_owned())),
            Ok(None) => Ok(None),
            Err(error) => Err(self.bad_header(&error)),
        }
    }

    /// Passes over the frame that was peeked at, without looking at its payload.
    pub(crate) fn skip(&mut self, header: &FrameHeader) {
        let offset = align_up(self.place.offset + header.stored_len() as u64, self.alignment);
        self.place = Place { offset, seq: header.last_seq(), chain: header.chain };
    }

    /// Reads the next frame, with all its checks, into `frame`; false where [`Self::peek`] has none.
    pub(crate) fn read_into(&mut self, frame: &mut Frame, limit: u64) -> Result<bool, ReadError> {
        let Some(header) = self.peek(limit)? else { return Ok(false) };
        let place = self.place;
        let length = header.stored_len();
        let stored = self.look(length, limit)?;
        if stored.len() < length {
            return Err(self.damage(&header, "a frame that is cut short".to_owned()));
        }
        if let Err(error) = check_payload(&header, &stored[FRAME_HEADER_BYTES..]) {
            return Err(self.damage(&header, error.to_string()));
        }
        if !verify_link(&place.chain, &header, stored) {
            return Err(self.damage(&header, "the chain breaks".to_owned()));
        }
        frame.stored.clear();
        frame.stored.extend_from_slice(stored);
        self.skip(&header);
        frame.header = header;
        Ok(true)
    }

    /// Up to `length` bytes at the place, none of them at or beyond `limit`.
    fn look(&mut self, length: usize, limit: u64) -> Result<&[u8], ReadError> {
        let offset = self.place.offset;
        let left = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = length.min(left);
        let held =
            offset >= self.start && offset + length as u64 <= self.start + self.bytes.len() as u64;
        if !held {
            let wanted = length.max(WINDOW_BYTES.min(left));
            self.fill(offset, wanted)
                .map_err(|source| ReadError::Io { file: self.file.clone(), source })?;
        }
        let begin = (offset - self.start) as usize;
        let end = self.bytes.len().min(begin + length);
        Ok(self.bytes.get(begin..end).unwrap_or_default())
    }

    fn fill(&mut self, offset: u64, wanted: usize) -> io::Result<()> {
        match &mut self.source {
            Source::Live(file) => {
                // A length is only a claim until its bytes have come: no memory beyond the file.
                let there = if wanted > WINDOW_BYTES { file.len()? } else { u64::MAX };
                let left = usize::try_from(there.saturating_sub(offset)).unwrap_or(usize::MAX);
                self.bytes.resize(wanted.min(left), 0);
                self.start = offset;
                let count = file.read_at(&mut self.bytes, offset)?;
                self.bytes.truncate(count);
                Ok(())
            }
            Source::Archive(reader) => {
                let passed = offset.saturating_sub(self.start).min(self.bytes.len() as u64);
                self.bytes.drain(..passed as usize);
                self.start += passed;
                let gap = offset.saturating_sub(self.start);
                self.start += io::copy(&mut reader.take(gap), &mut io::sink())?;
                let missing = wanted.saturating_sub(self.bytes.len()) as u64;
                reader.take(missing).read_to_end(&mut self.bytes)?;
                Ok(())
            }
        }
    }

    /// Damage at the place, where nothing tells how long it is.
    pub(crate) fn damage_here(&self, what: String) -> ReadError {
        let next = self.place.seq.next();
        ReadError::Corrupt(Damage {
            file: self.file.clone(),
            offset: self.place.offset,
            length: FRAME_HEADER_BYTES as u64,
            first_seq: next,
            last_seq: next,
            what,
        })
    }

    fn damage(&self, header: &FrameHeader, what: String) -> ReadError {
        ReadError::Corrupt(Damage {
            file: self.file.clone(),
            offset: self.place.offset,
            length: header.stored_len() as u64,
            first_seq: header.first_seq,
            last_seq: header.last_seq(),
            what,
        })
    }

    fn bad_header(&self, error: &FrameError) -> ReadError {
        match error.unsupported_version() {
            Some(found) => ReadError::UnsupportedVersion { file: self.file.clone(), found },
            None => self.damage_here(error.to_string()),
        }
    }
}

/// A frame to read into.
pub(crate) fn empty_frame() -> Frame {
    let header = FrameHeader {
        kind: crate::frame::FrameKind::Checkpoint,
        payload_len: 0,
        record_count: 0,
        first_seq: Seq::new(1),
        segment_first_seq: Seq::new(1),
        epoch_counter: 0,
        watermark: Seq::ZERO,
        logged_at_us: 0,
        state_digest: 0,
        chain: crate::seq::Chain::new([0; 32]),
        payload_crc: 0,
    };
    Frame { header, stored: Vec::new() }
}
