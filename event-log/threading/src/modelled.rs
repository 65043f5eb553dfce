//! The same primitives under shuttle's scheduler. Only what the log and the ledger use is here.
//!
//! Two things differ from the real ones, and no test may rely on them: every atomic is sequentially
//! consistent, and a timed wait never times out, so that a wake that was forgotten is a deadlock
//! and not a delay.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

pub use shuttle::sync::atomic;
pub use shuttle::{thread, thread_local};
pub use shuttle_parking_lot::{Mutex, MutexGuard, RwLock};

/// parking_lot's condition variable, which shuttle's parking_lot lacks: the waiter is registered
/// under a lock of its own before the caller's is let go, so nobody can notify in between unseen.
#[derive(Debug, Default)]
pub struct Condvar {
    gate: shuttle::sync::Mutex<()>,
    condvar: shuttle::sync::Condvar,
}

impl Condvar {
    /// One that nobody waits for.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the guard's lock go, waits to be notified, and takes the lock again.
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        MutexGuard::unlocked(guard, || drop(self.condvar.wait(gate)));
    }

    /// [`Condvar::wait`]: the time never comes.
    pub fn wait_until<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, _at: Instant) {
        self.wait(guard);
    }

    /// [`Condvar::wait`]: the time never passes.
    pub fn wait_for<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, _timeout: Duration) {
        self.wait(guard);
    }

    /// Wakes one that waits, whichever the scheduler likes.
    pub fn notify_one(&self) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.condvar.notify_one();
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.condvar.notify_all();
    }
}
