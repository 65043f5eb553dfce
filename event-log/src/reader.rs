//! Reading durable frames in order, from the archive through the sealed segments to the watermark.
//!
//! A reader must never deliver what isn't durable, nor a frame whose chain doesn't follow the one
//! before it. It may be overtaken by compaction, and then says so.

use std::sync::Arc;

use crate::catalog::{Place, Segment};
use crate::error::{CursorError, ReadError};
use crate::frame::Frame;
use crate::log::{Log, Shared};
use crate::seq::{Chain, Cursor, Seq};
use crate::storage::Storage;
use crate::window::{SegmentReader, empty_frame};

/// Streams durable frames; see [`Log::reader`].
pub struct FrameReader<S: Storage> {
    shared: Arc<Shared<S>>,
    segment: SegmentReader<S>,
    frame: Frame,
}

/// A segment as the catalog has it at one moment, and how far it may be read.
struct View {
    segment: Segment,
    limit: u64,
}

impl<S: Storage> Log<S> {
    /// Reads durable frames from the one after `after` on; checkpoint and close frames too.
    ///
    /// The cursor is a frame's end. With a chain it is checked against this log: a mismatch says
    /// whether what follows is gone, the log was rewritten, or the cursor is ahead of it.
    pub fn reader(&self, after: Cursor) -> Result<FrameReader<S>, CursorError> {
        let (mut segment, place) = self.shared.find(after.seq, after.chain)?;
        segment.seek(place);
        Ok(FrameReader { shared: Arc::clone(&self.shared), segment, frame: empty_frame() })
    }

    /// The records `first`, `first` + 1, … as many as `count`, all of which must be durable.
    pub fn read_records(&self, first: Seq, count: u32) -> Result<Vec<Vec<u8>>, ReadError> {
        let shared = &self.shared;
        let mut segment = shared.open_holding(first)?;
        let there = self.durable().get().saturating_sub(first.previous().get());
        let mut records = Vec::with_capacity(u64::from(count).min(there) as usize);
        let mut reader = {
            segment.seek(shared.known_place(segment.first, first)?);
            FrameReader { shared: Arc::clone(shared), segment, frame: empty_frame() }
        };
        while records.len() < count as usize {
            let next = first.get() + records.len() as u64;
            let Some(frame) = reader.next()? else { break };
            let wanted = frame.records().skip_while(|(seq, _)| seq.get() < next);
            records.extend(
                wanted.take(count as usize - records.len()).map(|(_, record)| record.to_vec()),
            );
        }
        Ok(records)
    }
}

impl<S: Storage> FrameReader<S> {
    /// The next durable frame; `None` at the watermark: ask again later.
    #[expect(
        clippy::should_implement_trait,
        reason = "the frame is lent, which an Iterator can't say"
    )]
    pub fn next(&mut self) -> Result<Option<&Frame>, ReadError> {
        loop {
            let view = self.shared.view(self.segment.first)?;
            if let Some((_, end_chain)) = view.segment.end
                && self.segment.place.chain == end_chain
            {
                self.go_on()?;
                continue;
            }
            if self.segment.place.offset >= view.limit {
                return Ok(None);
            }
            if self.segment.replaced != view.segment.replaced {
                let place = self.segment.place;
                self.segment = self.shared.open_segment(self.segment.first, &view.segment)?;
                self.segment.seek(place);
            }
            return if self.segment.read_into(&mut self.frame, view.limit)? {
                Ok(Some(&self.frame))
            } else {
                Err(self.segment.damage_here("zeros where a frame should be".to_owned()))
            };
        }
    }

    /// Where the next frame begins: the cursor after the last one delivered.
    pub fn cursor(&self) -> Cursor {
        Cursor { seq: self.segment.place.seq, chain: Some(self.segment.place.chain) }
    }

    fn go_on(&mut self) -> Result<(), ReadError> {
        let next = self.shared.catalog.lock().after(self.segment.first);
        let next =
            next.ok_or_else(|| self.segment.damage_here("the next segment is missing".to_owned()))?;
        let view = self.shared.view(next)?;
        if view.segment.start.chain != self.segment.place.chain
            || view.segment.start.seq != self.segment.place.seq
        {
            return Err(self.segment.damage_here("a segment is missing after it".to_owned()));
        }
        self.segment = self.shared.open_segment(next, &view.segment)?;
        Ok(())
    }
}

impl<S: Storage> Shared<S> {
    /// The place after the frame that ends at `seq`; with a chain, after the frame there that has it.
    pub(crate) fn locate(&self, seq: Seq, chain: Option<Chain>) -> Result<Place, CursorError> {
        self.find(seq, chain).map(|(_, place)| place)
    }

    fn find(
        &self,
        seq: Seq,
        chain: Option<Chain>,
    ) -> Result<(SegmentReader<S>, Place), CursorError> {
        let durable = self.waiters.durable();
        if seq > durable {
            return Err(CursorError::Ahead { last: durable });
        }
        let mut segment = match self.open_holding(seq) {
            Err(ReadError::Compacted { resume_from }) => {
                return Err(CursorError::Compacted { resume_from });
            }
            other => other?,
        };
        let first = segment.first;
        if let Some(place) =
            chain.and_then(|chain| self.catalog.lock().get(first)?.place_at(seq, &chain))
        {
            return Ok((segment, place));
        }
        segment.seek(self.known_place(first, seq)?);
        // A frame without records may follow in the next segment: each turn goes one further.
        loop {
            let limit = self.view(segment.first)?.limit;
            if let Some(place) = pass_to(&mut segment, seq, chain, limit)? {
                return Ok((segment, place));
            }
            let next = self.catalog.lock().after(segment.first);
            let Some(next) = next.filter(|next| next.previous() == seq) else { break };
            segment = self.open_segment(next, &self.view(next)?.segment)?;
        }
        if first > seq && seq > Seq::ZERO {
            // Only the frames before this segment could tell, and they are gone.
            return Err(CursorError::Compacted { resume_from: first });
        }
        Err(CursorError::Rewritten { at: seq })
    }

    fn known_place(&self, first: Seq, seq: Seq) -> Result<Place, ReadError> {
        let catalog = self.catalog.lock();
        let known = catalog.get(first).map(|segment| segment.place_before(seq));
        known.ok_or_else(|| ReadError::Compacted { resume_from: catalog.first() })
    }

    fn open_holding(&self, seq: Seq) -> Result<SegmentReader<S>, ReadError> {
        let (first, segment) = {
            let catalog = self.catalog.lock();
            let first = catalog.holding(seq);
            match first.and_then(|first| Some((first, catalog.get(first)?.without_index()))) {
                Some(found) => found,
                None => return Err(ReadError::Compacted { resume_from: catalog.first() }),
            }
        };
        self.open_segment(first, &segment)
    }

    fn open_segment(&self, first: Seq, segment: &Segment) -> Result<SegmentReader<S>, ReadError> {
        match SegmentReader::open(
            &self.storage,
            (self.log_id, self.limits.alignment),
            first,
            segment,
        ) {
            // Archived or deleted a moment ago: the catalog knows by now.
            Err(ReadError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let view = self.view(first)?;
                SegmentReader::open(
                    &self.storage,
                    (self.log_id, self.limits.alignment),
                    first,
                    &view.segment,
                )
            }
            other => other,
        }
    }

    fn view(&self, first: Seq) -> Result<View, ReadError> {
        let catalog = self.catalog.lock();
        let Some(segment) = catalog.get(first) else {
            return Err(ReadError::Compacted { resume_from: catalog.first() });
        };
        let limit = if segment.end.is_some() { u64::MAX } else { self.published.lock().end };
        Ok(View { segment: segment.without_index(), limit })
    }
}

/// Passes frames until the place after the one that ends at `seq` and has the chain, if one is asked for.
fn pass_to<S: Storage>(
    segment: &mut SegmentReader<S>,
    seq: Seq,
    chain: Option<Chain>,
    limit: u64,
) -> Result<Option<Place>, CursorError> {
    let matches = |place: Place| place.seq == seq && chain.is_none_or(|chain| chain == place.chain);
    // Ends at the segment's end: every turn passes one frame.
    loop {
        if matches(segment.place) {
            return Ok(Some(segment.place));
        }
        let Some(header) = segment.peek(limit)? else { return Ok(None) };
        if header.last_seq() > seq {
            return if header.first_seq <= seq {
                Err(CursorError::NotAFrameEnd { seq, frame_end: header.last_seq() })
            } else {
                Ok(None)
            };
        }
        segment.skip(&header);
    }
}
