//! Work that waits for the disk or takes long, away from the threads that answer requests. Nothing
//! here may be used for what waits for another request: the simulator does it at once.

use event_log::storage::Storage;
use tokio::runtime::Handle;
use tokio::task::{JoinError, spawn_blocking};

use super::app::Site;
use super::failure::Failure;

impl<S: Storage> Site<S> {
    /// Runs `work` where taking long is fine; an error is its panic.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        if self.options().offloads { spawn_blocking(work).await } else { Ok(work()) }
    }

    /// Runs `work` of many lines where taking long is fine, as much of it at a time as there are cores;
    /// whoever gives up before its turn has cost nothing.
    pub(super) async fn long_work<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Failure> {
        if !self.options().offloads {
            return Ok(work.await);
        }
        let place = self.load.begin_long_work().await?;
        let runtime = Handle::current();
        let done = spawn_blocking(move || {
            let done = runtime.block_on(work);
            drop(place);
            done
        });
        Ok(done.await?)
    }
}
