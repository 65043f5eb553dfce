//! The answer to a compact batch, written line by line into the buffer that is sent. It must say no
//! less of a line than the JSON answer does of what the line changed.

use super::CRC_BYTES;
use crate::cell::{Quantities, Version};
use crate::codec::put_varint;

/// How a compact answer begins.
pub const ANSWER_MAGIC: [u8; 8] = *b"OHBATCA1";
const HEADER_BYTES: usize = 32;
/// What a line that was applied takes, about.
const LINE_BYTES: usize = 20;
const SUCCESS: u8 = 1;
const ATOMIC: u8 = 1 << 1;

/// An answer in the making. Numbers are little-endian:
/// ```text
///  0  magic      "OHBATCA1"
///  8  flags      u8, bit 0: no line failed, bit 1: atomic
///  9  zero       3 bytes
/// 12  lines      u32
/// 16  applied    u32, lines that were applied or had been already
/// 20  failed     u32, lines that were not
/// 24  base       u64, the seq that the lines' seqs are counted from
/// 32  the lines, in the order of the request
///     crc32      u32 of all bytes before it
/// ```
/// A line begins with its `status`, u16. Of 200 and 201 there follow, as LEB128 varints: version,
/// stock, reserved, sold (all after the line), and seq − base, 0 where nothing changed. Of any
/// other status: a varint length and so many bytes of JSON, the line of the JSON answer.
pub struct CompactAnswer {
    bytes: Vec<u8>,
    atomic: bool,
    lines: u32,
    applied: u32,
    failed: u32,
    base_seq: u64,
}

impl CompactAnswer {
    /// An answer to so many lines, none of which has a seq at or below `base_seq`.
    pub fn new(atomic: bool, lines: usize, base_seq: u64) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + lines * LINE_BYTES + CRC_BYTES);
        bytes.resize(HEADER_BYTES, 0);
        Self { bytes, atomic, lines: 0, applied: 0, failed: 0, base_seq }
    }

    /// A line that was applied as the event of `seq`, or (without one) had been already.
    pub fn applied(
        &mut self,
        status: u16,
        version: Version,
        quantities: &Quantities,
        seq: Option<u64>,
    ) {
        self.lines += 1;
        self.applied += 1;
        self.bytes.extend_from_slice(&status.to_le_bytes());
        let from_base = seq.map_or(0, |seq| seq.saturating_sub(self.base_seq));
        let Quantities { stock, reserved, sold, .. } = *quantities;
        for number in [version.get(), stock.get(), reserved.get(), sold.get(), from_base] {
            put_varint(&mut self.bytes, number);
        }
    }

    /// A line that failed, with what the JSON answer says of it.
    pub fn failed(&mut self, status: u16, json: &[u8]) {
        self.lines += 1;
        self.failed += 1;
        self.bytes.extend_from_slice(&status.to_le_bytes());
        put_varint(&mut self.bytes, json.len() as u64);
        self.bytes.extend_from_slice(json);
    }

    /// The bytes of the whole answer.
    pub fn finish(mut self) -> Vec<u8> {
        let success = if self.failed == 0 { SUCCESS } else { 0 };
        let atomic = if self.atomic { ATOMIC } else { 0 };
        let header = &mut self.bytes[..HEADER_BYTES];
        header[..8].copy_from_slice(&ANSWER_MAGIC);
        header[8] = success | atomic;
        header[12..16].copy_from_slice(&self.lines.to_le_bytes());
        header[16..20].copy_from_slice(&self.applied.to_le_bytes());
        header[20..24].copy_from_slice(&self.failed.to_le_bytes());
        header[24..32].copy_from_slice(&self.base_seq.to_le_bytes());
        let crc = crc32fast::hash(&self.bytes);
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        self.bytes
    }
}
