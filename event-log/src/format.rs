//! The segment file: its name, its header page, and the constants of the format. Pure; headers are coded by hand, little-endian.
//!
//! This file must never touch a disk, and a decoder here must never panic or allocate by a length it hasn't checked.
//!
//! ```text
//! segment header page, 4096 bytes
//!    0  magic "OHSEGMT1"                    8
//!    8  format version = 1                  u16
//!   10  header length: the first frame's    u16   a multiple of the alignment, at least 4096
//!   12  alignment of frames, bytes          u32   a power of two, 512 to 32768
//!   16  log id                              16
//!   32  epoch counter                       u64
//!   40  epoch random                        u64
//!   48  first seq                           u64   the number in the file's name
//!   56  previous last seq                   u64   = first seq - 1
//!   64  previous chain                      32
//!   96  previous state digest               u128
//!  112  previous logged time, µs            i64
//!  120  created at, µs                      i64
//!  128  owner length                        u16   0 to 256
//!  130  owner                               bytes
//!       zeros
//! 4084  length of the file when it was made   u64   a shorter file has lost its end
//! 4092  crc32 of the bytes before it        u32
//! ```
//! From 4096 to the header length: zeros. Then frames, each at the alignment, and zeros to the end of the file.

use crate::seq::{Chain, Epoch, LogId, Seq, StateDigest};

/// The first bytes of every segment.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"OHSEGMT1";
/// The version of segments and frames this build writes and reads.
pub const FORMAT_VERSION: u16 = 1;
/// Bytes of a segment's header page.
pub const SEGMENT_HEADER_BYTES: usize = 4096;
/// The smallest distance between two frames: the sector of every disk.
pub const ALIGNMENT_BYTES_MIN: u32 = 512;
/// The largest alignment a segment may have (the header length is a u16).
pub const ALIGNMENT_BYTES_MAX: u32 = 32 * 1024;
/// The longest owner.
pub const OWNER_BYTES_MAX: usize = 256;
/// The longest segment file: verifying, archiving and opening read one in one piece, so none may be
/// longer than what all of them take.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// The longest frame, header and padding included; also the most bytes a torn write can leave.
pub const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The longest single append, in bytes of its records as laid out in a frame.
pub const APPEND_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is wrong with a segment file that is shorter than its header says.
pub(crate) const CUT_OFF: &str = "the file is shorter than it was made";
/// The name of the lock file.
pub(crate) const LOCK_FILE: &str = "LOCK";
/// The directory of archived segments.
pub(crate) const ARCHIVE_DIR: &str = "archive";
/// The directory of snapshots.
pub(crate) const SNAPSHOTS_DIR: &str = "snapshots";
/// The file of consumer cursors.
pub(crate) const CONSUMERS_FILE: &str = "CONSUMERS";
/// What every file that isn't finished ends in.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";
/// What a preallocated segment that isn't in use begins with.
pub(crate) const SPARE_PREFIX: &str = "spare-";

const CAPACITY_OFFSET: usize = SEGMENT_HEADER_BYTES - 12;
const SEGMENT_CRC_OFFSET: usize = SEGMENT_HEADER_BYTES - 4;
const OWNER_OFFSET: usize = 130;

/// What the header page of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Where the first frame begins, bytes.
    pub header_len: u16,
    /// Frames start at multiples of this, bytes.
    pub alignment: u32,
    /// The log this segment belongs to.
    pub log_id: LogId,
    /// The opening that made the segment.
    pub epoch: Epoch,
    /// The seq of the segment's first record.
    pub first_seq: Seq,
    /// The chain at the end of the previous segment; the genesis chain in the first.
    pub previous_chain: Chain,
    /// The state digest at the end of the previous segment.
    pub previous_digest: StateDigest,
    /// The logged time at the end of the previous segment, µs.
    pub previous_logged_at_us: i64,
    /// The logged time of the append that made the segment necessary, µs.
    pub created_at_us: i64,
    /// The length of the file when it was made, bytes; it never gets shorter.
    pub capacity_bytes: u64,
    /// Opaque: whose log this is.
    pub owner: Vec<u8>,
}

/// Why 4096 bytes aren't the header page of a segment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentHeaderError {
    /// Fewer bytes than a header page.
    #[error("the header page is cut short")]
    Short,
    /// The magic isn't ours: probably not a segment at all.
    #[error("not a segment: wrong magic")]
    Magic,
    /// The crc doesn't match: damage.
    #[error("the header page's crc doesn't match")]
    Crc,
    /// A whole page of a version this build doesn't know: use a newer build.
    #[error("segment format version {found} isn't supported")]
    Version {
        /// The version the page claims.
        found: u16,
    },
    /// The crc matches and a field is impossible: a writer's bug.
    #[error("impossible header field: {what}")]
    Field {
        /// Which one.
        what: &'static str,
    },
}

impl SegmentHeader {
    /// The header page.
    pub fn encode(&self) -> Box<[u8; SEGMENT_HEADER_BYTES]> {
        assert!(self.owner.len() <= OWNER_BYTES_MAX, "the owner was checked at opening");
        let mut page = Box::new([0_u8; SEGMENT_HEADER_BYTES]);
        page[0..8].copy_from_slice(&SEGMENT_MAGIC);
        page[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        page[10..12].copy_from_slice(&self.header_len.to_le_bytes());
        page[12..16].copy_from_slice(&self.alignment.to_le_bytes());
        page[16..32].copy_from_slice(self.log_id.as_bytes());
        page[32..40].copy_from_slice(&self.epoch.counter.to_le_bytes());
        page[40..48].copy_from_slice(&self.epoch.random.to_le_bytes());
        page[48..56].copy_from_slice(&self.first_seq.get().to_le_bytes());
        page[56..64].copy_from_slice(&self.first_seq.previous().get().to_le_bytes());
        page[64..96].copy_from_slice(self.previous_chain.as_bytes());
        page[96..112].copy_from_slice(&self.previous_digest.to_le_bytes());
        page[112..120].copy_from_slice(&self.previous_logged_at_us.to_le_bytes());
        page[120..128].copy_from_slice(&self.created_at_us.to_le_bytes());
        page[128..130].copy_from_slice(&(self.owner.len() as u16).to_le_bytes());
        page[OWNER_OFFSET..OWNER_OFFSET + self.owner.len()].copy_from_slice(&self.owner);
        page[CAPACITY_OFFSET..SEGMENT_CRC_OFFSET]
            .copy_from_slice(&self.capacity_bytes.to_le_bytes());
        let crc = crc32fast::hash(&page[..SEGMENT_CRC_OFFSET]);
        page[SEGMENT_CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// Decodes a header page; bytes after the page are ignored.
    pub fn decode(bytes: &[u8]) -> Result<Self, SegmentHeaderError> {
        let page = bytes.get(..SEGMENT_HEADER_BYTES).ok_or(SegmentHeaderError::Short)?;
        if page[..8] != SEGMENT_MAGIC {
            return Err(SegmentHeaderError::Magic);
        }
        if crc32fast::hash(&page[..SEGMENT_CRC_OFFSET]) != read_u32(page, SEGMENT_CRC_OFFSET) {
            return Err(SegmentHeaderError::Crc);
        }
        let found = read_u16(page, 8);
        if found != FORMAT_VERSION {
            return Err(SegmentHeaderError::Version { found });
        }
        let owner_len = usize::from(read_u16(page, 128));
        let owner = (owner_len <= OWNER_BYTES_MAX)
            .then(|| page[OWNER_OFFSET..OWNER_OFFSET + owner_len].to_vec());
        let header = SegmentHeader {
            header_len: read_u16(page, 10),
            alignment: read_u32(page, 12),
            log_id: LogId::new(read_array(page, 16)),
            epoch: Epoch { counter: read_u64(page, 32), random: read_u64(page, 40) },
            first_seq: Seq::new(read_u64(page, 48)),
            previous_chain: Chain::new(read_array(page, 64)),
            previous_digest: u128::from_le_bytes(read_array(page, 96)),
            previous_logged_at_us: read_u64(page, 112) as i64,
            created_at_us: read_u64(page, 120) as i64,
            capacity_bytes: read_u64(page, CAPACITY_OFFSET),
            owner: owner.ok_or(SegmentHeaderError::Field { what: "owner length" })?,
        };
        header.check_fields(read_u64(page, 56))?;
        Ok(header)
    }

    fn check_fields(&self, previous_last_seq: u64) -> Result<(), SegmentHeaderError> {
        if !alignment_is_valid(self.alignment) {
            return Err(SegmentHeaderError::Field { what: "alignment" });
        }
        if self.header_len != header_len_for(self.alignment) {
            return Err(SegmentHeaderError::Field { what: "header length" });
        }
        if self.first_seq == Seq::ZERO || self.first_seq.previous().get() != previous_last_seq {
            return Err(SegmentHeaderError::Field { what: "previous last seq" });
        }
        Ok(())
    }
}

/// Whether frames may be laid out at this distance.
pub(crate) const fn alignment_is_valid(alignment: u32) -> bool {
    alignment.is_power_of_two()
        && alignment >= ALIGNMENT_BYTES_MIN
        && alignment <= ALIGNMENT_BYTES_MAX
}

/// Where the first frame begins in a segment of this alignment.
pub(crate) const fn header_len_for(alignment: u32) -> u16 {
    if alignment as usize > SEGMENT_HEADER_BYTES {
        alignment as u16
    } else {
        SEGMENT_HEADER_BYTES as u16
    }
}

/// The next multiple of the alignment (a power of two).
pub(crate) const fn align_up(bytes: u64, alignment: u32) -> u64 {
    let mask = alignment as u64 - 1;
    (bytes + mask) & !mask
}

/// The name of the segment that begins with this seq.
pub fn segment_file_name(first_seq: Seq) -> String {
    format!("{:020}.log", first_seq.get())
}

/// The first seq of a segment by its file's name; `None` when it isn't the name of a segment.
pub fn parse_segment_file_name(name: &str) -> Option<Seq> {
    let digits = name.strip_suffix(".log")?;
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok().map(Seq::new))?
}

/// The name of spare number `number`; the first segment of a log is made from number 0.
pub(crate) fn spare_file_name(number: u64) -> String {
    format!("{SPARE_PREFIX}{number}{TEMPORARY_SUFFIX}")
}

pub(crate) fn read_array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut array = [0_u8; N];
    array.copy_from_slice(&bytes[offset..offset + N]);
    array
}

pub(crate) fn read_u16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(read_array(bytes, offset))
}

pub(crate) fn read_u32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(read_array(bytes, offset))
}

pub(crate) fn read_u64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(read_array(bytes, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(alignment: u32) -> SegmentHeader {
        SegmentHeader {
            header_len: header_len_for(alignment),
            alignment,
            log_id: LogId::new([3; 16]),
            epoch: Epoch { counter: 4, random: 5 },
            first_seq: Seq::new(101),
            previous_chain: Chain::new([6; 32]),
            previous_digest: 7,
            previous_logged_at_us: -8,
            created_at_us: 9,
            capacity_bytes: 10,
            owner: b"store-1".to_vec(),
        }
    }

    #[test]
    fn header_survives_its_page() {
        for alignment in [512, 4096, 32768] {
            let header = sample(alignment);
            assert_eq!(SegmentHeader::decode(&header.encode()[..]), Ok(header));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let page = sample(512).encode();
        for bit in 0..SEGMENT_HEADER_BYTES * 8 {
            let mut damaged = page.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&damaged[..]).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn refusals_say_why() {
        assert_eq!(SegmentHeader::decode(&[0; 100]), Err(SegmentHeaderError::Short));
        assert_eq!(SegmentHeader::decode(&[0; 4096]), Err(SegmentHeaderError::Magic));
        let mut page = sample(512).encode();
        page[8] = 2;
        assert_eq!(SegmentHeader::decode(&page[..]), Err(SegmentHeaderError::Crc));
        let crc = crc32fast::hash(&page[..SEGMENT_CRC_OFFSET]);
        page[SEGMENT_CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&page[..]), Err(SegmentHeaderError::Version { found: 2 }));
    }

    #[test]
    fn names() {
        assert_eq!(segment_file_name(Seq::new(1)), "00000000000000000001.log");
        assert_eq!(parse_segment_file_name("00000000000000000001.log"), Some(Seq::new(1)));
        for name in [
            "1.log",
            "00000000000000000001.log.zst",
            "0000000000000000000x.log",
            "99999999999999999999.log",
        ] {
            assert_eq!(parse_segment_file_name(name), None, "{name}");
        }
    }
}
