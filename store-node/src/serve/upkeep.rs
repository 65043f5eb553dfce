//! The thread that does what time asks for: expire reservations, forget old keys, fold metrics,
//! take snapshots and compact, watch for a failed log. Each turn is bounded, and the thread ends when it is told to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use event_log::LogState;
use event_log::storage::Storage;

use crate::config::OnPoison;
use crate::http::App;

/// Between two turns.
const PAUSE: Duration = Duration::from_millis(250);
/// Metrics are folded and the log is looked at every so many turns.
const SLOW_TURNS: u64 = 4;
/// The exit code of a node whose log failed.
const EXIT_POISONED: i32 = 1;

/// The running thread.
pub(super) struct Upkeep {
    thread: JoinHandle<()>,
    stopping: Arc<AtomicBool>,
}

impl Upkeep {
    /// Starts the thread.
    ///
    /// A snapshot and a compaction follow every `snapshot_every_events` durable events; 0 = never.
    pub(super) fn start<S: Storage>(
        app: &Arc<App<S>>,
        on_poison: OnPoison,
        snapshot_every_events: u64,
    ) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let (app, stop) = (Arc::clone(app), Arc::clone(&stopping));
        let thread = std::thread::Builder::new().name("upkeep".to_owned()).spawn(move || {
            let mut turn = 0_u64;
            let mut poisoned = false;
            let mut covered = newest_snapshot(&app);
            // Who only looks shows what was, and changes nothing.
            let is_writer = app.log().read_only().is_none();
            while !stop.load(Ordering::Relaxed) {
                let now = app.now();
                if is_writer {
                    app.ledger().sweep_expired(now);
                    app.ledger().forget_expired_keys(now);
                }
                if turn.is_multiple_of(SLOW_TURNS) {
                    app.run_upkeep();
                    poisoned = watch(&app, on_poison, poisoned);
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
