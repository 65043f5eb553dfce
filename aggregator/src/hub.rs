//! All stores together: starts their workers, finds them by id, begins jobs over them, ends them.
//! It must never touch a store's cells: those belong to its worker.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use event_log::storage::Storage;
use futures_util::FutureExt;
use parking_lot::{Mutex, RwLock};
use shared::StoreId;
use shared::wire::global_sync::SyncState;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::claims::Claims;
use crate::clock::Clock;
use crate::jobs::{JobKind, Jobs};
use crate::persistence::{LoadedStore, load_all};
use crate::source::LogSource;
use crate::store_state::StoreShared;
use crate::sync_worker::{CONTROLS_MAX, Control, SyncWorker, WorkerOptions, WorkerParts};
use crate::view::MemoryView;

/// Stores that one aggregator follows at most.
pub const STORES_MAX: usize = 1_000;
/// How often rates and gauges are taken.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// A store to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSpec {
    /// Where its node answers, without a slash at the end.
    pub url: String,
    /// Which store that must be; none = whoever answers first.
    pub store_id: Option<StoreId>,
}

/// Makes the source of a store.
pub type SourceOf<L> = Arc<dyn Fn(&StoreSpec) -> Result<L, String> + Send + Sync>;

/// Everything that a hub is made of.
pub struct HubParts<L: LogSource, S: Storage> {
    /// The view that the workers write.
    pub view: MemoryView,
    /// The data directory.
    pub storage: S,
    /// The time.
    pub clock: Clock,
    /// Tuning of the workers.
    pub options: WorkerOptions,
    /// Makes the sources.
    pub source_of: SourceOf<L>,
}

/// All stores together.
pub struct Hub {
    view: MemoryView,
    clock: Clock,
    jobs: Jobs,
    stores: RwLock<Vec<Arc<StoreHandle>>>,
    spawn: Spawn,
    shutdown: watch::Sender<bool>,
    events_per_second: AtomicU64,
}

type Spawn = Box<
    dyn Fn(
            StoreSpec,
            Option<LoadedStore<MemoryView>>,
            watch::Receiver<bool>,
        ) -> Result<StoreHandle, String>
        + Send
        + Sync,
>;

/// One store's worker, from outside.
pub struct StoreHandle {
    /// What it is known by.
    pub spec: StoreSpec,
    /// What its worker says.
    pub shared: Arc<StoreShared>,
    control: mpsc::Sender<Control>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Why a worker couldn't be told something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    /// It has too much to do already: try again.
    #[error("the store's worker has {CONTROLS_MAX} commands waiting")]
    Busy,
    /// It has ended.
    #[error("the store's worker has ended")]
    Ended,
}

impl StoreHandle {
    /// Its store's id, once that is known.
    pub fn store_id(&self) -> Option<StoreId> {
        self.shared.update(|status| status.store_id.clone()).or_else(|| self.spec.store_id.clone())
    }

    /// Tells its worker something.
    pub fn tell(&self, control: Control) -> Result<(), TellError> {
        self.control.try_send(control).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => TellError::Busy,
            mpsc::error::TrySendError::Closed(_) => TellError::Ended,
        })
    }
}

impl Hub {
    /// Loads what was saved and starts a worker for each store.
    pub fn start<L: LogSource, S: Storage>(
        parts: HubParts<L, S>,
        specs: &[StoreSpec],
    ) -> std::io::Result<Arc<Self>> {
        let claims = Claims::default();
        let loaded = load_all(&parts.storage, &parts.view)?;
        for damage in &loaded.damaged {
            tracing::error!(error = %damage, "a saved part of the view can't be used and is kept");
        }
        let mut saved = loaded.stores;
        for store in &saved {
            claims.remember(&store.saved.store_id, &store.saved.url);
        }
        let hub = Arc::new(Self {
            view: parts.view.clone(),
            clock: parts.clock.clone(),
            jobs: Jobs::default(),
            stores: RwLock::default(),
            spawn: spawner(parts, claims),
            shutdown: watch::Sender::new(false),
            events_per_second: AtomicU64::new(0),
        });
        for spec in specs {
            let place = saved.iter().position(|store| is_of(spec, store));
            let loaded = place.map(|place| saved.swap_remove(place));
            if let Err(reason) = hub.add(spec.clone(), loaded) {
                tracing::error!(url = spec.url, reason, "store not followed");
            }
        }
        for store in saved {
            tracing::warn!(store = %store.saved.store_id, url = store.saved.url, "saved, but not configured");
        }
        let sampler = Arc::downgrade(&hub);
        tokio::spawn(async move {
            let mut last = 0;
            loop {
                tokio::time::sleep(SAMPLE_INTERVAL).await;
                let Some(hub) = sampler.upgrade() else { return };
                last = hub.sample(last);
            }
        });
        Ok(hub)
    }

    /// The view.
    pub fn view(&self) -> &MemoryView {
        &self.view
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The jobs.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Events taken over in the last full second.
    pub fn events_per_second(&self) -> u64 {
        self.events_per_second.load(Ordering::Relaxed)
    }

    /// All stores, by id; those never reached come last, by URL.
    pub fn stores(&self) -> Vec<Arc<StoreHandle>> {
        let mut stores = self.stores.read().clone();
        stores.sort_by_cached_key(|store| {
            let id = store.store_id();
            (id.is_none(), id, store.spec.url.clone())
        });
        stores
    }

    /// The store of this id.
    pub fn store(&self, id: &str) -> Option<Arc<StoreHandle>> {
        let is_it =
            |store: &&Arc<StoreHandle>| store.store_id().is_some_and(|own| own.as_str() == id);
        self.stores.read().iter().find(is_it).cloned()
    }

    /// Begins a bootstrap of one store, or of all; returns the job's id.
    pub fn bootstrap(
        &self,
        kind: JobKind,
        store: Option<&StoreHandle>,
    ) -> Result<String, TellError> {
        let all = self.stores();
        let chosen: Vec<&StoreHandle> = match store {
            Some(store) => vec![store],
            None => all.iter().map(AsRef::as_ref).collect(),
        };
        let (id, tickets) = self.jobs.begin(kind, chosen.len());
        for (handle, ticket) in chosen.into_iter().zip(tickets) {
            handle.tell(Control::Bootstrap { kind, ticket })?;
        }
        Ok(id)
    }

    /// Follows what is new in `specs` and leaves what is no longer there.
    pub async fn reconcile(&self, specs: &[StoreSpec]) {
        let leaving: Vec<Arc<StoreHandle>> = {
            let stores = self.stores.read();
            stores.iter().filter(|store| !specs.contains(&store.spec)).cloned().collect()
        };
        for store in leaving {
            tracing::info!(url = store.spec.url, "no longer configured");
            self.remove(&store, false).await;
        }
        for spec in specs {
            let is_known = self.stores.read().iter().any(|store| store.spec == *spec);
            let added = if is_known { Ok(()) } else { self.add(spec.clone(), None) };
            if let Err(reason) = added {
                tracing::error!(url = spec.url, reason, "store not followed");
            }
        }
    }

    /// Stops following a store and takes it out of the view; `forget` removes its files too.
    pub async fn remove(&self, store: &Arc<StoreHandle>, forget: bool) {
        self.stores.write().retain(|other| !Arc::ptr_eq(other, store));
        let (reply, done) = oneshot::channel();
        if store.tell(Control::Remove { forget, reply }).is_ok() {
            let _ = done.await;
        }
    }

    /// Lets every worker save and say its last word, but no longer than `patience`.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.shutdown.send_replace(true);
        let tasks: Vec<JoinHandle<()>> =
            self.stores.read().iter().filter_map(|store| store.task.lock().take()).collect();
        let all = async {
            for task in tasks {
                let _ = task.await;
            }
        };
        timeout(patience, all).await.is_ok()
    }

    fn add(&self, spec: StoreSpec, loaded: Option<LoadedStore<MemoryView>>) -> Result<(), String> {
        let mut stores = self.stores.write();
        if stores.len() >= STORES_MAX {
            return Err(format!("at most {STORES_MAX} stores are followed"));
        }
        if stores.iter().any(|store| store.spec.url == spec.url) {
            return Err("its URL is followed already".to_owned());
        }
        stores.push(Arc::new((self.spawn)(spec, loaded, self.shutdown.subscribe())?));
        Ok(())
    }

    /// Takes rates and gauges; returns the count of events so far.
    fn sample(&self, last: u64) -> u64 {
        let now = (self.clock)();
        let stores = self.stores();
        let total: u64 = stores.iter().map(|store| store.shared.event_count()).sum();
        self.events_per_second.store(total.saturating_sub(last), Ordering::Relaxed);
        metrics::counter!("aggregator_events_total").absolute(total);
        for store in &stores {
            let view = store.shared.view(now);
            let name = view.store_id.map_or(view.url, |id| id.to_string());
            metrics::gauge!("aggregator_store_seq", "store" => name.clone()).set(view.seq as f64);
            let is_live = f64::from(u8::from(view.state == SyncState::Live));
            metrics::gauge!("aggregator_store_live", "store" => name.clone()).set(is_live);
            let is_fenced = f64::from(u8::from(view.state == SyncState::Quarantined));
            metrics::gauge!("aggregator_store_quarantined", "store" => name.clone()).set(is_fenced);
            let is_verified = f64::from(u8::from(view.verified));
            metrics::gauge!("aggregator_store_verified", "store" => name.clone()).set(is_verified);
            let letters = view.dead_letters as f64;
            metrics::gauge!("aggregator_dead_letters", "store" => name.clone()).set(letters);
            if let Some(lag_ms) = view.lag_ms {
                metrics::gauge!("aggregator_lag_ms", "store" => name).set(lag_ms as f64);
            }
        }
        total
    }
}

/// Whether the saved store is the one that is meant: by id where it is given, else by URL.
fn is_of(spec: &StoreSpec, store: &LoadedStore<MemoryView>) -> bool {
    match &spec.store_id {
        Some(id) => *id == store.saved.store_id,
        None => store.saved.url == spec.url,
    }
}

fn spawner<L: LogSource, S: Storage>(parts: HubParts<L, S>, claims: Claims) -> Spawn {
    let HubParts { view, storage, clock, options, source_of } = parts;
    Box::new(move |spec, loaded, shutdown| {
        let source = source_of(&spec)?;
        let known = loaded.as_ref().map(|loaded| loaded.saved.store_id.clone());
        if let Some(store_id) = &known {
            // The configuration names the store: that is an operator's word on where it is now.
            claims.claim(store_id, &spec.url, spec.store_id.is_some())?;
        }
        let shared =
            Arc::new(StoreShared::new(spec.url.clone(), known.or_else(|| spec.store_id.clone())));
        let (control, commands) = mpsc::channel(CONTROLS_MAX);
        let worker = SyncWorker::new(WorkerParts {
            source,
            storage: storage.clone(),
            view: view.clone(),
            shared: shared.clone(),
            claims: claims.clone(),
            clock: clock.clone(),
            options,
            expected: spec.store_id.clone(),
            loaded,
            control: commands,
            shutdown,
        });
        let task = tokio::spawn(guard(shared.clone(), worker.run()));
        Ok(StoreHandle { spec, shared, control, task: Mutex::new(Some(task)) })
    })
}

/// A broken invariant ends its store's worker and no other; nobody may go on believing what it last
/// said.
async fn guard(shared: Arc<StoreShared>, work: impl Future<Output = ()>) {
    if AssertUnwindSafe(work).catch_unwind().await.is_err() {
        let reason = "a defect ended its worker: restart the aggregator, and report it";
        tracing::error!(url = shared.url, "{reason}");
        shared.update(|status| {
            status.state = SyncState::Quarantined;
            status.reason = Some(reason.to_owned());
            status.verified = false;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_worker_is_not_believed() {
        let shared = Arc::new(StoreShared::new("http://a".to_owned(), None));
        shared.update(|status| (status.state, status.verified) = (SyncState::Live, true));
        guard(shared.clone(), async { panic!("planted") }).await;
        let status = shared.status();
        assert_eq!((status.state, status.verified), (SyncState::Quarantined, false));
    }
}
