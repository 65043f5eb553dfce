//! Bootstraps: the first one of a big node, and those into the shadow that an operator or a
//! compaction asks for. The shadow must never be seen before the node's digest has proved it.

use event_log::storage::Storage;
use shared::wire::global_sync::SyncState;

use super::bootstrap::{is_past_snapshot, load_snapshot};
use super::compare::compare;
use super::session::{absorb, ask, end_of, open};
use super::{End, Order, Phase, SyncWorker};
use crate::follower::{Follower, FollowerState};
use crate::jobs::JobKind;
use crate::offload::in_place;
use crate::source::{FrameStream, Identity, LogSource, SourceError};
use crate::view::ViewStore;

/// What the shadow begins with.
struct Start<V: ViewStore> {
    slot: V::Slot,
    state: FollowerState,
    identity: Identity,
}

impl<L: LogSource, S: Storage, V: ViewStore> SyncWorker<L, S, V> {
    /// The first contact with a big node: its snapshot is visible at once, unverified.
    pub(super) async fn bootstrap(&mut self) -> End {
        self.show(SyncState::Bootstrapping);
        self.shared.update(|status| status.reason = Some("first contact".to_owned()));
        let work = start_from_snapshot(self.source.clone(), self.view.clone());
        let start = match self.call(work).await {
            Ok(start) => start,
            Err(End::Compacted) => return End::Lost("the node has no snapshot yet".to_owned()),
            Err(end) => return end,
        };
        let identity = &start.identity;
        let checked =
            self.check_identity(identity, None).and_then(|()| self.bind(&identity.store_id, false));
        if let Err(end) = checked {
            return end;
        }
        tracing::info!(store = self.name(), lo = start.state.position.seq.get(), "snapshot loaded");
        in_place(|| self.view.publish(&start.slot, &identity.store_id));
        self.follower = Some(Follower::new(self.view.clone(), start.slot, start.state));
        self.mark_urgent();
        End::Again
    }

    /// Builds the shadow and swaps it in; what an interruption leaves of it is taken up again.
    pub(super) async fn carry_out(&mut self, mut order: Order<V>) -> End {
        if self.follower.is_none() && order.kind.is_none() {
            return self.bootstrap().await;
        }
        self.show(SyncState::Bootstrapping);
        let reason = order.kind.map_or("compacted away at the node", JobKind::name);
        self.shared.update(|status| status.reason = Some(reason.to_owned()));
        match self.build_shadow(&mut order).await {
            Ok(identity) => {
                self.swap_in(order, &identity);
                End::Again
            }
            Err(End::Lost(reason)) => {
                self.order = Some(order);
                End::Lost(reason)
            }
            Err(End::Compacted) => {
                // The shadow's own beginning was compacted away meanwhile: from a newer snapshot.
                order.shadow = None;
                self.order = Some(order);
                End::Lost("compacted away at the node while it was bootstrapped".to_owned())
            }
            Err(End::Fenced(reason)) => {
                let is_compaction = order.kind.is_none();
                if let Some(ticket) = order.ticket.take() {
                    tracing::warn!(store = self.name(), reason, "the bootstrap failed");
                    ticket.failed(format!("{}: {reason}", self.name()));
                }
                if is_compaction { End::Fenced(reason) } else { End::Again }
            }
            Err(end @ (End::Again | End::Shutdown)) => {
                if let Some(ticket) = order.ticket.take() {
                    ticket.cancelled();
                }
                end
            }
        }
    }

    /// Streams into the shadow until the node's digest has proved it and it isn't older than what
    /// everybody sees.
    async fn build_shadow(&mut self, order: &mut Order<V>) -> Result<Identity, End> {
        let is_rebind = order.kind == Some(JobKind::Rebind);
        let own = self.follower.as_ref().map(|own| (own.state().log_id, own.state().position.seq));
        let bound = own.map(|(log_id, _)| log_id).filter(|_| !is_rebind);
        if order.shadow.is_none() {
            let kind = order.kind;
            let snapshot_above = self.options.snapshot_events_min;
            let work = start(self.source.clone(), self.view.clone(), kind, snapshot_above);
            let start = self.call(work).await?;
            self.check_identity(&start.identity, bound)?;
            order.shadow = Some(Follower::new(self.view.clone(), start.slot, start.state));
        }
        let Some(mut shadow) = order.shadow.take() else {
            return Err(End::Again);
        };
        let result = self.stream_shadow(&mut shadow, is_rebind).await;
        order.shadow = Some(shadow);
        result
    }

    async fn stream_shadow(
        &mut self,
        shadow: &mut Follower<V>,
        is_rebind: bool,
    ) -> Result<Identity, End> {
        let position = Some(shadow.state().position);
        let source = self.source.clone();
        let session = self.call(async move { open(&source, position, None).await }).await?;
        self.check_identity(&session.identity, Some(shadow.state().log_id))?;
        // A fenced view may stand where the node will never come; anybody else must not go back.
        let seq_min = match &self.phase {
            Phase::Following | Phase::Paused if !is_rebind => {
                self.follower.as_ref().map(|own| own.state().position.seq)
            }
            _ => None,
        };
        let (identity, mut stream) = (session.identity, session.stream);
        let mut frame = session.first;
        loop {
            absorb(shadow, &frame).map_err(End::Fenced)?;
            let state = shadow.state();
            let is_proved = is_past_snapshot(state) && state.is_verified();
            if is_proved && seq_min.is_none_or(|seq| state.position.seq >= seq) {
                return Ok(identity);
            }
            frame = self.interruptible(stream.next()).await?.map_err(|error| end_of(&error))?;
        }
    }

    fn swap_in(&mut self, order: Order<V>, identity: &Identity) {
        let Some(shadow) = order.shadow else { return };
        if let Err(End::Fenced(reason)) = self.bind(&identity.store_id, true) {
            if let Some(ticket) = order.ticket {
                ticket.failed(reason);
            }
            return;
        }
        let seq = shadow.state().position.seq;
        let report =
            self.follower.as_ref().filter(|_| order.kind != Some(JobKind::Rebind)).map(|own| {
                let held = (own.slot(), own.state().position.seq.get());
                let node = (shadow.slot(), seq.get());
                in_place(|| compare(&self.view, &identity.store_id, held, node))
            });
        if let Some(report) = &report {
            let (compared, different) = (report.compared, report.different);
            tracing::info!(store = self.name(), compared, different, "bootstrapped anew");
        }
        let former = self.follower.take();
        in_place(|| {
            self.view.publish(shadow.slot(), &identity.store_id);
            // With its last handle the former slot's cells go, one by one.
            drop(former);
        });
        self.follower = Some(shadow);
        self.shared.letters.lock().heal_all(seq);
        let now = (self.clock)();
        self.shared.update(|status| {
            status.log_id = Some(identity.log_id.to_string());
            status.epoch = Some(identity.epoch);
            status.last_contact_at = Some(now);
        });
        self.phase = Phase::Following;
        if let Some(saver) = &mut self.saver {
            saver.forget_acknowledged();
            saver.mark_urgent();
        }
        self.show(SyncState::CatchingUp);
        if let Some(ticket) = order.ticket {
            ticket.done(report);
        }
    }
}

/// Begins from the node's snapshot, or from the log's beginning where that is short and still there.
async fn start<L: LogSource, V: ViewStore>(
    source: L,
    view: V,
    kind: Option<JobKind>,
    snapshot_above: u64,
) -> Result<Start<V>, SourceError> {
    let status = ask(&source).await?;
    let prefers_snapshot = match kind {
        None | Some(JobKind::Resync) => true,
        Some(JobKind::Rebind | JobKind::Rebuild) => status.is_some_and(|status| {
            status.durable_seq.get() > snapshot_above && status.snapshot_count > 0
        }),
    };
    if prefers_snapshot {
        match start_from_snapshot(source.clone(), view.clone()).await {
            // A node that can't make a snapshot still has its log, unless it is compacted.
            Err(SourceError::Refused { .. } | SourceError::NoSnapshot) if kind.is_some() => {}
            start => return start,
        }
    }
    match source.follow(None).await {
        Ok((identity, _)) => {
            let state = FollowerState::at_beginning(identity.log_id);
            Ok(Start { slot: view.open_slot(), state, identity })
        }
        Err(SourceError::Compacted { .. }) => start_from_snapshot(source, view).await,
        Err(error) => Err(error),
    }
}

async fn start_from_snapshot<L: LogSource, V: ViewStore>(
    source: L,
    view: V,
) -> Result<Start<V>, SourceError> {
    let (identity, download) = source.snapshot().await?;
    let (slot, state) = load_snapshot(view, download, identity.clone()).await?;
    Ok(Start { slot, state, identity })
}
