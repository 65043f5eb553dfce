//! Reading a log's directory without its lock: offline commands, and tailing another process.
//!
//! Read-only. What is in a file isn't yet durable: while a process holds the log, a frame is
//! delivered only when a later watermark, or a later segment, covers it.

#[cfg(test)]
mod tests;
mod tip;

use std::collections::VecDeque;
use std::io;

use crate::catalog::Catalog;
use crate::error::{CursorError, OpenError, ReadError};
use crate::format::{LOCK_FILE, SegmentHeader, segment_file_name};
use crate::frame::{Frame, FrameHeader};
use crate::headers::{Identity, catalog_of, catalog_of_pages, pages_of};
use crate::links::resume_behind_gaps;
use crate::recovery::{TailError, scan_tail};
use crate::seq::{Chain, Cursor, LogId, Seq, Tip};
use crate::storage::{OpenMode, Storage};
use crate::walk::read_segment;
use crate::window::{SegmentReader, empty_frame};

pub use tip::DirectoryTip;

/// Streams the frames of a directory; see [`DirectoryReader::open`].
pub struct DirectoryReader<S: Storage> {
    storage: S,
    catalog: Catalog,
    newest: SegmentHeader,
    segment: SegmentReader<S>,
    /// Read, but not yet proven durable. One frame is in flight at most, so few wait here.
    waiting: VecDeque<Frame>,
    /// Everything up to here is proven.
    proven: Seq,
    current: Frame,
    /// Where what was delivered ends, or the cursor.
    tip: Tip,
}

impl<S: Storage> DirectoryReader<S> {
    /// Reads from the frame after `after` on; takes no lock and changes nothing. Where a gap lies
    /// ahead and nothing needs what is before it, that counts as compacted away.
    pub fn open(storage: S, after: Cursor) -> Result<Self, CursorError> {
        let mut pages = pages_of(&storage).map_err(read_error)?;
        let ahead = pages.partition_point(|page| page.header.first_seq <= after.seq);
        // From the segment that holds the cursor: who tails a log is at its end.
        if let Some(first) = resume_behind_gaps(&storage, &pages[ahead.saturating_sub(1)..]) {
            pages.retain(|page| page.header.first_seq >= first);
        }
        let (catalog, newest) = catalog_of_pages(pages).map_err(read_error)?;
        let Some(first) = catalog.holding(after.seq) else {
            return Err(CursorError::Compacted { resume_from: catalog.first() });
        };
        let segment = open_segment(&storage, &catalog, &newest, first)?;
        let current = empty_frame();
        let tip = tip_before(&storage, &catalog, first)?;
        let mut reader = Self {
            storage,
            catalog,
            newest,
            segment,
            waiting: VecDeque::new(),
            proven: Seq::ZERO,
            current,
            tip,
        };
        reader.pass(after)?;
        Ok(reader)
    }

    /// The log's id.
    pub fn log_id(&self) -> LogId {
        self.newest.log_id
    }

    /// Who the log belongs to.
    pub fn owner(&self) -> &[u8] {
        &self.newest.owner
    }

    /// Where the frames that were delivered end; before the first one, the cursor.
    pub fn tip(&self) -> &Tip {
        &self.tip
    }

    /// Where the records end that were read and aren't proven durable yet, if there are any.
    pub fn unproven(&self) -> Option<Tip> {
        let mut waiting = self.waiting.iter().rev();
        waiting.find(|frame| frame.header.record_count > 0).map(|frame| tip_of(&frame.header))
    }

    /// The next frame that is proven durable; `None` where nothing more is, for now. What is whole
    /// counts as proven while nobody holds the log, since opening it would keep that.
    #[expect(
        clippy::should_implement_trait,
        reason = "the frame is lent, which an Iterator can't say"
    )]
    pub fn next(&mut self) -> Result<Option<&Frame>, ReadError> {
        if self.find_proven()? || self.is_idle()? {
            return Ok(self.deliver());
        }
        Ok(None)
    }

    /// The next frame that a later watermark or segment covers; `None` where nothing more is, for
    /// now. For those who keep what they read: what a power cut could still take from the log is
    /// never delivered, and the log's lock isn't even looked at.
    pub fn next_covered(&mut self) -> Result<Option<&Frame>, ReadError> {
        if self.find_proven()? { Ok(self.deliver()) } else { Ok(None) }
    }

    /// Reads on until the frame that waits first is proven; false where none is.
    fn find_proven(&mut self) -> Result<bool, ReadError> {
        loop {
            if let Some(frame) = self.waiting.front() {
                let followed = self.waiting.len() > 1;
                let seq = frame.header.last_seq();
                if seq <= self.proven
                    && (frame.header.record_count > 0 || followed || self.sealed())
                {
                    return Ok(true);
                }
            }
            if !self.read_one()? {
                return Ok(false);
            }
        }
    }

    fn deliver(&mut self) -> Option<&Frame> {
        self.current = self.waiting.pop_front()?;
        self.tip = tip_of(&self.current.header);
        Some(&self.current)
    }

    fn sealed(&self) -> bool {
        self.catalog.get(self.segment.first).is_some_and(|segment| segment.end.is_some())
    }

    /// Reads one more frame into `waiting`; false at the end.
    fn read_one(&mut self) -> Result<bool, ReadError> {
        // Twice at most: once more after the catalog was read again.
        for _ in 0..2 {
            let end = self.catalog.get(self.segment.first).and_then(|segment| segment.end);
            if end.is_some_and(|(_, chain)| chain == self.segment.place.chain) {
                self.go_on()?;
                return self.read_one();
            }
            let mut frame = empty_frame();
            match self.segment.read_into(&mut frame, u64::MAX) {
                Ok(true) => {
                    self.proven = self.proven.max(frame.header.watermark);
                    self.waiting.push_back(frame);
                    return Ok(true);
                }
                Ok(false) if end.is_some() => {
                    return Err(self
                        .segment
                        .damage_here("zeros where a frame should be".to_owned()));
                }
                Ok(false) => {}
                Err(error) if end.is_some() => return Err(error),
                Err(error) => self.refuse_damage(error)?,
            }
            self.segment.forget_window();
            if !self.look_for_more()? {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Looks whether the active segment isn't the last one any more. The next one is named by the
    /// next seq, so this costs the same however many segments there are.
    fn look_for_more(&mut self) -> Result<bool, ReadError> {
        let first = self.segment.first;
        let is_there = |file: &str| match self.storage.open(file, OpenMode::Read) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(ReadError::Io { file: file.to_owned(), source }),
        };
        let place = self.segment.place;
        let next = place.seq.next();
        if next > first && is_there(&segment_file_name(next))? {
            let mut identity = Identity {
                owner: Some(self.newest.owner.clone()),
                log_id: Some(self.newest.log_id),
            };
            let page =
                identity.read_page(&self.storage, (next, false)).map_err(plain_read_error)?;
            self.catalog.push(&page.header, page.archived, page.bytes);
            self.newest = page.header;
            return Ok(true);
        }
        if !is_there(&segment_file_name(first))? {
            // Compacted away under this reader: everything may have moved.
            (self.catalog, self.newest) = catalog_of(&self.storage).map_err(plain_read_error)?;
            if self.catalog.get(first).is_some() || self.segment.peek(u64::MAX)?.is_some() {
                return Ok(true);
            }
            if self.catalog.after(first) != Some(next) {
                return Err(ReadError::Compacted { resume_from: self.catalog.first() });
            }
            self.go_on()?;
            return Ok(true);
        }
        if next == first {
            // As long as it has no record, a larger file may have taken its place.
            self.segment = open_segment(&self.storage, &self.catalog, &self.newest, first)?;
            self.segment.seek(place);
        }
        Ok(false)
    }

    /// At the end of the active segment an invalid frame is one being written, or torn; with whole
    /// frames beyond it, it is damage.
    fn refuse_damage(&self, error: ReadError) -> Result<(), ReadError> {
        if matches!(error, ReadError::Io { .. } | ReadError::UnsupportedVersion { .. }) {
            return Err(error);
        }
        let file = segment_file_name(self.segment.first);
        let bytes =
            read_segment(&self.storage, &file).map_err(|source| ReadError::Io { file, source })?;
        let header = SegmentHeader::decode(&bytes)
            .map_err(|_| self.segment.damage_here("the header".to_owned()))?;
        match scan_tail(&bytes, &header) {
            Ok(_) => Ok(()),
            Err(TailError::Corrupt(_) | TailError::UnsupportedVersion { .. }) => Err(error),
        }
    }

    fn go_on(&mut self) -> Result<(), ReadError> {
        let next = self.catalog.after(self.segment.first);
        let next =
            next.ok_or_else(|| self.segment.damage_here("the next segment is missing".to_owned()))?;
        // A segment is begun only when all before it is durable.
        self.proven = self.proven.max(next.previous());
        let place = self.segment.place;
        let opened = open_segment(&self.storage, &self.catalog, &self.newest, next)?;
        if opened.place.seq != place.seq || opened.place.chain != place.chain {
            return Err(self.segment.damage_here("a segment is missing after it".to_owned()));
        }
        self.segment = opened;
        Ok(())
    }

    /// Goes to the end of the frame that `after` names.
    fn pass(&mut self, after: Cursor) -> Result<(), CursorError> {
        let here = |chain: Chain| after.chain.is_none_or(|wanted| wanted == chain);
        let place = self.segment.place;
        if place.seq == after.seq && here(place.chain) {
            return Ok(());
        }
        while let Some(header) = self.segment.peek(u64::MAX)? {
            if header.last_seq() > after.seq {
                if header.first_seq <= after.seq {
                    return Err(CursorError::NotAFrameEnd {
                        seq: after.seq,
                        frame_end: header.last_seq(),
                    });
                }
                return Err(CursorError::Rewritten { at: after.seq });
            }
            self.segment.skip(&header);
            self.proven = self.proven.max(header.watermark);
            self.tip = tip_of(&header);
            if header.last_seq() == after.seq && here(header.chain) {
                return Ok(());
            }
        }
        let last = self.segment.place.seq;
        if after.seq > last {
            Err(CursorError::Ahead { last })
        } else {
            Err(CursorError::Rewritten { at: after.seq })
        }
    }

    fn is_idle(&self) -> Result<bool, ReadError> {
        let holder = self.storage.lock_holder(LOCK_FILE);
        holder
            .map(|holder| holder.is_none())
            .map_err(|source| ReadError::Io { file: LOCK_FILE.to_owned(), source })
    }
}

fn tip_of(header: &FrameHeader) -> Tip {
    Tip {
        seq: header.last_seq(),
        chain: header.chain,
        digest: header.state_digest,
        logged_at_us: header.logged_at_us,
    }
}

/// Where the segment before `first` ends.
fn tip_before<S: Storage>(storage: &S, catalog: &Catalog, first: Seq) -> Result<Tip, ReadError> {
    let archived = catalog.get(first).is_some_and(|segment| segment.archived);
    let page = Identity::default().read_page(storage, (first, archived));
    let header = page.map_err(plain_read_error)?.header;
    Ok(Tip {
        seq: first.previous(),
        chain: header.previous_chain,
        digest: header.previous_digest,
        logged_at_us: header.previous_logged_at_us,
    })
}

fn open_segment<S: Storage>(
    storage: &S,
    catalog: &Catalog,
    newest: &SegmentHeader,
    first: Seq,
) -> Result<SegmentReader<S>, ReadError> {
    let Some(segment) = catalog.get(first) else {
        return Err(ReadError::Compacted { resume_from: catalog.first() });
    };
    SegmentReader::open(storage, (newest.log_id, newest.alignment), first, segment)
}

fn read_error(error: OpenError) -> CursorError {
    CursorError::Read(plain_read_error(error))
}

fn plain_read_error(error: OpenError) -> ReadError {
    match error {
        OpenError::Corrupt(damage) => ReadError::Corrupt(damage),
        OpenError::UnsupportedVersion { file, found } => {
            ReadError::UnsupportedVersion { file, found }
        }
        OpenError::Io { operation, source } => ReadError::Io { file: operation, source },
        other @ (OpenError::Locked { .. }
        | OpenError::WrongOwner { .. }
        | OpenError::NotALog { .. }
        | OpenError::Options { .. }
        | OpenError::NoSpace) => ReadError::NotALog { what: other.to_string() },
    }
}
