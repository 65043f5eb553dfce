//! A crash-safe, append-only, group-committed log of opaque records.
//!
//! The log knows nothing of what its records mean: the caller gives bytes and asks for them back.
//! What it promises is on one page in `docs/event-log-format.md`; in short: an append is
//! acknowledged and visible only when one `fdatasync` has made it durable, every opening yields
//! exactly a prefix that holds at least everything acknowledged, and damage to what was
//! acknowledged is named, never cut away.
//!
//! ```
//! use event_log::{Cursor, Log, LogOptions, RecordBuffer, storage::sim::SimStorage};
//!
//! let log = Log::open(SimStorage::new(1), LogOptions::default()).unwrap();
//! let mut records = RecordBuffer::new();
//! records.push(b"sold one mug");
//! let appended = log.append(&records, 1_763_719_200_000_000, 0).unwrap();
//! log.commit_once().unwrap(); // in production the committer thread of `Log::start` does this
//! log.wait_blocking(appended.last).unwrap();
//!
//! let mut reader = log.reader(Cursor::START).unwrap();
//! let frame = reader.next().unwrap().expect("one frame is durable");
//! assert_eq!(frame.records().next().unwrap().1, b"sold one mug");
//! ```
//!
//! It must never hold a clock, a runtime or a random source: times, seeds and threads' starts are
//! the caller's. Only [`storage::disk`] touches `std::fs`.

mod archive;
mod catalog;
mod committer;
mod compaction;
mod consumers;
mod directory;
mod error;
mod format;
pub mod frame;
mod headers;
mod leftovers;
mod links;
mod log;
mod look;
pub mod planted;
mod queue;
mod reader;
mod record;
mod recovery;
mod seq;
pub mod snapshot;
mod status;
pub mod storage;
mod threads;
pub mod verify;
mod waiters;
mod walk;
mod window;

pub use compaction::{
    CompactionError, CompactionReport, Progress, Retention, SNAPSHOTS_KEEP_MIN, go_on,
};
pub use consumers::{
    AcknowledgeError, CONSUMER_ID_BYTES_MAX, CONSUMERS_MAX, Consumer, ConsumersError, PINS_MAX,
    read_consumers,
};
pub use directory::{DirectoryReader, DirectoryTip};
pub use error::{
    AppendError, CommitError, CursorError, Damage, OpenError, PreallocateError, ReadError,
    WaitError,
};
pub use format::{
    ALIGNMENT_BYTES_MAX, ALIGNMENT_BYTES_MIN, APPEND_BYTES_MAX, FORMAT_VERSION, FRAME_BYTES_MAX,
    OWNER_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES, SegmentHeader,
    parse_segment_file_name, segment_file_name,
};
pub use frame::{Frame, FrameHeader, FrameKind, decode_frame, keep_alive, verify_chain};
pub use leftovers::Leftover;
pub use log::{Committed, Log, LogOptions};
pub use reader::FrameReader;
pub use record::{RecordBuffer, Records};
pub use seq::{Chain, Cursor, Epoch, LogId, Seq, SeqRange, StateDigest, Tip};
pub use snapshot::{
    SnapshotError, SnapshotFile, SnapshotHeader, SnapshotInfo, SnapshotReader, SnapshotWriter,
};
pub use status::{
    LogState, LogStatus, OpenedAs, ReadOnlyOpening, SYNC_BUCKETS_US, SegmentStatus, SyncStats,
};
pub use verify::{VerifyReport, verify};
pub use waiters::Durable;
