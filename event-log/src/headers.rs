//! What a directory holds by its names, and the header page of each segment: the first look of
//! every opening, with or without the lock.
//!
//! Read-only. It must never take a page whose crc doesn't match, nor a segment of another log.

use std::io;

use crate::archive;
use crate::catalog::Catalog;
use crate::error::{Damage, OpenError};
use crate::format::{
    ARCHIVE_DIR, CONSUMERS_FILE, CUT_OFF, LOCK_FILE, SEGMENT_HEADER_BYTES, SNAPSHOTS_DIR,
    SPARE_PREFIX, SegmentHeader, SegmentHeaderError, TEMPORARY_SUFFIX, parse_segment_file_name,
    segment_file_name,
};
use crate::seq::{LogId, Seq};
use crate::storage::{OpenMode, Storage, StorageFile, read_exact_at};

/// The directory that file systems make on their own.
const LOST_AND_FOUND: &str = "lost+found";

/// What the root directory holds.
#[derive(Default)]
pub(crate) struct Listing {
    pub(crate) segments: Vec<Seq>,
    pub(crate) spares: Vec<String>,
    pub(crate) unknown: Vec<String>,
    pub(crate) has_consumers: bool,
}

/// A segment whose header page is whole.
pub(crate) struct Page {
    pub(crate) header: SegmentHeader,
    pub(crate) archived: bool,
    /// Bytes of its file.
    pub(crate) bytes: u64,
    /// What the file has lost of its length.
    pub(crate) cut_off: Option<Damage>,
}

/// Whose log the pages must be of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    /// `None` takes the first page's word.
    pub(crate) owner: Option<Vec<u8>>,
    pub(crate) log_id: Option<LogId>,
}

impl Listing {
    pub(crate) fn read<S: Storage>(storage: &S) -> Result<Self, OpenError> {
        let mut listing = Self::default();
        for name in storage.list("").map_err(failed("listing the directory"))? {
            if let Some(first) = parse_segment_file_name(&name) {
                listing.segments.push(first);
            } else if name.starts_with(SPARE_PREFIX) && name.ends_with(TEMPORARY_SUFFIX) {
                listing.spares.push(name);
            } else if name == CONSUMERS_FILE {
                listing.has_consumers = true;
            } else if ![LOCK_FILE, ARCHIVE_DIR, SNAPSHOTS_DIR, LOST_AND_FOUND]
                .contains(&name.as_str())
                && name != format!("{CONSUMERS_FILE}{TEMPORARY_SUFFIX}")
            {
                listing.unknown.push(name);
            }
        }
        listing.segments.sort_unstable();
        Ok(listing)
    }

    /// The segments in the order of the log, each with whether it is archived. Archived ones come
    /// first, but where the removal of a segment came undone: those archived after it follow it.
    pub(crate) fn in_order<S: Storage>(&self, storage: &S) -> Result<Vec<(Seq, bool)>, OpenError> {
        let archived = archive::list(storage).map_err(failed("listing the archive"))?;
        // A crash between archiving a segment and removing it leaves both: the live one counts.
        let archived = archived.into_iter().filter(|first| !self.segments.contains(first));
        let live = self.segments.iter().map(|first| (*first, false));
        let mut places: Vec<_> = archived.map(|first| (first, true)).chain(live).collect();
        places.sort_unstable();
        Ok(places)
    }
}

impl Identity {
    /// Reads one header page and checks that it is of this log; the first page says which that is.
    pub(crate) fn read_page<S: Storage>(
        &mut self,
        storage: &S,
        (first, archived): (Seq, bool),
    ) -> Result<Page, OpenError> {
        let page = if archived { archived_page(storage, first) } else { page(storage, first) }?;
        let header = &page.header;
        let name = segment_file_name(first);
        if header.first_seq != first {
            let what = format!("{name} begins with seq {}", header.first_seq);
            return Err(OpenError::NotALog { what });
        }
        let expected = self.owner.get_or_insert_with(|| header.owner.clone());
        if header.owner != *expected {
            let found = header.owner.clone();
            return Err(OpenError::WrongOwner { found, expected: expected.clone() });
        }
        if *self.log_id.get_or_insert(header.log_id) != header.log_id {
            let what = format!("{name} is of another log than the segments before it");
            return Err(OpenError::NotALog { what });
        }
        Ok(page)
    }
}

/// Reads every header page; all must be of one log, this owner's, in order.
pub(crate) fn read_pages<S: Storage>(
    storage: &S,
    mut identity: Identity,
    listing: &Listing,
) -> Result<Vec<Page>, OpenError> {
    let places = listing.in_order(storage)?;
    let whole = |place| match identity.read_page(storage, place)? {
        Page { cut_off: Some(damage), .. } => Err(OpenError::Corrupt(damage)),
        page @ Page { cut_off: None, .. } => Ok(page),
    };
    places.into_iter().map(whole).collect()
}

/// The catalog of these pages and the newest of their headers.
pub(crate) fn catalog_of_pages(
    mut pages: Vec<Page>,
) -> Result<(Catalog, SegmentHeader), OpenError> {
    let mut catalog = Catalog::default();
    for page in &pages {
        catalog.push(&page.header, page.archived, page.bytes);
    }
    let newest = pages.pop().ok_or_else(|| OpenError::NotALog { what: "no segment".to_owned() })?;
    Ok((catalog, newest.header))
}

/// A catalog made from a directory alone; for readers that don't hold the lock.
pub(crate) fn catalog_of<S: Storage>(storage: &S) -> Result<(Catalog, SegmentHeader), OpenError> {
    catalog_of_pages(pages_of(storage)?)
}

/// Every header page of a directory that holds a segment; for readers that don't hold the lock.
pub(crate) fn pages_of<S: Storage>(storage: &S) -> Result<Vec<Page>, OpenError> {
    let listing = Listing::read(storage)?;
    if listing.segments.is_empty() {
        return Err(OpenError::NotALog { what: "no segment".to_owned() });
    }
    read_pages(storage, Identity::default(), &listing)
}

fn archived_page<S: Storage>(storage: &S, first: Seq) -> Result<Page, OpenError> {
    let header =
        archive::read_header(storage, first).map_err(|error| archive_error(first, error))?;
    let file = storage.open(&archive::archive_file_name(first), OpenMode::Read);
    let bytes = file.and_then(|file| file.len()).map_err(failed("reading the archive"))?;
    Ok(Page { header, archived: true, bytes, cut_off: None })
}

/// What an archive says that isn't from the disk itself is damage, and named.
fn archive_error(first: Seq, error: io::Error) -> OpenError {
    let file = archive::archive_file_name(first);
    if error.raw_os_error().is_some() {
        return OpenError::Io { operation: format!("reading {file}"), source: error };
    }
    let what = error.to_string();
    OpenError::Corrupt(Damage {
        file,
        offset: 0,
        length: 0,
        first_seq: first,
        last_seq: first,
        what,
    })
}

fn page<S: Storage>(storage: &S, first: Seq) -> Result<Page, OpenError> {
    let name = segment_file_name(first);
    let file = storage.open(&name, OpenMode::Read).map_err(failed("opening a segment"))?;
    let bytes = file.len().map_err(failed("opening a segment"))?;
    let mut page = vec![0; SEGMENT_HEADER_BYTES.min(usize::try_from(bytes).unwrap_or(usize::MAX))];
    read_exact_at(&file, &mut page, 0).map_err(failed("reading a segment's header"))?;
    let damage = |offset, length, what| Damage {
        file: name.clone(),
        offset,
        length,
        first_seq: first,
        last_seq: first,
        what,
    };
    match SegmentHeader::decode(&page) {
        Ok(header) => {
            let missing = header.capacity_bytes.saturating_sub(bytes);
            let cut_off = (missing > 0).then(|| damage(bytes, missing, CUT_OFF.to_owned()));
            Ok(Page { header, archived: false, bytes, cut_off })
        }
        Err(SegmentHeaderError::Version { found }) => {
            Err(OpenError::UnsupportedVersion { file: name, found })
        }
        Err(error) => {
            Err(OpenError::Corrupt(damage(0, SEGMENT_HEADER_BYTES as u64, error.to_string())))
        }
    }
}

/// An error of the disk in an opening.
pub(crate) fn failed(operation: &'static str) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io { operation: operation.to_owned(), source }
}
