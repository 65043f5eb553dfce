//! A storage that is only read, and whose reads are told to a [`Pace`]: how a scrub is kept slow,
//! and how it is stopped. It must never write, and never hand out other bytes than the storage
//! below it.

use std::io;

use super::{OpenMode, Storage, StorageFile};

/// Who says how fast a storage may be read.
pub trait Pace: Clone + Send + Sync + 'static {
    /// Told of each read of so many bytes, after it; may sleep. An error ends the read with it.
    fn pass(&self, bytes: u64) -> io::Result<()>;
}

/// Another storage at a pace, for reading only.
#[derive(Clone, Debug)]
pub struct PacedStorage<S, P> {
    storage: S,
    pace: P,
}

/// An open file of a [`PacedStorage`].
#[derive(Debug)]
pub struct PacedFile<F, P> {
    file: F,
    pace: P,
}

impl<S: Storage, P: Pace> PacedStorage<S, P> {
    /// The same files, at this pace.
    pub fn new(storage: S, pace: P) -> Self {
        Self { storage, pace }
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "this storage is only read"))
}

impl<S: Storage, P: Pace> Storage for PacedStorage<S, P> {
    type File = PacedFile<S::File, P>;
    type Lock = S::Lock;

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Self::File> {
        match mode {
            OpenMode::Read => {
                let file = self.storage.open(path, mode)?;
                Ok(PacedFile { file, pace: self.pace.clone() })
            }
            OpenMode::ReadWrite | OpenMode::CreateNew => refused(),
        }
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _path: &str) -> io::Result<()> {
        refused()
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.storage.list(dir)
    }

    fn create_dir(&self, _dir: &str) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _dir: &str) -> io::Result<()> {
        refused()
    }

    fn try_lock(&self, _path: &str, _holder: &str) -> io::Result<Result<Self::Lock, String>> {
        refused()
    }

    fn lock_holder(&self, path: &str) -> io::Result<Option<String>> {
        self.storage.lock_holder(path)
    }

    fn available_bytes(&self) -> io::Result<u64> {
        self.storage.available_bytes()
    }

    fn block_bytes(&self) -> io::Result<u32> {
        self.storage.block_bytes()
    }
}

impl<F: StorageFile, P: Pace> StorageFile for PacedFile<F, P> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.file.read_at(buffer, offset)?;
        self.pace.pass(count as u64)?;
        Ok(count)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        refused()
    }

    fn allocate(&self, _bytes: u64) -> io::Result<()> {
        refused()
    }

    fn sync_data(&self) -> io::Result<()> {
        refused()
    }
}
