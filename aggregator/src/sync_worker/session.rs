//! One contact with a node: who is there, then its frames, one after another, until the line or the
//! trust breaks.

use event_log::frame::{Frame, FrameKind};
use event_log::storage::Storage;
use event_log::{LogId, Seq};
use shared::wire::global_sync::SyncState;
use shared::{StoreId, Timestamp};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::breaker::Moved;
use super::pace::is_failure;
use super::{End, SyncWorker, TICK};
use crate::dead_letter::DeadLetter;
use crate::follower::{Absorbed, Follower, FollowerState, Position};
use crate::offload::in_place;
use crate::source::{FrameStream, Identity, LogSource, NodeStatus, SourceError};
use crate::store_state::StoreStatus;
use crate::view::ViewStore;

/// Frames with more records than this are absorbed where they hold up no other task.
const INLINE_RECORDS_MAX: u32 = 512;
/// Records in a row, and frames, before other tasks get their turn: about half a millisecond.
const RECORDS_PER_TURN_MAX: u32 = 512;
const FRAMES_PER_TURN_MAX: u32 = 16;
/// A store whose part is younger than this is live, however many events just came.
const LIVE_AGE_MAX_US: i64 = 2_000_000;

/// A standing contact.
pub(super) struct Session<L: LogSource> {
    pub(super) status: Option<NodeStatus>,
    pub(super) identity: Identity,
    pub(super) stream: L::Stream,
    pub(super) first: Frame,
}

/// What a first look at a node came to.
enum Contact<L: LogSource> {
    Following(Box<Session<L>>),
    WantsSnapshot(Identity),
    /// The node isn't who it was: nothing more is asked of it.
    Stranger(Identity),
}

type Probe = JoinHandle<Result<NodeStatus, SourceError>>;

impl<L: LogSource, S: Storage, V: ViewStore> SyncWorker<L, S, V> {
    /// Follows the node until something ends it.
    pub(super) async fn follow(&mut self) -> End {
        let own = self.follower.as_ref().map(|own| (own.state().log_id, own.state().position));
        let snapshot_above = self.options.snapshot_events_min;
        let look = look(self.source.clone(), own, self.expected.clone(), snapshot_above);
        let contact = match self.call(look).await {
            Ok(contact) => contact,
            Err(end) => return end,
        };
        match contact {
            Contact::WantsSnapshot(identity) => match self.check_identity(&identity, None) {
                Ok(()) => self.bootstrap().await,
                Err(end) => end,
            },
            Contact::Stranger(identity) => {
                let checked = self.check_identity(&identity, own.map(|(log_id, _)| log_id));
                checked.err().unwrap_or(End::Again)
            }
            Contact::Following(session) => match self.begin_session(&session) {
                Ok(()) => self.stream(*session).await,
                Err(end) => end,
            },
        }
    }

    /// Runs a call to the node through the breaker, commands permitting.
    pub(super) async fn call<T>(
        &mut self,
        work: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, End> {
        if self.breaker.admit().is_err() {
            let reason = self.shared.status().reason.unwrap_or_default();
            let reason = reason.strip_prefix("circuit open: ").unwrap_or(&reason);
            return Err(End::Lost(format!("circuit open: {reason}")));
        }
        let done = self.interruptible(work).await?;
        let moved = match &done {
            Err(error) if is_failure(error) => self.breaker.note_failure(),
            Ok(_) | Err(_) => self.breaker.note_success(),
        };
        let store = self.name();
        match moved {
            Moved::Opened(wait) => {
                tracing::warn!(store, wait_ms = wait.as_millis() as u64, "circuit open");
                self.show_circuit(true);
            }
            Moved::Closed => {
                tracing::info!(store, "circuit closed");
                self.show_circuit(false);
            }
            Moved::Nothing => {}
        }
        done.map_err(|error| end_of(&error))
    }

    /// Shows whether the node is left alone for now.
    pub(super) fn show_circuit(&self, is_open: bool) {
        let gauge = metrics::gauge!("aggregator_circuit_open", "store" => self.name());
        gauge.set(f64::from(u8::from(is_open)));
    }

    fn begin_session(&mut self, session: &Session<L>) -> Result<(), End> {
        let identity = &session.identity;
        let bound: Option<LogId> = self.follower.as_ref().map(|own| own.state().log_id);
        self.check_identity(identity, bound)?;
        self.bind(&identity.store_id, false)?;
        if self.follower.is_none() {
            let slot = self.view.open_slot();
            self.view.publish(&slot, &identity.store_id);
            let state = FollowerState::at_beginning(identity.log_id);
            self.follower = Some(Follower::new(self.view.clone(), slot, state));
            self.mark_urgent();
        }
        self.node_seq = session.status.as_ref().map(|status| status.durable_seq);
        self.shared.update(|status| {
            status.log_id = Some(identity.log_id.to_string());
            status.epoch = Some(identity.epoch);
            status.reason = None;
        });
        tracing::info!(store = self.name(), epoch = identity.epoch, "following");
        Ok(())
    }

    async fn stream(&mut self, session: Session<L>) -> End {
        let Session { mut stream, first, .. } = session;
        if let Err(end) = self.take_frame(&first) {
            return end;
        }
        self.backoff.reset();
        self.asked_at = Instant::now();
        let mut probe: Option<(Probe, Timestamp)> = None;
        let mut turn = Turn::default();
        let mut tick_at = Instant::now() + TICK;
        loop {
            tokio::select! {
                biased;
                control = self.inbox.next() => {
                    if let Some(end) = self.obey(control) {
                        return end;
                    }
                }
                () = sleep(tick_at.saturating_duration_since(Instant::now())) => {
                    tick_at = Instant::now() + TICK;
                    self.tend_saves(true).await;
                    self.tend_probe(&mut probe).await;
                    self.retry_due_letters();
                }
                frame = stream.next() => {
                    let taken = match &frame {
                        Ok(frame) => self.take_frame(frame),
                        Err(error) => Err(end_of(error)),
                    };
                    if let Err(end) = taken {
                        return end;
                    }
                    if frame.is_ok_and(|frame| turn.is_over_after(&frame)) {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }

    /// Absorbs a frame and tells everybody what it did.
    fn take_frame(&mut self, frame: &Frame) -> Result<(), End> {
        let Some(follower) = &mut self.follower else {
            return Err(End::Again);
        };
        let before = (follower.state().position, follower.state().verified_seq);
        let absorbed = absorb(follower, frame).map_err(End::Fenced)?;
        let after = (follower.state().position, follower.state().verified_seq);
        self.note_letters(absorbed)?;
        if before != after {
            self.mark_dirty();
        }
        let now = (self.clock)();
        self.node_seq = self.node_seq.max(Some(frame.header.watermark));
        if frame.header.kind == FrameKind::KeepAlive {
            self.node_seq = Some(frame.header.watermark);
            self.asked_at = Instant::now();
        }
        let reaches_tip = self.node_seq.is_none_or(|node_seq| after.0.seq >= node_seq);
        // A frame without records says that nothing has happened since the one before it.
        let is_idle = frame.header.kind != FrameKind::Data;
        let as_of = if is_idle && reaches_tip {
            now
        } else {
            now.min(Timestamp::from_micros(frame.header.logged_at_us))
        };
        self.show_progress(as_of, now);
        Ok(())
    }

    /// Keeps the letters of a frame and settles those that it healed.
    fn note_letters(&mut self, absorbed: Absorbed) -> Result<(), End> {
        self.shared.count_events(absorbed.applied);
        if absorbed.refused.is_empty() && absorbed.healed.is_empty() {
            return Ok(());
        }
        let now = (self.clock)();
        let at = self.follower.as_ref().map_or(Seq::ZERO, |own| own.state().position.seq);
        let store = self.name();
        let mut letters = self.shared.letters.lock();
        for refused in absorbed.refused {
            let (seq, sku) = (refused.seq.get(), refused.sku.to_string());
            tracing::warn!(store, seq, sku, reason = refused.reason, "dead letter");
            letters
                .push(DeadLetter::new(refused, now))
                .map_err(|full| End::Fenced(full.to_string()))?;
        }
        for sku in &absorbed.healed {
            tracing::info!(store, sku = %sku, seq = at.get(), "healed by a later event");
        }
        letters.heal(&absorbed.healed, at);
        Ok(())
    }

    fn retry_due_letters(&mut self) {
        if self.shared.letters.lock().open_count() > 0 {
            let now = (self.clock)();
            self.retry_letters(|letter| letter.is_due(now));
        }
    }

    /// Under constant load there are no keep-alives: asks the node how far it is.
    async fn tend_probe(&mut self, probe: &mut Option<(Probe, Timestamp)>) {
        if let Some((probe, asked)) = probe.take_if(|(probe, _)| probe.is_finished()) {
            if let Ok(Ok(status)) = probe.await {
                self.node_seq = self.node_seq.max(Some(status.durable_seq));
                let here = self.follower.as_ref().map(|own| own.state().position.seq);
                if here >= Some(status.durable_seq) {
                    self.show_progress(asked, (self.clock)());
                }
            }
        } else if probe.is_none() && self.asked_at.elapsed() >= self.options.probe_interval {
            self.asked_at = Instant::now();
            let source = self.source.clone();
            let asking = tokio::spawn(async move { source.status().await });
            *probe = Some((asking, (self.clock)()));
        }
    }

    /// Shows where the follower stands, everything up to `as_of` being known.
    fn show_progress(&self, as_of: Timestamp, now: Timestamp) {
        let Some(state) = self.follower.as_ref().map(Follower::state) else {
            return;
        };
        let here = state.position.seq.get();
        let node_seq = self.node_seq.map(|node_seq| node_seq.get().max(here));
        self.shared.update(|status| {
            describe(status, state);
            status.as_of = status.as_of.max(Some(as_of));
            status.last_contact_at = Some(now);
            status.node_seq = node_seq;
            let is_young = status.as_of.is_some_and(|at| now.micros_since(at) <= LIVE_AGE_MAX_US);
            let has_all = node_seq.is_some_and(|node_seq| here >= node_seq);
            let is_live = is_young || has_all;
            status.state = if is_live { SyncState::Live } else { SyncState::CatchingUp };
            status.reason = None;
        });
    }

    /// Shows a state that isn't progress.
    pub(super) fn show(&self, sync_state: SyncState) {
        let state = self.follower.as_ref().map(Follower::state);
        self.shared.update(|status| {
            status.state = sync_state;
            match state {
                Some(state) => describe(status, state),
                None => status.verified = false,
            }
        });
    }
}

fn describe(status: &mut StoreStatus, state: &FollowerState) {
    status.seq = state.position.seq.get();
    status.verified = state.is_verified();
    status.verified_seq = state.verified_seq.map(Seq::get);
    if state.epoch > 0 {
        status.epoch = Some(state.epoch);
    }
    status.log_id.get_or_insert_with(|| state.log_id.to_string());
}

/// What to do about a source's error.
pub(super) fn end_of(error: &SourceError) -> End {
    match error {
        SourceError::Compacted { .. } => End::Compacted,
        SourceError::UnsupportedFormat(_) | SourceError::Rewritten(_) | SourceError::Ahead(_) => {
            End::Fenced(error.to_string())
        }
        SourceError::Unreachable(_)
        | SourceError::Damaged(_)
        | SourceError::NoSnapshot
        | SourceError::Refused { .. } => End::Lost(error.to_string()),
    }
}

/// Absorbs a frame; one with many records hands the thread's other tasks over first.
pub(super) fn absorb<V: ViewStore>(
    follower: &mut Follower<V>,
    frame: &Frame,
) -> Result<Absorbed, String> {
    let absorbed = if frame.header.record_count > INLINE_RECORDS_MAX {
        in_place(|| follower.absorb(frame))
    } else {
        follower.absorb(frame)
    };
    absorbed.map_err(|divergence| divergence.to_string())
}

/// What was taken over since other tasks had their turn.
#[derive(Debug, Default)]
struct Turn {
    frames: u32,
    records: u32,
}

impl Turn {
    /// Counts a frame; says whether others are next, and begins anew then.
    fn is_over_after(&mut self, frame: &Frame) -> bool {
        self.frames += 1;
        self.records += frame.header.record_count;
        let is_over = self.frames >= FRAMES_PER_TURN_MAX || self.records >= RECORDS_PER_TURN_MAX;
        if is_over {
            *self = Self::default();
        }
        is_over
    }
}

/// Asks who is there, opens the stream and waits for its first frame, which comes within a second.
async fn look<L: LogSource>(
    source: L,
    own: Option<(LogId, Position)>,
    expected: Option<StoreId>,
    snapshot_above: u64,
) -> Result<Contact<L>, SourceError> {
    let status = ask(&source).await?;
    if let Some(NodeStatus { identity, .. }) = &status {
        let is_other_store = expected.is_some_and(|expected| expected != identity.store_id);
        let is_other_log = own.is_some_and(|(log_id, _)| log_id != identity.log_id);
        if is_other_store || is_other_log {
            return Ok(Contact::Stranger(identity.clone()));
        }
    }
    let position = own.map(|(_, position)| position);
    if let (None, Some(status)) = (position, &status)
        && status.durable_seq.get() > snapshot_above
        && status.snapshot_count > 0
    {
        return Ok(Contact::WantsSnapshot(status.identity.clone()));
    }
    let session = open(&source, position, status).await?;
    Ok(Contact::Following(Box::new(session)))
}

/// The node's status; a node that can't say may still have frames.
pub(super) async fn ask<L: LogSource>(source: &L) -> Result<Option<NodeStatus>, SourceError> {
    match source.status().await {
        Ok(status) => Ok(Some(status)),
        Err(SourceError::Damaged(_) | SourceError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens the stream after `position` and waits for its first frame.
pub(super) async fn open<L: LogSource>(
    source: &L,
    position: Option<Position>,
    status: Option<NodeStatus>,
) -> Result<Session<L>, SourceError> {
    let (identity, mut stream) = source.follow(position).await?;
    let first = stream.next().await?;
    Ok(Session { status, identity, stream, first })
}

#[cfg(test)]
mod tests {
    use super::{FRAMES_PER_TURN_MAX, Turn};
    use crate::testing::{Node, create};

    /// How many frames of so many records make a turn.
    fn frames_of_a_turn(records: usize) -> u32 {
        let skus: Vec<String> = (0..records).map(|number| format!("S{number}")).collect();
        let commands: Vec<_> = skus.iter().map(|sku| (sku.as_str(), create(1))).collect();
        let frame = Node::new().commit(&commands);
        let mut turn = Turn::default();
        let frames = (1..=100).find(|_| turn.is_over_after(&frame)).unwrap();
        let next = (1..=100).find(|_| turn.is_over_after(&frame)).unwrap();
        assert_eq!(frames, next, "the next turn begins anew");
        frames
    }

    #[test]
    fn a_flood_gives_way_after_few_records_and_a_trickle_after_few_frames() {
        assert_eq!(frames_of_a_turn(1), FRAMES_PER_TURN_MAX);
        assert_eq!(frames_of_a_turn(256), 2);
        assert_eq!(frames_of_a_turn(1000), 1);
    }
}
