//! The state of a simulated disk and its rules; [`super`] gives it the shape of a `Storage`.
//!
//! Two views are kept of everything: what a reader sees now, and what is durable. Only a sync may
//! move bytes or names from the first to the second; only a crash shows the second.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

use super::inode::Inode;
use super::names::{Change, Names, dir_of};
use super::operation::{Fault, Lies, Operation};
use super::random::Random;

/// Only the latest operations are remembered by name.
const OPERATIONS_KEPT_MAX: usize = 1 << 16;
const BLOCK_BYTES_DEFAULT: u32 = 512;
/// A file longer than this is a bug in a test, not a file.
const FILE_BYTES_MAX: u64 = 1 << 32;
const ERRNO_EIO: i32 = 5;
const ERRNO_ENOSPC: i32 = 28;

#[derive(Debug)]
pub(super) struct Medium {
    inodes: BTreeMap<u64, Inode>,
    open: BTreeMap<u64, u32>,
    names: Names,
    durable_names: Names,
    changes: Vec<Change>,
    locks: BTreeMap<String, String>,
    operations: VecDeque<Operation>,
    operation_count: u64,
    faults: BTreeMap<u64, Fault>,
    unreadable: BTreeSet<String>,
    capacity: Option<u64>,
    block_bytes: u32,
    lies: Lies,
    off: bool,
    next_inode: u64,
    random: Random,
}

impl Medium {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            inodes: BTreeMap::new(),
            open: BTreeMap::new(),
            names: Names::default(),
            durable_names: Names::default(),
            changes: Vec::new(),
            locks: BTreeMap::new(),
            operations: VecDeque::new(),
            operation_count: 0,
            faults: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            capacity: None,
            block_bytes: BLOCK_BYTES_DEFAULT,
            lies: Lies::default(),
            off: false,
            next_inode: 1,
            random: Random(seed),
        }
    }

    pub(super) fn fork(&self) -> Self {
        Self {
            inodes: self.inodes.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            changes: self.changes.clone(),
            unreadable: self.unreadable.clone(),
            capacity: self.capacity,
            block_bytes: self.block_bytes,
            lies: self.lies,
            next_inode: self.next_inode,
            ..Self::new(self.random.0)
        }
    }

    pub(super) fn crashed(&self, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut after = Self { lies: Lies::default(), ..self.fork() };
        after.names = self.durable_names.clone();
        let whole_prefix = random.below(2) == 0;
        let kept = random.below(self.changes.len() as u64 + 1);
        for (index, change) in self.changes.iter().enumerate() {
            let keep = if whole_prefix { (index as u64) < kept } else { random.below(2) == 0 };
            if keep {
                after.names.apply(change);
            }
        }
        after.names.drop_orphans();
        after.durable_names = after.names.clone();
        after.changes.clear();
        after.collect();
        for inode in after.inodes.values_mut() {
            inode.crash(&mut random);
        }
        after.random = random;
        after
    }

    pub(super) fn power_off(&mut self) {
        self.off = true;
    }

    pub(super) fn is_off(&self) -> bool {
        self.off
    }

    pub(super) fn operation_count(&self) -> u64 {
        self.operation_count
    }

    pub(super) fn operation(&self, index: u64) -> Option<Operation> {
        let oldest = self.operation_count - self.operations.len() as u64;
        self.operations.get(usize::try_from(index.checked_sub(oldest)?).ok()?).cloned()
    }

    pub(super) fn fail_at(&mut self, index: u64, fault: Fault) {
        self.faults.insert(index, fault);
    }

    pub(super) fn no_more_faults(&mut self) {
        self.faults.clear();
    }

    pub(super) fn set_unreadable(&mut self, path: &str, unreadable: bool) {
        if unreadable {
            self.unreadable.insert(path.to_owned());
        } else {
            self.unreadable.remove(path);
        }
    }

    pub(super) fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
    }

    pub(super) fn set_block_bytes(&mut self, bytes: u32) {
        self.block_bytes = bytes;
    }

    pub(super) fn set_lies(&mut self, lies: Lies) {
        self.lies = lies;
    }

    pub(super) fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    pub(super) fn available_bytes(&self) -> io::Result<u64> {
        self.check_power()?;
        Ok(self
            .capacity
            .map_or(u64::MAX / 2, |capacity| capacity.saturating_sub(self.used_bytes())))
    }

    pub(super) fn rot(
        &mut self,
        path: &str,
        offset: u64,
        change: impl Fn(u8) -> u8,
    ) -> io::Result<()> {
        let inode = self.find(path)?;
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.inodes.get_mut(&inode).ok_or_else(missing)?.rot(at, change);
        Ok(())
    }

    pub(super) fn put(&mut self, path: &str, bytes: &[u8]) {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::of(bytes));
        self.names.put(path, inode);
        self.durable_names.put(path, inode);
    }

    pub(super) fn take(&mut self, path: &str) -> bool {
        self.durable_names.take(path);
        self.names.take(path)
    }

    pub(super) fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let bytes =
            |inode| self.inodes.get(&inode).map(|inode| inode.bytes().to_vec()).unwrap_or_default();
        self.names.files().map(|(path, inode)| (path.to_owned(), bytes(inode))).collect()
    }

    pub(super) fn find(&self, path: &str) -> io::Result<u64> {
        self.check_power()?;
        self.names.file(path).ok_or_else(missing)
    }

    pub(super) fn create(&mut self, path: &str) -> io::Result<u64> {
        self.begin(Operation::Create(path.to_owned()))?;
        if self.names.file(path).is_some() || self.names.has_dir(path) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        if !self.names.has_dir(dir_of(path)) {
            return Err(missing());
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::default());
        self.change(Change::Link(path.to_owned(), inode));
        Ok(inode)
    }

    pub(super) fn opened(&mut self, inode: u64) {
        *self.open.entry(inode).or_default() += 1;
    }

    pub(super) fn close(&mut self, inode: u64) {
        if let Some(count) = self.open.get_mut(&inode) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&inode);
            }
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.begin(Operation::Rename(from.to_owned(), to.to_owned()))?;
        if dir_of(from) != dir_of(to) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a rename stays in its directory",
            ));
        }
        let inode = self.names.file(from).ok_or_else(missing)?;
        self.change(Change::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str) -> io::Result<()> {
        self.begin(Operation::Remove(path.to_owned()))?;
        if self.names.file(path).is_none() {
            return Err(missing());
        }
        self.change(Change::Unlink(path.to_owned()));
        Ok(())
    }

    pub(super) fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.check_power()?;
        if !self.names.has_dir(dir) {
            return Err(missing());
        }
        Ok(self.names.list(dir))
    }

    pub(super) fn create_dir(&mut self, dir: &str) -> io::Result<()> {
        if self.names.has_dir(dir) {
            return self.check_power();
        }
        self.begin(Operation::CreateDir(dir.to_owned()))?;
        if !self.names.has_dir(dir_of(dir)) {
            return Err(missing());
        }
        self.change(Change::MakeDir(dir.to_owned()));
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &str) -> io::Result<()> {
        self.begin(Operation::SyncDir(dir.to_owned()))?;
        if !self.names.has_dir(dir) {
            return Err(missing());
        }
        if self.lies.sync_dir {
            return Ok(());
        }
        let (synced, rest) =
            std::mem::take(&mut self.changes).into_iter().partition(|change| change.dir() == dir);
        self.changes = rest;
        let synced: Vec<Change> = synced;
        for change in &synced {
            self.durable_names.apply(change);
        }
        self.collect();
        Ok(())
    }

    pub(super) fn lock(&mut self, path: &str, holder: &str) -> io::Result<Result<(), String>> {
        self.check_power()?;
        if let Some(holder) = self.locks.get(path) {
            return Ok(Err(holder.clone()));
        }
        self.locks.insert(path.to_owned(), holder.to_owned());
        Ok(Ok(()))
    }

    pub(super) fn holder(&self, path: &str) -> io::Result<Option<String>> {
        self.check_power()?;
        Ok(self.locks.get(path).cloned())
    }

    pub(super) fn unlock(&mut self, path: &str) {
        self.locks.remove(path);
    }

    pub(super) fn length(&self, inode: u64) -> io::Result<u64> {
        self.check_power()?;
        Ok(self.inodes.get(&inode).ok_or_else(missing)?.length())
    }

    pub(super) fn read(
        &self,
        inode: u64,
        path: &str,
        buffer: &mut [u8],
        offset: u64,
    ) -> io::Result<usize> {
        self.check_power()?;
        if self.unreadable.contains(path) {
            return Err(io::Error::from_raw_os_error(ERRNO_EIO));
        }
        let bytes = self.inodes.get(&inode).ok_or_else(missing)?.bytes();
        let start = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
        let count = buffer.len().min(bytes.len() - start);
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    pub(super) fn write(
        &mut self,
        inode: u64,
        path: &str,
        bytes: &[u8],
        offset: u64,
    ) -> io::Result<()> {
        self.check_power()?;
        let begun = self.begin(Operation::Write(path.to_owned(), offset, bytes.len() as u64));
        let end = offset.saturating_add(bytes.len() as u64);
        let begun = begun.and_then(|()| self.check_room(inode, end));
        // What fails may still have written something: any part of it, sector by sector.
        let done = match &begun {
            Ok(()) => bytes.len(),
            Err(_) if self.check_room(inode, end).is_err() => 0,
            Err(_) => self.random.below(bytes.len() as u64 + 1) as usize,
        };
        let inode = self.inodes.get_mut(&inode).ok_or_else(missing)?;
        inode.write(&bytes[..done], usize::try_from(offset).map_err(io::Error::other)?);
        begun
    }

    pub(super) fn allocate(&mut self, inode: u64, path: &str, bytes: u64) -> io::Result<()> {
        self.begin(Operation::Allocate(path.to_owned(), bytes))?;
        self.check_room(inode, bytes)?;
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        self.inodes.get_mut(&inode).ok_or_else(missing)?.grow(length);
        Ok(())
    }

    pub(super) fn sync_data(&mut self, inode: u64, path: &str) -> io::Result<()> {
        let begun = self.begin(Operation::SyncData(path.to_owned()));
        let off = self.off;
        let inode = self.inodes.get_mut(&inode).ok_or_else(missing)?;
        match &begun {
            Ok(()) if self.lies.sync_data => {}
            Ok(()) => inode.sync(),
            // At a power cut the pages are still dirty: the crash decides what is left of them.
            Err(_) if off => {}
            Err(_) => inode.lose_sync(&mut self.random),
        }
        begun
    }

    fn change(&mut self, change: Change) {
        self.names.apply(&change);
        self.changes.push(change);
    }

    fn begin(&mut self, operation: Operation) -> io::Result<()> {
        self.check_power()?;
        let index = self.operation_count();
        if self.operations.len() == OPERATIONS_KEPT_MAX {
            self.operations.pop_front();
        }
        self.operations.push_back(operation);
        self.operation_count += 1;
        match self.faults.get(&index) {
            None => Ok(()),
            Some(Fault::Eio) => Err(io::Error::from_raw_os_error(ERRNO_EIO)),
            Some(Fault::Enospc) => Err(io::Error::from_raw_os_error(ERRNO_ENOSPC)),
            Some(Fault::Crash) => {
                self.off = true;
                self.check_power()
            }
        }
    }

    fn check_power(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("the simulated power is off")) } else { Ok(()) }
    }

    fn check_room(&self, inode: u64, end: u64) -> io::Result<()> {
        if end > FILE_BYTES_MAX {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let length = self.inodes.get(&inode).map_or(0, Inode::length);
        let grows = end.saturating_sub(length);
        match self.capacity {
            Some(capacity) if grows > 0 && self.used_bytes() + grows > capacity => {
                Err(io::Error::from_raw_os_error(ERRNO_ENOSPC))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn used_bytes(&self) -> u64 {
        let length = |inode| self.inodes.get(&inode).map_or(0, Inode::length);
        self.names.files().map(|(_, inode)| length(inode)).sum()
    }

    /// Forgets files that no name, durable or not, and no open handle leads to.
    fn collect(&mut self) {
        let mut linked: BTreeSet<u64> = self.open.keys().copied().collect();
        linked.extend(self.names.files().map(|(_, inode)| inode));
        linked.extend(self.durable_names.files().map(|(_, inode)| inode));
        linked.extend(self.changes.iter().filter_map(Change::inode));
        self.inodes.retain(|inode, _| linked.contains(inode));
    }
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}
