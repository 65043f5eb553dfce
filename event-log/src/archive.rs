//! The archive: segments below the floor, compressed with zstd and otherwise as they were.
//!
//! `archive/<first seq>.log.zst` holds exactly the bytes of the segment from its header page to the
//! end of its last frame, so that everything that reads a segment reads an archived one. A segment
//! may be removed only after its archive was read back and found to be the same bytes.

use std::io::{self, BufReader, Read, Write};

use crate::compaction::SealedSegment;
use crate::error::Damage;
use crate::format::{
    ARCHIVE_DIR, SEGMENT_BYTES_MAX, SegmentHeader, parse_segment_file_name, segment_file_name,
};
use crate::frame::verify_link;
use crate::seq::Seq;
use crate::storage::gradual::Gradual;
use crate::storage::{
    FileReader, OpenMode, Storage, StorageFile, is_no_space, join, list_if_there, remove_if_there,
};
use crate::walk::{SegmentWalk, Step, read_segment};

const COMPRESSION_LEVEL: i32 = 3;
/// No archive looks back further, as a power of two of bytes: what is compressed at this level needs
/// 2 MiB, and nobody makes room for more because a damaged one says so.
const WINDOW_LOG_MAX: u32 = 24;
const WRITE_PIECE_BYTES: usize = 1 << 20;
const ARCHIVE_SUFFIX: &str = ".zst";

/// An archived segment, read from its beginning as the bytes it had as a segment.
pub(crate) struct ArchiveReader<S: Storage> {
    decoder: zstd::stream::read::Decoder<'static, BufReader<FileReader<S::File>>>,
}

impl<S: Storage> Read for ArchiveReader<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer)
    }
}

/// Why a segment wasn't archived. It is still there.
#[derive(Debug)]
pub(crate) enum ArchiveError {
    /// The segment itself is damaged.
    Damaged(Damage),
    /// No room for the archive.
    NoSpace,
    /// The disk failed, or the archive read back is not the segment.
    Io { file: String, source: io::Error },
}

/// The archive's file, relative to the storage root.
pub(crate) fn archive_file_name(first: Seq) -> String {
    join(ARCHIVE_DIR, &format!("{}{ARCHIVE_SUFFIX}", segment_file_name(first)))
}

/// The first seq of an archived segment by its name in the archive's directory.
pub(crate) fn parse_archive_file_name(name: &str) -> Option<Seq> {
    parse_segment_file_name(name.strip_suffix(ARCHIVE_SUFFIX)?)
}

/// The first seqs of all archived segments, in order.
pub(crate) fn list<S: Storage>(storage: &S) -> io::Result<Vec<Seq>> {
    let names = list_if_there(storage, ARCHIVE_DIR)?;
    Ok(names.iter().filter_map(|name| parse_archive_file_name(name)).collect())
}

/// Opens the archive of the segment that begins with `first`.
pub(crate) fn open<S: Storage>(storage: &S, first: Seq) -> io::Result<ArchiveReader<S>> {
    let file = storage.open(&archive_file_name(first), OpenMode::Read)?;
    let mut decoder = zstd::stream::read::Decoder::new(FileReader::new(file, 0))?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(ArchiveReader { decoder })
}

/// Reads a whole archived segment: what came out, and whether that was all. However much a damaged
/// archive decompresses to, it is never more than its segment had room for.
pub(crate) fn read_whole<S: Storage>(storage: &S, first: Seq) -> (Vec<u8>, io::Result<()>) {
    let mut bytes = Vec::new();
    let read = open(storage, first).and_then(|reader| read_bounded(reader, &mut bytes));
    (bytes, read)
}

fn read_bounded(mut reader: impl Read, bytes: &mut Vec<u8>) -> io::Result<()> {
    let page_bytes = crate::format::SEGMENT_HEADER_BYTES as u64;
    reader.by_ref().take(page_bytes).read_to_end(bytes)?;
    // Only the page's crc vouches for what follows; without it there is nothing to make of it.
    let Ok(header) = SegmentHeader::decode(bytes) else { return Ok(()) };
    let room = header.capacity_bytes.min(SEGMENT_BYTES_MAX).saturating_sub(page_bytes);
    let count = reader.take(room.saturating_add(1)).read_to_end(bytes)?;
    if count as u64 > room {
        let what = "it holds more than the segment had room for";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(())
}

/// Reads only the header page of an archived segment.
pub(crate) fn read_header<S: Storage>(storage: &S, first: Seq) -> io::Result<SegmentHeader> {
    let mut page = [0; crate::format::SEGMENT_HEADER_BYTES];
    open(storage, first)?.read_exact(&mut page)?;
    SegmentHeader::decode(&page).map_err(io::Error::other)
}

/// Archives a sealed segment whose last seq and chain are known: checks it, writes the archive
/// durably, reads it back. The segment is left where it is. Answers the archive's bytes.
pub(crate) fn archive_segment<S: Storage>(
    storage: &S,
    sealed: &SealedSegment,
) -> Result<u64, ArchiveError> {
    let first = sealed.first;
    let segment = segment_file_name(first);
    let bytes = read_segment(storage, &segment)
        .map_err(|source| ArchiveError::Io { file: segment, source })?;
    let used = check_segment(&bytes, sealed).map_err(ArchiveError::Damaged)?;
    let name = archive_file_name(first);
    let failed = |source| archive_io_error(&name, source);
    storage.create_dir(ARCHIVE_DIR).map_err(failed)?;
    storage.sync_dir("").map_err(failed)?;
    if let Some(length) = same_archive(storage, first, &bytes[..used]) {
        // Its bytes were synced before it got its name; whether the name was, nobody knows.
        storage.sync_dir(ARCHIVE_DIR).map_err(failed)?;
        return Ok(length);
    }
    write_archive(storage, &name, &bytes[..used]).map_err(failed)?;
    same_archive(storage, first, &bytes[..used]).ok_or_else(|| {
        // It mustn't be taken for an archive by anybody.
        let _ = storage.remove(&name);
        let source =
            io::Error::new(io::ErrorKind::InvalidData, "read back, it isn't what was written");
        ArchiveError::Io { file: name.clone(), source }
    })
}

/// Compresses piece by piece into a temporary file and gives it its name.
fn write_archive<S: Storage>(storage: &S, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    remove_if_there(storage, &temporary)?;
    let file = storage.open(&temporary, OpenMode::CreateNew)?;
    let written = compress_into(&file, bytes).and_then(|()| file.sync_data());
    let renamed = written.and_then(|()| storage.rename(&temporary, name));
    if let Err(error) = renamed {
        // Best effort: leftovers are removed at the next opening too.
        let _ = storage.remove(&temporary);
        return Err(error);
    }
    storage.sync_dir(ARCHIVE_DIR)
}

fn compress_into<F: StorageFile>(file: &F, bytes: &[u8]) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), COMPRESSION_LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(bytes.len() as u64))?;
    let mut offset = 0;
    let mut gradual = Gradual::default();
    for piece in bytes.chunks(WRITE_PIECE_BYTES) {
        encoder.write_all(piece)?;
        let compressed = std::mem::take(encoder.get_mut());
        gradual.write_at(file, &compressed, offset)?;
        offset += compressed.len() as u64;
    }
    gradual.write_at(file, &encoder.finish()?, offset)
}

/// The archive's length in bytes when it is there and decompresses to exactly these bytes.
fn same_archive<S: Storage>(storage: &S, first: Seq, bytes: &[u8]) -> Option<u64> {
    let mut reader = open(storage, first).ok()?;
    let mut rest = bytes;
    let mut piece = vec![0; WRITE_PIECE_BYTES];
    loop {
        let count = reader.read(&mut piece).ok()?;
        if count == 0 {
            break;
        }
        rest = rest.strip_prefix(&piece[..count])?;
    }
    let length = storage.open(&archive_file_name(first), OpenMode::Read).ok()?.len().ok()?;
    rest.is_empty().then_some(length)
}

/// Checks every frame, the chain, and that the segment ends where the log says; answers where the
/// last frame ends, in bytes.
fn check_segment(bytes: &[u8], sealed: &SealedSegment) -> Result<usize, Damage> {
    let SealedSegment { first, last, end_chain } = *sealed;
    let file = segment_file_name(first);
    let damage = |offset, length, what: String| Damage {
        file: file.clone(),
        offset,
        length,
        first_seq: first,
        last_seq: last,
        what,
    };
    let header = SegmentHeader::decode(bytes)
        .map_err(|error| damage(0, bytes.len() as u64, error.to_string()))?;
    let mut walk = SegmentWalk::new(bytes, &header);
    let mut chain = header.previous_chain;
    let mut next = header.first_seq;
    loop {
        match walk.step() {
            Step::Frame { offset, header, stored } => {
                if header.first_seq != next || !verify_link(&chain, &header, stored) {
                    return Err(damage(offset, stored.len() as u64, "the chain breaks".to_owned()));
                }
                chain = header.chain;
                next = header.last_seq().next();
            }
            Step::BadPayload { offset, length, error, .. }
            | Step::Garbage { offset, length, error } => {
                return Err(damage(offset, length, error.to_string()));
            }
            Step::End { offset } => {
                if next.previous() != last
                    || end_chain.is_some_and(|end| end != chain)
                    || header.first_seq != first
                {
                    return Err(damage(offset, 0, format!("it ends at {}", next.previous())));
                }
                return Ok(offset as usize);
            }
        }
    }
}

fn archive_io_error(file: &str, source: io::Error) -> ArchiveError {
    if is_no_space(&source) {
        ArchiveError::NoSpace
    } else {
        ArchiveError::Io { file: file.to_owned(), source }
    }
}
