//! Frames out of the pieces in which a stream of them comes. A byte is copied once, into the frame that
//! it is of, and what waits for the rest is as long as that frame: a hundred streams that catch up at
//! once have room for a hundred frames. Nothing here may be kept of a stream that has nothing to say.

use bytes::{Buf as _, Bytes};
use event_log::LogId;
use event_log::frame::{FRAME_HEADER_BYTES, Frame, FrameError, FrameHeader, decode_frame};

/// What has come of a stream and isn't a frame yet.
#[derive(Debug)]
pub(super) struct Pieces {
    log_id: LogId,
    /// What of the last piece isn't taken yet.
    piece: Bytes,
    /// The beginning of a frame that ends in a later piece; bounded, since a frame is.
    begun: Vec<u8>,
}

impl Pieces {
    /// Of a log's stream, from a frame's beginning on.
    pub(super) fn new(log_id: LogId) -> Self {
        Self { log_id, piece: Bytes::new(), begun: Vec::new() }
    }

    /// The next piece; call when [`Self::next_frame`] found none.
    pub(super) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "a piece came before the last one was taken");
        self.piece = piece;
    }

    /// The next frame; none until another piece comes.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.begun.is_empty()
            && let Some((frame, used)) = decode_frame(&self.piece, self.log_id)?
        {
            self.piece.advance(used);
            return Ok(Some(frame));
        }
        loop {
            let header = FrameHeader::decode(&self.begun, self.log_id)?;
            let wanted = header.as_ref().map_or(FRAME_HEADER_BYTES, FrameHeader::stored_len);
            if header.is_some() && self.begun.len() == wanted {
                let stored = std::mem::take(&mut self.begun);
                return Frame::from_stored(stored, self.log_id).map(Some);
            }
            if self.piece.is_empty() {
                // Whose memory this was may use it again.
                self.piece = Bytes::new();
                return Ok(None);
            }
            let missing = wanted - self.begun.len();
            self.begun.reserve_exact(missing);
            let taken = self.piece.split_to(missing.min(self.piece.len()));
            self.begun.extend_from_slice(&taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{LOG_ID, Node, create};

    #[test]
    fn frames_come_whole_from_any_pieces_and_leave_no_room_behind() {
        let mut node = Node::new();
        let skus: Vec<String> = (0..200).map(|number| format!("SKU-{number}")).collect();
        let commands: Vec<_> = skus.iter().map(|sku| (sku.as_str(), create(1))).collect();
        let (few, many) = commands.split_at(9);
        let frames = [node.commit(many), node.commit(&[("X", create(1))]), node.commit(few)];
        let bytes = frames.each_ref().map(|frame| frame.stored.as_slice()).concat();
        for length in (1..400).chain([bytes.len() / 2, bytes.len() - 1, bytes.len()]) {
            let mut pieces = Pieces::new(LOG_ID);
            let mut found = Vec::new();
            for piece in bytes.chunks(length) {
                pieces.push(Bytes::copy_from_slice(piece));
                while let Some(frame) = pieces.next_frame().unwrap() {
                    found.push(frame);
                }
                let room_max = frames[0].stored.len();
                assert!(pieces.begun.capacity() <= room_max, "in pieces of {length}");
            }
            assert_eq!(found, frames, "in pieces of {length}");
            assert_eq!(pieces.begun.capacity(), 0, "in pieces of {length}");
        }
    }

    #[test]
    fn damage_is_told_in_whatever_piece_it_is() {
        let frame = Node::new().commit(&[("X", create(1)), ("Y", create(1))]);
        for at in 0..frame.stored.len() {
            let mut damaged = frame.stored.clone();
            damaged[at] ^= 1;
            for length in [7, frame.stored.len()] {
                let mut pieces = Pieces::new(LOG_ID);
                let mut found = damaged.chunks(length).map(|piece| {
                    pieces.push(Bytes::copy_from_slice(piece));
                    pieces.next_frame()
                });
                assert!(found.any(|found| found.is_err()), "byte {at}, in pieces of {length}");
            }
        }
    }
}
