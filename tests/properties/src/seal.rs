//! Makes crcs and chains right again after bytes were damaged, so that what lies behind them is
//! reached too. Where bytes are too broken for that, they stay as they are; nothing here may panic.
//!
//! These are the formats of `docs/event-log-format.md` a second time, deliberately apart from
//! `event-log`.

/// Bytes of a segment's header page.
const PAGE_BYTES: usize = 4096;
/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 128;

/// Examines the bytes as they are, and once more with what `seal` makes right in a copy of them.
pub fn as_is_and_sealed(bytes: &[u8], seal: impl Fn(&mut [u8]), examine: impl Fn(&[u8])) {
    examine(bytes);
    let mut sealed = bytes.to_vec();
    seal(&mut sealed);
    examine(&sealed);
}

/// The crc32 of several pieces, one after the other.
#[must_use]
pub fn crc(pieces: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for piece in pieces {
        hasher.update(piece);
    }
    hasher.finalize()
}

/// The number at `offset`; zero behind the end.
#[must_use]
pub fn number(bytes: &[u8], offset: usize, width: usize) -> usize {
    let field = bytes.get(offset..offset + width).unwrap_or_default();
    field.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// Seals the frame at the beginning: payload crc, chain if `previous` is known, header crc.
/// Returns its chain and length if all of it is there.
pub fn frame(
    bytes: &mut [u8],
    log_id: &[u8],
    previous: Option<&[u8; 32]>,
) -> Option<([u8; 32], usize)> {
    let used = FRAME_HEADER_BYTES.checked_add(number(bytes, 8, 4))?;
    let is_whole = used <= bytes.len();
    if is_whole {
        let payload_crc = crc32fast::hash(&bytes[FRAME_HEADER_BYTES..used]);
        bytes[120..124].copy_from_slice(&payload_crc.to_le_bytes());
        if let Some(previous) = previous {
            let mut hasher = blake3::Hasher::new();
            for piece in [previous, &bytes[..72], &bytes[104..120], &bytes[128..used]] {
                hasher.update(piece);
            }
            bytes[72..104].copy_from_slice(hasher.finalize().as_bytes());
        }
    }
    let header = bytes.get(..FRAME_HEADER_BYTES)?;
    let header_crc = crc(&[log_id, &header[24..32], &header[..124]]);
    bytes[124..128].copy_from_slice(&header_crc.to_le_bytes());
    let chain = bytes[72..104].try_into().ok()?;
    is_whole.then_some((chain, used))
}

/// Seals the header page and the frames behind it, as far as each ends where it says.
pub fn segment(bytes: &mut [u8]) {
    if bytes.len() < PAGE_BYTES {
        return;
    }
    // A file's length is the writer's to say, like its crc.
    let capacity = bytes.len() as u64;
    bytes[PAGE_BYTES - 12..PAGE_BYTES - 4].copy_from_slice(&capacity.to_le_bytes());
    let page_crc = crc32fast::hash(&bytes[..PAGE_BYTES - 4]);
    bytes[PAGE_BYTES - 4..PAGE_BYTES].copy_from_slice(&page_crc.to_le_bytes());
    let alignment = number(bytes, 12, 4).max(512);
    let mut log_id = [0; 16];
    log_id.copy_from_slice(&bytes[16..32]);
    let mut chain = [0; 32];
    chain.copy_from_slice(&bytes[64..96]);
    let mut offset = number(bytes, 10, 2);
    while offset + FRAME_HEADER_BYTES <= bytes.len() && bytes[offset..].starts_with(b"OHFR") {
        let Some((next, used)) = frame(&mut bytes[offset..], &log_id, Some(&chain)) else { return };
        chain = next;
        offset = (offset + used).next_multiple_of(alignment);
    }
}

/// Seals the header, every section and the footer of a snapshot container, and makes the footer
/// count what is there.
pub fn snapshot(bytes: &mut [u8]) {
    const FIXED: usize = 104;
    let owner = FIXED + number(bytes, 10, 2);
    if bytes.len() < owner + 4 {
        return;
    }
    let header_crc = crc32fast::hash(&bytes[..owner]);
    bytes[owner..owner + 4].copy_from_slice(&header_crc.to_le_bytes());
    let (mut log_id, mut lo) = ([0; 16], [0; 8]);
    log_id.copy_from_slice(&bytes[16..32]);
    lo.copy_from_slice(&bytes[32..40]);
    let mut offset = owner + 4;
    let mut index = 0_u64;
    while bytes[offset..].starts_with(b"OHSC") && bytes.len() >= offset + 24 {
        let end = offset + 24 + number(bytes, offset + 12, 4);
        if end > bytes.len() {
            return;
        }
        let bytes_crc = crc(&[&log_id, &bytes[offset + 24..end]]);
        bytes[offset + 16..offset + 20].copy_from_slice(&bytes_crc.to_le_bytes());
        let head = &bytes[offset..offset + 20];
        let head_crc = crc(&[&log_id, &lo, &index.to_le_bytes(), head]);
        bytes[offset + 20..offset + 24].copy_from_slice(&head_crc.to_le_bytes());
        offset = end;
        index += 1;
    }
    if bytes[offset..].starts_with(b"OHSF") && bytes.len() >= offset + 52 {
        let length = bytes.len() as u64;
        let footer = &mut bytes[offset..offset + 52];
        footer[32..40].copy_from_slice(&index.to_le_bytes());
        footer[40..48].copy_from_slice(&length.to_le_bytes());
        let footer_crc = crc(&[&log_id, &lo, &footer[..48]]);
        footer[48..].copy_from_slice(&footer_crc.to_le_bytes());
    }
}

/// Seals what ends with the crc of all before: the file of consumers, a compact batch.
pub fn crc_at_end(bytes: &mut [u8]) {
    if let Some(body) = bytes.len().checked_sub(4) {
        let body_crc = crc32fast::hash(&bytes[..body]);
        bytes[body..].copy_from_slice(&body_crc.to_le_bytes());
    }
}
