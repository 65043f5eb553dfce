//! The walk over all segments, archived and live, in the order of the log.

use std::io;

use super::VerifyReport;
use crate::archive::{self, archive_file_name};
use crate::consumers::Witness;
use crate::error::Damage;
use crate::format::{CUT_OFF, SegmentHeader, segment_file_name};
use crate::frame::{FrameError, FrameHeader, verify_link};
use crate::headers::Listing;
use crate::leftovers::{Leftover, nothing_needs_what_is_before};
use crate::recovery::scan_tail;
use crate::seq::{Chain, LogId, Seq};
use crate::storage::{OpenMode, Storage};
use crate::walk::{SegmentWalk, Step, read_sealed_segment, read_segment};

/// How often the active segment is read, because a process writes it meanwhile.
const ACTIVE_READS_MAX: usize = 3;

/// Where the log stands between two files.
#[derive(Clone, Copy)]
struct Place {
    last: Seq,
    /// Unknown right after damage: the next frame's word is taken then.
    chain: Option<Chain>,
}

pub(super) struct Walker<'storage, S: Storage> {
    storage: &'storage S,
    report: VerifyReport,
    /// The first seqs of the live segments; the end of the last of them may be torn.
    live: &'storage [Seq],
    /// Whether the file adds to what the log holds: not the archive of a segment that is still there.
    counts: bool,
    /// The files before this one were removed by a compaction since they were listed.
    is_after_compacted: bool,
    log_id: Option<LogId>,
    place: Option<Place>,
    /// Cursors and snapshots whose chain must occur in the log.
    witnesses: Vec<Witness>,
    /// The segments walked since the last gap that nothing needs what is before, with whether each
    /// is archived.
    entered: Vec<(Seq, bool)>,
}

impl<'storage, S: Storage> Walker<'storage, S> {
    pub(super) fn new(
        storage: &'storage S,
        live: &'storage [Seq],
        witnesses: Vec<Witness>,
    ) -> Self {
        let report = VerifyReport::default();
        Self {
            storage,
            report,
            live,
            counts: true,
            is_after_compacted: false,
            log_id: None,
            place: None,
            witnesses,
            entered: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> VerifyReport {
        if let Some(place) = self.place {
            self.report.last = place.last;
            self.report.chain = place.chain;
            self.check_chains(place.last, None);
        }
        self.report.log_id = self.log_id;
        self.report
    }

    /// Walks one file; what is wrong with it goes into the report.
    pub(super) fn file(&mut self, first: Seq, is_archive: bool) {
        let has_moved = !is_archive && self.has_moved(first);
        self.counts = !is_archive || !self.live.contains(&first);
        self.walk(first, is_archive || has_moved);
    }

    /// Whether a live segment was archived since it was listed.
    fn has_moved(&self, first: Seq) -> bool {
        let live = self.storage.open(&segment_file_name(first), OpenMode::Read);
        live.is_err_and(|error| is_not_found(&error))
            && self.storage.open(&archive_file_name(first), OpenMode::Read).is_ok()
    }

    fn walk(&mut self, first: Seq, is_archive: bool) {
        let file = if is_archive { archive_file_name(first) } else { segment_file_name(first) };
        let Some(bytes) = self.read(first, is_archive, &file) else {
            return;
        };
        if self.counts {
            self.report.bytes += bytes.len() as u64;
        }
        if is_archive {
            self.report.archived += 1;
        } else {
            self.report.segments += 1;
        }
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) => header,
            Err(error) => {
                self.add(&file, 0, bytes.len() as u64, (first, Seq::MAX), error.to_string());
                self.place = None;
                return;
            }
        };
        let length = bytes.len() as u64;
        if !is_archive && length < header.capacity_bytes {
            let missing = header.capacity_bytes - length;
            self.add(&file, length, missing, (first, Seq::MAX), CUT_OFF.to_owned());
        }
        if !self.enter(&file, first, &header) {
            return;
        }
        self.entered.push((first, is_archive));
        self.frames(&file, &bytes, &header, !is_archive && self.live.last() == Some(&first));
    }

    fn read(&mut self, first: Seq, is_archive: bool, file: &str) -> Option<Vec<u8>> {
        let (bytes, result) = if is_archive {
            archive::read_whole(self.storage, first)
        } else if self.live.last() == Some(&first) {
            match self.read_active(file) {
                Ok(bytes) => (bytes, Ok(())),
                Err(error) => (Vec::new(), Err(error)),
            }
        } else {
            read_sealed_segment(self.storage, file)
        };
        let Err(error) = result else {
            return Some(bytes);
        };
        if is_not_found(&error) {
            if !is_archive && self.has_moved(first) {
                self.walk(first, true);
                return None;
            }
            if self.is_compacted(first) {
                self.place = None;
                self.is_after_compacted = true;
                return None;
            }
        }
        let what = format!("unreadable from there on (offset in what it holds): {error}");
        self.add(file, bytes.len() as u64, 0, (first, Seq::MAX), what);
        self.place = None;
        // What came out before the damage is still worth a look.
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Reads the segment that a process may be writing: again where what was read can't be, for
    /// the reading may have crossed a write.
    fn read_active(&self, file: &str) -> io::Result<Vec<u8>> {
        let mut bytes = read_segment(self.storage, file)?;
        for _ in 1..ACTIVE_READS_MAX {
            let is_whole = SegmentHeader::decode(&bytes)
                .is_ok_and(|header| scan_tail(&bytes, &header).is_ok());
            if is_whole {
                break;
            }
            bytes = read_segment(self.storage, file)?;
        }
        Ok(bytes)
    }

    /// Whether the file that was listed is gone as a compaction removes them: the oldest first.
    fn is_compacted(&self, first: Seq) -> bool {
        let live = Listing::read(self.storage).map(|listing| listing.segments);
        let archived = archive::list(self.storage);
        let (Ok(live), Ok(archived)) = (live, archived) else { return false };
        !live.is_empty() && live.iter().chain(&archived).all(|there| *there > first)
    }

    /// Checks that the file continues the one before.
    fn enter(&mut self, file: &str, first: Seq, header: &SegmentHeader) -> bool {
        let whole = (0, crate::format::SEGMENT_HEADER_BYTES as u64);
        if self.log_id.is_some_and(|id| id != header.log_id) || header.first_seq != first {
            let what = "the header of another log or segment".to_owned();
            self.add(file, whole.0, whole.1, (first, Seq::MAX), what);
            return false;
        }
        if self.log_id.is_none() {
            self.log_id = Some(header.log_id);
            self.report.first = first;
        }
        if std::mem::take(&mut self.is_after_compacted) {
            // Who stands in what was compacted away meanwhile can't be compared any more.
            self.witnesses.retain(|witness| witness.seq.next() >= first);
        }
        let previous = first.previous();
        match self.place {
            // The archive of a segment that is still there: the segment tells it all again.
            Some(place) if place.last >= first => {}
            Some(Place { last, chain: Some(_) })
                if last != previous && self.is_needless_before(header) =>
            {
                self.leave_out(header);
            }
            Some(place) if place.last != previous => {
                let what = format!("missing before {file}");
                // Without damage before it, what is missing are whole segments.
                let missing = segment_file_name(place.last.next());
                let named = if place.chain.is_some() { &missing } else { file };
                self.add(named, 0, 0, (place.last.next(), previous), what);
            }
            Some(Place { chain: Some(chain), .. }) if chain != header.previous_chain => {
                let what = "the chain breaks between this segment and the one before".to_owned();
                self.add(file, 64, 32, (previous, previous), what);
            }
            Some(_) | None => {}
        }
        if first == Seq::new(1) && header.previous_chain != Chain::genesis(header.log_id) {
            self.add(
                file,
                64,
                32,
                (first, first),
                "the chain doesn't begin at this log's id".to_owned(),
            );
        }
        self.place = Some(Place { last: previous, chain: Some(header.previous_chain) });
        self.check_chains(previous, Some(header.previous_chain));
        true
    }

    /// Whether nothing needs what lies before the segment behind a gap.
    fn is_needless_before(&self, behind: &SegmentHeader) -> bool {
        nothing_needs_what_is_before(self.storage, behind).unwrap_or(false)
    }

    /// The log begins with the segment behind the gap.
    fn leave_out(&mut self, behind: &SegmentHeader) {
        let left = std::mem::take(&mut self.entered).into_iter();
        let leftovers = left.map(|(first, archived)| Leftover::new(first, archived, behind));
        self.report.leftovers.extend(leftovers);
        // Who stands before it was told by segments that are gone.
        self.report.first = behind.first_seq;
    }

    fn frames(&mut self, file: &str, bytes: &[u8], segment: &SegmentHeader, is_active: bool) {
        let mut walk = SegmentWalk::new(bytes, segment);
        let mut open: Option<OpenDamage> = None;
        loop {
            match walk.step() {
                Step::Frame { offset, header, stored } => {
                    let end = offset + stored.len() as u64;
                    if !OpenDamage::takes_in(&mut open, is_active, header.first_seq, end) {
                        self.close(open.take(), header.first_seq.previous());
                        self.frame(file, offset, &header, stored);
                    }
                }
                Step::BadPayload { offset, length, header, error } => {
                    let end = offset + length;
                    if !OpenDamage::takes_in(&mut open, is_active, header.first_seq, end) {
                        self.close(open.take(), header.first_seq.previous());
                        let seqs = (header.first_seq, header.last_seq());
                        let damage = damage(file, offset, length, seqs, error.to_string());
                        open = Some(OpenDamage::new(damage, self.next(), &error));
                        let chain = Some(header.chain);
                        self.place = Some(Place { last: header.last_seq(), chain });
                    }
                }
                Step::Garbage { offset, length, error } => {
                    if !OpenDamage::takes_in(&mut open, is_active, Seq::ZERO, offset + length) {
                        self.close(open.take(), self.next());
                        let seqs = (self.next(), Seq::MAX);
                        let damage = damage(file, offset, length, seqs, error.to_string());
                        open = Some(OpenDamage::new(damage, self.next(), &error));
                    }
                    self.place = self.place.map(|place| Place { chain: None, ..place });
                }
                Step::End { .. } => break,
            }
        }
        match open {
            // Nothing sealed later behind it, and it is where writing stopped.
            Some(OpenDamage { damage, next, is_of_newer_build: false }) if is_active => {
                let last = next.previous();
                self.place = self.place.map(|place| Place { last, ..place });
                self.report.torn_tail = Some(damage);
            }
            Some(open) => self.report.add(open.damage),
            None => {}
        }
    }

    fn frame(&mut self, file: &str, offset: u64, header: &FrameHeader, stored: &[u8]) {
        let seqs = (header.first_seq, header.last_seq());
        let length = stored.len() as u64;
        let Some(place) = self.place else { return };
        if header.first_seq < place.last.next() {
            self.add(
                file,
                offset,
                length,
                seqs,
                "a frame of seqs that were there already".to_owned(),
            );
        } else if header.first_seq > place.last.next() && place.chain.is_some() {
            let missing = (place.last.next(), header.first_seq.previous());
            self.add(file, offset, 0, missing, "records are missing before this frame".to_owned());
        } else if place.chain.is_some_and(|chain| !verify_link(&chain, header, stored)) {
            self.add(file, offset, length, seqs, "the chain breaks at this frame".to_owned());
        }
        if self.counts {
            self.report.frames += 1;
            self.report.records += u64::from(header.record_count);
        }
        self.place = Some(Place { last: header.last_seq(), chain: Some(header.chain) });
        self.check_chains(header.last_seq(), Some(header.chain));
    }

    /// Compares the chains that cursors and snapshots know at this seq; `None` once it is passed.
    fn check_chains(&mut self, seq: Seq, chain: Option<Chain>) {
        // A seq has one chain after its data frame and others after the frames without records
        // that follow it, so a witness is done with once one of them matched.
        let passed: Vec<Witness> = match chain {
            Some(chain) => {
                self.witnesses.retain(|witness| {
                    witness.chain.is_some_and(|known| witness.seq != seq || known != chain)
                });
                self.witnesses.extract_if(.., |witness| witness.seq < seq).collect()
            }
            None => self.witnesses.extract_if(.., |witness| witness.seq <= seq).collect(),
        };
        for witness in passed {
            // Nothing is known of what was compacted away before the first segment.
            if witness.seq.next() < self.report.first || self.is_damaged(witness.seq) {
                continue;
            }
            let what = "the log has another chain at this cursor".to_owned();
            self.add(&witness.source.clone(), 0, 0, (witness.seq, witness.seq), what);
        }
    }

    fn is_damaged(&self, seq: Seq) -> bool {
        self.report.damages.iter().any(|damage| damage.first_seq <= seq && seq <= damage.last_seq)
    }

    /// Damage ends where the next valid frame begins, and so do the seqs it hit.
    fn close(&mut self, open: Option<OpenDamage>, last_seq: Seq) {
        let Some(OpenDamage { damage, .. }) = open else { return };
        let last_seq = damage.last_seq.min(last_seq.max(damage.first_seq.previous()));
        self.report.add(Damage { last_seq, ..damage });
    }

    fn next(&self) -> Seq {
        self.place.map_or(Seq::ZERO, |place| place.last).next()
    }

    fn add(&mut self, file: &str, offset: u64, length: u64, seqs: (Seq, Seq), what: String) {
        self.report.add(damage(file, offset, length, seqs, what));
    }
}

/// Damage whose last seq the next frame that was sealed later will tell; without one, in the segment
/// that is being written, it is a torn tail: opening must come to the same verdict
/// (`recovery/tail.rs`).
struct OpenDamage {
    damage: Damage,
    /// The seq after the last valid frame before it.
    next: Seq,
    /// A frame that this build doesn't know: nothing may be cut away there.
    is_of_newer_build: bool,
}

impl OpenDamage {
    fn new(damage: Damage, next: Seq, error: &FrameError) -> Self {
        Self { damage, next, is_of_newer_build: error.unsupported_version().is_some() }
    }

    /// Whether what ends at `end` is part of the open damage of the active segment: stray bytes, or
    /// a copy of an older frame inside a torn record.
    fn takes_in(open: &mut Option<Self>, is_active: bool, first_seq: Seq, end: u64) -> bool {
        let Some(open) = open.as_mut().filter(|open| is_active && first_seq < open.next) else {
            return false;
        };
        open.damage.length = end - open.damage.offset;
        open.damage.last_seq = Seq::MAX;
        true
    }
}

fn is_not_found(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn damage(file: &str, offset: u64, length: u64, seqs: (Seq, Seq), what: String) -> Damage {
    Damage { file: file.to_owned(), offset, length, first_seq: seqs.0, last_seq: seqs.1, what }
}
