//! Whether each segment ends where the next one begins: what an opening asks of the segments it
//! doesn't read whole.
//!
//! A header page says at which seq and chain the segment before it ended; a segment's own end is
//! its last frame, found by looking backwards from the end of the file. So a segment that is
//! missing between two others is found for a few blocks of reading each. Compaction removes the
//! oldest first, so only the beginning of a log may be missing, and only what the newest snapshot
//! stands for; what is left over before a gap is told from damage in `leftovers.rs`.
//!
//! Read-only. Not looked at are the ends of archived segments before archived ones: nothing that
//! is opened needs them, and each would have to be decompressed whole.

use std::io;

use crate::catalog::Segment;
use crate::error::{Damage, OpenError, ReadError};
use crate::format::{SegmentHeader, segment_file_name};
use crate::frame::FrameHeader;
use crate::headers::{Page, failed};
use crate::leftovers::{Leftover, leave_out, nothing_needs_what_is_before};
use crate::seq::{Chain, LogId, Seq};
use crate::snapshot::{parse_snapshot_file_name, peek, scan_names};
use crate::storage::{OpenMode, Storage, StorageFile, join};
use crate::walk::{SegmentWalk, Step, read_segment};
use crate::window::SegmentReader;

/// How much is read at once, looking backwards.
const PIECE_BYTES: u64 = 64 << 10;

/// How one segment leads to the next.
enum Link {
    Whole,
    /// The first ends as it should, and what follows it isn't there.
    Gap(Damage),
    Broken(Damage),
}

/// Refuses with the first damage between the segments. Pages before a gap that nothing needs are
/// taken out and answered.
pub(crate) fn check<S: Storage>(
    storage: &S,
    pages: &mut Vec<Page>,
) -> Result<Vec<Leftover>, OpenError> {
    if let Some(damage) = missing_beginning(storage, pages)? {
        return Err(OpenError::Corrupt(damage));
    }
    let mut left_over = 0;
    for (index, pair) in pages.windows(2).enumerate() {
        match link_between(storage, &pair[0], &pair[1])? {
            Link::Whole => {}
            Link::Gap(_) if is_needless(storage, &pair[1])? => left_over = index + 1,
            Link::Gap(damage) | Link::Broken(damage) => return Err(OpenError::Corrupt(damage)),
        }
    }
    Ok(leave_out(pages, left_over))
}

/// All damages between the segments; what can't be read is one too. Pages before a gap that nothing
/// needs are taken out and answered, unless `is_explained` knows the gap by other damage.
pub(crate) fn check_all<S: Storage>(
    storage: &S,
    pages: &mut Vec<Page>,
    is_explained: impl Fn(&Damage) -> bool,
) -> Result<(Vec<Damage>, Vec<Leftover>), OpenError> {
    let mut damages: Vec<Damage> = missing_beginning(storage, pages)?.into_iter().collect();
    let mut left_over = 0;
    for (index, pair) in pages.windows(2).enumerate() {
        match link_between(storage, &pair[0], &pair[1]) {
            Ok(Link::Whole) => {}
            Ok(Link::Gap(gap)) if !is_explained(&gap) && is_needless(storage, &pair[1])? => {
                left_over = index + 1;
            }
            Ok(Link::Gap(damage) | Link::Broken(damage)) => damages.push(damage),
            Err(OpenError::Io { source, .. }) => {
                let (first, next) = (pair[0].header.first_seq, pair[1].header.first_seq);
                let what = format!("unreadable: {source}");
                damages.push(Damage {
                    file: segment_file_name(first),
                    offset: 0,
                    length: pair[0].bytes,
                    first_seq: first,
                    last_seq: next.previous(),
                    what,
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok((damages, leave_out(pages, left_over)))
}

/// The first seq behind the last gap, if all gaps between these segments are such that nothing needs
/// what lies before them. For readers beside a process that writes: what else is wrong, or changes
/// meanwhile, they meet while they read.
pub(crate) fn resume_behind_gaps<S: Storage>(storage: &S, pages: &[Page]) -> Option<Seq> {
    let mut resume_from = None;
    for pair in pages.windows(2) {
        match link_between(storage, &pair[0], &pair[1]) {
            Ok(Link::Whole) => {}
            Ok(Link::Gap(_)) if is_needless(storage, &pair[1]).unwrap_or(false) => {
                resume_from = Some(pair[1].header.first_seq);
            }
            Ok(Link::Gap(_) | Link::Broken(_)) | Err(_) => break,
        }
    }
    resume_from
}

/// Whether nothing needs what lies before the segment behind a gap.
fn is_needless<S: Storage>(storage: &S, behind: &Page) -> Result<bool, OpenError> {
    nothing_needs_what_is_before(storage, &behind.header).map_err(failed("listing the snapshots"))
}

/// Records before the first segment are only gone rightly when the newest snapshot stands for them.
fn missing_beginning<S: Storage>(storage: &S, pages: &[Page]) -> Result<Option<Damage>, OpenError> {
    let Some(Page { header, .. }) =
        pages.first().filter(|page| page.header.first_seq > Seq::new(1))
    else {
        return Ok(None);
    };
    // Whether anything can be done without a snapshot is for the caller to say.
    let newest = newest_lo(storage, header.log_id).map_err(failed("listing the snapshots"))?;
    let last = header.first_seq.previous();
    let missing_from = newest.map(Seq::next).filter(|missing_from| *missing_from <= last);
    Ok(missing_from.map(|missing_from| Damage {
        file: segment_file_name(header.first_seq),
        offset: 0,
        length: 0,
        first_seq: missing_from,
        last_seq: last,
        what: "records are missing before this segment, and no snapshot stands for them".to_owned(),
    }))
}

/// `lo` of the newest snapshot by its name, put there by this log.
fn newest_lo<S: Storage>(storage: &S, log_id: LogId) -> io::Result<Option<Seq>> {
    let names = scan_names(storage)?;
    let is_foreign = |name: &&String| {
        let info = peek(storage, &join(crate::format::SNAPSHOTS_DIR, name));
        info.is_ok_and(|info| info.header.log_id != log_id)
    };
    let newest = names.iter().rev().find(|name| !is_foreign(name));
    Ok(newest.and_then(|name| parse_snapshot_file_name(name)).map(|(lo, _)| lo))
}

fn link_between<S: Storage>(storage: &S, before: &Page, after: &Page) -> Result<Link, OpenError> {
    let (last, chain) = (after.header.first_seq.previous(), after.header.previous_chain);
    match (before.archived, after.archived) {
        (true, true) => Ok(Link::Whole),
        (true, false) => {
            let end = archive_end(storage, before)?;
            Ok(if end == (last, chain) { Link::Whole } else { missing(before, end.0, after) })
        }
        (false, _) => {
            let linked = segment_ends_at(storage, before, last, &chain)
                .map_err(failed("reading the end of a segment"))?;
            if linked { Ok(Link::Whole) } else { explain(storage, before, after) }
        }
    }
}

/// Whether a frame that ends at `last` with `chain` lies in the live segment: the last one does.
fn segment_ends_at<S: Storage>(
    storage: &S,
    page: &Page,
    last: Seq,
    chain: &Chain,
) -> io::Result<bool> {
    let SegmentHeader { header_len, alignment, log_id, first_seq, .. } = page.header;
    let file = storage.open(&segment_file_name(first_seq), OpenMode::Read)?;
    let (begin, step) = (u64::from(header_len), u64::from(alignment));
    let piece_bytes = PIECE_BYTES / step * step;
    let mut end = begin + (file.len()?.saturating_sub(begin)).next_multiple_of(step);
    let mut piece = vec![0; piece_bytes as usize];
    while end > begin {
        let start = end.saturating_sub(piece_bytes).max(begin);
        let wanted = &mut piece[..(end - start) as usize];
        let count = file.read_at(wanted, start)?;
        let matches = |block: &[u8]| {
            matches!(FrameHeader::decode(block, log_id), Ok(Some(header))
                if header.segment_first_seq == first_seq
                    && header.last_seq() == last
                    && header.chain == *chain)
        };
        if wanted[..count].chunks(step as usize).rev().any(matches) {
            return Ok(true);
        }
        end = start;
    }
    Ok(false)
}

/// The last seq and chain of an archived segment, by the headers of all its frames.
fn archive_end<S: Storage>(storage: &S, page: &Page) -> Result<(Seq, Chain), OpenError> {
    let SegmentHeader { log_id, alignment, first_seq, .. } = page.header;
    let segment = Segment::new(&page.header, true, page.bytes);
    let walked = SegmentReader::open(storage, (log_id, alignment), first_seq, &segment).and_then(
        |mut reader| {
            while let Some(header) = reader.peek(u64::MAX)? {
                reader.skip(&header);
            }
            Ok((reader.place.seq, reader.place.chain))
        },
    );
    match walked {
        Ok(end) => Ok(end),
        Err(ReadError::Corrupt(damage)) => Err(OpenError::Corrupt(damage)),
        Err(ReadError::UnsupportedVersion { file, found }) => {
            Err(OpenError::UnsupportedVersion { file, found })
        }
        Err(ReadError::Io { file, source }) => {
            Err(OpenError::Io { operation: format!("reading {file}"), source })
        }
        Err(other @ (ReadError::Compacted { .. } | ReadError::NotALog { .. })) => {
            Err(OpenError::NotALog { what: other.to_string() })
        }
    }
}

/// Says why a live segment doesn't end where the next one begins, by reading it whole.
fn explain<S: Storage>(storage: &S, before: &Page, after: &Page) -> Result<Link, OpenError> {
    let file = segment_file_name(before.header.first_seq);
    let bytes = read_segment(storage, &file).map_err(failed("reading a segment"))?;
    let mut walk = SegmentWalk::new(&bytes, &before.header);
    let mut last = before.header.first_seq.previous();
    loop {
        match walk.step() {
            Step::Frame { header, .. } => last = header.last_seq(),
            Step::BadPayload { offset, length, error, .. }
            | Step::Garbage { offset, length, error } => {
                if let Some(found) = error.unsupported_version() {
                    return Err(OpenError::UnsupportedVersion { file, found });
                }
                let last_seq = after.header.first_seq.previous().max(last);
                let what = error.to_string();
                let first_seq = last.next();
                let damage = Damage { file, offset, length, first_seq, last_seq, what };
                return Ok(Link::Broken(damage));
            }
            Step::End { .. } => return Ok(missing(before, last, after)),
        }
    }
}

/// `before` holds everything up to `last` and nothing more, and `after` doesn't go on from there.
fn missing(before: &Page, last: Seq, after: &Page) -> Link {
    let (first_seq, next) = (last.next(), after.header.first_seq);
    let between = segment_file_name(before.header.first_seq);
    if first_seq < next {
        let what =
            format!("segments are missing between {between} and {}", segment_file_name(next));
        let file = segment_file_name(first_seq);
        let last_seq = next.previous();
        return Link::Gap(Damage { file, offset: 0, length: 0, first_seq, last_seq, what });
    }
    let what = format!("the chain breaks between {between} and this segment");
    let file = segment_file_name(next);
    let first_seq = next.previous();
    Link::Broken(Damage { file, offset: 64, length: 32, first_seq, last_seq: last, what })
}
