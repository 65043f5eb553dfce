//! Snapshots: a container of checked sections that stands for the state between two seqs.
//!
//! A snapshot is *fuzzy*: writers don't stop while it is made. `lo` is the durable watermark before
//! the first section was walked, `hi` the last seq given out after the last one. Loading it and
//! replaying from `lo` gives the state at any seq from `hi` on; before `hi` nothing is claimed.
//! What the sections mean is the caller's business; nothing here may look into them, and nothing
//! that wasn't read back and verified may ever be called a snapshot.
//!
//! All numbers are little-endian. Every crc is a crc32 seeded with the log id, so that pieces of
//! another log's snapshot never pass.
//!
//! ```text
//! header     0  magic "OHSNAPS1"            8
//!            8  format version = 1          u16
//!           10  owner length                u16   ≤ 256
//!           12  zeros                       4
//!           16  log id                      16
//!           32  lo                          u64
//!           40  chain at lo                 32
//!           72  state digest at lo          u128
//!           88  logged time at lo, µs       i64
//!           96  created at, µs              i64
//!          104  owner                       bytes
//!               crc of all before           u32
//! section    0  magic "OHSC"                4
//!            4  kind                        u16   the caller's
//!            6  zeros                       2
//!            8  id                          u32   the caller's
//!           12  length of the bytes         u32   ≤ 64 MiB
//!           16  crc of the bytes            u32   seeded with log id
//!           20  crc of the header           u32   seeded with log id ‖ lo ‖ index of the section
//!           24  bytes
//! footer     0  magic "OHSF"                4
//!            4  zeros                       4
//!            8  hi                          u64
//!           16  items digest                u128  the caller's self-check
//!           32  count of sections           u64
//!           40  length of the whole file    u64
//!           48  crc of the footer           u32   seeded with log id ‖ lo
//! ```

mod of_log;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::io;

use crate::format::{OWNER_BYTES_MAX, read_array, read_u16, read_u32, read_u64};
use crate::seq::{Chain, LogId, Seq, StateDigest};

pub use of_log::{SnapshotError, SnapshotList, SnapshotWriter, newest_in_directory};
pub(crate) use of_log::{damage_of_file, list_verified, scan_names};
pub(crate) use reader::peek;
pub use reader::{SnapshotReader, SnapshotStream, verify_snapshot};
pub use writer::{SnapshotFile, SnapshotWriteError};

/// The longest section, in bytes.
pub const SECTION_BYTES_MAX: usize = 64 << 20;

const SNAPSHOT_VERSION: u16 = 1;
const HEADER_MAGIC: [u8; 8] = *b"OHSNAPS1";
const SECTION_MAGIC: [u8; 4] = *b"OHSC";
const FOOTER_MAGIC: [u8; 4] = *b"OHSF";
/// Bytes of the header before the owner.
const HEADER_FIXED_BYTES: usize = 104;
const SECTION_HEADER_BYTES: usize = 24;
const FOOTER_BYTES: usize = 52;
const CRC_BYTES: usize = 4;

/// What the beginning of a snapshot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The log it was made from.
    pub log_id: LogId,
    /// Opaque: whose log it is.
    pub owner: Vec<u8>,
    /// Everything up to here is in it; replay begins behind it.
    pub lo: Seq,
    /// The log's chain at `lo`.
    pub chain: Chain,
    /// The caller's state digest at `lo`.
    pub state_digest: StateDigest,
    /// The logged time at `lo`, µs since 1970 in UTC.
    pub logged_at_us: i64,
    /// When it was begun, µs since 1970 in UTC.
    pub created_at_us: i64,
}

/// What the end of a snapshot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotFooter {
    /// Nothing behind this seq is in it.
    pub hi: Seq,
    /// The caller's self-check over what it wrote.
    pub items_digest: u128,
    /// How many sections there are.
    pub section_count: u64,
    /// Bytes of the whole snapshot.
    pub file_bytes: u64,
}

/// One piece of a snapshot, its crc checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What the bytes are, by the caller's numbers.
    pub kind: u16,
    /// Which piece of that kind.
    pub id: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A finished snapshot in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its file, relative to the storage root.
    pub file: String,
    /// What its beginning says.
    pub header: SnapshotHeader,
    /// What its end says.
    pub footer: SnapshotFooter,
}

impl SnapshotInfo {
    /// Everything up to here is in it.
    pub fn lo(&self) -> Seq {
        self.header.lo
    }

    /// Nothing behind this seq is in it.
    pub fn hi(&self) -> Seq {
        self.footer.hi
    }
}

/// Why a snapshot couldn't be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotReadError {
    /// The bytes aren't what was written: use an older snapshot, or download it again.
    #[error("the snapshot {file} is damaged at byte {offset}: {what}")]
    Damaged {
        /// The file, or what the stream is called.
        file: String,
        /// Where what was read there begins, bytes.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Written by a newer build: use that one.
    #[error("the snapshot {file} has format version {found}, which this build doesn't support")]
    UnsupportedVersion {
        /// The file, or what the stream is called.
        file: String,
        /// The version found.
        found: u16,
    },
    /// The disk or the connection failed: try again.
    #[error("reading the snapshot {file} failed: {source}")]
    Io {
        /// The file, or what the stream is called.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

impl SnapshotReadError {
    /// Whether the file itself is bad, as opposed to reading it.
    pub const fn is_damage(&self) -> bool {
        match self {
            SnapshotReadError::Damaged { .. } => true,
            SnapshotReadError::UnsupportedVersion { .. } | SnapshotReadError::Io { .. } => false,
        }
    }
}

/// The file's name for these seqs, without its directory.
pub fn snapshot_file_name(lo: Seq, hi: Seq) -> String {
    format!("{:020}-{:020}.snap", lo.get(), hi.get())
}

/// The seqs of a snapshot by its file's name; `None` when it isn't the name of a snapshot.
pub fn parse_snapshot_file_name(name: &str) -> Option<(Seq, Seq)> {
    let (lo, hi) = name.strip_suffix(".snap")?.split_once('-')?;
    let number = |digits: &str| -> Option<Seq> {
        let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok().map(Seq::new))?
    };
    Some((number(lo)?, number(hi)?))
}

impl SnapshotHeader {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_FIXED_BYTES + self.owner.len() + CRC_BYTES);
        bytes.extend_from_slice(&HEADER_MAGIC);
        bytes.extend_from_slice(&SNAPSHOT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.owner.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(self.log_id.as_bytes());
        bytes.extend_from_slice(&self.lo.get().to_le_bytes());
        bytes.extend_from_slice(self.chain.as_bytes());
        bytes.extend_from_slice(&self.state_digest.to_le_bytes());
        bytes.extend_from_slice(&self.logged_at_us.to_le_bytes());
        bytes.extend_from_slice(&self.created_at_us.to_le_bytes());
        bytes.extend_from_slice(&self.owner);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The length of a whole header whose fixed part begins with `fixed`, or what is wrong.
    fn length(fixed: &[u8]) -> Result<usize, HeaderProblem> {
        if fixed[..8] != HEADER_MAGIC {
            return Err(HeaderProblem::Damaged("not a snapshot: wrong magic"));
        }
        let owner_len = usize::from(read_u16(fixed, 10));
        if owner_len > OWNER_BYTES_MAX {
            // A version of its own may well have longer owners; without a crc nobody can tell.
            return Err(HeaderProblem::Damaged("impossible owner length"));
        }
        Ok(HEADER_FIXED_BYTES + owner_len + CRC_BYTES)
    }

    /// Decodes a whole header, crc included.
    fn decode(bytes: &[u8]) -> Result<Self, HeaderProblem> {
        let crc_offset = bytes.len() - CRC_BYTES;
        if crc32fast::hash(&bytes[..crc_offset]) != read_u32(bytes, crc_offset) {
            return Err(HeaderProblem::Damaged("the header's crc doesn't match"));
        }
        let found = read_u16(bytes, 8);
        if found != SNAPSHOT_VERSION {
            return Err(HeaderProblem::Version(found));
        }
        if bytes[12..16] != [0; 4] {
            return Err(HeaderProblem::Damaged("reserved bytes of the header aren't zero"));
        }
        Ok(SnapshotHeader {
            log_id: LogId::new(read_array(bytes, 16)),
            lo: Seq::new(read_u64(bytes, 32)),
            chain: Chain::new(read_array(bytes, 40)),
            state_digest: u128::from_le_bytes(read_array(bytes, 72)),
            logged_at_us: i64::from_le_bytes(read_array(bytes, 88)),
            created_at_us: i64::from_le_bytes(read_array(bytes, 96)),
            owner: bytes[HEADER_FIXED_BYTES..crc_offset].to_vec(),
        })
    }
}

enum HeaderProblem {
    Damaged(&'static str),
    Version(u16),
}

impl HeaderProblem {
    fn in_file(self, file: &str) -> SnapshotReadError {
        match self {
            HeaderProblem::Damaged(what) => {
                SnapshotReadError::Damaged { file: file.to_owned(), offset: 0, what }
            }
            HeaderProblem::Version(found) => {
                SnapshotReadError::UnsupportedVersion { file: file.to_owned(), found }
            }
        }
    }
}

impl SnapshotFooter {
    fn encode(&self, header: &SnapshotHeader) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        bytes[0..4].copy_from_slice(&FOOTER_MAGIC);
        bytes[8..16].copy_from_slice(&self.hi.get().to_le_bytes());
        bytes[16..32].copy_from_slice(&self.items_digest.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.section_count.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.file_bytes.to_le_bytes());
        let crc = seeded_crc(header, None, &bytes[..48]);
        bytes[48..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; FOOTER_BYTES], header: &SnapshotHeader) -> Result<Self, &'static str> {
        if bytes[..4] != FOOTER_MAGIC || bytes[4..8] != [0; 4] {
            return Err("no footer");
        }
        if seeded_crc(header, None, &bytes[..48]) != read_u32(bytes, 48) {
            return Err("the footer's crc doesn't match");
        }
        let footer = SnapshotFooter {
            hi: Seq::new(read_u64(bytes, 8)),
            items_digest: u128::from_le_bytes(read_array(bytes, 16)),
            section_count: read_u64(bytes, 32),
            file_bytes: read_u64(bytes, 40),
        };
        if footer.hi < header.lo {
            return Err("the footer's hi is below lo");
        }
        Ok(footer)
    }
}

fn encode_section_header(
    header: &SnapshotHeader,
    index: u64,
    section: (u16, u32),
    bytes: &[u8],
) -> Vec<u8> {
    let (kind, id) = section;
    let mut encoded = Vec::with_capacity(SECTION_HEADER_BYTES);
    encoded.extend_from_slice(&SECTION_MAGIC);
    encoded.extend_from_slice(&kind.to_le_bytes());
    encoded.extend_from_slice(&[0; 2]);
    encoded.extend_from_slice(&id.to_le_bytes());
    encoded.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    let mut bytes_crc = bytes_hasher(header);
    bytes_crc.update(bytes);
    encoded.extend_from_slice(&bytes_crc.finalize().to_le_bytes());
    let crc = seeded_crc(header, Some(index), &encoded);
    encoded.extend_from_slice(&crc.to_le_bytes());
    encoded
}

/// Of a section's bytes, which follow.
fn bytes_hasher(header: &SnapshotHeader) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header.log_id.as_bytes());
    hasher
}

fn seeded_crc(header: &SnapshotHeader, index: Option<u64>, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header.log_id.as_bytes());
    hasher.update(&header.lo.get().to_le_bytes());
    if let Some(index) = index {
        hasher.update(&index.to_le_bytes());
    }
    hasher.update(bytes);
    hasher.finalize()
}
