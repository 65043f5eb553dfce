//! Frames, segments, snapshots and consumers: cuts of the golden log, whole damaged files, and
//! lengths that no writer writes. Files are few and small: each is a hundred cases more.

use event_log::frame::keep_alive;
use event_log::storage::sim::SimStorage;
use event_log::{Chain, LogId, Seq, SnapshotFile, SnapshotHeader, Tip};

use super::{fixture, named};
use crate::archive::compressed;
use crate::seal;

const GOLDEN: &str = "event-log-v1/00000000000000000013.log";
const PAGE_BYTES: usize = 4096;

/// A log id, then a frame.
pub(super) fn frames() -> Vec<(String, Vec<u8>)> {
    let segment = fixture(GOLDEN);
    let id = &segment[16..32];
    let mut files = Vec::new();
    let mut offset = PAGE_BYTES;
    while segment[offset..].starts_with(b"OHFR") {
        let end = offset + seal::FRAME_HEADER_BYTES + seal::number(&segment, offset + 8, 4);
        let name = format!("golden-{:02}-kind-{}", files.len(), segment[offset + 5]);
        files.push((name, [id, &segment[offset..end]].concat()));
        offset = end.next_multiple_of(512);
    }
    // One or two of each kind are enough.
    files.dedup_by_key(|(_, bytes)| (bytes[16 + 5], bytes.len() > 600));
    let log_id = LogId::new(id.try_into().expect("16 bytes"));
    let tip = Tip { seq: Seq::new(9), chain: Chain::new([5; 32]), digest: 7, logged_at_us: 1 };
    files.push(("keep-alive".to_owned(), [id, &keep_alive(log_id, 3, &tip)[..]].concat()));
    let first = files[0].1.clone();
    let nasty = |name: &str, offset: usize, bytes: &[u8]| {
        let mut frame = first.clone();
        frame[16 + offset..16 + offset + bytes.len()].copy_from_slice(bytes);
        seal::frame(&mut frame[16..], id, None);
        (format!("nasty-{name}"), frame)
    };
    files.extend([
        nasty("payload-of-4-gib", 8, &[0xff; 4]),
        nasty("records-without-end", 12, &[0xff; 4]),
        nasty("seqs-run-over", 16, &[0xff; 8]),
        nasty("first-seq-zero", 16, &[0; 8]),
        nasty("watermark-ahead", 40, &[0xff; 8]),
        nasty("unknown-flags", 6, &[1, 0]),
        nasty("unknown-kind", 5, &[9]),
        nasty("key-id", 104, &[1]),
        nasty("a-record-longer-than-the-frame", 128, &[0xff; 4]),
    ]);
    files
}

/// Whole files: the first of their names' log may be missing, which is no fault of the file.
pub(super) fn segments() -> Vec<(String, Vec<u8>)> {
    let golden = fixture(GOLDEN);
    let last = fixture("event-log-v1/00000000000000000033.log");
    let mut files = named([("golden-sealed", &golden), ("golden-last", &last)]);
    for (name, file) in [
        ("torn-tail", "torn-tail/00000000000000000033.log"),
        ("flipped-payload", "flipped-payload/00000000000000000023.log"),
        ("flipped-header-page", "flipped-header-page/00000000000000000023.log"),
    ] {
        files.push((format!("damaged-{name}"), fixture(&format!("event-log-damaged/{file}"))));
    }
    let changed = |name: &str, offset: usize, bytes: &[u8]| {
        let mut page = golden[..PAGE_BYTES + 2048].to_vec();
        page[offset..offset + bytes.len()].copy_from_slice(bytes);
        seal::segment(&mut page);
        (format!("nasty-{name}"), page)
    };
    files.extend([
        changed("alignment-of-2-gib", 12, &(1_u32 << 31).to_le_bytes()),
        changed("alignment-zero", 12, &[0; 4]),
        changed("header-length-zero", 10, &[0; 2]),
        changed("owner-longer-than-the-page", 128, &[0xff; 2]),
        changed("first-seq-without-a-next", 48, &[0xff; 8]),
        changed("first-seq-zero", 48, &[0; 8]),
        changed("version-2", 8, &[2]),
    ]);
    // The header of the last frame is lost, and one of its records holds a frame from before.
    let mut copy = golden[..6144 + 2560].to_vec();
    copy.copy_within(4096..5632, 6144 + 512);
    copy[6144..6144 + 512].fill(0xee);
    seal::segment(&mut copy);
    files.push(("nasty-torn-frame-that-holds-an-older-one".to_owned(), copy));
    let mut newer = golden[..6144 + 2048].to_vec();
    newer[6144 + 4] = 2;
    seal::segment(&mut newer);
    files.push(("nasty-last-frame-of-a-newer-build".to_owned(), newer));
    files.push(("nasty-only-a-header-page".to_owned(), golden[..PAGE_BYTES].to_vec()));
    files.push(("nasty-only-zeros".to_owned(), vec![0; 8192]));
    files
}

/// Archives as they were released, whole segments compressed, and files that decompress to more, or
/// to less, than a segment.
pub(super) fn archives() -> Vec<(String, Vec<u8>)> {
    let golden = fixture("event-log-v1/archive/00000000000000000007.log.zst");
    let first = fixture("event-log-v1/archive/00000000000000000001.log.zst");
    let segment = fixture(GOLDEN);
    let cut = |length: usize| compressed(&segment[..length]);
    let mut bomb = segment[..PAGE_BYTES].to_vec();
    bomb.resize(512 << 10, 0xee);
    let two = [&golden[..], &first[..]].concat();
    let mut beheaded = segment[PAGE_BYTES..].to_vec();
    beheaded.truncate(1024);
    // Skippable frames are what zstd passes over without a word.
    let skipped = [b"\x50\x2a\x4d\x18\x04\0\0\0ABCD", &golden[..]].concat();
    // A frame that asks for a window of 128 MiB, to repeat one byte.
    let wide = b"\x28\xb5\x2f\xfd\x00\x88\x0b\x00\x00A".to_vec();
    let mut files = named([("golden-1", &first), ("golden-7", &golden)]);
    files.extend([
        ("whole-segment".to_owned(), cut(segment.len())),
        ("nasty-only-a-header-page".to_owned(), cut(PAGE_BYTES)),
        ("nasty-half-a-page".to_owned(), cut(PAGE_BYTES / 2)),
        ("nasty-no-page".to_owned(), compressed(&beheaded)),
        ("nasty-more-than-a-segment".to_owned(), compressed(&bomb)),
        ("nasty-two-archives".to_owned(), two),
        ("nasty-skippable-frame".to_owned(), skipped),
        ("nasty-window-of-128-mib".to_owned(), wide),
        ("nasty-breaks-off".to_owned(), golden[..golden.len() - 9].to_vec()),
        ("nasty-empty".to_owned(), Vec::new()),
    ]);
    files
}

pub(super) fn snapshots() -> Vec<(String, Vec<u8>)> {
    let folder = "event-log-v1/snapshots";
    let (first, second) = ("00000000000000000018", "00000000000000000022");
    let golden = fixture(&format!("{folder}/{first}-{first}.snap"));
    let other = fixture(&format!("{folder}/{second}-{second}.snap"));
    let mut files = named([("golden-18", &golden), ("golden-22", &other)]);
    files.push(("empty".to_owned(), empty_snapshot()));
    let section = 104 + seal::number(&golden, 10, 2) + 4;
    let changed = |name: &str, offset: usize, bytes: &[u8]| {
        let mut file = golden.clone();
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        seal::snapshot(&mut file);
        (format!("nasty-{name}"), file)
    };
    files.extend([
        changed("owner-of-64-kib", 10, &[0xff; 2]),
        changed("section-of-4-gib", section + 12, &[0xff; 4]),
        changed("section-of-64-mib", section + 12, &(64_u32 << 20).to_le_bytes()),
        changed("lo-behind-hi", 32, &[0xff; 8]),
    ]);
    let mut trailing = golden.clone();
    trailing.push(0);
    files.push(("nasty-a-byte-behind-the-footer".to_owned(), trailing));
    files
}

fn empty_snapshot() -> Vec<u8> {
    let header = SnapshotHeader {
        log_id: LogId::new([3; 16]),
        owner: Vec::new(),
        lo: Seq::ZERO,
        chain: Chain::new([0; 32]),
        state_digest: 0,
        logged_at_us: 0,
        created_at_us: 0,
    };
    let storage = SimStorage::new(1);
    let file = SnapshotFile::create(storage.clone(), "t.tmp", header).expect("a legal header");
    file.finish("a.snap", Seq::ZERO, 0).expect("the disk works");
    storage.contents().remove(0).1
}

pub(super) fn consumers() -> Vec<(String, Vec<u8>)> {
    let golden = fixture("event-log-v1/CONSUMERS");
    let mut files = named([("golden", &golden)]);
    let sealed = |name: &str, mut bytes: Vec<u8>| {
        seal::crc_at_end(&mut bytes);
        (name.to_owned(), bytes)
    };
    let mut none = [&golden[..32], &[0; 4]].concat();
    none[12..16].fill(0);
    let first_end = 32 + 50 + seal::number(&golden, 32 + 48, 2);
    let entry = &golden[32..first_end];
    let mut twice = [&golden[..32], entry, entry, &[0; 4]].concat();
    twice[12] = 2;
    let mut many = golden.clone();
    many[12..16].fill(0xff);
    let mut long = golden.clone();
    long[80..82].fill(0xff);
    files.extend([
        sealed("none", none),
        sealed("nasty-one-consumer-twice", twice),
        sealed("nasty-counts-4-billion", many),
        sealed("nasty-id-longer-than-the-file", long),
    ]);
    files
}
