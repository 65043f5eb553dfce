//! What every decoder promises about any bytes: it never panics, never allocates more than a stated
//! bound of what it was given, accepts nothing that a crc says is damaged, and what it accepts
//! encodes to the same bytes or to an equal value.
//!
//! Each module is one promise, `check(bytes)`, which panics where it is broken. Three callers share
//! them: the bounded run of `make test`, the long one on stable Rust (`bin/mutate.rs`) and the
//! targets of cargo-fuzz in `fuzz/`. Layouts are written down here a second time, on purpose: an
//! encoder that shares its decoder's mistake would hide it. Nothing here may depend on time,
//! randomness or anything but the bytes, except the scratch file of [`import`].

pub mod archive;
pub mod batch;
pub mod bound;
pub mod compact;
pub mod consumers;
pub mod corpus;
pub mod cursor;
pub mod frame;
pub mod import;
pub mod item;
pub mod mutate;
pub mod record;
pub mod seal;
pub mod segment;
pub mod snapshot;
pub mod stream;
pub mod text;
pub mod time;
pub mod view;

/// One decoder, or a family of them that reads the same bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: of the folder of its corpus, and of the target of cargo-fuzz.
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub check: fn(&[u8]),
}

/// Every decoder that takes bytes from a disk, a network or a person.
pub const TARGETS: [Target; 15] = [
    Target { name: "archive", check: archive::check },
    Target { name: "batch", check: batch::check },
    Target { name: "compact", check: compact::check },
    Target { name: "consumers", check: consumers::check },
    Target { name: "cursor", check: cursor::check },
    Target { name: "frame", check: frame::check },
    Target { name: "import", check: import::check },
    Target { name: "item", check: item::check },
    Target { name: "record", check: record::check },
    Target { name: "segment", check: segment::check },
    Target { name: "snapshot", check: snapshot::check },
    Target { name: "stream", check: stream::check },
    Target { name: "text", check: text::check },
    Target { name: "time", check: time::check },
    Target { name: "view", check: view::check },
];

/// The same bytes with one bit flipped, at a place that the bytes themselves choose.
#[must_use]
pub fn with_flipped_bit(bytes: &[u8]) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    if !flipped.is_empty() {
        let place = crc32fast::hash(bytes) as usize % (flipped.len() * 8);
        flipped[place / 8] ^= 1 << (place % 8);
    }
    flipped
}
