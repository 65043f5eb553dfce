//! Which stores are followed, while it changes: the configuration read again, a store put or removed
//! by an operator. One change at a time; an operator's word is on disk before anything follows from
//! it, so that no restart can undo what was answered.

use std::io;
use std::sync::Arc;

use event_log::storage::Storage;
use futures_util::future::join_all;
use shared::StoreId;

use super::{Hub, STORES_MAX, StoreHandle, StoreSpec};
use crate::persistence::{LoadedStore, load_those};
use crate::registry::Registry;
use crate::sync_worker::{Control, Leave};
use crate::view::{MemoryView, ViewStore};

/// What was said of stores so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// By operators.
    pub(super) registry: Registry,
    /// By the configuration, as it was last read.
    pub(super) configured: Vec<StoreSpec>,
}

/// Reads and writes what outlives the process.
pub(super) trait Keeper: Send + Sync {
    /// Makes operators' words durable.
    fn save(&self, registry: &Registry) -> io::Result<()>;

    /// What was saved of stores that nobody follows.
    fn load(&self, is_followed: &dyn Fn(&StoreId) -> bool) -> Vec<LoadedStore<MemoryView>>;
}

/// The data directory.
pub(super) struct DirectoryKeeper<S: Storage> {
    pub(super) storage: S,
    pub(super) view: MemoryView,
}

impl<S: Storage> Keeper for DirectoryKeeper<S> {
    fn save(&self, registry: &Registry) -> io::Result<()> {
        registry.save(&self.storage)
    }

    fn load(&self, is_followed: &dyn Fn(&StoreId) -> bool) -> Vec<LoadedStore<MemoryView>> {
        match load_those(&self.storage, &self.view, |store_id| !is_followed(store_id)) {
            Ok(loaded) => {
                for damage in &loaded.damaged {
                    tracing::error!(error = %damage, "a saved part of the view can't be used and is kept");
                }
                loaded.stores
            }
            Err(error) => {
                tracing::error!(%error, "what was saved can't be read");
                Vec::new()
            }
        }
    }
}

/// Why a store isn't followed as an operator said.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Another store's node is there: name another URL, or move that store first.
    #[error("{0} is followed at this URL")]
    UrlTaken(StoreId),
    /// Remove one first.
    #[error("at most {STORES_MAX} stores are followed")]
    Full,
    /// Nothing has changed: make room on the disk, or mend it, and say it again.
    #[error("it could not be made durable: {0}")]
    NotDurable(#[from] io::Error),
    /// It is on disk and not followed: the next start will try again.
    #[error("it is not followed: {0}")]
    NotFollowed(String),
    /// There is no such store.
    #[error("no such store is followed")]
    Unknown,
}

impl Hub {
    /// Follows what is new in the configuration and leaves what is no longer there.
    pub async fn reconcile(self: &Arc<Self>, configured: &[StoreSpec]) {
        let mut said = self.said.lock().await;
        said.configured = configured.to_vec();
        let mut registry = said.registry.clone();
        if registry.forget_unnamed(configured) {
            match self.save(&registry).await {
                Ok(()) => said.registry = registry,
                Err(error) => tracing::error!(%error, "removals of stores stay on disk"),
            }
        }
        for (url, reason) in self.follow(&said).await {
            tracing::error!(url, reason, "store not followed");
        }
    }

    /// Follows a store as an operator says, now and after every restart; says whether it is new.
    /// Once begun it is carried through, even if nobody waits for it any more.
    pub async fn put(self: &Arc<Self>, id: StoreId, spec: StoreSpec) -> Result<bool, ChangeError> {
        let hub = self.clone();
        let putting = tokio::spawn(async move { hub.put_whole(&id, spec).await });
        putting.await.map_err(|error| ChangeError::NotFollowed(error.to_string()))?
    }

    async fn put_whole(
        self: &Arc<Self>,
        id: &StoreId,
        spec: StoreSpec,
    ) -> Result<bool, ChangeError> {
        let mut said = self.said.lock().await;
        let url = spec.url.clone();
        let stores = self.stores();
        let is_there = |store: &&Arc<StoreHandle>| store.url() == url;
        let taken = stores.iter().find(is_there).and_then(|store| store.store_id());
        if let Some(other) = taken.filter(|other| other != id) {
            return Err(ChangeError::UrlTaken(other));
        }
        let known = self.store(id.as_str());
        if known.is_none() && stores.len() >= STORES_MAX {
            return Err(ChangeError::Full);
        }
        let mut registry = said.registry.clone();
        registry.put(id, spec, known.as_ref().map(|store| store.url()));
        self.save(&registry).await?;
        said.registry = registry;
        for (failed, reason) in self.follow(&said).await {
            tracing::error!(url = failed, reason, "store not followed");
            if failed == url {
                return Err(ChangeError::NotFollowed(reason));
            }
        }
        Ok(known.is_none())
    }

    /// Stops following a store, now and after every restart: it leaves the view, the disk and the
    /// node's list of consumers. Once begun it is carried through.
    pub async fn remove(self: &Arc<Self>, id: StoreId) -> Result<(), ChangeError> {
        let hub = self.clone();
        let removing = tokio::spawn(async move {
            let mut said = hub.said.lock().await;
            let store = hub.store(id.as_str()).ok_or(ChangeError::Unknown)?;
            let mut registry = said.registry.clone();
            registry.remove(&id, store.url(), &said.configured);
            hub.save(&registry).await?;
            said.registry = registry;
            hub.end(&store, Leave::Forget).await;
            Ok(())
        });
        removing.await.map_err(|error| ChangeError::NotFollowed(error.to_string()))?
    }

    async fn save(&self, registry: &Registry) -> io::Result<()> {
        let (keeper, registry) = (self.keeper.clone(), registry.clone());
        let saved = tokio::task::spawn_blocking(move || keeper.save(&registry)).await;
        saved.map_err(io::Error::other)?
    }

    /// Brings the workers in line with what was said; returns the URLs that failed, and why.
    async fn follow(&self, said: &Said) -> Vec<(String, String)> {
        let specs = said.registry.with_configured(&said.configured);
        let (mut incoming, mut leaving) = (Vec::new(), self.stores());
        for spec in specs {
            match leaving.iter().position(|store| store.serves(&spec)) {
                Some(place) => leaving.swap_remove(place).describe(&spec),
                None => incoming.push(spec),
            }
        }
        // Workers of stores that are only told otherwise hand over what they hold.
        let goes_on = |store: &Arc<StoreHandle>| {
            let id = store.store_id();
            let is_it = |spec: &StoreSpec| spec.url == store.url() || spec.store_id == id;
            incoming.iter().any(is_it)
        };
        let ends = leaving.iter().map(|store| async {
            let how = if goes_on(store) { Leave::HandOver } else { Leave::Keep };
            tracing::info!(url = store.url(), ?how, "no longer followed so");
            self.end(store, how).await
        });
        let mut loaded: Vec<LoadedStore<MemoryView>> =
            join_all(ends).await.into_iter().flatten().collect();
        if !incoming.is_empty() {
            loaded.extend(self.load_unfollowed(&loaded).await);
        }
        let add = |spec: StoreSpec| {
            let (url, loaded) = (spec.url.clone(), take_of(&spec, &mut loaded));
            self.add(spec, loaded).err().map(|reason| (url, reason))
        };
        incoming.into_iter().filter_map(add).collect()
    }

    async fn load_unfollowed(
        &self,
        handed_over: &[LoadedStore<MemoryView>],
    ) -> Vec<LoadedStore<MemoryView>> {
        let mut followed: Vec<StoreId> =
            self.stores().iter().filter_map(|store| store.store_id()).collect();
        followed.extend(handed_over.iter().map(|loaded| loaded.saved.store_id.clone()));
        let keeper = self.keeper.clone();
        let load = move || keeper.load(&|store_id| followed.contains(store_id));
        tokio::task::spawn_blocking(load).await.unwrap_or_default()
    }

    /// Ends a worker and waits for that; returns what it hands over.
    async fn end(&self, store: &Arc<StoreHandle>, how: Leave) -> Option<LoadedStore<MemoryView>> {
        self.stores.write().retain(|other| !Arc::ptr_eq(other, store));
        // A worker that has ended already has nothing to say; one that is busy will hear it.
        let _ = store.sender().send(Control::Leave(how)).await;
        let left = store.take_task()?.await.ok().flatten();
        if let (None, Some(id)) = (&left, store.store_id()) {
            // Whatever ended the worker before: nobody goes on with what it held.
            self.view.withdraw(&id);
        }
        left
    }
}

/// Takes out what was saved of the store that is meant: by its id where that is given, else by URL.
pub(super) fn take_of(
    spec: &StoreSpec,
    loaded: &mut Vec<LoadedStore<MemoryView>>,
) -> Option<LoadedStore<MemoryView>> {
    let is_it = |store: &LoadedStore<MemoryView>| match &spec.store_id {
        Some(id) => *id == store.saved.store_id,
        None => store.saved.url == spec.url,
    };
    let mut store = loaded.swap_remove(loaded.iter().position(is_it)?);
    if store.saved.url != spec.url {
        // Whoever says where the store is now has looked at why it was fenced there.
        store.saved.quarantine = None;
    }
    Some(store)
}
