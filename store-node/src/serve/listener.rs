//! Connections: accept, serve, drain. A slow or idle peer must never hold more than its own
//! connection, and no acknowledged write is lost however the process ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use event_log::storage::Storage;
use futures_util::FutureExt;
use futures_util::future::Either;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;
use tower::Service;

use super::connections::Connections;
use super::heads::{Activity, HeadStream, Wording};
use super::lanes::{LaneWork, Lanes};
use crate::config::Settings;
use crate::http::{App, refuse_head, refuse_overflow, word_refusal};

/// How long to wait after the system refused a connection (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long streams may take to deliver the tail once the log is closed.
const TAIL_DEADLINE: Duration = Duration::from_secs(5);
/// Connections over the bound that are told so at a time; more wait in the system's queue.
const OVERFLOW_CONNECTIONS_MAX: usize = 64;
/// How long one of them may take.
const OVERFLOW_DEADLINE: Duration = Duration::from_secs(2);
/// Between two looks at the load.
const SAMPLE_PAUSE: Duration = Duration::from_millis(20);
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
/// their deadline; bodies that aren't complete have a shorter one), the log closes, connections that
/// only wait for the rest of a head are closed, streams deliver the tail.
pub(super) async fn serve<S: Storage>(
    listener: TcpListener,
    server: Server<S>,
    app: Arc<App<S>>,
    settings: &Settings,
) -> io::Result<()> {
    let mut signals = Signals::new()?;
    let lanes = server.lanes.work();
    let sampling = tokio::spawn(sample(Arc::clone(&app), Arc::clone(&server.connections), lanes));
    accept_until(&listener, &server, signals.next()).await;
    drop(listener);
    tracing::info!("leaving: a second signal leaves at once");
    tokio::spawn(async move {
        signals.next().await;
        tracing::warn!("second signal: leaving at once");
        std::process::exit(EXIT_SECOND_SIGNAL);
    });
    app.drain();
    let connections = Arc::clone(&server.connections);
    let shutdown = tokio::spawn(server.graceful.shutdown());
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
    let half_heads = connections.close_half_heads();
    tracing::debug!(half_heads, "requests whose head was not complete were dropped");
    if tokio::time::timeout(TAIL_DEADLINE, shutdown).await.is_err() {
        tracing::warn!("connections were still open at the deadline");
    }
    let lanes = server.lanes;
    if tokio::task::spawn_blocking(move || lanes.end()).await.is_err() {
        tracing::error!("ending the lanes panicked");
    }
    sampling.abort();
    Ok(())
}

/// Looks at what is measured and not counted, again and again.
async fn sample<S: Storage>(
    app: Arc<App<S>>,
    connections: Arc<Connections>,
    lanes: Vec<Arc<LaneWork>>,
) {
    let mut ticks = tokio::time::interval(SAMPLE_PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        app.sample_load();
        app.note_connections(connections.count());
        for work in &lanes {
            work.sample();
        }
    }
}

/// Accepts and serves connections until the signal.
async fn accept_until<S: Storage>(
    listener: &TcpListener,
    server: &Server<S>,
    signal: impl Future<Output = ()>,
) {
    let mut signal = std::pin::pin!(signal);
    loop {
        let accepted = tokio::select! {
            () = &mut signal => return,
            accepted = server.accept(listener) => accepted,
        };
        if let Some((stream, place)) = accepted {
            server.serve(stream, place);
        }
    }
}

/// Why a connection is let in.
enum Place {
    /// There is room.
    Usual(OwnedSemaphorePermit),
    /// There is none: it is told so, and health is answered.
    Overflow(OwnedSemaphorePermit),
}

/// What connections are accepted and served with.
pub(super) struct Server<S: Storage> {
    lanes: Lanes<S>,
    usual: http1::Builder,
    overflow: http1::Builder,
    graceful: GracefulShutdown,
    connections: Arc<Connections>,
    wording: Wording,
    places: Arc<Semaphore>,
    overflow_places: Arc<Semaphore>,
}

impl<S: Storage> Server<S> {
    /// Starts the lanes.
    pub(super) fn new(app: &Arc<App<S>>, settings: &Settings) -> io::Result<Self> {
        // Not `pipeline_flush`: it keeps an answer back while the next request is only half here.
        let builder = |header_deadline: Duration| {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(header_deadline);
            builder
        };
        let mut overflow = builder(OVERFLOW_DEADLINE);
        overflow.keep_alive(false);
        let connections_max = usize::try_from(settings.connections_max).unwrap_or(usize::MAX);
        let wording_app = Arc::clone(app);
        Ok(Self {
            lanes: Lanes::start(app, lanes_of(settings))?,
            usual: builder(Settings::duration_ms(settings.header_deadline_ms)),
            overflow,
            graceful: GracefulShutdown::new(),
            connections: Arc::new(Connections::default()),
            wording: Arc::new(move |code| word_refusal(&wording_app, code)),
            places: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
            overflow_places: Arc::new(Semaphore::new(OVERFLOW_CONNECTIONS_MAX)),
        })
    }

    /// The next connection, once there is room to serve it or at least to refuse it.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, Place)> {
        let overflow = Arc::clone(&self.overflow_places).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY was refused");
                }
                let usual = Arc::clone(&self.places).try_acquire_owned();
                Some((stream, usual.map_or(Place::Overflow(overflow), Place::Usual)))
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }

    /// Serves a connection in a task of its own, on the lane that has the least to do.
    fn serve(&self, stream: TcpStream, place: Place) {
        let lane = self.lanes.quietest(self.connections.count());
        let stream = match lane.adopt(stream) {
            Ok(adopted) => adopted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be handed to its lane");
                return;
            }
        };
        let activity = Arc::new(Activity::default());
        let stream = HeadStream::new(stream, Arc::clone(&activity), Arc::clone(&self.wording));
        let (builder, permit, is_overflow) = match place {
            Place::Usual(permit) => (&self.usual, permit, false),
            Place::Overflow(permit) => (&self.overflow, permit, true),
        };
        let (app, routes, busy) =
            (Arc::clone(&lane.app), lane.routes.clone(), Arc::clone(&activity));
        let work = Arc::clone(&lane.work);
        let service = service_fn(move |request| {
            busy.begin();
            work.begin();
            let refusal = refuse_head(&app, &request)
                .or_else(|| is_overflow.then(|| refuse_overflow(&app, &request)).flatten());
            let answer = match refusal {
                Some(refusal) => Either::Left(std::future::ready(Ok(refusal))),
                None => Either::Right(routes.clone().call(request)),
            };
            let busy = Arc::clone(&busy);
            answer.inspect(move |_| busy.end())
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = self.graceful.watch(connection);
        let entry = self.connections.enter(activity);
        let number = entry.number();
        let task = lane.runtime.spawn(async move {
            let ended = if is_overflow {
                tokio::time::timeout(OVERFLOW_DEADLINE, connection).await.unwrap_or(Ok(()))
            } else {
                connection.await
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
            drop((entry, permit));
        });
        self.connections.set_task(number, task.abort_handle());
    }
}

/// One for each core, unless the settings say otherwise.
fn lanes_of(settings: &Settings) -> usize {
    match usize::try_from(settings.worker_threads) {
        Ok(threads @ 1..) => threads,
        _ => crate::cores(),
    }
}
