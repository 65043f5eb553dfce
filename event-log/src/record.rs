//! Records as a frame lays them out: a u32 length and the bytes, one after the other. Pure.
//!
//! This file must never look into a record, and must never trust a length it hasn't checked against what is there.

use crate::seq::Seq;

/// Bytes before each record.
pub(crate) const RECORD_LENGTH_BYTES: usize = 4;

/// Records encoded outside any lock, already in the layout of a frame: appending them is one copy. Reuse it; [`clear`](Self::clear) keeps the memory.
#[derive(Clone, Debug, Default)]
pub struct RecordBuffer {
    bytes: Vec<u8>,
    count: u32,
}

impl RecordBuffer {
    /// An empty buffer.
    pub const fn new() -> Self {
        RecordBuffer { bytes: Vec::new(), count: 0 }
    }

    /// Adds one record.
    pub fn push(&mut self, record: &[u8]) {
        self.push_with(|out| out.extend_from_slice(record));
    }

    /// Adds one record that `encode` appends to the vector it is given (and must only append to).
    pub fn push_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; RECORD_LENGTH_BYTES]);
        encode(&mut self.bytes);
        let body = start + RECORD_LENGTH_BYTES;
        assert!(self.bytes.len() >= body, "an encoder only appends");
        let length =
            u32::try_from(self.bytes.len() - body).expect("a record is far smaller than 4 GiB");
        self.bytes[start..body].copy_from_slice(&length.to_le_bytes());
        self.count = self.count.checked_add(1).expect("a buffer holds far fewer than 2^32 records");
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    /// How many records it holds.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// How many bytes they take in a frame.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no record.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The records in the layout of a frame.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Whether these bytes are exactly this many records.
pub(crate) fn layout_is_valid(payload: &[u8], record_count: u32) -> bool {
    let mut rest = payload;
    let mut count: u32 = 0;
    while let Some((length, after)) = rest.split_first_chunk::<RECORD_LENGTH_BYTES>() {
        let length = u32::from_le_bytes(*length) as usize;
        if length > after.len() || count == record_count {
            return false;
        }
        rest = &after[length..];
        count += 1;
    }
    rest.is_empty() && count == record_count
}

/// The records of a frame with their seqs, in order.
#[derive(Clone, Debug)]
pub struct Records<'frame> {
    rest: &'frame [u8],
    next_seq: Seq,
}

impl<'frame> Records<'frame> {
    /// The payload must have passed [`layout_is_valid`].
    pub(crate) const fn new(payload: &'frame [u8], first_seq: Seq) -> Self {
        Records { rest: payload, next_seq: first_seq }
    }
}

impl<'frame> Iterator for Records<'frame> {
    type Item = (Seq, &'frame [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, after) = self.rest.split_first_chunk::<RECORD_LENGTH_BYTES>()?;
        let (record, rest) = after.split_at(u32::from_le_bytes(*length) as usize);
        let seq = self.next_seq;
        self.rest = rest;
        self.next_seq = seq.next();
        Some((seq, record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_and_iterator_agree() {
        let mut buffer = RecordBuffer::new();
        buffer.push(b"one");
        buffer.push(b"");
        buffer.push_with(|out| out.extend_from_slice(b"three"));
        assert_eq!((buffer.count(), buffer.byte_len()), (3, 3 * 4 + 8));
        assert!(layout_is_valid(buffer.as_bytes(), 3));
        let records: Vec<_> = Records::new(buffer.as_bytes(), Seq::new(7)).collect();
        assert_eq!(
            records,
            [(Seq::new(7), &b"one"[..]), (Seq::new(8), b""), (Seq::new(9), b"three")]
        );
        buffer.clear();
        assert!(buffer.is_empty() && buffer.as_bytes().is_empty());
    }

    #[test]
    fn wrong_layouts_are_refused() {
        let mut buffer = RecordBuffer::new();
        buffer.push(b"one");
        buffer.push(b"two");
        let bytes = buffer.as_bytes();
        for count in [0, 1, 3] {
            assert!(!layout_is_valid(bytes, count), "{count} records");
        }
        for cut in 1..bytes.len() {
            assert!(!layout_is_valid(&bytes[..cut], 2), "cut at {cut}");
        }
        assert!(!layout_is_valid(&[255, 255, 255, 255], 1));
        assert!(layout_is_valid(&[], 0));
    }
}
