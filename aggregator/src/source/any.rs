//! The source that a store's URL asks for. Nothing here knows more than which is which.

use bytes::Bytes;
use event_log::frame::Frame;
use event_log::storage::disk::DiskStorage;
use event_log::{Chain, Seq};

use super::directory::{DirectoryFrames, DirectorySnapshot, DirectorySource};
use super::http::{HttpFrames, HttpOptions, HttpSnapshot, HttpSource};
use super::{ByteStream, FrameStream, Identity, LogSource, NodeStatus, SourceError};
use crate::address::NodeAddress;
use crate::follower::Position;

/// A node over HTTP, or its data directory.
#[derive(Debug, Clone)]
pub enum NodeSource {
    /// Over HTTP.
    Http(HttpSource),
    /// In a directory that can be read from here.
    Directory(DirectorySource<DiskStorage>),
}

/// The frames of either.
pub enum NodeFrames {
    /// Over HTTP.
    Http(HttpFrames),
    /// From a directory.
    Directory(Box<DirectoryFrames<DiskStorage>>),
}

/// The snapshot of either.
pub enum NodeSnapshot {
    /// Over HTTP.
    Http(HttpSnapshot),
    /// From a directory.
    Directory(DirectorySnapshot<DiskStorage>),
}

impl NodeSource {
    /// The source at `url`, read as `consumer`; else why there is none.
    pub fn at(url: &str, consumer: &str, options: HttpOptions) -> Result<Self, String> {
        match NodeAddress::parse(url)? {
            NodeAddress::Http(url) => Ok(Self::Http(HttpSource::new(&url, consumer, options))),
            NodeAddress::Directory(path) => {
                Ok(Self::Directory(DirectorySource::new(DiskStorage::new(path))))
            }
        }
    }
}

impl LogSource for NodeSource {
    type Stream = NodeFrames;
    type Snapshot = NodeSnapshot;

    async fn status(&self) -> Result<NodeStatus, SourceError> {
        match self {
            Self::Http(source) => source.status().await,
            Self::Directory(source) => source.status().await,
        }
    }

    async fn follow(&self, after: Option<Position>) -> Result<(Identity, NodeFrames), SourceError> {
        match self {
            Self::Http(source) => {
                let (identity, frames) = source.follow(after).await?;
                Ok((identity, NodeFrames::Http(frames)))
            }
            Self::Directory(source) => {
                let (identity, frames) = source.follow(after).await?;
                Ok((identity, NodeFrames::Directory(Box::new(frames))))
            }
        }
    }

    async fn snapshot(&self) -> Result<(Identity, NodeSnapshot), SourceError> {
        match self {
            Self::Http(source) => {
                let (identity, snapshot) = source.snapshot().await?;
                Ok((identity, NodeSnapshot::Http(snapshot)))
            }
            Self::Directory(source) => {
                let (identity, snapshot) = source.snapshot().await?;
                Ok((identity, NodeSnapshot::Directory(snapshot)))
            }
        }
    }

    async fn acknowledge(&self, seq: Seq, chain: Chain) -> Result<(), SourceError> {
        match self {
            Self::Http(source) => source.acknowledge(seq, chain).await,
            Self::Directory(source) => source.acknowledge(seq, chain).await,
        }
    }

    async fn deregister(&self) -> Result<(), SourceError> {
        match self {
            Self::Http(source) => source.deregister().await,
            Self::Directory(source) => source.deregister().await,
        }
    }
}

impl FrameStream for NodeFrames {
    async fn next(&mut self) -> Result<Frame, SourceError> {
        match self {
            Self::Http(frames) => frames.next().await,
            Self::Directory(frames) => frames.next().await,
        }
    }
}

impl ByteStream for NodeSnapshot {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        match self {
            Self::Http(snapshot) => snapshot.next().await,
            Self::Directory(snapshot) => snapshot.next().await,
        }
    }
}
