//! What carries requests to a node and its answers back: a client of the network in production, a
//! simulated line in the simulator. It must never look into what it carries.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use axum::http::{Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::SourceError;

/// A way to nodes. Patience is the caller's: a transport may wait without end.
pub trait Transport: Clone + Send + Sync + 'static {
    /// An answer's body on its way.
    type Body: TransportBody;

    /// Sends a request and waits for the head of its answer.
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> impl Future<Output = Result<Response<Self::Body>, SourceError>> + Send;
}

/// The bytes of an answer as they arrive.
pub trait TransportBody: Send + 'static {
    /// The next bytes; none at the end. Dropping a pending call loses nothing.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, SourceError>> + Send;
}

/// Bytes of a stream that are read ahead of whoever takes them, at most (and a piece more): with a
/// hundred stores catching up at once, what is in between is a hundred times as much, and clearing new
/// memory costs more than reading twice as often.
const READ_BYTES_MAX: usize = 32 << 10;

/// HTTP over TCP.
#[derive(Debug, Clone)]
pub struct TcpTransport(Client<HttpConnector, Full<Bytes>>);

impl TcpTransport {
    /// A client that gives up connecting after `connect`.
    pub fn new(connect: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(connect));
        connector.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).http1_max_buf_size(READ_BYTES_MAX);
        Self(builder.build(connector))
    }
}

impl Transport for TcpTransport {
    type Body = TcpBody;

    async fn send(&self, request: Request<Bytes>) -> Result<Response<TcpBody>, SourceError> {
        let answer = self.0.request(request.map(Full::new)).await;
        Ok(answer.map_err(|error| unreachable(&error))?.map(TcpBody))
    }
}

/// The body of an answer over TCP.
#[derive(Debug)]
pub struct TcpBody(Incoming);

impl TransportBody for TcpBody {
    async fn chunk(&mut self) -> Result<Option<Bytes>, SourceError> {
        while let Some(frame) = self.0.frame().await {
            // Trailers say nothing here.
            if let Ok(bytes) = frame.map_err(|error| unreachable(&error))?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// The innermost cause says most: "connection refused" rather than "client error (Connect)".
fn unreachable(error: &dyn Error) -> SourceError {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    SourceError::Unreachable(first.into_iter().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn get(address: std::net::SocketAddr) -> Request<Bytes> {
        let request = Request::builder().uri(format!("http://{address}/api/log"));
        request.body(Bytes::new()).unwrap()
    }

    #[tokio::test]
    async fn a_stream_is_read_in_bounded_pieces() {
        const BODY_BYTES: usize = 4 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = tokio::spawn(async move {
            let (mut line, _) = listener.accept().await.unwrap();
            let _ = line.read(&mut [0; 1024]).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY_BYTES}\r\n\r\n");
            line.write_all(head.as_bytes()).await.unwrap();
            line.write_all(&vec![7; BODY_BYTES]).await.unwrap();
        });
        let transport = TcpTransport::new(Duration::from_secs(5));
        let mut body = transport.send(get(address)).await.unwrap().into_body();
        let mut bytes = 0;
        while let Some(piece) = body.chunk().await.unwrap() {
            assert!(piece.len() <= 2 * READ_BYTES_MAX, "{}", piece.len());
            bytes += piece.len();
        }
        assert_eq!(bytes, BODY_BYTES);
        node.await.unwrap();
    }

    #[tokio::test]
    async fn the_innermost_cause_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let refused = TcpTransport::new(Duration::from_secs(5)).send(get(address)).await;
        let expected = SourceError::Unreachable("connection refused".to_owned());
        assert_eq!(refused.err(), Some(expected));
    }
}
