//! All stores together: starts their workers, finds them by id, begins jobs over them, ends them.
//! It must never touch a store's cells: those belong to its worker.

mod changes;
mod handle;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use event_log::storage::Storage;
use futures_util::FutureExt;
use parking_lot::RwLock;
use shared::StoreId;
use shared::wire::global_sync::SyncState;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use crate::claims::Claims;
use crate::clock::Clock;
use crate::jobs::{JobKind, Jobs};
use crate::offload::thread_count;
use crate::persistence::LoadedStore;
use crate::registry::{Registry, RegistryError};
use crate::source::LogSource;
use crate::store_state::StoreShared;
use crate::sync_worker::{
    CONTROLS_MAX, Control, SAVES_AT_ONCE_MAX, SyncWorker, WorkerOptions, WorkerParts,
};
use crate::timezone::TimeZoneName;
use crate::view::MemoryView;
use changes::{DirectoryKeeper, Keeper, Said, take_of};
use handle::WorkerTask;

pub use changes::ChangeError;
pub use handle::{StoreHandle, TellError};

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
    /// What people call it.
    pub name: Option<String>,
    /// Where its days begin and end.
    pub timezone: Option<TimeZoneName>,
}

impl StoreSpec {
    /// Whichever store answers at `url`.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), store_id: None, name: None, timezone: None }
    }
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
    /// Held while the stores change.
    said: tokio::sync::Mutex<Said>,
    keeper: Arc<dyn Keeper>,
    spawn: Spawn,
    events_per_second: AtomicU64,
}

type Spawn = Box<
    dyn Fn(StoreSpec, Option<LoadedStore<MemoryView>>) -> Result<StoreHandle, String> + Send + Sync,
>;

impl Hub {
    /// Loads what was saved and starts a worker for each store: those of the configuration, and
    /// what operators have made of them since.
    pub fn start<L: LogSource, S: Storage>(
        parts: HubParts<L, S>,
        configured: &[StoreSpec],
    ) -> Result<Arc<Self>, RegistryError> {
        let claims = Claims::default();
        let mut registry = Registry::load(&parts.storage)?;
        if registry.forget_unnamed(configured) {
            registry.save(&parts.storage)?;
        }
        let keeper = DirectoryKeeper { storage: parts.storage.clone(), view: parts.view.clone() };
        let mut saved = keeper.load(&|_| false);
        for store in &saved {
            claims.remember(&store.saved.store_id, &store.saved.url);
        }
        let specs = registry.with_configured(configured);
        let hub = Arc::new(Self {
            view: parts.view.clone(),
            clock: parts.clock.clone(),
            jobs: Jobs::default(),
            stores: RwLock::default(),
            said: tokio::sync::Mutex::new(Said { registry, configured: configured.to_vec() }),
            keeper: Arc::new(keeper),
            spawn: spawner(parts, claims),
            events_per_second: AtomicU64::new(0),
        });
        for spec in specs {
            let (url, loaded) = (spec.url.clone(), take_of(&spec, &mut saved));
            if let Err(reason) = hub.add(spec, loaded) {
                tracing::error!(url, reason, "store not followed");
            }
        }
        for store in saved {
            tracing::warn!(store = %store.saved.store_id, url = store.saved.url, "saved, but not configured");
        }
        tokio::spawn(sample_often(Arc::downgrade(&hub)));
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
            (id.is_none(), id, store.url().to_owned())
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
        let is_single = store.is_some();
        for (handle, ticket) in chosen.into_iter().zip(tickets) {
            // A store that can't be told fails its own part of the job: its ticket is dropped.
            match handle.tell(Control::Bootstrap { kind, ticket }) {
                Err(error) if is_single => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(id)
    }

    /// Stops what is left of a job; what it has done stays. Says whether there is such a job.
    pub fn cancel(&self, id: &str) -> bool {
        let is_there = self.jobs.cancel(id);
        for store in self.stores().into_iter().filter(|_| is_there) {
            // One that is too busy to hear it finds the job cancelled when it comes to it.
            let _ = store.tell(Control::LookAtOrders);
        }
        is_there
    }

    /// Lets every worker save and say its last word, but no longer than `patience`.
    pub async fn stop(&self, patience: Duration) -> bool {
        let stores = self.stores.read().clone();
        for store in &stores {
            store.shut_down();
        }
        let tasks: Vec<WorkerTask> = stores.iter().filter_map(|store| store.take_task()).collect();
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
        if stores.iter().any(|store| store.url() == spec.url) {
            return Err("its URL is followed already".to_owned());
        }
        stores.push(Arc::new((self.spawn)(spec, loaded)?));
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

async fn sample_often(hub: Weak<Hub>) {
    let mut last = 0;
    loop {
        tokio::time::sleep(SAMPLE_INTERVAL).await;
        let Some(hub) = hub.upgrade() else { return };
        last = hub.sample(last);
    }
}

fn spawner<L: LogSource, S: Storage>(parts: HubParts<L, S>, claims: Claims) -> Spawn {
    let HubParts { view, storage, clock, options, source_of } = parts;
    let saves = Arc::new(Semaphore::new(SAVES_AT_ONCE_MAX.min(thread_count())));
    Box::new(move |spec, loaded| {
        let source = source_of(&spec)?;
        let known = loaded.as_ref().map(|loaded| loaded.saved.store_id.clone());
        if let Some(store_id) = &known {
            // The configuration names the store: that is an operator's word on where it is now.
            claims.claim(store_id, &spec.url, spec.store_id.is_some())?;
        }
        let shared =
            Arc::new(StoreShared::new(spec.url.clone(), known.or_else(|| spec.store_id.clone())));
        let (control, commands) = mpsc::channel(CONTROLS_MAX);
        let (shutdown, is_ending) = watch::channel(false);
        let worker = SyncWorker::new(WorkerParts {
            source,
            storage: storage.clone(),
            view: view.clone(),
            shared: shared.clone(),
            claims: claims.clone(),
            clock: clock.clone(),
            saves: Arc::clone(&saves),
            options,
            expected: spec.store_id.clone(),
            loaded,
            control: commands,
            shutdown: is_ending,
        });
        let task = tokio::spawn(guard(shared.clone(), worker.run()));
        Ok(StoreHandle::new(spec, shared, control, shutdown, task))
    })
}

/// A broken invariant ends its store's worker and no other; nobody may go on believing what it last
/// said.
async fn guard<T>(shared: Arc<StoreShared>, work: impl Future<Output = Option<T>>) -> Option<T> {
    if let Ok(left) = AssertUnwindSafe(work).catch_unwind().await {
        return left;
    }
    let reason = "a defect ended its worker: restart the aggregator, and report it";
    tracing::error!(url = shared.url, "{reason}");
    shared.update(|status| {
        status.state = SyncState::Quarantined;
        status.reason = Some(reason.to_owned());
        status.verified = false;
    });
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_worker_is_not_believed() {
        let shared = Arc::new(StoreShared::new("http://a".to_owned(), None));
        shared.update(|status| (status.state, status.verified) = (SyncState::Live, true));
        let left = guard(shared.clone(), async { panic!("planted") }).await;
        assert_eq!(left, None::<()>);
        let status = shared.status();
        assert_eq!((status.state, status.verified), (SyncState::Quarantined, false));
    }
}
