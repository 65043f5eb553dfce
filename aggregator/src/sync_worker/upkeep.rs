//! A worker's saves while it works, and its end. What is told to the node is `saving`'s to decide.

use event_log::storage::Storage;
use tokio::sync::OwnedSemaphorePermit;

use super::saving::Saver;
use super::{Leave, Phase, SyncWorker};
use crate::offload::in_place;
use crate::persistence::{LoadedStore, SavedStore};
use crate::source::LogSource;
use crate::view::ViewStore;

impl<L: LogSource, S: Storage, V: ViewStore> SyncWorker<L, S, V> {
    /// Saves if it is time, and acknowledges if that may be said now.
    pub(super) async fn tend_saves(&mut self, may_acknowledge: bool) {
        let Some(saver) = &mut self.saver else { return };
        let ended = saver.tend(may_acknowledge).await;
        self.note_save(ended);
        if let Some(place) = self.saver.as_ref().and_then(Saver::admit) {
            self.begin_save(place);
        }
    }

    fn begin_save(&mut self, place: OwnedSemaphorePermit) {
        let state = self.to_save();
        let now = (self.clock)();
        if let (Some(saver), Some(follower), Some(state)) = (&mut self.saver, &self.follower, state)
        {
            saver.begin(place, self.view.clone(), follower.slot(), state, now);
        }
    }

    fn note_save(&self, ended: Option<Result<(), String>>) {
        let Some(result) = ended else { return };
        if let Err(error) = &result {
            let store = self.name();
            tracing::error!(store, error, "the store's part of the view was not saved");
            metrics::counter!("aggregator_save_failures_total", "store" => store).increment(1);
        }
        self.shared.update(|status| status.save_error = result.err());
    }

    fn to_save(&self) -> Option<SavedStore> {
        let state = self.follower.as_ref()?.state().clone();
        let status = self.shared.status();
        let quarantine = match &self.phase {
            Phase::Fenced(reason) => Some(reason.clone()),
            Phase::Following | Phase::Paused => None,
        };
        Some(SavedStore {
            store_id: status.store_id?,
            url: self.shared.url.clone(),
            state,
            quarantine,
            paused: self.phase == Phase::Paused,
            as_of: status.as_of,
            last_contact_at: status.last_contact_at,
            letters: self.shared.letters.lock().clone(),
        })
    }

    /// The last save and the last word to the node; what another worker may go on with.
    pub(super) async fn finish(&mut self) -> Option<LoadedStore<V>> {
        match self.leave {
            Some(Leave::Keep) => self.leave_store(false).await,
            Some(Leave::Forget) => self.leave_store(true).await,
            None => self.save_last(true).await,
            Some(Leave::HandOver) => {
                self.save_last(false).await;
                return self.hand_over();
            }
        }
        None
    }

    async fn save_last(&mut self, has_last_word: bool) {
        let Some(saver) = &mut self.saver else { return };
        let ended = saver.settle().await;
        self.note_save(ended);
        if let Some(saver) = self.saver.as_ref().filter(|saver| saver.is_dirty())
            && let Some(place) = saver.wait_admitted().await
        {
            self.begin_save(place);
        }
        let Some(saver) = &mut self.saver else { return };
        let ended = saver.settle().await;
        if has_last_word && self.phase == Phase::Following {
            saver.last_word().await;
        }
        self.note_save(ended);
    }

    fn hand_over(&mut self) -> Option<LoadedStore<V>> {
        let saved = self.to_save();
        self.claims.release(&self.expected.take()?, &self.shared.url);
        let generation = self.saver.take()?.files().generation();
        let slot = self.follower.take()?.slot().clone();
        Some(LoadedStore { saved: saved?, slot, generation })
    }

    /// Keeps what is held for a later run, or forgets it.
    async fn leave_store(&mut self, forget: bool) {
        if !forget {
            self.save_last(false).await;
        }
        let follower = self.follower.take();
        if let Some(store_id) = self.expected.take() {
            in_place(|| {
                self.view.withdraw(&store_id);
                // With its last handle the slot's cells go, one by one.
                drop(follower);
            });
            self.claims.release(&store_id, &self.shared.url);
        }
        if let Some(mut saver) = self.saver.take() {
            let _ = saver.settle().await;
            let files = saver.files();
            let removed = if forget { in_place(|| files.remove_all()) } else { Ok(()) };
            if let Err(error) = removed {
                tracing::warn!(store = self.name(), %error, "files of a removed store are left");
            }
        }
        if let Err(error) = self.source.deregister().await {
            tracing::info!(store = self.name(), %error, "the node still lists this consumer");
        }
    }
}
