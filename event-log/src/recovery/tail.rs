//! The last segment at opening: walks its frames and tells a torn end from damage. Pure.

use std::ops::Range;

use crate::catalog::Place;
use crate::error::Damage;
use crate::format::{SegmentHeader, align_up, segment_file_name};
use crate::frame::{FrameHeader, FrameKind, verify_link};
use crate::seq::{Chain, Seq, Tip};
use crate::walk::{SegmentWalk, Step};

/// What the last segment holds.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Where the next frame goes.
    pub(crate) end: u64,
    /// The state at the end.
    pub(crate) tip: Tip,
    /// The highest epoch counter seen.
    pub(crate) epoch_counter: u64,
    /// The last frame is a close frame.
    pub(crate) closed: bool,
    /// The last frame holds records.
    pub(crate) unsealed: bool,
    /// Bytes after `end` that a flush left half-written; zero where there are only zeros.
    pub(crate) torn_bytes: u64,
    /// Byte ranges of the frames that no later watermark covers.
    pub(crate) unwitnessed: Vec<Range<usize>>,
    /// Every chain of this segment with its seq, the one before its first frame included.
    pub(crate) chains: Vec<(Seq, Chain)>,
    /// The places between its frames.
    pub(crate) places: Vec<Place>,
}

/// Why the last segment can't be opened.
#[derive(Debug)]
pub(crate) enum TailError {
    Corrupt(Damage),
    UnsupportedVersion { found: u16 },
}

/// Walks the frames of the last segment, given as all its bytes.
pub(crate) fn scan_tail(bytes: &[u8], header: &SegmentHeader) -> Result<Tail, TailError> {
    let mut walk = SegmentWalk::new(bytes, header);
    let mut tail = empty_tail(header);
    let mut frames: Vec<(FrameHeader, Range<usize>)> = Vec::new();
    // Each step moves forward by at least one block.
    let invalid = loop {
        match walk.step() {
            Step::Frame { offset, header: frame, stored } => {
                if frame.first_seq != tail.tip.seq.next()
                    || !verify_link(&tail.tip.chain, &frame, stored)
                {
                    return Err(corrupt(
                        header,
                        &frame,
                        offset,
                        "a whole frame that doesn't follow the one before it",
                    ));
                }
                let end = align_up(offset + stored.len() as u64, header.alignment);
                tail.take(&frame, end);
                frames.push((frame, offset as usize..(end as usize).min(bytes.len())));
            }
            Step::BadPayload { offset, length, error, .. }
            | Step::Garbage { offset, length, error } => break Some((offset, length, error)),
            Step::End { .. } => break None,
        }
    };
    if let Some((offset, length, error)) = invalid {
        if let Some(found) = error.unsupported_version() {
            return Err(TailError::UnsupportedVersion { found });
        }
        if let Some(beyond) = next_whole(&mut walk, tail.tip.seq.next()) {
            let what =
                format!("{error}, and a frame sealed later lies beyond it, at byte {}", beyond.1);
            return Err(TailError::Corrupt(Damage {
                file: segment_file_name(header.first_seq),
                offset,
                length,
                first_seq: tail.tip.seq.next(),
                last_seq: beyond.0.previous().max(tail.tip.seq.next()),
                what,
            }));
        }
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        tail.torn_bytes = (used as u64).saturating_sub(tail.end);
    }
    tail.unwitnessed = unwitnessed(&frames);
    Ok(tail)
}

/// The first frame beyond the invalid one whose header is whole: its first seq and offset. A frame
/// sealed later doesn't begin before `next`; what does is a copy of an old frame inside a record.
fn next_whole(walk: &mut SegmentWalk<'_>, next: Seq) -> Option<(Seq, u64)> {
    loop {
        match walk.step() {
            Step::Frame { offset, header, .. } | Step::BadPayload { offset, header, .. } => {
                if header.first_seq >= next {
                    return Some((header.first_seq, offset));
                }
            }
            Step::Garbage { .. } => {}
            Step::End { .. } => return None,
        }
    }
}

/// The frames after the last one whose durability a later frame's watermark proves.
fn unwitnessed(frames: &[(FrameHeader, Range<usize>)]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut proven: Option<Seq> = None;
    for (frame, range) in frames.iter().rev() {
        let covered = proven.is_some_and(|proven| frame.last_seq() <= proven);
        if !covered {
            ranges.push(range.clone());
        }
        proven = proven.max(Some(frame.watermark));
    }
    ranges.reverse();
    ranges
}

fn corrupt(header: &SegmentHeader, frame: &FrameHeader, offset: u64, what: &str) -> TailError {
    TailError::Corrupt(Damage {
        file: segment_file_name(header.first_seq),
        offset,
        length: frame.stored_len() as u64,
        first_seq: frame.first_seq,
        last_seq: frame.last_seq(),
        what: what.to_owned(),
    })
}

fn empty_tail(header: &SegmentHeader) -> Tail {
    let tip = Tip {
        seq: header.first_seq.previous(),
        chain: header.previous_chain,
        digest: header.previous_digest,
        logged_at_us: header.previous_logged_at_us,
    };
    Tail {
        end: u64::from(header.header_len),
        tip,
        epoch_counter: header.epoch.counter,
        closed: false,
        unsealed: false,
        torn_bytes: 0,
        unwitnessed: Vec::new(),
        chains: vec![(tip.seq, tip.chain)],
        places: Vec::new(),
    }
}

impl Tail {
    fn take(&mut self, frame: &FrameHeader, end: u64) {
        self.end = end;
        self.tip = Tip {
            seq: frame.last_seq(),
            chain: frame.chain,
            digest: frame.state_digest,
            logged_at_us: frame.logged_at_us,
        };
        self.epoch_counter = self.epoch_counter.max(frame.epoch_counter);
        self.closed = frame.kind == FrameKind::Close;
        self.unsealed = frame.kind == FrameKind::Data;
        self.chains.push((self.tip.seq, self.tip.chain));
        self.places.push(Place { offset: end, seq: self.tip.seq, chain: self.tip.chain });
    }
}
