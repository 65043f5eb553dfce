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
    for entry in fs::read_dir(&golden)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "LOCK" || name.ends_with(".tmp") {
            fs::remove_file(entry.path())?;
        }
    }
    damaged(&golden, &fixtures.join("event-log-damaged"))
}

/// Variants of the golden log's live segments, each with one thing wrong.
fn damaged(golden: &Path, to: &Path) -> io::Result<()> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(golden)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".log") {
            segments.push(name);
        }
    }
    segments.sort();
    let last = segments.last().cloned().ok_or_else(|| io::Error::other("no segments"))?;
    let variant = |name: &str, change: &dyn Fn(&str, Vec<u8>) -> Option<Vec<u8>>| -> io::Result<()> {
        fs::create_dir_all(to.join(name))?;
        for segment in &segments {
            if let Some(bytes) = change(segment, fs::read(golden.join(segment))?) {
                fs::write(to.join(name).join(segment), bytes)?;
            }
        }
        Ok(())
    };
    let in_last = |segment: &str, mut bytes: Vec<u8>, change: &dyn Fn(&mut [u8])| {
        if segment == last {
            change(&mut bytes);
        }
        Some(bytes)
    };
    variant("flipped-payload", &|segment, bytes| in_last(segment, bytes, &|bytes| bytes[4096 + 300] ^= 4))?;
    variant("flipped-header-page", &|segment, bytes| in_last(segment, bytes, &|bytes| bytes[70] ^= 4))?;
    variant("missing-segment", &|segment, bytes| (segment != segments[segments.len() - 2]).then_some(bytes))?;
    // A write cut short: some sectors of the last frame, nothing behind it.
    variant("torn-tail", &|segment, bytes| in_last(segment, bytes, &|bytes| bytes[4096 + 512..].fill(0)))
}
