//! One store's worker, seen from outside: what it says, and what it can be told. It must never wait
//! for the worker.

use std::sync::Arc;

use parking_lot::Mutex;
use shared::StoreId;
use shared::wire::global_sync::StoreAnswer;
use shared::{Timestamp, wire::global_sync::StoreSync};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::StoreSpec;
use crate::persistence::LoadedStore;
use crate::store_state::StoreShared;
use crate::sync_worker::{CONTROLS_MAX, Control};
use crate::timezone::TimeZoneName;
use crate::view::MemoryView;

/// The task of a worker; what it returns, another one may go on with.
pub(super) type WorkerTask = JoinHandle<Option<LoadedStore<MemoryView>>>;

/// One store's worker, from outside.
#[derive(Debug)]
pub struct StoreHandle {
    /// What its worker says.
    pub shared: Arc<StoreShared>,
    /// The store that it must be, if that was said.
    expected: Option<StoreId>,
    about: Mutex<About>,
    control: mpsc::Sender<Control>,
    /// Turns true when the process ends. Its own, so that workers end in their order.
    shutdown: watch::Sender<bool>,
    task: Mutex<Option<WorkerTask>>,
}

/// What operators call a store.
#[derive(Debug, Clone, PartialEq, Eq)]
struct About {
    name: Option<String>,
    timezone: Option<TimeZoneName>,
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
    pub(super) fn new(
        spec: StoreSpec,
        shared: Arc<StoreShared>,
        control: mpsc::Sender<Control>,
        shutdown: watch::Sender<bool>,
        task: WorkerTask,
    ) -> Self {
        let StoreSpec { store_id: expected, name, timezone, .. } = spec;
        let about = Mutex::new(About { name, timezone });
        Self { shared, expected, about, control, shutdown, task: Mutex::new(Some(task)) }
    }

    /// Where its node is.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Its store's id, once that is known.
    pub fn store_id(&self) -> Option<StoreId> {
        self.shared.update(|status| status.store_id.clone()).or_else(|| self.expected.clone())
    }

    /// The store as the API shows it alone.
    pub fn answer(&self, now: Timestamp) -> StoreAnswer {
        let About { name, timezone } = self.about.lock().clone();
        let sync: StoreSync = self.shared.view(now);
        StoreAnswer { sync, name, timezone: timezone.map(|zone| zone.to_string()) }
    }

    /// Tells its worker that the process ends.
    pub(super) fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }

    /// Tells its worker something.
    pub fn tell(&self, control: Control) -> Result<(), TellError> {
        self.control.try_send(control).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => TellError::Busy,
            mpsc::error::TrySendError::Closed(_) => TellError::Ended,
        })
    }

    /// Whether this worker does what the spec asks for, whatever the store is called.
    pub(super) fn serves(&self, spec: &StoreSpec) -> bool {
        let is_store = spec.store_id.is_none() || spec.store_id == self.store_id();
        self.url() == spec.url && is_store
    }

    /// Takes over what the spec calls the store.
    pub(super) fn describe(&self, spec: &StoreSpec) {
        let (name, timezone) = (spec.name.clone(), spec.timezone.clone());
        *self.about.lock() = About { name, timezone };
    }

    pub(super) fn take_task(&self) -> Option<WorkerTask> {
        self.task.lock().take()
    }

    /// A sender that waits for room.
    pub(super) fn sender(&self) -> mpsc::Sender<Control> {
        self.control.clone()
    }
}
