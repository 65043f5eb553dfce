//! A simulated disk in memory, worse than any real one that keeps the promises of [`super`].
//!
//! It counts every operation that changes something, so that a test can crash at each of them, or
//! make each fail. A crash keeps any subset of the 512-byte sectors written since the last sync,
//! may tear or garble the unsynced part of whole 4096-byte blocks, keeps any length between the
//! durable one and the current one, and keeps any of the unsynced directory changes. It never
//! loses a byte or a name that was synced, unless it was told to lie ([`Lies`]).
//!
//! It must stay deterministic: the same seeds and the same calls give the same disk.

mod inode;
mod medium;
mod names;
mod operation;
mod random;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use threading::Mutex;

use super::{OpenMode, Storage, StorageFile};
use medium::Medium;

pub use operation::{Fault, Lies, Operation};

/// A simulated disk. Clones are handles to the same disk; [`SimStorage::crashed`] is another disk.
#[derive(Clone, Debug)]
pub struct SimStorage {
    medium: Arc<Mutex<Medium>>,
}

/// An open file of a [`SimStorage`].
#[derive(Debug)]
pub struct SimFile {
    medium: Arc<Mutex<Medium>>,
    inode: u64,
    path: String,
    writable: bool,
}

/// The held lock of a [`SimStorage`].
#[derive(Debug)]
pub struct SimLock {
    medium: Arc<Mutex<Medium>>,
    path: String,
}

impl SimStorage {
    /// An empty disk with an existing, durable root. The seed drives what failed syncs leave.
    pub fn new(seed: u64) -> Self {
        Self::of(Medium::new(seed))
    }

    fn of(medium: Medium) -> Self {
        Self { medium: Arc::new(Mutex::new(medium)) }
    }

    /// The disk as one possible power cut at this instant leaves it: unlocked, without faults,
    /// counting operations from 0. This disk stays as it is, so many cuts can be tried.
    #[must_use]
    pub fn crashed(&self, seed: u64) -> Self {
        Self::of(self.medium.lock().crashed(seed))
    }

    /// Cuts the power: every handle to this disk fails from now on; the result is what is left.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        // Under one lock: nothing is done, and told done, between the cut and the dark.
        let mut medium = self.medium.lock();
        let after = medium.crashed(seed);
        medium.power_off();
        drop(medium);
        Self::of(after)
    }

    /// An independent copy of this disk as it is now, unsynced state included, unlocked, without
    /// faults, counting operations from 0.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::of(self.medium.lock().fork())
    }

    /// Whether the power is off: a [`Fault::Crash`] happened, or [`crash`](Self::crash) was called.
    pub fn is_off(&self) -> bool {
        self.medium.lock().is_off()
    }

    /// How many changing operations were attempted so far; the next one has this index.
    pub fn op_count(&self) -> u64 {
        self.medium.lock().operation_count()
    }

    /// What the operation with this index was.
    pub fn operation(&self, index: u64) -> Option<Operation> {
        self.medium.lock().operation(index)
    }

    /// Makes the operation with this index fail.
    pub fn fail_at(&self, index: u64, fault: Fault) {
        self.medium.lock().fail_at(index, fault);
    }

    /// Forgets every fault that hasn't happened yet.
    pub fn no_more_faults(&self) {
        self.medium.lock().no_more_faults();
    }

    /// Makes every later read of `path` fail with an I/O error (or makes it readable again).
    pub fn set_unreadable(&self, path: &str, unreadable: bool) {
        self.medium.lock().set_unreadable(path, unreadable);
    }

    /// Limits the sum of all file lengths, in bytes; `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.medium.lock().set_capacity(bytes);
    }

    /// What [`Storage::block_bytes`] answers; 512 at first.
    pub fn set_block_bytes(&self, bytes: u32) {
        self.medium.lock().set_block_bytes(bytes);
    }

    /// Makes syncs claim what they didn't do.
    pub fn set_lies(&self, lies: Lies) {
        self.medium.lock().set_lies(lies);
    }

    /// Flips one bit of a file, durably, as rot does; the bit is `offset * 8 + bit`.
    pub fn flip_bit(&self, path: &str, offset: u64, bit: u8) -> io::Result<()> {
        self.medium.lock().rot(path, offset, |byte| byte ^ (1 << (bit & 7)))
    }

    /// Puts a file there, durably and as a whole, without counting an operation.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        self.medium.lock().put(path, bytes);
    }

    /// Takes a name away, durably, without counting an operation; says whether it was there.
    pub fn take(&self, path: &str) -> bool {
        self.medium.lock().take(path)
    }

    /// Every file by path, with the bytes a reader sees now; for comparing two instants.
    pub fn contents(&self) -> Vec<(String, Vec<u8>)> {
        self.medium.lock().contents()
    }
}

impl Storage for SimStorage {
    type File = SimFile;
    type Lock = SimLock;

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<SimFile> {
        let mut medium = self.medium.lock();
        let inode = match mode {
            OpenMode::Read | OpenMode::ReadWrite => medium.find(path)?,
            OpenMode::CreateNew => medium.create(path)?,
        };
        medium.opened(inode);
        drop(medium);
        let medium = Arc::clone(&self.medium);
        Ok(SimFile { medium, inode, path: path.to_owned(), writable: mode != OpenMode::Read })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.medium.lock().rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.medium.lock().remove(path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.medium.lock().list(dir)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.medium.lock().create_dir(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.medium.lock().sync_dir(dir)
    }

    fn try_lock(&self, path: &str, holder: &str) -> io::Result<Result<SimLock, String>> {
        let taken = self.medium.lock().lock(path, holder)?;
        Ok(taken.map(|()| SimLock { medium: Arc::clone(&self.medium), path: path.to_owned() }))
    }

    fn lock_holder(&self, path: &str) -> io::Result<Option<String>> {
        self.medium.lock().holder(path)
    }

    fn available_bytes(&self) -> io::Result<u64> {
        self.medium.lock().available_bytes()
    }

    fn block_bytes(&self) -> io::Result<u32> {
        Ok(self.medium.lock().block_bytes())
    }
}

impl StorageFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.medium.lock().length(self.inode)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.medium.lock().read(self.inode, &self.path, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        self.medium.lock().write(self.inode, &self.path, bytes, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.check_writable()?;
        self.medium.lock().allocate(self.inode, &self.path, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.medium.lock().sync_data(self.inode, &self.path)
    }
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading"))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.medium.lock().close(self.inode);
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.medium.lock().unlock(&self.path);
    }
}
