//! Lanes: threads that serve connections, each its own and without the others. A connection stays on
//! its lane, so that what a request touches is in one core's cache, nothing of it is handed from
//! thread to thread, and those of its neighbours that one frame makes durable are woken together.
//! What takes long must not be done on a lane: everyone else on it would wait.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use event_log::storage::Storage;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::http::{App, router};

/// All lanes of a node.
pub(super) struct Lanes<S: Storage>(Vec<Lane<S>>);

/// One of them.
pub(super) struct Lane<S: Storage> {
    /// What its handlers share.
    pub(super) app: Arc<App<S>>,
    /// Its routes.
    pub(super) routes: Router,
    /// Where its tasks run.
    pub(super) runtime: Handle,
    /// As many references as it has connections, and this one.
    members: Arc<()>,
    thread: JoinHandle<()>,
    /// Dropped, it ends the thread.
    ending: oneshot::Sender<()>,
}

/// A connection's membership of its lane, given up when it is dropped.
pub(super) struct Member(#[expect(dead_code, reason = "held as long as it lasts")] Arc<()>);

impl<S: Storage> Lanes<S> {
    /// Starts `count` lanes, at least one.
    pub(super) fn start(app: &Arc<App<S>>, count: usize) -> io::Result<Self> {
        (0..count.max(1))
            .map(|_| Lane::start(app.of_another_lane()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The lane with the fewest connections.
    pub(super) fn quietest(&self) -> &Lane<S> {
        let least = self.0.iter().min_by_key(|lane| Arc::strong_count(&lane.members));
        least.expect("there is at least one lane")
    }

    /// Ends all lanes and whatever still runs there, and waits for it.
    pub(super) fn end(self) {
        for Lane { thread, ending, .. } in self.0 {
            drop(ending);
            if thread.join().is_err() {
                tracing::error!("a lane panicked");
            }
        }
    }
}

impl<S: Storage> Lane<S> {
    fn start(app: Arc<App<S>>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (ending, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("lane".to_owned()).spawn(move || {
            // Nothing is ever sent: the other half is dropped.
            let _ended = runtime.block_on(ended);
        })?;
        let routes = router(Arc::clone(&app));
        Ok(Self { app, routes, runtime: handle, members: Arc::new(()), thread, ending })
    }

    /// Takes over a connection that another runtime accepted.
    pub(super) fn adopt(&self, stream: TcpStream) -> io::Result<(TcpStream, Member)> {
        let stream = stream.into_std()?;
        let _entered = self.runtime.enter();
        Ok((TcpStream::from_std(stream)?, Member(Arc::clone(&self.members))))
    }
}
