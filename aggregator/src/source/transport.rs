//! What carries requests to a node and its answers back: a client of the network in production, a
//! simulated line in the simulator. It must never look into what it carries.

use std::future::Future;
use std::time::Duration;

use axum::http::{Request, Response};
use bytes::Bytes;
use reqwest::Client;

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

/// HTTP over TCP.
#[derive(Debug, Clone)]
pub struct TcpTransport(Client);

impl TcpTransport {
    /// A client that gives up connecting after `connect`.
    pub fn new(connect: Duration) -> Result<Self, SourceError> {
        let client = Client::builder()
            .connect_timeout(connect)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| unreachable(&error))?;
        Ok(Self(client))
    }
}

impl Transport for TcpTransport {
    type Body = TcpBody;

    async fn send(&self, request: Request<Bytes>) -> Result<Response<TcpBody>, SourceError> {
        let request = request.try_into().map_err(|error| unreachable(&error))?;
        let answer = self.0.execute(request).await.map_err(|error| unreachable(&error))?;
        let mut response = Response::new(());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        Ok(response.map(|()| TcpBody(answer)))
    }
}

/// The body of an answer over TCP.
#[derive(Debug)]
pub struct TcpBody(reqwest::Response);

impl TransportBody for TcpBody {
    async fn chunk(&mut self) -> Result<Option<Bytes>, SourceError> {
        self.0.chunk().await.map_err(|error| unreachable(&error))
    }
}

/// The innermost cause says most: "connection refused" rather than "error sending request".
fn unreachable(error: &reqwest::Error) -> SourceError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    SourceError::Unreachable(first.into_iter().chain(characters).collect())
}
