//! What can be done to a simulated disk, and how it can go wrong. Data only.

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An I/O error. A failed write leaves any part of its bytes; a failed sync leaves the bytes
    /// readable, clean and not durable, all but a random few of them.
    Eio,
    /// No space: nothing is changed (a write leaves any part of its bytes).
    Enospc,
    /// The power goes: the operation and every later one fail. See `SimStorage::crashed`.
    Crash,
}

/// What the disk claims without doing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lies {
    /// `sync_data` says "safe" and does nothing.
    pub sync_data: bool,
    /// `sync_dir` says "safe" and does nothing.
    pub sync_dir: bool,
}

/// One changing operation, as attempted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new file.
    Create(String),
    /// A rename, from and to.
    Rename(String, String),
    /// A removed file.
    Remove(String),
    /// A new directory.
    CreateDir(String),
    /// A directory sync.
    SyncDir(String),
    /// A write: path, offset, bytes.
    Write(String, u64, u64),
    /// A reservation: path, bytes.
    Allocate(String, u64),
    /// A data sync.
    SyncData(String),
}
