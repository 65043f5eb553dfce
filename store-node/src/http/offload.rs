//! Work that waits for the disk or takes long, away from the threads that answer requests. Nothing
//! here may be used for what waits for another request: the simulator does it at once.

use event_log::storage::Storage;
use tokio::task::{JoinError, spawn_blocking};

use super::app::Site;

impl<S: Storage> Site<S> {
    /// Runs `work` where taking long is fine; an error is its panic.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        if self.options().offloads { spawn_blocking(work).await } else { Ok(work()) }
    }
}
