//! Writing a snapshot's container: tmp, synced as it grows → sync → rename → directory sync → read back and verify.
//!
//! It knows no log. It must never leave a file under a final name that it didn't verify.

use std::io;

use super::{
    SECTION_BYTES_MAX, SnapshotFooter, SnapshotHeader, SnapshotInfo, SnapshotReadError,
    encode_section_header, verify_snapshot,
};
use crate::format::OWNER_BYTES_MAX;
use crate::seq::Seq;
use crate::storage::gradual::Gradual;
use crate::storage::{OpenMode, Storage, StorageFile, is_no_space, remove_if_there};

/// How many bytes of short sections are gathered before they are written; longer ones aren't copied
/// first. Room for more would be new memory of each thread that saves, touched for little.
const WRITE_BUFFER_BYTES: usize = 16 << 10;

/// Why a snapshot wasn't written. Its file is gone; files of other names are as they were.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotWriteError {
    /// A section over the limit: a bug of the caller.
    #[error("a section of {bytes} bytes is over the limit of {max}")]
    SectionTooLarge {
        /// Bytes of the section.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// An owner over the limit, or `hi` below `lo`: a bug of the caller.
    #[error("impossible field: {what}")]
    Field {
        /// Which one.
        what: &'static str,
    },
    /// The disk is full: make room and try again.
    #[error("no space for the snapshot {file}")]
    NoSpace {
        /// The file, relative to the storage root.
        file: String,
    },
    /// The disk failed.
    #[error("writing the snapshot {file} failed: {source}")]
    Io {
        /// The file, relative to the storage root.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// What was read back isn't what was written: the disk is not to be trusted.
    #[error("the snapshot didn't survive being written: {0}")]
    ReadBack(#[source] SnapshotReadError),
}

/// A snapshot being written. Dropped unfinished, it removes what it wrote.
pub struct SnapshotFile<S: Storage> {
    storage: S,
    file: S::File,
    temporary: String,
    header: SnapshotHeader,
    pending: Vec<u8>,
    written_bytes: u64,
    gradual: Gradual,
    section_count: u64,
    finished: bool,
}

impl<S: Storage> SnapshotFile<S> {
    /// Begins a snapshot in the file `temporary`, replacing a leftover of that name. The directory
    /// must exist; the final name is given to [`finish`](Self::finish), in the same directory.
    pub fn create(
        storage: S,
        temporary: &str,
        header: SnapshotHeader,
    ) -> Result<Self, SnapshotWriteError> {
        if header.owner.len() > OWNER_BYTES_MAX {
            return Err(SnapshotWriteError::Field { what: "owner" });
        }
        let failed = |source| io_error(temporary, source);
        remove_if_there(&storage, temporary).map_err(failed)?;
        let file = storage.open(temporary, OpenMode::CreateNew).map_err(failed)?;
        let pending = header.encode();
        Ok(Self {
            storage,
            file,
            temporary: temporary.to_owned(),
            header,
            pending,
            written_bytes: 0,
            gradual: Gradual::default(),
            section_count: 0,
            finished: false,
        })
    }

    /// What the snapshot's beginning says.
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// Adds one section. `kind` and `id` are the caller's; the order is kept.
    pub fn section(&mut self, kind: u16, id: u32, bytes: &[u8]) -> Result<(), SnapshotWriteError> {
        if bytes.len() > SECTION_BYTES_MAX {
            return Err(SnapshotWriteError::SectionTooLarge {
                bytes: bytes.len(),
                max: SECTION_BYTES_MAX,
            });
        }
        let encoded = encode_section_header(&self.header, self.section_count, (kind, id), bytes);
        self.section_count += 1;
        if self.pending.len() + encoded.len() + bytes.len() > WRITE_BUFFER_BYTES {
            self.flush()?;
        }
        self.pending.extend_from_slice(&encoded);
        if bytes.len() > WRITE_BUFFER_BYTES {
            self.flush()?;
            return self.write(bytes);
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Adds the footer, makes all of it durable under the name `path`, reads it back and verifies
    /// every byte. Only with `Ok` there is a snapshot. A file that has that name already is replaced.
    pub fn finish(
        mut self,
        path: &str,
        hi: Seq,
        items_digest: u128,
    ) -> Result<SnapshotInfo, SnapshotWriteError> {
        if hi < self.header.lo {
            return Err(SnapshotWriteError::Field { what: "hi" });
        }
        let footer_bytes = super::FOOTER_BYTES as u64;
        let file_bytes = self.written_bytes + self.pending.len() as u64 + footer_bytes;
        let footer =
            SnapshotFooter { hi, items_digest, section_count: self.section_count, file_bytes };
        self.pending.extend_from_slice(&footer.encode(&self.header));
        self.flush()?;
        let failed = |source| io_error(path, source);
        self.file.sync_data().map_err(failed)?;
        self.storage.rename(&self.temporary, path).map_err(failed)?;
        self.finished = true;
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        if let Err(source) = self.storage.sync_dir(dir) {
            let _ = self.storage.remove(path);
            return Err(failed(source));
        }
        match verify_snapshot(&self.storage, path) {
            Ok(info) if info.header == self.header && info.footer == footer => Ok(info),
            Ok(_) => Err(self.reject(path, not_what_was_written(path))),
            Err(error) => Err(self.reject(path, error)),
        }
    }

    fn reject(&self, path: &str, error: SnapshotReadError) -> SnapshotWriteError {
        // Best effort: whoever lists the directory verifies again before it trusts the file.
        let _ = self.storage.remove(path);
        SnapshotWriteError::ReadBack(error)
    }

    fn flush(&mut self) -> Result<(), SnapshotWriteError> {
        let pending = std::mem::take(&mut self.pending);
        let result = self.write(&pending);
        self.pending = pending;
        self.pending.clear();
        result
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotWriteError> {
        self.gradual
            .write_at(&self.file, bytes, self.written_bytes)
            .map_err(|source| io_error(&self.temporary, source))?;
        self.written_bytes += bytes.len() as u64;
        Ok(())
    }
}

impl<S: Storage> Drop for SnapshotFile<S> {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: leftovers are removed at the next opening too.
            let _ = self.storage.remove(&self.temporary);
        }
    }
}

fn io_error(file: &str, source: io::Error) -> SnapshotWriteError {
    if is_no_space(&source) {
        return SnapshotWriteError::NoSpace { file: file.to_owned() };
    }
    SnapshotWriteError::Io { file: file.to_owned(), source }
}

fn not_what_was_written(file: &str) -> SnapshotReadError {
    SnapshotReadError::Damaged {
        file: file.to_owned(),
        offset: 0,
        what: "valid, but not what was written",
    }
}
