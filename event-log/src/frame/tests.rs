//! Tests of the frame: what was sealed comes back, what wasn't never does.

use super::*;
use crate::record::RecordBuffer;

const LOG_ID: LogId = LogId::new([5; 16]);

fn sealed(kind: FrameKind, records: &[&[u8]]) -> (Vec<u8>, FrameHeader) {
    let mut buffer = RecordBuffer::new();
    for record in records {
        buffer.push(record);
    }
    let mut stored = vec![0; FRAME_HEADER_BYTES];
    stored.extend_from_slice(buffer.as_bytes());
    let header = FrameHeader {
        kind,
        payload_len: buffer.byte_len() as u32,
        record_count: buffer.count(),
        first_seq: Seq::new(42),
        segment_first_seq: Seq::new(40),
        epoch_counter: 3,
        watermark: Seq::new(41),
        logged_at_us: 1_000_000,
        state_digest: 77,
        chain: Chain::new([0; 32]),
        payload_crc: 0,
    };
    let header = seal(&mut stored, header, LOG_ID, &Chain::genesis(LOG_ID));
    (stored, header)
}

#[test]
fn a_sealed_frame_comes_back() {
    let (stored, header) = sealed(FrameKind::Data, &[b"one", b"", b"three"]);
    let mut stream = stored.clone();
    stream.extend_from_slice(b"what follows");
    let (frame, used) = decode_frame(&stream, LOG_ID).unwrap().unwrap();
    assert_eq!((used, &frame.stored, &frame.header), (stored.len(), &stored, &header));
    assert_eq!(frame.header.last_seq(), Seq::new(44));
    assert_eq!(frame.records().last(), Some((Seq::new(44), &b"three"[..])));
    assert!(verify_chain(&Chain::genesis(LOG_ID), &frame));
    assert!(!verify_chain(&header.chain, &frame));
}

#[test]
fn frames_without_records() {
    for kind in [FrameKind::Checkpoint, FrameKind::Close] {
        let (stored, header) = sealed(kind, &[]);
        let (frame, _) = decode_frame(&stored, LOG_ID).unwrap().unwrap();
        assert_eq!(frame.header, header);
        assert_eq!(frame.header.last_seq(), Seq::new(41));
        assert!(verify_chain(&Chain::genesis(LOG_ID), &frame));
    }
    let tip = Tip { seq: Seq::new(9), chain: Chain::new([1; 32]), digest: 4, logged_at_us: 5 };
    let (frame, _) = decode_frame(&keep_alive(LOG_ID, 1, &tip), LOG_ID).unwrap().unwrap();
    assert_eq!((frame.header.kind, frame.header.last_seq()), (FrameKind::KeepAlive, tip.seq));
    assert!(verify_chain(&tip.chain, &frame));
    assert!(!verify_chain(&Chain::genesis(LOG_ID), &frame));
}

#[test]
fn every_prefix_asks_for_more() {
    let (stored, _) = sealed(FrameKind::Data, &[b"record"]);
    for cut in 0..stored.len() {
        assert_eq!(decode_frame(&stored[..cut], LOG_ID), Ok(None), "cut at {cut}");
    }
}

#[test]
fn only_a_whole_frame_is_one() {
    let (stored, header) = sealed(FrameKind::Data, &[b"one", b"two"]);
    let of = |bytes: &[u8]| Frame::from_stored(bytes.to_vec(), LOG_ID);
    assert_eq!(of(&stored), Ok(Frame { header, stored: stored.clone() }));
    for cut in 0..stored.len() {
        assert_eq!(of(&stored[..cut]), Err(FrameError::CutShort), "cut at {cut}");
    }
    assert_eq!(of(&[&stored[..], b"x"].concat()), Err(FrameError::CutShort));
    let mut damaged = stored.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(of(&damaged), Err(FrameError::PayloadCrc));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (stored, _) = sealed(FrameKind::Data, &[b"one", b"two"]);
    let previous = Chain::genesis(LOG_ID);
    for bit in 0..stored.len() * 8 {
        let mut damaged = stored.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match decode_frame(&damaged, LOG_ID) {
            Err(_) => {}
            Ok(Some((frame, _))) => {
                assert!(!verify_chain(&previous, &frame), "bit {bit} was accepted");
            }
            Ok(None) => {
                panic!("bit {bit} asked for more bytes: a length was trusted before its crc")
            }
        }
    }
}

#[test]
fn zeros_and_other_logs_never_validate() {
    assert_eq!(decode_frame(&[0; 4096], LOG_ID), Err(FrameError::Magic));
    let (stored, _) = sealed(FrameKind::Data, &[b"record"]);
    assert_eq!(decode_frame(&stored, LogId::new([6; 16])), Err(FrameError::HeaderCrc));
}

/// Changes bytes of the header and makes its crc right again.
fn forged(change: impl FnOnce(&mut [u8])) -> Result<Option<(Frame, usize)>, FrameError> {
    let (mut stored, _) = sealed(FrameKind::Data, &[b"one", b"two"]);
    change(&mut stored);
    let crc = header_crc(&stored, LOG_ID);
    stored[HEADER_CRC_OFFSET..FRAME_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    decode_frame(&stored, LOG_ID)
}

#[test]
fn whole_but_impossible_headers_are_refused() {
    type Damage = fn(&mut [u8]);
    let cases: [(Damage, FrameError); 9] = [
        (|header| header[4] = 2, FrameError::Version { found: 2 }),
        (|header| header[6] = 1, FrameError::Flags { found: 1 }),
        (|header| header[5] = 9, FrameError::Field { what: "kind" }),
        (|header| header[5] = FrameKind::Close as u8, FrameError::Field { what: "record count" }),
        (|header| header[8..12].fill(255), FrameError::TooLong { bytes: u64::from(u32::MAX) }),
        (|header| header[12] = 200, FrameError::Field { what: "record count" }),
        (|header| header[16..24].fill(255), FrameError::Field { what: "first seq" }),
        (|header| header[40] = 42, FrameError::Field { what: "watermark or segment" }),
        (|header| header[12] = 1, FrameError::Records),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        assert_eq!(forged(change), Err(expected), "case {index}");
    }
    assert_eq!(FrameError::Version { found: 2 }.unsupported_version(), Some(2));
    assert_eq!(FrameError::PayloadCrc.unsupported_version(), None);
}
