//! The ceiling: read the segments' bytes, crc32 and BLAKE3 chain of each frame, xxh3 of each
//! record, on one thread. It must never copy, decode or keep anything.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use event_log::{Chain, FrameHeader, LogId, SegmentHeader, parse_segment_file_name};
use xxhash_rust::xxh3::xxh3_64;

use super::failed;

/// Bytes read at a time: small enough to stay in the core's cache.
const WINDOW_BYTES: usize = 512 << 10;
const FRAME_HEADER_BYTES: usize = 128;
const SEGMENT_HEADER_BYTES: usize = 4096;
/// What a link of the chain covers besides the payload.
const LINK_HEAD_BYTES: usize = 120;
const HASHED_AT_ONCE_BYTES: usize = 8 << 10;

/// What was walked.
#[derive(Default)]
pub(crate) struct Ceiling {
    pub(crate) records: u64,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// So that nothing is optimised away.
    pub(crate) mixed: u64,
}

/// Walks every live segment of a directory.
pub(crate) fn run(dir: &Path) -> Ceiling {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap_or_else(|error| failed(&error))
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| parse_segment_file_name(name).is_some())
        .collect();
    names.sort();
    let mut walked = Ceiling::default();
    let mut window = vec![0; WINDOW_BYTES];
    for name in names {
        segment(&dir.join(name), &mut window, &mut walked);
    }
    walked
}

fn segment(path: &Path, window: &mut Vec<u8>, walked: &mut Ceiling) {
    let file = File::open(path).unwrap_or_else(|error| failed(&error));
    let mut page = vec![0; SEGMENT_HEADER_BYTES];
    file.read_exact_at(&mut page, 0).unwrap_or_else(|error| failed(&error));
    let header = SegmentHeader::decode(&page).unwrap_or_else(|error| failed(&error));
    let (log_id, alignment) = (header.log_id, header.alignment as usize);
    let mut chain = header.previous_chain;
    let mut offset = SEGMENT_HEADER_BYTES as u64;
    loop {
        let filled = file.read_at(window, offset).unwrap_or_else(|error| failed(&error));
        let mut at = 0;
        let more = loop {
            match frame(&window[at..filled], log_id, &chain, walked) {
                Step::Frame(used, next) => {
                    chain = next;
                    at = (at + used.next_multiple_of(alignment)).min(filled);
                }
                Step::Short(needed) => break needed,
                Step::End => return,
            }
        };
        offset += at as u64;
        if at == 0 && filled < window.len() {
            return;
        }
        if more > window.len() {
            window.resize(more, 0);
        }
    }
}

enum Step {
    Frame(usize, Chain),
    Short(usize),
    End,
}

fn frame(bytes: &[u8], log_id: LogId, previous: &Chain, walked: &mut Ceiling) -> Step {
    let header = match FrameHeader::decode(bytes, log_id) {
        Ok(Some(header)) => header,
        Ok(None) => return Step::Short(FRAME_HEADER_BYTES),
        Err(_) => return Step::End,
    };
    let used = header.stored_len();
    let Some(stored) = bytes.get(..used) else {
        return Step::Short(used.next_multiple_of(32 << 10));
    };
    let payload = &stored[FRAME_HEADER_BYTES..];
    assert_eq!(crc32fast::hash(payload), header.payload_crc, "the log is sound");
    assert_eq!(link(previous, stored), header.chain, "the log is sound");
    let chain = header.chain;
    let mut rest = payload;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (record, tail) = after.split_at(u32::from_le_bytes(*length) as usize);
        walked.mixed ^= xxh3_64(record);
        walked.records += 1;
        rest = tail;
    }
    walked.frames += 1;
    walked.bytes += used as u64;
    Step::Frame(used, chain)
}

/// The chain after a frame, hashed as the log does it: what comes before the payload is put before
/// its beginning, so that BLAKE3 takes all chunks of a common frame side by side.
fn link(previous: &Chain, stored: &[u8]) -> Chain {
    let mut piece = [0; HASHED_AT_ONCE_BYTES];
    let payload = &stored[FRAME_HEADER_BYTES..];
    let (first, rest) = payload.split_at(payload.len().min(piece.len() - LINK_HEAD_BYTES));
    piece[..32].copy_from_slice(previous.as_bytes());
    piece[32..104].copy_from_slice(&stored[..72]);
    piece[104..LINK_HEAD_BYTES].copy_from_slice(&stored[104..120]);
    let end = LINK_HEAD_BYTES + first.len();
    piece[LINK_HEAD_BYTES..end].copy_from_slice(first);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&piece[..end]).update(rest);
    Chain::new(*hasher.finalize().as_bytes())
}
