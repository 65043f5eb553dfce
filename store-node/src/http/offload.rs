//! Work that waits for the disk, away from the threads that answer requests. A runtime of one
//! thread has no such threads to spare and does it at once: so the simulator stays in one order.
//! Nothing here may be used for what waits for another request.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, spawn_blocking};

/// Runs `work` where waiting is fine; an error is its panic.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => Ok(work()),
        _ => spawn_blocking(work).await,
    }
}
