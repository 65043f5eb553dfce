//! Where a store's frames come from. HTTP by default; a data directory or a broker can stand in.
//! A source must never judge what it brings: identity, chain and digests are the worker's and the
//! follower's to check.

mod any;
pub mod directory;
pub mod http;
mod pieces;
pub mod transport;

use std::future::Future;

use bytes::Bytes;
use event_log::frame::Frame;
use event_log::{Chain, LogId, Seq};
use shared::StoreId;

use crate::follower::Position;

pub use any::NodeSource;

/// Who a node says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its store.
    pub store_id: StoreId,
    /// Its log.
    pub log_id: LogId,
    /// Its opening of the log.
    pub epoch: u64,
}

/// What a node says of itself besides its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Who it is.
    pub identity: Identity,
    /// Its durable watermark.
    pub durable_seq: Seq,
    /// How many snapshots it has.
    pub snapshot_count: usize,
}

/// Why a source brought nothing. Each asks for something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// No contact: try again later.
    #[error("{0}")]
    Unreachable(String),
    /// What came isn't what a node sends: try again later, it may be the line.
    #[error("the stream is damaged: {0}")]
    Damaged(String),
    /// The node speaks a format that this version doesn't know: upgrade.
    #[error("the node's log has format {0}, which this version doesn't know")]
    UnsupportedFormat(u16),
    /// What follows the cursor is gone: start from a snapshot.
    #[error("the log before seq {resume_from} is compacted away")]
    Compacted {
        /// The first seq that the node still has.
        resume_from: u64,
    },
    /// The node holds other bytes than we saw: an alarm.
    #[error("the node's log was rewritten: {0}")]
    Rewritten(String),
    /// We saw more than the node has: an alarm.
    #[error("the node's log lost data: {0}")]
    Ahead(String),
    /// There is no snapshot to begin from: try again later.
    #[error("there is no snapshot")]
    NoSnapshot,
    /// The node answered something else.
    #[error("the node answered {status}: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
}

/// A source of one store's log.
pub trait LogSource: Clone + Send + Sync + 'static {
    /// A running stream of frames.
    type Stream: FrameStream;
    /// A running download of a snapshot.
    type Snapshot: ByteStream;

    /// Asks the node who it is and how far it is.
    fn status(&self) -> impl Future<Output = Result<NodeStatus, SourceError>> + Send;

    /// Opens the stream of the frames after `after` (from the beginning without one).
    fn follow(
        &self,
        after: Option<Position>,
    ) -> impl Future<Output = Result<(Identity, Self::Stream), SourceError>> + Send;

    /// Downloads the node's newest snapshot.
    fn snapshot(
        &self,
    ) -> impl Future<Output = Result<(Identity, Self::Snapshot), SourceError>> + Send;

    /// Tells the node how far its log has been taken over durably.
    fn acknowledge(
        &self,
        seq: Seq,
        chain: Chain,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Tells the node that we won't come back.
    fn deregister(&self) -> impl Future<Output = Result<(), SourceError>> + Send;
}

/// Frames one after another, keep-alives included. Dropping a pending `next` loses nothing.
pub trait FrameStream: Send + 'static {
    /// The next frame, its crcs checked.
    fn next(&mut self) -> impl Future<Output = Result<Frame, SourceError>> + Send;
}

/// Bytes one after another.
pub trait ByteStream: Send + 'static {
    /// The next bytes; none at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, SourceError>> + Send;
}
