//! The real disk: one directory of a local file system.
//!
//! The only place of the crate that touches `std::fs`. It must never retry a failed sync, never
//! turn an error into success, and never follow a path out of its root.

mod removal;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{OpenMode, Storage, StorageFile};

/// How often taking the lock is tried: [`Storage::lock_holder`] of another process holds it for an
/// instant, which must not look like a second writer.
const LOCK_ATTEMPTS_MAX: u32 = 5;
const LOCK_ATTEMPT_PAUSE: Duration = Duration::from_millis(10);
/// The longest holder text read back from a lock file, in bytes.
const HOLDER_BYTES_MAX: u64 = 1024;
const BLOCK_BYTES_DEFAULT: u32 = 512;
const BLOCK_BYTES_MAX: u32 = 1 << 20;

/// A directory of the local file system. Clones are handles to the same directory.
#[derive(Clone, Debug)]
pub struct DiskStorage {
    root: PathBuf,
}

/// An open file of a [`DiskStorage`]; as long as it is, nobody frees its bytes.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
}

/// The held lock of a [`DiskStorage`]; released on drop, and by the kernel when the process dies.
#[derive(Debug)]
pub struct DiskLock {
    _file: File,
}

impl DiskStorage {
    /// A handle to `root`, which needn't exist yet (`create_dir("")` makes it).
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory itself, for messages.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, path: &str) -> io::Result<PathBuf> {
        let outside = path.starts_with('/') || path.split('/').any(|part| part == "..");
        if outside {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{path} leaves the storage root"),
            ));
        }
        Ok(if path.is_empty() { self.root.clone() } else { self.root.join(path) })
    }
}

impl Storage for DiskStorage {
    type File = DiskFile;
    type Lock = DiskLock;

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<DiskFile> {
        let mut options = OpenOptions::new();
        match mode {
            OpenMode::Read => options.read(true),
            OpenMode::ReadWrite => options.read(true).write(true),
            OpenMode::CreateNew => options.read(true).write(true).create_new(true),
        };
        let file = options.open(self.path(path)?)?;
        removal::hold(&file)?;
        Ok(DiskFile { file })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from)?, self.path(to)?)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        removal::remove(&self.path(path)?)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(dir)?)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let path = self.path(dir)?;
        if path.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&path)?;
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
            Some(_) | None => Ok(()),
        }
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        sync_dir(&self.path(dir)?)
    }

    fn try_lock(&self, path: &str, holder: &str) -> io::Result<Result<DiskLock, String>> {
        let path = self.path(path)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        for attempt in 1..=LOCK_ATTEMPTS_MAX {
            match fs2::FileExt::try_lock_exclusive(&file) {
                Ok(()) => {
                    file.set_len(0)?;
                    file.write_all(holder.as_bytes())?;
                    return Ok(Ok(DiskLock { _file: file }));
                }
                Err(error) if is_contended(&error) => {
                    if attempt < LOCK_ATTEMPTS_MAX {
                        std::thread::sleep(LOCK_ATTEMPT_PAUSE);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        read_holder(&file).map(Err)
    }

    fn lock_holder(&self, path: &str) -> io::Result<Option<String>> {
        let file = match File::open(self.path(path)?) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match fs2::FileExt::try_lock_shared(&file) {
            Ok(()) => fs2::FileExt::unlock(&file).map(|()| None),
            Err(error) if is_contended(&error) => read_holder(&file).map(Some),
            Err(error) => Err(error),
        }
    }

    fn available_bytes(&self) -> io::Result<u64> {
        fs2::available_space(&self.root)
    }

    fn block_bytes(&self) -> io::Result<u32> {
        let device = fs::metadata(&self.root)?.dev();
        let device_dir =
            format!("/sys/dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        // A partition has no queue of its own: its parent in sysfs is the whole device.
        let found = ["queue/physical_block_size", "../queue/physical_block_size"]
            .iter()
            .find_map(|name| fs::read_to_string(format!("{device_dir}/{name}")).ok());
        let bytes = found.and_then(|text| text.trim().parse::<u32>().ok());
        Ok(bytes
            .filter(|bytes| bytes.is_power_of_two() && *bytes <= BLOCK_BYTES_MAX)
            .unwrap_or(BLOCK_BYTES_DEFAULT))
    }
}

impl StorageFile for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match FileExt::read_at(&self.file, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(&self.file, bytes, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        // In full: std has inherent methods of the same names on `File`.
        fs2::FileExt::allocate(&self.file, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn is_contended(error: &io::Error) -> bool {
    error.kind() == fs2::lock_contended_error().kind()
}

fn read_holder(file: &File) -> io::Result<String> {
    let mut text = Vec::new();
    let mut reader: &File = file;
    Read::by_ref(&mut reader).take(HOLDER_BYTES_MAX).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}
