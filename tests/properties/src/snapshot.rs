//! Snapshots: the container, read as a stream (a download) and as a file. The input is the file.
//!
//! Both readers must agree, and what they accept is written again to the very same bytes.

use event_log::SnapshotFile;
use event_log::snapshot::{
    Section, SnapshotFooter, SnapshotHeader, SnapshotStream, verify_snapshot,
};
use event_log::storage::sim::SimStorage;

use crate::bound::Bound;
use crate::{seal, with_flipped_bit};

/// Vectors that double as they grow, what they held before beside them; the words of an error.
const BOUND: Bound = Bound { fixed_bytes: 1024, per_byte: 4 };
const NAME: &str = "a.snap";

type Whole = (SnapshotHeader, Vec<Section>, SnapshotFooter);

/// Checks the bytes as they are, then with right crcs.
pub fn check(bytes: &[u8]) {
    seal::as_is_and_sealed(bytes, seal::snapshot, examine);
}

fn examine(bytes: &[u8]) {
    let whole = BOUND.hold("a snapshot", bytes.len(), || read(bytes));
    let storage = SimStorage::new(1);
    storage.put(NAME, bytes);
    let verified = verify_snapshot(&storage, NAME).ok();
    let Some((header, sections, footer)) = whole else {
        assert!(verified.is_none(), "the file passes and the stream doesn't");
        return;
    };
    let verified = verified.expect("a file passes where a stream does");
    assert_eq!((&verified.header, verified.footer), (&header, footer));
    assert!(read(&with_flipped_bit(bytes)).is_none(), "a flipped bit passed");
    let written = write(header, &sections, footer);
    assert_eq!(written, bytes, "written again it is something else");
}

fn read(bytes: &[u8]) -> Option<Whole> {
    let mut stream = SnapshotStream::new(bytes, NAME).ok()?;
    let mut sections = Vec::new();
    while let Some(section) = stream.next_section().ok()? {
        sections.push(section);
    }
    let footer = *stream.footer().expect("a stream that ended well has a footer");
    Some((stream.header().clone(), sections, footer))
}

fn write(header: SnapshotHeader, sections: &[Section], footer: SnapshotFooter) -> Vec<u8> {
    let storage = SimStorage::new(1);
    let mut file = SnapshotFile::create(storage.clone(), "t.tmp", header).expect("a legal header");
    for section in sections {
        file.section(section.kind, section.id, &section.bytes).expect("a legal section");
    }
    file.finish(NAME, footer.hi, footer.items_digest).expect("a legal footer");
    let mut contents = storage.contents();
    assert_eq!(contents.len(), 1, "nothing but the snapshot is left");
    contents.remove(0).1
}
