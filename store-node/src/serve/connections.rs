//! The connections that are open: how many, and which of them only wait for the rest of a head when
//! the node leaves. It must never close a connection whose request is with its handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::heads::Activity;

/// All open connections; as many as the listener lets in.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Open>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Open {
    activity: Arc<Activity>,
    /// None until its task runs.
    task: Option<AbortHandle>,
}

/// A connection's entry, taken out when it is dropped.
pub(super) struct Entry {
    connections: Arc<Connections>,
    number: u64,
}

impl Connections {
    /// Enters a connection.
    pub(super) fn enter(self: &Arc<Self>, activity: Arc<Activity>) -> Entry {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().insert(number, Open { activity, task: None });
        Entry { connections: Arc::clone(self), number }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.open.lock().len()
    }

    /// Says which task serves the connection of this number.
    pub(super) fn set_task(&self, number: u64, task: AbortHandle) {
        // A connection that has ended already has no entry.
        if let Some(open) = self.open.lock().get_mut(&number) {
            open.task = Some(task);
        }
    }

    /// Closes the connections that only wait for the rest of a head; returns how many.
    pub(super) fn close_half_heads(&self) -> usize {
        let open = self.open.lock();
        let waiting = open.values().filter(|open| open.activity.waits_for_head());
        waiting.filter_map(|open| open.task.as_ref()).map(AbortHandle::abort).count()
    }
}

impl Entry {
    /// The connection's number.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.connections.open.lock().remove(&self.number);
    }
}
