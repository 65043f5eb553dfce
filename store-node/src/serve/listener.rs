//! Connections: accept, serve, drain. A slow or idle peer must never hold more than its own
//! connection, and no acknowledged write is lost however the process ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use event_log::storage::Storage;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tower::Service;

use crate::config::Settings;
use crate::http::{App, router};

/// How long to wait after the system refused a connection (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long streams may take to deliver the tail once the log is closed.
const TAIL_DEADLINE: Duration = Duration::from_secs(5);
/// The exit code after a second signal.
const EXIT_SECOND_SIGNAL: i32 = 130;

/// The signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Serves until a signal, then drains: readiness red, no new connections, requests finish (within
/// their deadline), the log closes, streams deliver its tail.
pub(super) async fn serve<S: Storage>(
    listener: TcpListener,
    app: Arc<App<S>>,
    settings: &Settings,
) -> io::Result<()> {
    let mut signals = Signals::new()?;
    let graceful = GracefulShutdown::new();
    accept_until(&listener, &app, settings, &graceful, signals.next()).await;
    drop(listener);
    tracing::info!("leaving: a second signal leaves at once");
    tokio::spawn(async move {
        signals.next().await;
        tracing::warn!("second signal: leaving at once");
        std::process::exit(EXIT_SECOND_SIGNAL);
    });
    app.drain();
    let shutdown = tokio::spawn(graceful.shutdown());
    let drain_deadline = Settings::duration_ms(settings.drain_deadline_ms);
    if tokio::time::timeout(drain_deadline, app.idle()).await.is_err() {
        tracing::warn!(requests = app.in_flight(), "requests were still running at the deadline");
    }
    let closing = Arc::clone(&app);
    let closed = tokio::task::spawn_blocking(move || closing.log().close()).await;
    match closed {
        Ok(Ok(())) => tracing::info!("the log is closed"),
        Ok(Err(error)) => tracing::error!(%error, "the log could not be closed"),
        Err(error) => tracing::error!(%error, "closing the log panicked"),
    }
    app.log_closed();
    if tokio::time::timeout(TAIL_DEADLINE, shutdown).await.is_err() {
        tracing::warn!("connections were still open at the deadline");
    }
    Ok(())
}

async fn accept_until<S: Storage>(
    listener: &TcpListener,
    app: &Arc<App<S>>,
    settings: &Settings,
    graceful: &GracefulShutdown,
    signal: impl Future<Output = ()>,
) {
    let mut signal = std::pin::pin!(signal);
    let routes = router(Arc::clone(app));
    let connections_max = usize::try_from(settings.connections_max).unwrap_or(usize::MAX);
    let slots = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    // Not `pipeline_flush`: it keeps an answer back while the next request is only half here.
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Settings::duration_ms(settings.header_deadline_ms));
    loop {
        let accepted = tokio::select! {
            () = &mut signal => return,
            accepted = accept(listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else {
            continue;
        };
        let routes: Router = routes.clone();
        let service = service_fn(move |request| routes.clone().call(request));
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(slot);
        });
    }
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY was refused");
            }
            Some((stream, slot))
        }
        Err(error) => {
            tracing::warn!(%error, "accept failed");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
