//! What the corpora are made of: cuts of the golden and the damaged logs, what the encoders write,
//! and cases thought up by hand. The same files every time; a decoder's known mistakes belong here
//! before they are found.

mod domain;
mod log;
mod texts;
mod view;

/// The made files of a target by name.
///
/// # Panics
/// When there is no such target, or a golden fixture is gone.
#[must_use]
pub fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    match target {
        "archive" => log::archives(),
        "batch" => texts::batches(),
        "compact" => texts::compact_batches(),
        "consumers" => log::consumers(),
        "cursor" => texts::cursors(),
        "frame" => log::frames(),
        "import" => texts::imports(),
        "item" => domain::items(),
        "record" => domain::records(),
        "segment" => log::segments(),
        "snapshot" => log::snapshots(),
        "stream" => texts::stream_lines(),
        "text" => texts::texts(),
        "time" => texts::times(),
        "view" => view::views(),
        other => panic!("no corpus is made for {other}"),
    }
}

/// A fixture that is there since the format was released.
fn fixture(path: &str) -> Vec<u8> {
    std::fs::read(super::fixtures().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn named<const N: usize>(files: [(&str, &[u8]); N]) -> Vec<(String, Vec<u8>)> {
    files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect()
}
