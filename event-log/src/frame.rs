//! The frame: one group commit, sealed with two crcs and a link of the chain. Pure.
//!
//! A decoder here must never panic, never allocate by a length it hasn't checked, and never accept what wasn't sealed for this log.
//!
//! ```text
//! frame header, 128 bytes
//!    0  magic "OHFR"                        u32
//!    4  version = 1                         u8
//!    5  kind                                u8    1 data, 2 checkpoint, 3 close, 4 keep-alive (streams only)
//!    6  flags                               u16   1 compressed, 2 encrypted: both refused for now
//!    8  payload length, bytes               u32
//!   12  record count                        u32
//!   16  first seq (without records: next)   u64
//!   24  first seq of the segment            u64
//!   32  epoch counter                       u64
//!   40  durable watermark when sealed       u64
//!   48  logged time, µs                     i64
//!   56  state digest after the frame        u128
//!   72  chain                               32    BLAKE3(previous chain ‖ bytes 0..72 ‖ bytes 104..120 ‖ payload)
//!  104  key id = 0                          u32
//!  108  zeros                               12
//!  120  payload crc32                       u32
//!  124  header crc32                        u32   of log id ‖ segment first seq ‖ bytes 0..124
//! 128  payload: records, each u32 length and bytes
//!      in a segment: zeros to the next multiple of the alignment
//! ```

use crate::format::{FORMAT_VERSION, FRAME_BYTES_MAX, read_array, read_u16, read_u32, read_u64};
use crate::planted;
use crate::record::{RECORD_LENGTH_BYTES, Records, layout_is_valid};
use crate::seq::{Chain, LogId, Seq, StateDigest, Tip};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 128;

const FRAME_MAGIC: [u8; 4] = *b"OHFR";
const CHAIN_OFFSET: usize = 72;
const CHAIN_END: usize = 104;
const PAYLOAD_CRC_OFFSET: usize = 120;
const HEADER_CRC_OFFSET: usize = 124;
const FLAGS_KNOWN: u16 = 0;
/// What a link hashes besides the payload.
const LINK_HEAD_BYTES: usize = 32 + CHAIN_OFFSET + (PAYLOAD_CRC_OFFSET - CHAIN_END);
/// So many bytes are hashed in one piece: eight chunks of BLAKE3, which it takes side by side.
const HASHED_AT_ONCE_BYTES: usize = 8 << 10;

/// What a frame is for. The numbers are those on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Records.
    Data = 1,
    /// No records: seals the watermark over the last data frame once the log has been idle for a while.
    Checkpoint = 2,
    /// No records: the log was closed cleanly here.
    Close = 3,
    /// No records, never on disk, not chained: a stream is alive and the reader has everything.
    KeepAlive = 4,
}

impl FrameKind {
    fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(FrameKind::Data),
            2 => Some(FrameKind::Checkpoint),
            3 => Some(FrameKind::Close),
            4 => Some(FrameKind::KeepAlive),
            _ => None,
        }
    }
}

/// What the header of a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame is for.
    pub kind: FrameKind,
    /// Bytes of the stored payload.
    pub payload_len: u32,
    /// Records in the payload.
    pub record_count: u32,
    /// The seq of the first record; of a frame without records, the seq the next record will get.
    pub first_seq: Seq,
    /// The first seq of the segment the frame was sealed for.
    pub segment_first_seq: Seq,
    /// The counter of the opening that sealed it.
    pub epoch_counter: u64,
    /// The durable watermark when it was sealed: proof that everything up to it had been synced.
    pub watermark: Seq,
    /// The logged time of its last append, µs since 1970 in UTC.
    pub logged_at_us: i64,
    /// The caller's state digest after it.
    pub state_digest: StateDigest,
    /// The chain after it; of a keep-alive, the chain at the watermark.
    pub chain: Chain,
    /// The crc32 of the payload.
    pub payload_crc: u32,
}

impl FrameHeader {
    /// The last seq at the frame's end: of its last record, or of the last before it when it holds none.
    pub fn last_seq(&self) -> Seq {
        Seq::new((self.first_seq.get() - 1).saturating_add(u64::from(self.record_count)))
    }

    /// Bytes of header and payload.
    pub fn stored_len(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload_len as usize
    }

    fn encode(&self, log_id: LogId) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = self.encode_unsealed();
        bytes[CHAIN_OFFSET..CHAIN_END].copy_from_slice(self.chain.as_bytes());
        bytes[PAYLOAD_CRC_OFFSET..HEADER_CRC_OFFSET]
            .copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = header_crc(&bytes, log_id);
        bytes[HEADER_CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn encode_unsealed(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0_u8; FRAME_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&FRAME_MAGIC);
        bytes[4] = FORMAT_VERSION as u8;
        bytes[5] = self.kind as u8;
        bytes[8..12].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.record_count.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_seq.get().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.segment_first_seq.get().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.epoch_counter.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.watermark.get().to_le_bytes());
        bytes[48..56].copy_from_slice(&self.logged_at_us.to_le_bytes());
        bytes[56..72].copy_from_slice(&self.state_digest.to_le_bytes());
        bytes
    }

    /// Decodes and checks a header; `None` when there are fewer than [`FRAME_HEADER_BYTES`]. Zeros are never a header.
    pub fn decode(bytes: &[u8], log_id: LogId) -> Result<Option<Self>, FrameError> {
        let Some(bytes) = bytes.get(..FRAME_HEADER_BYTES) else { return Ok(None) };
        if bytes[..4] != FRAME_MAGIC {
            return Err(FrameError::Magic);
        }
        if header_crc(bytes, log_id) != read_u32(bytes, HEADER_CRC_OFFSET) {
            return Err(FrameError::HeaderCrc);
        }
        if u16::from(bytes[4]) != FORMAT_VERSION {
            return Err(FrameError::Version { found: u16::from(bytes[4]) });
        }
        let flags = read_u16(bytes, 6);
        if flags & !FLAGS_KNOWN != 0 {
            return Err(FrameError::Flags { found: flags });
        }
        let header = FrameHeader {
            kind: FrameKind::from_number(bytes[5]).ok_or(FrameError::Field { what: "kind" })?,
            payload_len: read_u32(bytes, 8),
            record_count: read_u32(bytes, 12),
            first_seq: Seq::new(read_u64(bytes, 16)),
            segment_first_seq: Seq::new(read_u64(bytes, 24)),
            epoch_counter: read_u64(bytes, 32),
            watermark: Seq::new(read_u64(bytes, 40)),
            logged_at_us: read_u64(bytes, 48) as i64,
            state_digest: u128::from_le_bytes(read_array(bytes, 56)),
            chain: Chain::new(read_array(bytes, CHAIN_OFFSET)),
            payload_crc: read_u32(bytes, PAYLOAD_CRC_OFFSET),
        };
        if bytes[CHAIN_END..PAYLOAD_CRC_OFFSET] != [0; PAYLOAD_CRC_OFFSET - CHAIN_END] {
            return Err(FrameError::Field { what: "key id" });
        }
        header.check_fields()?;
        Ok(Some(header))
    }

    fn check_fields(&self) -> Result<(), FrameError> {
        if self.payload_len as usize > FRAME_BYTES_MAX - FRAME_HEADER_BYTES {
            return Err(FrameError::TooLong { bytes: u64::from(self.payload_len) });
        }
        let holds_records = match self.kind {
            FrameKind::Data => self.record_count > 0,
            FrameKind::Checkpoint | FrameKind::Close | FrameKind::KeepAlive => {
                self.record_count == 0 && self.payload_len == 0
            }
        };
        let payload_len_min = u64::from(self.record_count) * RECORD_LENGTH_BYTES as u64;
        if !holds_records || u64::from(self.payload_len) < payload_len_min {
            return Err(FrameError::Field { what: "record count" });
        }
        if self.first_seq == Seq::ZERO
            || self.first_seq.get().checked_add(u64::from(self.record_count)).is_none()
        {
            return Err(FrameError::Field { what: "first seq" });
        }
        if self.watermark >= self.first_seq
            || self.segment_first_seq > self.first_seq
            || self.segment_first_seq == Seq::ZERO
        {
            return Err(FrameError::Field { what: "watermark or segment" });
        }
        Ok(())
    }
}

/// Why bytes aren't a frame of this log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No frame begins here.
    #[error("no frame: wrong magic")]
    Magic,
    /// The header is damaged, or the frame belongs to another log or segment.
    #[error("the frame header's crc doesn't match")]
    HeaderCrc,
    /// A whole header of a version this build doesn't know: use a newer build.
    #[error("frame version {found} isn't supported")]
    Version {
        /// The version it claims.
        found: u16,
    },
    /// Flags this build doesn't know (compressed, encrypted): use a newer build.
    #[error("frame flags {found:#06x} aren't supported")]
    Flags {
        /// The flags it claims.
        found: u16,
    },
    /// The crc matches and a field is impossible: a writer's bug.
    #[error("impossible frame field: {what}")]
    Field {
        /// Which one.
        what: &'static str,
    },
    /// The payload is longer than any frame.
    #[error("a payload of {bytes} bytes is longer than any frame")]
    TooLong {
        /// The length it claims.
        bytes: u64,
    },
    /// The payload is damaged.
    #[error("the frame payload's crc doesn't match")]
    PayloadCrc,
    /// The payload isn't the records the header counts: a writer's bug.
    #[error("the frame's records don't fill its payload")]
    Records,
    /// The bytes end inside the frame.
    #[error("the frame is cut short")]
    CutShort,
}

impl FrameError {
    /// Whether the bytes are whole, and only this build is too old for them.
    pub const fn unsupported_version(&self) -> Option<u16> {
        match self {
            FrameError::Version { found } | FrameError::Flags { found } => Some(*found),
            FrameError::Magic
            | FrameError::HeaderCrc
            | FrameError::Field { .. }
            | FrameError::TooLong { .. }
            | FrameError::PayloadCrc
            | FrameError::Records
            | FrameError::CutShort => None,
        }
    }
}

/// One frame, checked: header, both crcs, the layout of its records. Its link of the chain is checked by [`verify_chain`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the header says.
    pub header: FrameHeader,
    /// Header and payload as they are stored, without padding: what goes over a stream.
    pub stored: Vec<u8>,
}

impl Frame {
    /// The frame that `stored` is, whole and nothing else; [`FrameError::CutShort`] if it isn't.
    pub fn from_stored(stored: Vec<u8>, log_id: LogId) -> Result<Self, FrameError> {
        let header = FrameHeader::decode(&stored, log_id)?;
        let header = header.filter(|header| header.stored_len() == stored.len());
        let header = header.ok_or(FrameError::CutShort)?;
        check_payload(&header, &stored[FRAME_HEADER_BYTES..])?;
        Ok(Self { header, stored })
    }

    /// The payload as stored.
    pub fn payload(&self) -> &[u8] {
        &self.stored[FRAME_HEADER_BYTES..]
    }

    /// The records with their seqs, in order.
    pub fn records(&self) -> Records<'_> {
        Records::new(self.payload(), self.header.first_seq)
    }
}

/// Decodes one frame at the start of `bytes`, and how many bytes it took; `None` when more bytes are needed.
///
/// Nothing is allocated before the length is checked and the whole frame is there.
pub fn decode_frame(bytes: &[u8], log_id: LogId) -> Result<Option<(Frame, usize)>, FrameError> {
    let Some(header) = FrameHeader::decode(bytes, log_id)? else { return Ok(None) };
    let used = header.stored_len();
    let Some(stored) = bytes.get(..used) else { return Ok(None) };
    check_payload(&header, &stored[FRAME_HEADER_BYTES..])?;
    Ok(Some((Frame { header, stored: stored.to_vec() }, used)))
}

/// Checks the payload against its header: the crc, then the layout of the records.
pub(crate) fn check_payload(header: &FrameHeader, payload: &[u8]) -> Result<(), FrameError> {
    if crc32fast::hash(payload) != header.payload_crc && !planted::is("believe a damaged frame") {
        return Err(FrameError::PayloadCrc);
    }
    if !layout_is_valid(payload, header.record_count) {
        return Err(FrameError::Records);
    }
    Ok(())
}

/// Whether `frame` continues a log whose chain was `previous`. A keep-alive isn't chained: it must name the same chain, which holds when it was sent to a reader that had everything.
pub fn verify_chain(previous: &Chain, frame: &Frame) -> bool {
    verify_link(previous, &frame.header, &frame.stored)
}

/// [`verify_chain`] over the stored bytes of a frame.
pub(crate) fn verify_link(previous: &Chain, header: &FrameHeader, stored: &[u8]) -> bool {
    match header.kind {
        FrameKind::KeepAlive => header.chain == *previous,
        FrameKind::Data | FrameKind::Checkpoint | FrameKind::Close => {
            link(previous, stored) == header.chain || planted::is("believe a damaged frame")
        }
    }
}

/// The frame that tells an idle stream's reader that it has everything: `tip` is where both are. Never written to disk.
pub fn keep_alive(log_id: LogId, epoch_counter: u64, tip: &Tip) -> Vec<u8> {
    let next = tip.seq.next();
    let header = FrameHeader {
        kind: FrameKind::KeepAlive,
        payload_len: 0,
        record_count: 0,
        first_seq: next,
        segment_first_seq: next,
        epoch_counter,
        watermark: tip.seq,
        logged_at_us: tip.logged_at_us,
        state_digest: tip.digest,
        chain: tip.chain,
        payload_crc: 0,
    };
    header.encode(log_id).to_vec()
}

/// Seals `stored` (room for the header, then the payload) into a frame: writes the header and returns it with its crcs and chain.
pub fn seal(
    stored: &mut [u8],
    mut header: FrameHeader,
    log_id: LogId,
    previous: &Chain,
) -> FrameHeader {
    assert_eq!(stored.len(), header.stored_len(), "a frame is sealed over exactly its payload");
    header.payload_crc = crc32fast::hash(&stored[FRAME_HEADER_BYTES..]);
    stored[..FRAME_HEADER_BYTES].copy_from_slice(&header.encode_unsealed());
    header.chain = link(previous, stored);
    stored[..FRAME_HEADER_BYTES].copy_from_slice(&header.encode(log_id));
    header
}

fn link(previous: &Chain, stored: &[u8]) -> Chain {
    // Piece by piece, BLAKE3 would take most of a common frame chunk after chunk: half as fast.
    let mut piece = [0_u8; HASHED_AT_ONCE_BYTES];
    let payload = &stored[FRAME_HEADER_BYTES..];
    let (first, rest) = payload.split_at(payload.len().min(piece.len() - LINK_HEAD_BYTES));
    let parts = [
        &previous.as_bytes()[..],
        &stored[..CHAIN_OFFSET],
        &stored[CHAIN_END..PAYLOAD_CRC_OFFSET],
        first,
    ];
    let mut length = 0;
    for part in parts {
        piece[length..length + part.len()].copy_from_slice(part);
        length += part.len();
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&piece[..length]).update(rest);
    Chain::new(*hasher.finalize().as_bytes())
}

fn header_crc(header: &[u8], log_id: LogId) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(log_id.as_bytes());
    hasher.update(&header[24..32]);
    hasher.update(&header[..HEADER_CRC_OFFSET]);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
