//! Walking over the frames of one segment in memory, past damage: what `verify` and the archive
//! share.
//!
//! Read-only and without a position in the log: whether frames link up across segments is for the
//! caller to say. It must never panic on any bytes, nor take a frame that its crcs don't cover.

use std::io::{self, Read};

use crate::format::{ALIGNMENT_BYTES_MIN, SEGMENT_BYTES_MAX, SegmentHeader, align_up};
use crate::frame::{FRAME_HEADER_BYTES, FrameError, FrameHeader, check_payload};
use crate::seq::LogId;
use crate::storage::{FileReader, OpenMode, Storage, StorageFile, read_small_file};

/// How much of a sealed segment is read at once, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// What lies at the walk's place.
#[derive(Debug)]
pub(crate) enum Step<'bytes> {
    /// A whole frame, crcs checked, chain not.
    Frame { offset: u64, header: FrameHeader, stored: &'bytes [u8] },
    /// A frame whose header is right and whose payload isn't.
    BadPayload { offset: u64, length: u64, header: FrameHeader, error: FrameError },
    /// Bytes that are no frame of this segment, up to the next one or to the last byte that isn't zero.
    Garbage { offset: u64, length: u64, error: FrameError },
    /// Nothing but zeros from here on.
    End { offset: u64 },
}

/// What lies at some place.
enum Look {
    Frame(FrameHeader),
    BadPayload(FrameHeader, FrameError),
    Nothing(FrameError),
}

/// A walk over the bytes of one segment.
#[derive(Debug)]
pub(crate) struct SegmentWalk<'bytes> {
    bytes: &'bytes [u8],
    log_id: LogId,
    header: &'bytes SegmentHeader,
    offset: usize,
    /// One past the last byte that isn't zero.
    used: usize,
}

impl<'bytes> SegmentWalk<'bytes> {
    pub(crate) fn new(bytes: &'bytes [u8], header: &'bytes SegmentHeader) -> Self {
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |index| index + 1);
        Self { bytes, log_id: header.log_id, header, offset: usize::from(header.header_len), used }
    }

    pub(crate) fn step(&mut self) -> Step<'bytes> {
        let offset = self.offset;
        if offset >= self.used {
            return Step::End { offset: offset as u64 };
        }
        match self.look(offset) {
            Look::Frame(header) => {
                let stored = &self.bytes[offset..offset + header.stored_len()];
                self.offset = self.frame_end(offset, &header);
                Step::Frame { offset: offset as u64, header, stored }
            }
            Look::BadPayload(header, error) => {
                self.offset = self.frame_end(offset, &header).min(self.bytes.len());
                let length = (self.offset - offset) as u64;
                Step::BadPayload { offset: offset as u64, length, header, error }
            }
            Look::Nothing(error) => {
                self.offset = self.next_frame(offset);
                let length = (self.offset.min(self.used) - offset) as u64;
                Step::Garbage { offset: offset as u64, length, error }
            }
        }
    }

    fn look(&self, offset: usize) -> Look {
        let rest = &self.bytes[offset..];
        let header = match FrameHeader::decode(rest, self.log_id) {
            Ok(Some(header)) => header,
            Ok(None) => return Look::Nothing(FrameError::Magic),
            Err(error) => return Look::Nothing(error),
        };
        if header.segment_first_seq != self.header.first_seq {
            return Look::Nothing(FrameError::Field { what: "a frame of another segment" });
        }
        match rest.get(FRAME_HEADER_BYTES..header.stored_len()) {
            None => {
                Look::Nothing(FrameError::Field { what: "payload length: longer than the file" })
            }
            Some(payload) => match check_payload(&header, payload) {
                Ok(()) => Look::Frame(header),
                Err(error) => Look::BadPayload(header, error),
            },
        }
    }

    fn frame_end(&self, offset: usize, header: &FrameHeader) -> usize {
        align_up((offset + header.stored_len()) as u64, self.header.alignment) as usize
    }

    /// Where the next thing with a right header begins, or the end of what isn't zero.
    fn next_frame(&self, offset: usize) -> usize {
        let step = self.header.alignment.max(ALIGNMENT_BYTES_MIN) as usize;
        let mut candidate = offset + step;
        while candidate < self.used {
            match self.look(candidate) {
                Look::Frame(_) | Look::BadPayload(..) => return candidate,
                Look::Nothing(_) => candidate += step,
            }
        }
        // An end that the caller sees as such at the next step.
        align_up(self.used as u64, self.header.alignment) as usize
    }
}

/// Reads a whole segment file in one go: of one that is being written, a prefix of its frames.
pub(crate) fn read_segment<S: Storage>(storage: &S, file: &str) -> std::io::Result<Vec<u8>> {
    read_small_file(storage, file, SEGMENT_BYTES_MAX)
}

/// Reads a whole segment file that is written to no more, piece by piece.
pub(crate) fn read_sealed_segment<S: Storage>(
    storage: &S,
    file: &str,
) -> (Vec<u8>, io::Result<()>) {
    let read = || {
        let file = storage.open(file, OpenMode::Read)?;
        let bytes = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        Ok::<_, io::Error>((FileReader::new(file, 0), bytes.min(SEGMENT_BYTES_MAX as usize)))
    };
    let (mut reader, length) = match read() {
        Ok(opened) => opened,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut bytes = vec![0; length];
    for begin in (0..length).step_by(PIECE_BYTES) {
        let end = length.min(begin + PIECE_BYTES);
        if let Err(error) = reader.read_exact(&mut bytes[begin..end]) {
            bytes.truncate(begin);
            return (bytes, Err(error));
        }
    }
    (bytes, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{SEGMENT_HEADER_BYTES, header_len_for};
    use crate::frame::{FrameKind, seal};
    use crate::seq::{Chain, Epoch, Seq};

    fn header() -> SegmentHeader {
        let log_id = LogId::new([3; 16]);
        SegmentHeader {
            header_len: header_len_for(512),
            alignment: 512,
            log_id,
            epoch: Epoch { counter: 1, random: 2 },
            first_seq: Seq::new(1),
            previous_chain: Chain::genesis(log_id),
            previous_digest: 0,
            previous_logged_at_us: 0,
            created_at_us: 0,
            capacity_bytes: 0,
            owner: Vec::new(),
        }
    }

    /// A segment of frames with one record of each of these lengths.
    fn segment(lengths: &[usize]) -> Vec<u8> {
        let segment = header();
        let mut bytes = segment.encode().to_vec();
        let mut chain = segment.previous_chain;
        for (index, length) in lengths.iter().enumerate() {
            let mut stored = vec![0; FRAME_HEADER_BYTES];
            stored.extend_from_slice(&(*length as u32).to_le_bytes());
            stored.resize(FRAME_HEADER_BYTES + 4 + length, 7);
            let first_seq = Seq::new(index as u64 + 1);
            let unsealed = FrameHeader {
                kind: FrameKind::Data,
                payload_len: *length as u32 + 4,
                record_count: 1,
                first_seq,
                segment_first_seq: Seq::new(1),
                epoch_counter: 1,
                watermark: first_seq.previous(),
                logged_at_us: 0,
                state_digest: 0,
                chain,
                payload_crc: 0,
            };
            chain = seal(&mut stored, unsealed, segment.log_id, &chain).chain;
            bytes.extend_from_slice(&stored);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.resize(bytes.len() + 2048, 0);
        bytes
    }

    fn steps(bytes: &[u8]) -> Vec<(char, u64, u64)> {
        let header = header();
        let mut walk = SegmentWalk::new(bytes, &header);
        let mut steps = Vec::new();
        loop {
            match walk.step() {
                Step::Frame { offset, stored, .. } => {
                    steps.push(('f', offset, stored.len() as u64));
                }
                Step::BadPayload { offset, length, .. } => steps.push(('b', offset, length)),
                Step::Garbage { offset, length, .. } => steps.push(('g', offset, length)),
                Step::End { offset } => {
                    steps.push(('e', offset, 0));
                    return steps;
                }
            }
        }
    }

    #[test]
    fn whole_frames_and_then_zeros() {
        let bytes = segment(&[10, 600, 1]);
        assert_eq!(
            steps(&bytes),
            [('f', 4096, 142), ('f', 4608, 732), ('f', 5632, 133), ('e', 6144, 0)]
        );
        assert_eq!(steps(&bytes[..SEGMENT_HEADER_BYTES]), [('e', 4096, 0)]);
    }

    #[test]
    fn damage_ends_where_the_next_frame_begins() {
        let mut bytes = segment(&[10, 600, 1]);
        bytes[4608 + 700] ^= 1;
        assert_eq!(steps(&bytes)[1], ('b', 4608, 1024));
        bytes[4608 + 20] ^= 1;
        assert_eq!(
            steps(&bytes),
            [('f', 4096, 142), ('g', 4608, 1024), ('f', 5632, 133), ('e', 6144, 0)]
        );
        bytes[5632] ^= 1;
        assert_eq!(steps(&bytes)[1], ('g', 4608, 5632 + 133 - 4608));
        assert_eq!(steps(&bytes).len(), 3);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let bytes = segment(&[10, 600, 1]);
        for length in SEGMENT_HEADER_BYTES..bytes.len() {
            steps(&bytes[..length]);
        }
        for at in 4096..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x81;
            steps(&damaged);
        }
        let noise: Vec<u8> = (0..8192_u32).map(|index| (index * index % 253) as u8).collect();
        steps(&noise);
    }
}
