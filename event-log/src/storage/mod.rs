//! The medium under the log: everything the crate asks of a disk, as two small traits.
//!
//! The log, its recovery, its snapshots and its retention are generic over [`Storage`], so that the
//! simulator runs the very code that runs in production ([`disk::DiskStorage`] is the real disk,
//! [`sim::SimStorage`] the simulated one). Nothing outside this module may touch `std::fs`.
//!
//! Paths are relative to the storage root and use `/`: `"00000000000000000001.log"`,
//! `"archive/…"`, `"snapshots/…"`. The empty path is the root directory itself.
//!
//! What the log assumes of a medium, and nothing more:
//! 1. Bytes that `sync_data` said were safe stay as they were until they are written again.
//! 2. Bytes written since then may be there, may be missing, may be torn, in any combination.
//! 3. A name made, renamed or removed counts only once `sync_dir` of its directory returned;
//!    before, each of those changes may be there or not, but a rename is never half done.
//! 4. After a failed `sync_data` nothing is known about the bytes, whatever a later read shows.

pub mod disk;
pub(crate) mod gradual;
pub mod paced;
pub mod sim;

use std::io;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing in place.
    ReadWrite,
    /// A file that must not exist yet, for reading and writing.
    CreateNew,
}

/// A directory that holds one log. Clones are handles to the same directory.
pub trait Storage: Clone + Send + Sync + 'static {
    /// An open file.
    type File: StorageFile;
    /// A held lock; dropping it releases the lock.
    type Lock: Send + Sync + 'static;

    /// Opens `path`; `NotFound` when it is missing, `AlreadyExists` for [`OpenMode::CreateNew`].
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Self::File>;

    /// Gives the file another name in the same directory, replacing what had that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// The names in a directory (files and directories alike), sorted; `NotFound` when missing.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Makes a directory, and the root's own parents for `""`; fine when it is there already.
    fn create_dir(&self, dir: &str) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Takes the exclusive advisory lock on `path`, creating the file if need be, and leaves the
    /// holder's text in it. `Ok(Err(text))` is the text of whoever holds it now.
    fn try_lock(&self, path: &str, holder: &str) -> io::Result<Result<Self::Lock, String>>;

    /// Whoever holds the lock on `path` now, without taking it or writing anything.
    fn lock_holder(&self, path: &str) -> io::Result<Option<String>>;

    /// Bytes the medium still has room for.
    fn available_bytes(&self) -> io::Result<u64>;

    /// The unit the device writes atomically, in bytes; 512 when it can't be known.
    fn block_bytes(&self) -> io::Result<u32>;
}

/// One open file, read and written by position so that no cursor is shared.
#[expect(
    clippy::len_without_is_empty,
    reason = "a length on a disk is asked for, never compared with zero"
)]
pub trait StorageFile: Send + Sync + 'static {
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Reads into `buffer` from `offset`; the count is short only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, growing the file as needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reserves space for the first `bytes` bytes of the file; grows it, never shrinks it.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Makes the bytes and the length durable (`fdatasync`). After an error nothing is known.
    fn sync_data(&self) -> io::Result<()>;
}

/// Reads a file from its start to its end, as [`io::Read`].
#[derive(Debug)]
pub struct FileReader<F> {
    file: F,
    offset: u64,
}

impl<F: StorageFile> FileReader<F> {
    /// A reader that begins at `offset`.
    pub fn new(file: F, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl<F: StorageFile> io::Read for FileReader<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Whether an error says that the medium is full.
pub fn is_no_space(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded
}

/// Reads `buffer.len()` bytes at `offset`, or fails with `UnexpectedEof`.
pub fn read_exact_at<F: StorageFile>(file: &F, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    if file.read_at(buffer, offset)? == buffer.len() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the file ends before the bytes it should hold",
    ))
}

/// Reads a whole small file; `FileTooLarge` when it is longer than `bytes_max`, before allocating.
pub fn read_small_file<S: Storage>(storage: &S, path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = storage.open(path, OpenMode::Read)?;
    let length = file.len()?;
    if length > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{length} bytes, at most {bytes_max} expected"),
        ));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    read_exact_at(&file, &mut bytes, 0)?;
    Ok(bytes)
}

/// Replaces `dir`/`name` as a whole: temporary name → sync → rename → directory sync.
///
/// A crash leaves the old content or the new, and perhaps the temporary file `<name>.tmp`.
pub fn replace_file<S: Storage>(
    storage: &S,
    dir: &str,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let path = join(dir, name);
    let temporary = format!("{path}.tmp");
    remove_if_there(storage, &temporary)?;
    let file = storage.open(&temporary, OpenMode::CreateNew)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    storage.rename(&temporary, &path)?;
    storage.sync_dir(dir)
}

/// Removes a file that may already be gone; says whether it was there.
pub fn remove_if_there<S: Storage>(storage: &S, path: &str) -> io::Result<bool> {
    match storage.remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The names in a directory, or none when the directory isn't there.
pub fn list_if_there<S: Storage>(storage: &S, dir: &str) -> io::Result<Vec<String>> {
    match storage.list(dir) {
        Ok(names) => Ok(names),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// `dir/name`, or `name` alone in the root.
pub fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}
