//! The thread that does what time asks for: expire reservations, forget old keys, fold metrics,
//! take snapshots and compact, watch for a failed log. Each turn is bounded, and the thread ends when it is told to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use event_log::LogState;
use event_log::storage::Storage;

use crate::config::{OnPoison, Settings};
use crate::http::App;

/// Between two turns.
const PAUSE: Duration = Duration::from_millis(250);
/// Metrics are folded and the log is looked at every so many turns.
const SLOW_TURNS: u64 = 4;
/// The exit code of a node whose log failed.
const EXIT_POISONED: i32 = 1;

/// Memory that is free is given back to the system so long after the start, when the allocator
/// (which keeps it for a second) lets go of what recovery needed, and then so often.
const GIVE_BACK_AFTER: Duration = Duration::from_millis(1500);
const GIVE_BACK_EVERY: Duration = Duration::from_mins(1);

/// How long after its start a node begins the first round of its scrub.
const FIRST_SCRUB_AFTER: Duration = Duration::from_mins(1);

/// What the thread does besides expiring and forgetting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Duties {
    on_poison: OnPoison,
    /// A snapshot and a compaction follow so many durable events; 0 = never.
    snapshot_every_events: u64,
    /// The scrub rests so long between two rounds; none = no scrub.
    scrub_pause: Option<Duration>,
}

impl Duties {
    /// As the settings say.
    pub(super) fn of(settings: &Settings) -> Self {
        let pause = Duration::from_secs(settings.scrub_pause_minutes.saturating_mul(60));
        Self {
            on_poison: settings.on_poison,
            snapshot_every_events: settings.snapshot_every_events,
            scrub_pause: (settings.scrub_bytes_per_second > 0).then_some(pause),
        }
    }
}

/// The running thread.
pub(super) struct Upkeep {
    thread: JoinHandle<()>,
    stopping: Arc<AtomicBool>,
}

impl Upkeep {
    /// Starts the thread.
    pub(super) fn start<S: Storage>(app: &Arc<App<S>>, duties: Duties) -> io::Result<Self> {
        let Duties { on_poison, snapshot_every_events, scrub_pause } = duties;
        let stopping = Arc::new(AtomicBool::new(false));
        let (app, stop) = (Arc::clone(app), Arc::clone(&stopping));
        let thread = std::thread::Builder::new().name("upkeep".to_owned()).spawn(move || {
            let mut turn = 0_u64;
            let (mut poisoned, mut short) = (false, false);
            let mut covered = newest_snapshot(&app);
            // Who only looks shows what was, and changes nothing.
            let is_writer = app.log().read_only().is_none();
            let mut scrub_at =
                scrub_pause.map(|pause| Instant::now() + pause.min(FIRST_SCRUB_AFTER));
            let mut give_back_at = Instant::now() + GIVE_BACK_AFTER;
            while !stop.load(Ordering::Relaxed) {
                let now = app.now();
                short = tell_shortage(&app, short);
                if give_back_at <= Instant::now() {
                    give_back_at = Instant::now() + GIVE_BACK_EVERY;
                    give_back();
                }
                if is_writer {
                    app.ledger().sweep_expired(now);
                    app.ledger().forget_expired_keys(now);
                }
                if turn.is_multiple_of(SLOW_TURNS) {
                    app.run_upkeep();
                    poisoned = watch(&app, on_poison, poisoned);
                    scrub_at = scrub(&app, scrub_at, scrub_pause);
                    let durable = app.log().durable().get();
                    let due = is_writer
                        && snapshot_every_events > 0
                        && durable.saturating_sub(covered) >= snapshot_every_events;
                    if due && !poisoned && app.start_maintenance() {
                        covered = durable;
                    }
                }
                turn += 1;
                std::thread::park_timeout(PAUSE);
            }
        })?;
        Ok(Self { thread, stopping })
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the upkeep thread panicked");
        }
    }
}

/// Says once that the log can't prepare room; returns whether that is so. Until the room that is
/// left is used up, nobody else would notice.
fn tell_shortage<S: Storage>(app: &App<S>, known: bool) -> bool {
    let shortage = app.log().shortage();
    match &shortage {
        Some(reason) if !known => tracing::error!(
            reason,
            "no segment can be made ready: writes end when the room that is left is used up"
        ),
        None if known => tracing::info!("segments can be made ready again"),
        _ => {}
    }
    shortage.is_some()
}

/// Lets the allocator give back what has been free for a second. It does so when a thread ends or
/// lets go of a page; a node that nobody asks anything does neither, and would keep for ever what
/// its opening needed.
fn give_back() {
    let thread = std::thread::Builder::new().name("give-back".to_owned());
    let ended =
        thread.spawn(|| drop(std::hint::black_box(vec![0_u8; 1 << 10]))).map(JoinHandle::join);
    if !matches!(ended, Ok(Ok(()))) {
        tracing::warn!("no thread to give memory back with");
    }
}

/// Starts a round of the scrub when its time has come; answers when the next one's is, which moves
/// as long as a round runs.
fn scrub<S: Storage>(
    app: &Arc<App<S>>,
    at: Option<Instant>,
    pause: Option<Duration>,
) -> Option<Instant> {
    let now = Instant::now();
    let is_due = at.is_some_and(|at| at <= now) && !app.is_draining();
    if app.is_scrubbing() || (is_due && app.start_scrub()) {
        return pause.and_then(|pause| now.checked_add(pause));
    }
    at
}

/// Says once that the log failed, and leaves if that is the policy; returns whether it failed.
fn watch<S: Storage>(app: &App<S>, on_poison: OnPoison, known: bool) -> bool {
    let LogState::Poisoned { reason } = app.log().status().state else {
        return false;
    };
    if !known {
        tracing::error!(reason, "the log failed: no writes until a restart");
    }
    match on_poison {
        OnPoison::Stay => true,
        OnPoison::Exit => {
            tracing::error!("leaving, as --on-poison says");
            std::process::exit(EXIT_POISONED);
        }
    }
}

/// What the newest valid snapshot covers; nothing where none can be read.
fn newest_snapshot<S: Storage>(app: &App<S>) -> u64 {
    app.log().latest_snapshot().ok().flatten().map_or(0, |info| info.hi().get())
}
