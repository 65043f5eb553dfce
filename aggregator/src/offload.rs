//! Work that takes long or waits for the disk, away from the threads that follow stores. A runtime
//! of one thread has none to spare and does it at once: so the simulator stays in one order.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

/// Whether there are threads to spare.
pub(crate) fn has_threads() -> bool {
    Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread
}

/// How many threads may share work that nobody else does meanwhile: one where there are none to
/// spare, or no runtime.
pub(crate) fn thread_count() -> usize {
    let is_spared = |handle: Handle| handle.runtime_flavor() != RuntimeFlavor::CurrentThread;
    if !Handle::try_current().is_ok_and(is_spared) {
        return 1;
    }
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Starts `work` where it holds nobody up; its panic is the handle's error.
pub(crate) fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    if has_threads() {
        return tokio::task::spawn_blocking(work);
    }
    let done = work();
    tokio::spawn(async move { done })
}

/// Does `work` on this thread and hands its other tasks to another one first.
pub(crate) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    if has_threads() { tokio::task::block_in_place(work) } else { work() }
}
