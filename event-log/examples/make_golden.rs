//! Writes the golden log and its damaged variants under `fixtures/`, the same bytes every time.
//!
//! `cargo run -p event-log --example make_golden -- fixtures` into directories that don't exist yet:
//! what was released is never written again.

#[path = "../tests/all/golden_life.rs"]
mod golden_life;

use std::fs;
use std::io;
use std::path::Path;

use event_log::storage::disk::DiskStorage;

fn main() -> io::Result<()> {
    let fixtures = std::env::args().nth(1).ok_or_else(|| io::Error::other("which directory?"))?;
    let fixtures = Path::new(&fixtures);
    let golden = fixtures.join("event-log-v1");
    fs::create_dir(&golden)?;
    golden_life::live(&DiskStorage::new(golden.clone()));
    fs::remove_file(golden.join("LOCK"))?;
    for spare in names_ending(&golden, "tmp")? {
        fs::remove_file(golden.join(spare))?;
    }
    damaged(&golden, &fixtures.join("event-log-damaged"))
}

/// The names in a directory with this extension, sorted.
fn names_ending(dir: &Path, extension: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|found| found == extension) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Variants of the golden log's live segments, each with one thing wrong.
fn damaged(golden: &Path, to: &Path) -> io::Result<()> {
    let segments = names_ending(golden, "log")?;
    let [.., middle, last] = &segments[..] else {
        return Err(io::Error::other("too few segments"));
    };
    variant(golden, &to.join("flipped-payload"), &segments, last, |bytes| bytes[4096 + 300] ^= 4)?;
    variant(golden, &to.join("flipped-header-page"), &segments, last, |bytes| bytes[70] ^= 4)?;
    // A write cut short: some sectors of the last frame, nothing behind it.
    variant(golden, &to.join("torn-tail"), &segments, last, |bytes| {
        bytes[4096 + 512..].fill(0);
    })?;
    variant(golden, &to.join("missing-segment"), &segments, last, |_| ())?;
    fs::remove_file(to.join("missing-segment").join(middle))
}

/// Copies the segments, one of them changed.
fn variant(
    golden: &Path,
    to: &Path,
    segments: &[String],
    changed: &str,
    change: impl Fn(&mut [u8]),
) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for segment in segments {
        let mut bytes = fs::read(golden.join(segment))?;
        if segment == changed {
            change(&mut bytes);
        }
        fs::write(to.join(segment), bytes)?;
    }
    Ok(())
}
