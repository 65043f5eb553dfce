//! Frames: `decode_frame` over any bytes. The input is a log id of 16 bytes, then the frame.
//!
//! What is accepted must be exactly what the layout in `docs/event-log-format.md` says, both crcs
//! included; with any one bit flipped it must be refused.

use event_log::frame::FrameHeader;
use event_log::{Frame, LogId, decode_frame};

use crate::bound::Bound;
use crate::{seal, with_flipped_bit};

/// The frame itself, and nothing for one that is refused.
const BOUND: Bound = Bound { fixed_bytes: 0, per_byte: 1 };

/// Checks the bytes as they are, then with right crcs.
pub fn check(bytes: &[u8]) {
    let Some((log_id, bytes)) = bytes.split_first_chunk::<16>() else { return };
    let seal = |bytes: &mut [u8]| {
        seal::frame(bytes, log_id, None);
    };
    seal::as_is_and_sealed(bytes, seal, |bytes| examine(bytes, *log_id));
}

fn examine(bytes: &[u8], id: [u8; 16]) {
    let log_id = LogId::new(id);
    let decoded = BOUND.hold("a frame", bytes.len(), || decode_frame(bytes, log_id));
    if let Ok(Some((frame, used))) = decoded {
        check_accepted(bytes, &frame, used, id);
    }
}

fn check_accepted(bytes: &[u8], frame: &Frame, used: usize, id: [u8; 16]) {
    assert_eq!(used, seal::FRAME_HEADER_BYTES + frame.header.payload_len as usize);
    assert_eq!(frame.stored, bytes[..used], "a frame is kept as it came");
    assert_eq!(encode(&frame.header, id), bytes[..seal::FRAME_HEADER_BYTES], "{:?}", frame.header);
    assert_eq!(crc32fast::hash(frame.payload()), frame.header.payload_crc);

    let first = frame.header.first_seq.get();
    let mut end = first;
    let mut record_bytes = 0;
    for (seq, record) in frame.records() {
        assert_eq!(seq.get(), end);
        end += 1;
        record_bytes += 4 + record.len();
    }
    assert_eq!(end - first, u64::from(frame.header.record_count));
    assert_eq!(record_bytes, frame.payload().len());
    assert_eq!(frame.header.last_seq().get(), end - 1);

    let log_id = LogId::new(id);
    let flipped = with_flipped_bit(&bytes[..used]);
    assert!(!matches!(decode_frame(&flipped, log_id), Ok(Some(_))), "a flipped bit passed");
    assert_eq!(decode_frame(&bytes[..used - 1], log_id), Ok(None), "a cut frame needs more bytes");
    let other = LogId::new(id.map(|byte| !byte));
    assert!(decode_frame(bytes, other).is_err(), "a frame of another log passed");
}

/// The header as `docs/event-log-format.md` lays it out.
fn encode(header: &FrameHeader, id: [u8; 16]) -> Vec<u8> {
    let mut bytes = b"OHFR".to_vec();
    bytes.extend([1, header.kind as u8, 0, 0]);
    bytes.extend(header.payload_len.to_le_bytes());
    bytes.extend(header.record_count.to_le_bytes());
    bytes.extend(header.first_seq.get().to_le_bytes());
    bytes.extend(header.segment_first_seq.get().to_le_bytes());
    bytes.extend(header.epoch_counter.to_le_bytes());
    bytes.extend(header.watermark.get().to_le_bytes());
    bytes.extend(header.logged_at_us.to_le_bytes());
    bytes.extend(header.state_digest.to_le_bytes());
    bytes.extend(header.chain.as_bytes());
    bytes.extend([0; 16]);
    bytes.extend(header.payload_crc.to_le_bytes());
    let header_crc = seal::crc(&[&id, &bytes[24..32], &bytes]);
    bytes.extend(header_crc.to_le_bytes());
    bytes
}
