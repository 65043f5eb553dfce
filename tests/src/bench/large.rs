//! Stores of many SKUs, made by the real writer (store-node/examples/generate_store.rs): each size
//! once for a call of the benchmark, and a copy of it for every node that wants one. A copy must
//! never share a file that a node writes to again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::example;
use super::node;
use super::part::Setup;
use crate::world::Service;

/// Makes a store: items with nothing but a name of 24 bytes and a million units.
pub const GENERATE: &str = "cargo run --release --quiet -p store-node --example generate_store -- --data-dir DIR --skus SKUS --keys KEYS --plain";
/// Neither a background scrub nor a snapshot after so many events in the middle of a measurement.
const NO_UPKEEP: [(&str, &str); 2] =
    [("STORE_NODE_SCRUB_BYTES_PER_SECOND", "0"), ("STORE_NODE_SNAPSHOT_EVERY_EVENTS", "0")];
/// Where the snapshots of a store lie.
const SNAPSHOTS: &str = "snapshots";
/// How the name of a segment ends.
const SEGMENT_SUFFIX: &str = ".log";

/// A store with so many items, and so many idempotency keys in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Items.
    pub skus: u64,
    /// Receipts of goods with a key each, after the snapshot.
    pub keys: u64,
}

/// A node that doesn't run yet over a copy of the store in `<directory>/<name>`.
pub fn stopped(setup: &Setup, name: &str, size: Size) -> Result<Service> {
    copy(&made(setup, size)?, &setup.directory.join(name))?;
    let mut node = node::stopped(setup, name)?;
    let spec = node.spec_mut();
    for (name, value) in NO_UPKEEP {
        *spec = spec.clone().with_environment(name, value);
    }
    Ok(node)
}

/// The SKU of an item's number, as the generator makes it.
pub fn sku(number: u64) -> String {
    format!("S{:011}", u128::from(number) * 7_368_787 % 100_000_000_000)
}

/// Where the store is; made if no part has asked for it before.
fn made(setup: &Setup, size: Size) -> Result<PathBuf> {
    let Size { skus, keys } = size;
    let data = setup.shared.join(format!("plain-{skus}-{keys}"));
    let [place, skus, keys] = [data.display().to_string(), skus.to_string(), keys.to_string()];
    let made = example::run(setup, GENERATE, &[("DIR", &place), ("SKUS", &skus), ("KEYS", &keys)])?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(data)
}

/// Copies a store that no node has open. Snapshots and sealed segments are never written to again,
/// only removed, so the copy gets links to them; the last segment is copied.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.join(SNAPSHOTS))?;
    for name in names(&from.join(SNAPSHOTS))? {
        let name = Path::new(SNAPSHOTS).join(name);
        fs::hard_link(from.join(&name), to.join(&name))?;
    }
    let mut segments = names(from)?;
    segments.retain(|name| name.strip_suffix(SEGMENT_SUFFIX).is_some());
    let last = segments.pop().with_context(|| format!("{} has no segment", from.display()))?;
    for name in segments {
        fs::hard_link(from.join(&name), to.join(&name))?;
    }
    fs::copy(from.join(&last), to.join(&last))?;
    fs::File::open(to.join(&last))?.sync_all()?;
    Ok(())
}

/// What is in a directory, sorted.
fn names(directory: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Ok(entry?.file_name().to_string_lossy().into_owned())
    };
    let mut names: Vec<String> = entries.map(name).collect::<Result<_>>()?;
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_copy_shares_only_what_is_never_written_again() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(from.join(SNAPSHOTS)).unwrap();
        for name in ["01.log", "02.log", "LOCK", "spare-1.tmp", "snapshots/a.snap"] {
            fs::write(from.join(name), name).unwrap();
        }
        copy(&from, &to).unwrap();
        assert_eq!(names(&to).unwrap(), ["01.log", "02.log", SNAPSHOTS]);
        let is_shared = |name: &str| {
            let inode = |folder: &Path| fs::metadata(folder.join(name)).unwrap().ino();
            inode(&from) == inode(&to)
        };
        assert!(is_shared("01.log") && is_shared("snapshots/a.snap"));
        assert!(!is_shared("02.log"), "the segment that is written to");
        assert_eq!(fs::read(to.join("02.log")).unwrap(), b"02.log");
    }
}
