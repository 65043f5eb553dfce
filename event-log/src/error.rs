//! What can go wrong with each operation of the log, and what to do about it.
//!
//! One enum for each operation. An error here must never be logged by this crate: its caller handles it once.

use std::io;

use crate::seq::Seq;

/// A damaged range of bytes: what an operator needs to find it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} in {file} at byte {offset} ({length} bytes), records {first_seq} to {last_seq}")]
pub struct Damage {
    /// The file, relative to the log's directory.
    pub file: String,
    /// Where the damage begins, bytes.
    pub offset: u64,
    /// How many bytes can't be trusted; 0 when something is missing.
    pub length: u64,
    /// The first seq that can't be trusted.
    pub first_seq: Seq,
    /// The last seq that can't be trusted, as far as known; [`Seq::MAX`] when it isn't.
    pub last_seq: Seq,
    /// What is wrong.
    pub what: String,
}

/// Why a log wasn't opened. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes this log: stop it, or open somewhere else.
    #[error("the log is in use by {holder}")]
    Locked {
        /// What the holder wrote into the lock file.
        holder: String,
    },
    /// What was acknowledged is damaged: restore it, or look at it with [`crate::Log::open_read_only`].
    #[error("the log is damaged: {0}")]
    Corrupt(Damage),
    /// A log of someone else: check the directory in the configuration.
    #[error("the log belongs to {:?}, not to {:?}", String::from_utf8_lossy(.found), String::from_utf8_lossy(.expected))]
    WrongOwner {
        /// Whose log it is.
        found: Vec<u8>,
        /// Who wanted to open it.
        expected: Vec<u8>,
    },
    /// Written by a newer build: use that one.
    #[error("{file} has format version {found}, which this build doesn't support")]
    UnsupportedVersion {
        /// The file, relative to the log's directory.
        file: String,
        /// The version (or the flags) found.
        found: u16,
    },
    /// The directory holds something else: check the configuration.
    #[error("not a log: {what}")]
    NotALog {
        /// What it looks like.
        what: String,
    },
    /// The options can't be: a bug of the caller.
    #[error("impossible option: {what}")]
    Options {
        /// Which one.
        what: &'static str,
    },
    /// No room for the first segment: make room.
    #[error("no space to make the log")]
    NoSpace,
    /// The disk failed: look at it before trying again.
    #[error("{operation} failed: {source}")]
    Io {
        /// What was tried, with the file.
        operation: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Why records weren't appended. None of them is in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The queue is full or the next segment isn't ready: try again in a moment.
    #[error("the log is busy")]
    Busy,
    /// The disk is full: the log is read-only until there is room, then goes on by itself.
    #[error("no space left for the log")]
    NoSpace,
    /// More than one append may hold: split it.
    #[error("an append of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Bytes of the records as laid out in a frame.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// There is nothing to append: a bug of the caller.
    #[error("an append without records")]
    Empty,
    /// A write or a sync failed: restart the process, which looks at what is really there.
    #[error("the log is poisoned: {reason}")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// The log is closed or closing.
    #[error("the log is closed")]
    Closed,
    /// The log was opened for reading only, or it can't preallocate for another reason than space
    /// and goes on by itself once it can.
    #[error("the log is read-only: {reason}")]
    ReadOnly {
        /// Why.
        reason: String,
    },
}

/// Why waiting for a seq ended without it being durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// A write or sync failed: the records may or may not be there after a restart. Never answer "failed" for them.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// The log was closed before the seq was given out.
    #[error("the log is closed")]
    Closed,
}

/// Why nothing was committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A write or a sync failed, now or before. It latches: no retry, ever, because after a failed sync the system may call lost pages clean.
    #[error("the log is poisoned: {reason}")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
}

/// Why no spare segment was made. The log goes on with what it has; the next call tries again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreallocateError {
    /// The disk is full or below the floor.
    #[error("no space for a spare segment: {reason}")]
    NoSpace {
        /// How much there is and how much is wanted.
        reason: String,
    },
    /// The disk failed.
    #[error("making a spare segment failed: {reason}")]
    Io {
        /// What the system said.
        reason: String,
    },
}

/// Why a frame or record couldn't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What was acknowledged is damaged.
    #[error("the log is damaged: {0}")]
    Corrupt(Damage),
    /// Written by a newer build: use that one.
    #[error("{file} has format version {found}, which this build doesn't support")]
    UnsupportedVersion {
        /// The file, relative to the log's directory.
        file: String,
        /// The version (or the flags) found.
        found: u16,
    },
    /// The records are neither in a segment nor in the archive any more: start from a snapshot.
    #[error("records before {resume_from} are compacted away")]
    Compacted {
        /// The first seq that can still be read.
        resume_from: Seq,
    },
    /// The directory holds no log.
    #[error("not a log: {what}")]
    NotALog {
        /// What is missing.
        what: String,
    },
    /// The disk failed.
    #[error("reading {file} failed: {source}")]
    Io {
        /// The file, relative to the log's directory.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Why reading can't go on from a cursor. Each answer asks for something else.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    /// What comes after the cursor is compacted away: resync from a snapshot.
    #[error("what follows is compacted away, resume from {resume_from}")]
    Compacted {
        /// The first seq that can still be read.
        resume_from: Seq,
    },
    /// The log holds other bytes than the cursor saw: an alarm, never go on.
    #[error("the log was rewritten: another chain at {at}")]
    Rewritten {
        /// The cursor's seq.
        at: Seq,
    },
    /// The log ends before the cursor: it lost data. An alarm, never go on.
    #[error("the cursor is ahead of the log, which ends at {last}")]
    Ahead {
        /// The durable watermark.
        last: Seq,
    },
    /// The seq lies inside a frame: not a place any reader can have stopped at.
    #[error("{seq} isn't the end of a frame, which would be {frame_end}")]
    NotAFrameEnd {
        /// The cursor's seq.
        seq: Seq,
        /// The end of the frame it lies in.
        frame_end: Seq,
    },
    /// Looking failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}
