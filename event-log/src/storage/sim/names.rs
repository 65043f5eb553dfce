//! The names of a simulated disk, and the changes of them that aren't durable yet.

use std::collections::{BTreeMap, BTreeSet};

/// One view of the names: what a reader sees, or what is durable.
#[derive(Clone, Debug)]
pub(super) struct Names {
    files: BTreeMap<String, u64>,
    dirs: BTreeSet<String>,
}

/// A change of names that is not durable yet.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Link(String, u64),
    Unlink(String),
    Rename(String, String, u64),
    MakeDir(String),
}

impl Default for Names {
    fn default() -> Self {
        Self { files: BTreeMap::new(), dirs: BTreeSet::from([String::new()]) }
    }
}

impl Names {
    pub(super) fn file(&self, path: &str) -> Option<u64> {
        self.files.get(path).copied()
    }

    pub(super) fn has_dir(&self, path: &str) -> bool {
        self.dirs.contains(path)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.files.iter().map(|(path, inode)| (path.as_str(), *inode))
    }

    pub(super) fn list(&self, dir: &str) -> Vec<String> {
        let dirs = self.dirs.iter().filter(|path| !path.is_empty());
        let inside = self.files.keys().chain(dirs).filter(|path| dir_of(path) == dir);
        let mut names: Vec<String> = inside.map(|path| name_of(path).to_owned()).collect();
        names.sort_unstable();
        names
    }

    pub(super) fn put(&mut self, path: &str, inode: u64) {
        let mut dir = dir_of(path);
        while !dir.is_empty() {
            self.dirs.insert(dir.to_owned());
            dir = dir_of(dir);
        }
        self.files.insert(path.to_owned(), inode);
    }

    pub(super) fn take(&mut self, path: &str) -> bool {
        self.files.remove(path).is_some()
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Link(path, inode) => {
                self.files.insert(path.clone(), *inode);
            }
            Change::Unlink(path) => {
                self.files.remove(path);
            }
            Change::Rename(from, to, inode) => {
                // Names may come back from a crash without each other, never a wrong file's.
                if self.files.get(from) == Some(inode) {
                    self.files.remove(from);
                }
                self.files.insert(to.clone(), *inode);
            }
            Change::MakeDir(path) => {
                self.dirs.insert(path.clone());
            }
        }
    }

    /// Forgets files and directories whose directory isn't there.
    pub(super) fn drop_orphans(&mut self) {
        let dirs = self.dirs.clone();
        self.dirs.retain(|path| dirs.contains(dir_of(path)));
        let dirs = &self.dirs;
        self.files.retain(|path, _| dirs.contains(dir_of(path)));
    }
}

impl Change {
    /// The directory whose sync makes this change durable.
    pub(super) fn dir(&self) -> &str {
        match self {
            Change::Link(path, _) | Change::Unlink(path) | Change::MakeDir(path) => dir_of(path),
            Change::Rename(_, to, _) => dir_of(to),
        }
    }

    pub(super) fn inode(&self) -> Option<u64> {
        match self {
            Change::Link(_, inode) | Change::Rename(_, _, inode) => Some(*inode),
            Change::Unlink(_) | Change::MakeDir(_) => None,
        }
    }
}

pub(super) fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

pub(super) fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}
