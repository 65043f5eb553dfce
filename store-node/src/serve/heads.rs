//! The stream under hyper: gives the refusals that hyper words by itself a body, and knows whether
//! a connection waits for the rest of a head. It must never touch an answer of ours.
//!
//! hyper answers a head that it can't read (400), that is too large (431) or whose target is too
//! long (414) without asking anyone, with a status line, `content-length: 0` and `connection:
//! close`. Such an answer is known by what it lacks, an `x-request-id`; it leaves as a problem like
//! any other. What isn't HTTP at all (the preface of HTTP/2, a TLS handshake), and a head that
//! doesn't come in time, is closed without an answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use shared::wire::problem::ErrorCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The statuses that hyper answers by itself, as they stand behind the protocol's version.
const BARE: [(&[u8], ErrorCode); 3] = [
    (b" 400 Bad Request\r\n", ErrorCode::MalformedRequest),
    (b" 414 URI Too Long\r\n", ErrorCode::UriTooLong),
    (b" 431 Request Header Fields Too Large\r\n", ErrorCode::HeadersTooLarge),
];
/// An answer up to this size, in bytes, goes out in one piece: to gather its head and body costs the
/// system more than copying them.
const JOINED_BYTES_MAX: usize = 2048;
const VERSION: &[u8] = b"HTTP/1.1";
const EMPTY: &[u8] = b"content-length: 0\r\n";

/// Makes the header lines (content length included) and the body of a refusal.
pub(super) type Wording = Arc<dyn Fn(ErrorCode) -> (String, Vec<u8>) + Send + Sync>;

/// What a connection is doing.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// A request is with its handler.
    answering: AtomicBool,
    /// Bytes came since the last request was handed on.
    unheard: AtomicBool,
}

impl Activity {
    /// A request begins.
    pub(super) fn begin(&self) {
        self.answering.store(true, Ordering::Relaxed);
        self.unheard.store(false, Ordering::Relaxed);
    }

    /// Its handler is done.
    pub(super) fn end(&self) {
        self.answering.store(false, Ordering::Relaxed);
    }

    /// Whether a part of a head is all that there is.
    pub(super) fn waits_for_head(&self) -> bool {
        !self.answering.load(Ordering::Relaxed) && self.unheard.load(Ordering::Relaxed)
    }
}

/// A connection's stream.
pub(super) struct HeadStream {
    stream: TcpStream,
    activity: Arc<Activity>,
    wording: Wording,
    refusal: Option<Refusal>,
}

/// A refusal on its way, instead of the bytes that hyper wanted to write.
struct Refusal {
    bytes: Vec<u8>,
    written: usize,
    /// How many bytes hyper is told were written.
    stands_for: usize,
}

impl HeadStream {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>, wording: Wording) -> Self {
        Self { stream, activity, wording, refusal: None }
    }

    /// Takes over a write if it is a refusal without a body.
    fn take_over(&mut self, bytes: &[u8]) {
        if self.refusal.is_none()
            && let Some(code) = bare(bytes)
        {
            let bytes = worded(bytes, &(self.wording)(code));
            self.refusal = Some(Refusal { stands_for: bytes.1, bytes: bytes.0, written: 0 });
        }
    }

    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Option<Poll<io::Result<usize>>> {
        let refusal = self.refusal.as_mut()?;
        while refusal.written < refusal.bytes.len() {
            let rest = &refusal.bytes[refusal.written..];
            match Pin::new(&mut self.stream).poll_write(context, rest) {
                Poll::Ready(Ok(0)) => {
                    return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into())));
                }
                Poll::Ready(Ok(written)) => refusal.written += written,
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        let stands_for = refusal.stands_for;
        self.refusal = None;
        Some(Poll::Ready(Ok(stands_for)))
    }
}

/// Which refusal this is, if it is one that hyper worded.
fn bare(bytes: &[u8]) -> Option<ErrorCode> {
    let rest = bytes.get(VERSION.len()..)?;
    let (_, code) = BARE.iter().find(|(status, _)| rest.starts_with(status))?;
    let is_bare = bytes.ends_with(b"\r\n\r\n")
        && find(bytes, EMPTY).is_some()
        && find(bytes, b"x-request-id").is_none();
    is_bare.then_some(*code)
}

/// The head with these lines instead of `content-length: 0`, and the body behind it; and how many
/// bytes it stands for.
fn worded(head: &[u8], (lines, body): &(String, Vec<u8>)) -> (Vec<u8>, usize) {
    let at = find(head, EMPTY).unwrap_or(head.len());
    let mut bytes = head[..at].to_vec();
    bytes.extend_from_slice(lines.as_bytes());
    bytes.extend_from_slice(head.get(at + EMPTY.len()..).unwrap_or_default());
    bytes.extend_from_slice(body);
    (bytes, head.len())
}

/// The slices one behind the other, if they have room.
fn joined<'a>(slices: &[IoSlice<'_>], room: &'a mut [u8; JOINED_BYTES_MAX]) -> Option<&'a [u8]> {
    let mut end = 0;
    for slice in slices {
        room.get_mut(end..end + slice.len())?.copy_from_slice(slice);
        end += slice.len();
    }
    Some(&room[..end])
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

impl AsyncRead for HeadStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.activity.unheard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HeadStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.take_over(bytes);
        if let Some(refusal) = self.poll_refusal(context) {
            return refusal;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [head] = slices {
            self.take_over(head);
        }
        if let Some(refusal) = self.poll_refusal(context) {
            return refusal;
        }
        let mut room = [0; JOINED_BYTES_MAX];
        match joined(slices, &mut room) {
            Some(bytes) => Pin::new(&mut self.stream).poll_write(context, bytes),
            None => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE_400: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";

    #[test]
    fn only_a_refusal_that_hyper_worded_is_taken_over() {
        let with =
            |from: &str, to: &str| String::from_utf8_lossy(BARE_400).replace(from, to).into_bytes();
        let cases = [
            (BARE_400.to_vec(), Some(ErrorCode::MalformedRequest)),
            (with("400 Bad Request", "414 URI Too Long"), Some(ErrorCode::UriTooLong)),
            (with("HTTP/1.1", "HTTP/1.0"), Some(ErrorCode::MalformedRequest)),
            (with("date: x", "x-request-id: 1"), None),
            (with("content-length: 0", "content-length: 7"), None),
            (with("400 Bad Request", "200 OK"), None),
            (with("400 Bad Request", "404 Not Found"), None),
            (BARE_400[..BARE_400.len() - 1].to_vec(), None),
            (b"HTTP/1".to_vec(), None),
            (Vec::new(), None),
        ];
        for (bytes, code) in cases {
            assert_eq!(bare(&bytes), code, "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn a_refusal_keeps_its_head_and_gets_a_body() {
        let wording = ("content-length: 2\r\nx-request-id: 7\r\n".to_owned(), b"{}".to_vec());
        let (bytes, stands_for) = worded(BARE_400, &wording);
        let expected = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 2\r\n\
                        x-request-id: 7\r\ndate: x\r\n\r\n{}";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        assert_eq!(stands_for, BARE_400.len());
    }

    #[test]
    fn a_short_answer_is_joined_and_a_long_one_gathered() {
        let body = vec![b'b'; JOINED_BYTES_MAX - 2];
        let slices = |parts: &[&[u8]]| -> Option<Vec<u8>> {
            let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            joined(&slices, &mut [0; JOINED_BYTES_MAX]).map(<[u8]>::to_vec)
        };
        assert_eq!(slices(&[b"head", b"", b"body"]), Some(b"headbody".to_vec()));
        assert_eq!(slices(&[]), Some(Vec::new()));
        assert_eq!(
            slices(&[b"hh", &body]),
            Some([b"hh", &body[..]].concat()),
            "as much as there is"
        );
        assert_eq!(slices(&[b"hhh", &body]), None);
        assert_eq!(slices(&[&[0; JOINED_BYTES_MAX + 1]]), None);
    }
}
