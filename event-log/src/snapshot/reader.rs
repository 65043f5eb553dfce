//! Reading a snapshot, from a file or from any stream of bytes (a download).
//!
//! Nothing here may allocate by a length before the bytes have come, panic on any input, or hand
//! out a section whose crc doesn't match.

use std::io::{self, BufRead, BufReader, Read};

use super::{
    FOOTER_BYTES, FOOTER_MAGIC, HEADER_FIXED_BYTES, SECTION_BYTES_MAX, SECTION_HEADER_BYTES,
    SECTION_MAGIC, Section, SnapshotFooter, SnapshotHeader, SnapshotInfo, SnapshotReadError,
    bytes_hasher, seeded_crc,
};
use crate::format::{read_u16, read_u32};
use crate::planted;
use crate::storage::{FileReader, OpenMode, Storage, StorageFile, read_exact_at};

/// How many bytes are read at once at most. Short files have short buffers: a hundred of them are
/// verified by several threads, each of which would touch new memory for it.
const READ_BUFFER_BYTES: usize = 64 << 10;
/// How many buffers of sections wait to be used again at most.
const SPARE_BUFFERS_MAX: usize = 16;

/// Decodes a snapshot from a stream, section by section.
///
/// After the last section [`next_section`](Self::next_section) checks the footer and that nothing
/// follows it; until it said `None`, the snapshot must not be used.
#[derive(Debug)]
pub struct SnapshotStream<R> {
    reader: R,
    file: String,
    header: SnapshotHeader,
    footer: Option<SnapshotFooter>,
    offset: u64,
    section_count: u64,
    /// Memory for the next sections.
    spare: Vec<Vec<u8>>,
}

impl<R: Read> SnapshotStream<R> {
    /// Reads the header. `name` is what errors call the stream.
    pub fn new(mut reader: R, name: &str) -> Result<Self, SnapshotReadError> {
        let mut bytes = vec![0; HEADER_FIXED_BYTES];
        read_piece(&mut reader, &mut bytes, name, 0)?;
        let length = SnapshotHeader::length(&bytes).map_err(|problem| problem.in_file(name))?;
        bytes.resize(length, 0);
        read_piece(&mut reader, &mut bytes[HEADER_FIXED_BYTES..], name, 0)?;
        let header = SnapshotHeader::decode(&bytes).map_err(|problem| problem.in_file(name))?;
        Ok(Self {
            reader,
            file: name.to_owned(),
            header,
            footer: None,
            offset: length as u64,
            section_count: 0,
            spare: Vec::new(),
        })
    }

    /// What the snapshot's beginning says.
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// What its end says; `None` until all sections were read.
    pub fn footer(&self) -> Option<&SnapshotFooter> {
        self.footer.as_ref()
    }

    /// The next section, or `None` once the whole snapshot has been read and is valid.
    pub fn next_section(&mut self) -> Result<Option<Section>, SnapshotReadError> {
        if self.is_at_section()? { self.read_section().map(Some) } else { Ok(None) }
    }

    /// Takes back the bytes of a section that is done with: touching new memory for each costs more
    /// than reading it.
    pub fn reuse(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS_MAX {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// Reads what comes next up to its magic: whether that is a section, or the footer, which is then
    /// read and checked.
    fn is_at_section(&mut self) -> Result<bool, SnapshotReadError> {
        if self.footer.is_some() {
            return Ok(false);
        }
        let mut magic = [0; 4];
        read_piece(&mut self.reader, &mut magic, &self.file, self.offset)?;
        match magic {
            SECTION_MAGIC => Ok(true),
            FOOTER_MAGIC => self.read_footer().map(|()| false),
            _ => Err(self.damaged("neither a section nor the footer")),
        }
    }

    /// Reads and checks the rest of a section's header.
    fn read_section_head(&mut self) -> Result<SectionHead, SnapshotReadError> {
        let mut head = [0; SECTION_HEADER_BYTES];
        head[..4].copy_from_slice(&SECTION_MAGIC);
        read_piece(&mut self.reader, &mut head[4..], &self.file, self.offset)?;
        let crc_offset = SECTION_HEADER_BYTES - 4;
        let crc = seeded_crc(&self.header, Some(self.section_count), &head[..crc_offset]);
        if crc != read_u32(&head, crc_offset) {
            return Err(self.damaged("a section header's crc doesn't match"));
        }
        let length = read_u32(&head, 12) as usize;
        if length > SECTION_BYTES_MAX || head[6..8] != [0; 2] {
            return Err(self.damaged("an impossible section header"));
        }
        let (kind, id) = (read_u16(&head, 4), read_u32(&head, 8));
        Ok(SectionHead { kind, id, length, bytes_crc: read_u32(&head, 16) })
    }

    fn read_section(&mut self) -> Result<Section, SnapshotReadError> {
        let head = self.read_section_head()?;
        // Grows with what really comes, not with what the length promises.
        let mut bytes = self.spare.pop().unwrap_or_default();
        let taken = self.reader.by_ref().take(head.length as u64).read_to_end(&mut bytes);
        taken.map_err(|source| SnapshotReadError::Io { file: self.file.clone(), source })?;
        let mut crc = bytes_hasher(&self.header);
        crc.update(&bytes);
        self.end_section(&head, bytes.len(), crc.finalize())?;
        Ok(Section { kind: head.kind, id: head.id, bytes })
    }

    /// Checks what came of a section's bytes, and counts it.
    fn end_section(
        &mut self,
        head: &SectionHead,
        length: usize,
        crc: u32,
    ) -> Result<(), SnapshotReadError> {
        if length != head.length {
            return Err(self.damaged("it ends inside a section"));
        }
        if crc != head.bytes_crc && !planted::is("believe a damaged snapshot") {
            return Err(self.damaged("a section's crc doesn't match"));
        }
        self.offset += (SECTION_HEADER_BYTES + length) as u64;
        self.section_count += 1;
        Ok(())
    }

    fn read_footer(&mut self) -> Result<(), SnapshotReadError> {
        let mut bytes = [0; FOOTER_BYTES];
        bytes[..4].copy_from_slice(&FOOTER_MAGIC);
        read_piece(&mut self.reader, &mut bytes[4..], &self.file, self.offset)?;
        let footer =
            SnapshotFooter::decode(&bytes, &self.header).map_err(|what| self.damaged(what))?;
        if footer.section_count != self.section_count
            || footer.file_bytes != self.offset + FOOTER_BYTES as u64
        {
            return Err(self.damaged("the footer counts other sections or bytes"));
        }
        match self.reader.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(self.damaged("bytes behind the footer")),
            Err(source) => {
                return Err(SnapshotReadError::Io { file: self.file.clone(), source });
            }
        }
        self.footer = Some(footer);
        Ok(())
    }

    fn damaged(&self, what: &'static str) -> SnapshotReadError {
        SnapshotReadError::Damaged { file: self.file.clone(), offset: self.offset, what }
    }
}

impl<R: BufRead> SnapshotStream<R> {
    /// Checks the next section without keeping its bytes; says whether there was one. Once there is
    /// none, the whole snapshot has been read and is valid.
    fn pass_section(&mut self) -> Result<bool, SnapshotReadError> {
        if !self.is_at_section()? {
            return Ok(false);
        }
        let head = self.read_section_head()?;
        let mut crc = bytes_hasher(&self.header);
        let mut passed = 0;
        while passed < head.length {
            let piece = match self.reader.fill_buf() {
                Ok(piece) => &piece[..piece.len().min(head.length - passed)],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(SnapshotReadError::Io { file: self.file.clone(), source });
                }
            };
            if piece.is_empty() {
                break;
            }
            crc.update(piece);
            let length = piece.len();
            passed += length;
            self.reader.consume(length);
        }
        self.end_section(&head, passed, crc.finalize())?;
        Ok(true)
    }
}

/// What a section's header says.
struct SectionHead {
    kind: u16,
    id: u32,
    length: usize,
    bytes_crc: u32,
}

/// Reads a snapshot's file.
pub struct SnapshotReader<S: Storage> {
    stream: SnapshotStream<BufReader<FileReader<S::File>>>,
    footer: SnapshotFooter,
}

impl<S: Storage> SnapshotReader<S> {
    /// Opens a file and checks its beginning and its end; the sections are checked as they are read.
    pub fn open(storage: &S, path: &str) -> Result<Self, SnapshotReadError> {
        let info = peek(storage, path)?;
        let failed = |source| SnapshotReadError::Io { file: path.to_owned(), source };
        let file = storage.open(path, OpenMode::Read).map_err(failed)?;
        let buffer_bytes = info.footer.file_bytes.min(READ_BUFFER_BYTES as u64) as usize;
        let reader = BufReader::with_capacity(buffer_bytes, FileReader::new(file, 0));
        Ok(Self { stream: SnapshotStream::new(reader, path)?, footer: info.footer })
    }

    /// What the snapshot's beginning says.
    pub fn header(&self) -> &SnapshotHeader {
        self.stream.header()
    }

    /// What its end says.
    pub fn footer(&self) -> &SnapshotFooter {
        &self.footer
    }

    /// The next section, or `None` once the whole snapshot has been read and is valid.
    pub fn next_section(&mut self) -> Result<Option<Section>, SnapshotReadError> {
        self.stream.next_section()
    }

    /// See [`SnapshotStream::reuse`].
    pub fn reuse(&mut self, bytes: Vec<u8>) {
        self.stream.reuse(bytes);
    }
}

/// Reads the whole file and checks every byte of it.
pub fn verify_snapshot<S: Storage>(
    storage: &S,
    path: &str,
) -> Result<SnapshotInfo, SnapshotReadError> {
    let mut reader = SnapshotReader::open(storage, path)?;
    while reader.stream.pass_section()? {}
    Ok(SnapshotInfo {
        file: path.to_owned(),
        header: reader.header().clone(),
        footer: *reader.footer(),
    })
}

/// Reads and checks only the beginning and the end of a file.
pub(crate) fn peek<S: Storage>(storage: &S, path: &str) -> Result<SnapshotInfo, SnapshotReadError> {
    let failed = |source| SnapshotReadError::Io { file: path.to_owned(), source };
    let file = storage.open(path, OpenMode::Read).map_err(failed)?;
    let length = file.len().map_err(failed)?;
    let header = SnapshotStream::new(FileReader::new(file, 0), path)?.header;
    let file = storage.open(path, OpenMode::Read).map_err(failed)?;
    let offset = length.saturating_sub(FOOTER_BYTES as u64);
    let damaged = |what| SnapshotReadError::Damaged { file: path.to_owned(), offset, what };
    let mut bytes = [0; FOOTER_BYTES];
    if length < FOOTER_BYTES as u64 {
        return Err(damaged("too short for a footer"));
    }
    read_exact_at(&file, &mut bytes, offset).map_err(failed)?;
    let footer = SnapshotFooter::decode(&bytes, &header).map_err(damaged)?;
    if footer.file_bytes != length {
        return Err(damaged("the footer counts other bytes than there are"));
    }
    Ok(SnapshotInfo { file: path.to_owned(), header, footer })
}

fn read_piece<R: Read>(
    reader: &mut R,
    bytes: &mut [u8],
    file: &str,
    offset: u64,
) -> Result<(), SnapshotReadError> {
    reader.read_exact(bytes).map_err(|source| match source.kind() {
        io::ErrorKind::UnexpectedEof => {
            SnapshotReadError::Damaged { file: file.to_owned(), offset, what: "it ends too early" }
        }
        _ => SnapshotReadError::Io { file: file.to_owned(), source },
    })
}
