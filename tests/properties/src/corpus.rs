//! The corpora under `fixtures/fuzz/<target>/`: what mutations begin with. Most files are made by
//! [`seeds`] from golden and damaged fixtures and from the encoders; those that once broke a promise
//! are called `regression-…` and are never made anew.

pub mod seeds;

use std::io;
use std::path::{Path, PathBuf};

/// How the files begin that no generator makes.
pub const REGRESSION: &str = "regression-";

/// The folder of fixtures.
#[must_use]
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// The folder of a target's corpus.
#[must_use]
pub fn folder(target: &str) -> PathBuf {
    fixtures().join("fuzz").join(target)
}

/// The files of a target's corpus by name, in order.
///
/// # Errors
/// Those of the disk; a target without a folder is one of them.
pub fn read(target: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder(target))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push((name, std::fs::read(entry.path())?));
    }
    files.sort();
    Ok(files)
}
