//! Removing a long file step by step, so that no frame waits for it.
//!
//! Freed in one go, the space of a snapshot of ten million SKUs keeps the file system's journal and
//! the device's queue (the blocks are discarded) to itself for some hundred milliseconds, and the
//! sync of a frame waits behind it. Here the file loses its name first, durably, and then its
//! bytes from the end on. It must never take a byte from anybody who still reads the file: whoever
//! has it open holds a shared lock on it, and a file with another name is somebody's copy.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{is_contended, sync_dir};

/// How much is freed at once, in bytes. With 32 MiB the sync of a frame that falls into it takes up
/// to 7.6 ms, with 8 MiB 2.8, with 2 MiB 1.0, beside 41 ms where a gigabyte goes at once; steps of
/// 512 KiB take twice as long as those of 2 MiB.
const STEP_BYTES: u64 = 2 << 20;

/// Says for as long as `file` is open that somebody uses its bytes. `NotFound` where they are being
/// freed already: its name was removed while it was opened.
pub(super) fn hold(file: &File) -> io::Result<()> {
    fs2::FileExt::try_lock_shared(file)
        .map_err(|error| if is_contended(&error) { io::ErrorKind::NotFound.into() } else { error })
}

/// Removes the name, and the bytes if nobody uses them; if somebody does, they go when the last of
/// them closes the file.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.len() <= STEP_BYTES {
        return fs::remove_file(path);
    }
    let Ok(file) = OpenOptions::new().write(true).open(path) else {
        // Nothing of it may be changed, but its name may go.
        return fs::remove_file(path);
    };
    fs::remove_file(path)?;
    if is_used(&file)? {
        return Ok(());
    }
    // Without its bytes the file mustn't come back after a power cut.
    if let Some(dir) = path.parent() {
        sync_dir(dir)?;
    }
    free_gradually(&file)
}

/// Whether the file has another name, or somebody has it open, or nobody can know. If not, nobody
/// can use it any more from now on.
fn is_used(file: &File) -> io::Result<bool> {
    let is_locked = fs2::FileExt::try_lock_exclusive(file).is_ok();
    Ok(!is_locked || file.metadata()?.nlink() > 0)
}

fn free_gradually(file: &File) -> io::Result<()> {
    let mut length = file.metadata()?.len();
    while length > 0 {
        length = length.saturating_sub(STEP_BYTES);
        file.set_len(length)?;
        file.sync_data()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    const LONG_BYTES: u64 = 5 * STEP_BYTES + 1;

    /// A folder of its own with a long file in it: its path, and the file, open but not held.
    fn long_file() -> (TempDir, PathBuf, File) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all_at(b"end", LONG_BYTES - 3).unwrap();
        (dir, path, file)
    }

    fn end(file: &File) -> [u8; 3] {
        let mut end = [0; 3];
        file.read_exact_at(&mut end, LONG_BYTES - 3).unwrap();
        end
    }

    #[test]
    fn the_bytes_of_a_long_file_that_nobody_reads_are_gone_when_it_is_removed() {
        let (_dir, path, witness) = long_file();
        remove(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(witness.metadata().unwrap().len(), 0);
    }

    #[test]
    fn who_reads_a_long_file_keeps_its_bytes_when_it_is_removed() {
        let (_dir, path, reader) = long_file();
        hold(&reader).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(&end(&reader), b"end");
    }

    #[test]
    fn another_name_of_a_long_file_keeps_its_bytes() {
        let (dir, path, file) = long_file();
        drop(file);
        let copy = dir.path().join("copy");
        fs::hard_link(&path, &copy).unwrap();
        remove(&path).unwrap();
        assert_eq!(&end(&File::open(copy).unwrap()), b"end");
    }

    #[test]
    fn a_file_whose_bytes_are_being_freed_is_not_found_by_who_opened_it_just_before() {
        let (_dir, path, late) = long_file();
        let freed = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!is_used(&freed).unwrap());
        assert_eq!(hold(&late).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_not_there_cannot_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let missing = remove(&dir.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
