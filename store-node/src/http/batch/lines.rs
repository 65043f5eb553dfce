//! The lines of a streamed body, in chunks of whole lines as they arrive. It must never hold more
//! than a bounded part of the body, however long it or a line of it is.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use axum::body::{Body, Bytes, HttpBody};
use bytes::BytesMut;
use memchr::{memchr, memchr_iter};
use shared::wire::node::stream::STREAM_LINE_BYTES_MAX;

/// A chunk has at most so many lines.
pub(super) const CHUNK_LINES_MAX: usize = 4_096;
/// A chunk has at most so many bytes, and no more than this and one piece of the body is held.
pub(super) const CHUNK_BYTES_MAX: usize = 512 << 10;

/// The next of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Whole lines, blank ones among them; the last line of a body may have no end.
    Lines {
        /// The index of the first of them.
        first_index: u64,
        /// Their bytes.
        bytes: Bytes,
    },
    /// A line that is too long; its bytes are gone.
    TooLong {
        /// Its index.
        index: u64,
    },
}

impl Chunk {
    /// The index of its first line.
    pub(super) fn first_index(&self) -> u64 {
        match self {
            Self::Lines { first_index: index, .. } | Self::TooLong { index } => *index,
        }
    }

    /// How many bytes there are to decide.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Lines { bytes, .. } => bytes.len(),
            Self::TooLong { .. } => 0,
        }
    }
}

/// The part of a body that hasn't been looked at.
pub(super) struct Lines {
    body: Body,
    held: BytesMut,
    next_index: u64,
    /// In the rest of a line that is too long.
    is_skipping: bool,
    is_ended: bool,
}

impl Lines {
    pub(super) fn new(body: Body) -> Self {
        Self { body, held: BytesMut::new(), next_index: 0, is_skipping: false, is_ended: false }
    }

    /// The index of the next line.
    pub(super) fn next_index(&self) -> u64 {
        self.next_index
    }

    /// Whether everything of the body has been taken.
    pub(super) fn is_finished(&self) -> bool {
        self.is_ended && self.held.is_empty()
    }

    /// The next chunk of what has been read; none if there is no whole line.
    pub(super) fn take(&mut self) -> Option<Chunk> {
        if self.is_skipping {
            match memchr(b'\n', &self.held) {
                Some(end) => {
                    let _rest = self.held.split_to(end + 1);
                    self.is_skipping = false;
                }
                None => self.held.clear(),
            }
        }
        let (mut start, mut lines) = (0, 0);
        for end in memchr_iter(b'\n', &self.held) {
            let is_too_long = end - start > STREAM_LINE_BYTES_MAX;
            if is_too_long || lines == CHUNK_LINES_MAX || end >= CHUNK_BYTES_MAX {
                break;
            }
            (start, lines) = (end + 1, lines + 1);
        }
        if lines > 0 {
            return Some(self.lines(start, lines));
        }
        if self.held.len() > STREAM_LINE_BYTES_MAX {
            self.is_skipping = true;
            let index = self.next_index;
            self.next_index += 1;
            return Some(Chunk::TooLong { index });
        }
        (self.is_ended && !self.held.is_empty()).then(|| self.lines(self.held.len(), 1))
    }

    fn lines(&mut self, bytes: usize, lines: usize) -> Chunk {
        let first_index = self.next_index;
        self.next_index += lines as u64;
        Chunk::Lines { first_index, bytes: self.held.split_to(bytes).freeze() }
    }

    /// Reads more of the body: waits for the next piece, and takes what has arrived with it.
    pub(super) async fn fill(&mut self) -> Result<(), axum::Error> {
        poll_fn(|context| {
            let mut has_read = false;
            while !self.is_ended && self.held.len() < CHUNK_BYTES_MAX {
                match Pin::new(&mut self.body).poll_frame(context) {
                    Poll::Ready(Some(Ok(frame))) => {
                        if let Some(data) = frame.data_ref() {
                            self.held.extend_from_slice(data);
                        }
                        has_read = true;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => self.is_ended = true,
                    Poll::Pending if has_read => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line of a body that arrives in pieces of so many bytes; `None` for one too long.
    fn lines_of(body: &[u8], piece_bytes: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        let pieces: Vec<Result<Bytes, std::io::Error>> =
            body.chunks(piece_bytes).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut lines = Lines::new(Body::from_stream(futures_util::stream::iter(pieces)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut all = Vec::new();
        while !lines.is_finished() {
            while let Some(chunk) = lines.take() {
                match chunk {
                    Chunk::TooLong { index } => all.push((index, None)),
                    Chunk::Lines { first_index, bytes } => {
                        assert!(bytes.len() <= CHUNK_BYTES_MAX);
                        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                        let found = text.split(|byte| *byte == b'\n').zip(first_index..);
                        all.extend(found.map(|(line, index)| (index, Some(line.to_vec()))));
                    }
                }
                assert!(lines.held.len() <= CHUNK_BYTES_MAX + piece_bytes);
            }
            runtime.block_on(lines.fill()).unwrap();
        }
        all
    }

    #[test]
    fn every_line_comes_once_however_the_body_is_cut() {
        let long = vec![b'x'; STREAM_LINE_BYTES_MAX];
        let too_long = vec![b'y'; STREAM_LINE_BYTES_MAX + 1];
        let far_too_long = vec![b'z'; 3 * CHUNK_BYTES_MAX];
        let whole: Vec<&[u8]> = vec![b"a", b"", &long, &too_long, b"b", &far_too_long, b"c", b"d"];
        let expected: Vec<_> = (0..)
            .zip(
                whole
                    .iter()
                    .map(|line| (line.len() <= STREAM_LINE_BYTES_MAX).then(|| line.to_vec())),
            )
            .collect();
        for body in [whole.join(&b'\n'), [&whole.join(&b'\n')[..], b"\n"].concat()] {
            for piece_bytes in [1 << 10, 65_535, 65_536, 1 << 20, 16 << 20] {
                assert_eq!(lines_of(&body, piece_bytes), expected, "pieces of {piece_bytes}");
            }
        }
        let many = "1\n".repeat(3 * CHUNK_LINES_MAX + 1);
        assert_eq!(lines_of(many.as_bytes(), 777).len(), 3 * CHUNK_LINES_MAX + 1);
        assert_eq!(lines_of(b"", 1), []);
        let last = vec![b'z'; STREAM_LINE_BYTES_MAX + 1];
        assert_eq!(lines_of(&last, 1 << 20), [(0, None)], "a last line without an end");
    }
}
