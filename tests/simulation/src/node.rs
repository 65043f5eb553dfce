//! One simulated store: the real log, ledger and HTTP routes over a simulated disk, with a clock
//! that can be wrong, and the ways in which it dies and comes back.
//!
//! What production gives to threads (committing, preallocating, expiring, snapshots) is done here by
//! tasks that call the same functions. Nothing here may decide what those decide.

use std::sync::Arc;
use std::time::Duration;

use event_log::storage::sim::SimStorage;
use event_log::{Log, LogId, LogOptions, LogState, Retention};
use parking_lot::Mutex;
use shared::{StoreId, Timestamp};
use store_node::clock::SlewedTime;
use store_node::http::{App, AppOptions, LoadLimits, Now, router};
use store_node::ledger::{Ledger, LedgerOptions};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::book::Book;
use crate::dice::Dice;
use crate::network::{Life, Network};
use crate::rot::{self, Damage, Outcome};
use crate::signal::Signal;
use crate::trace::Trace;

/// Simulated time begins here: 2027-01-15T08:00:00Z.
pub const EPOCH_US: i64 = 1_800_000_000_000_000;
/// How long archived segments are kept, µs: 30 days, more than a run is long.
const ARCHIVE_KEEP_US: i64 = 30 * 24 * 3600 * 1_000_000;
/// How long a clean stop may wait for requests.
const DRAIN: Duration = Duration::from_secs(2);

/// How a node is set up.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The store.
    pub name: String,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Whether compaction archives or deletes.
    pub archive: bool,
    /// Between two snapshots with a compaction, ms; 0 = never.
    pub maintenance_ms: u64,
    /// The longest that a sync takes, ms.
    pub sync_ms: u64,
}

/// Why a node isn't running any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The power: what wasn't synced may be gone.
    PowerCut,
    /// The process: what was written is there.
    Kill,
    /// A clean end.
    Stop,
}

/// A store, running or not.
pub struct Node {
    /// Its set-up.
    pub options: NodeOptions,
    /// Its disk.
    pub disk: SimStorage,
    /// What its log has told, for ever.
    pub book: Book,
    /// When it couldn't write, by its own clock.
    pub obstacles_us: Arc<Mutex<Vec<i64>>>,
    /// How far its wall clock is wrong, µs.
    pub clock_error_us: Arc<Mutex<i64>>,
    network: Network,
    trace: Trace,
    dice: Dice,
    running: Option<Running>,
    began: Instant,
    boots: u64,
    damage: Option<Damage>,
}

struct Running {
    app: Arc<App<SimStorage>>,
    life: Signal<Life>,
    tasks: Vec<AbortHandle>,
}

impl Node {
    /// A store with an empty disk.
    pub fn new(options: NodeOptions, network: Network, trace: Trace, mut dice: Dice) -> Self {
        let disk = SimStorage::new(dice.number());
        let book = Book::new(&options.name);
        Self {
            options,
            disk,
            book,
            obstacles_us: Arc::default(),
            clock_error_us: Arc::default(),
            network,
            trace,
            dice,
            running: None,
            began: Instant::now(),
            boots: 0,
            damage: None,
        }
    }

    /// Whether a process runs (its disk may be dead, and it not know yet).
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether the running process has lost its disk or its log.
    pub fn is_failed(&self) -> bool {
        let Some(running) = &self.running else {
            return false;
        };
        let poisoned = matches!(running.app.log().status().state, LogState::Poisoned { .. });
        self.disk.is_off() || poisoned
    }

    /// The running process.
    pub fn app(&self) -> Option<&Arc<App<SimStorage>>> {
        self.running.as_ref().map(|running| &running.app)
    }

    /// Starts the process; an error is why it refused.
    pub fn start(&mut self) -> Result<(), String> {
        if self.disk.is_off() {
            self.disk = self.disk.crashed(self.dice.number());
        }
        self.boots += 1;
        let options = self.log_options();
        let log = Log::open(self.disk.clone(), options).map_err(|error| error.to_string())?;
        let last_logged = Timestamp::from_micros(log.tip().logged_at_us);
        let now = self.clock(last_logged)?;
        let store_id = StoreId::new(&self.options.name).map_err(|error| error.to_string())?;
        let opened = Ledger::open(
            Arc::clone(&log),
            store_id,
            LedgerOptions::default(),
            now(),
            &mut |_, _| (),
        );
        let (ledger, report) = opened.map_err(|error| error.to_string())?;
        self.trace.note(format_args!(
            "{} starts: seq {}, {} items, {} keys, digest {:032x}",
            self.options.name,
            log.last(),
            report.items,
            report.keys,
            report.digest
        ));
        self.obstacles_us.lock().push(now().as_micros());
        let app = App::new(ledger, now, self.app_options());
        let life = Signal::new(Life::Running);
        let routes = router(Arc::clone(&app));
        self.network.listen(&self.options.name, routes, life.clone(), self.disk.clone());
        let mut tasks = vec![
            tokio::spawn(commit(Arc::clone(&log), self.dice.fork(), self.options.sync_ms)),
            tokio::spawn(preallocate(Arc::clone(&log))),
            tokio::spawn(expire(Arc::clone(&app), Arc::clone(&self.obstacles_us))),
        ];
        if self.options.maintenance_ms > 0 {
            let (book, pause_ms) = (self.book.clone(), self.options.maintenance_ms);
            let trace = self.trace.clone();
            let dice = self.dice.fork();
            tasks.push(tokio::spawn(maintain(Arc::clone(&app), book, trace, dice, pause_ms)));
        }
        let tasks = tasks.iter().map(tokio::task::JoinHandle::abort_handle).collect();
        self.running = Some(Running { app, life, tasks });
        Ok(())
    }

    /// Ends the process.
    pub async fn end(&mut self, death: Death) {
        let Some(Running { app, life, tasks }) = self.running.take() else {
            return;
        };
        self.trace.note(format_args!("{} ends: {death:?}", self.options.name));
        let disk = self.disk.clone();
        match death {
            Death::Stop => {
                app.drain();
                let _drained = timeout(DRAIN, app.idle()).await;
                let closed = app.log().close();
                app.log_closed();
                if let Err(error) = closed {
                    self.trace.note(format_args!("{} closed badly: {error}", self.options.name));
                }
                self.disk = disk.fork();
            }
            Death::Kill => self.disk = disk.fork(),
            Death::PowerCut => self.disk = disk.crashed(self.dice.number()),
        }
        // Whatever still has a handle can do nothing with it.
        let _dark = disk.crash(0);
        let is_dark = death == Death::PowerCut && self.dice.chance(500);
        life.set(if is_dark { Life::Dark } else { Life::Ended });
        for task in tasks {
            task.abort();
        }
        tokio::task::yield_now().await;
    }

    /// Takes a snapshot; says whether there is a new one.
    pub async fn snapshot(&self) -> bool {
        let Some(running) = &self.running else {
            return false;
        };
        let made = snapshot(&running.app).await;
        self.trace.note(format_args!("{} takes a snapshot: {made:?}", self.options.name));
        made.is_ok()
    }

    /// Lets go what nobody needs any more.
    pub fn compact(&self) {
        if let Some(running) = &self.running {
            compact(&running.app, &self.trace);
        }
    }

    /// Bits rot while the machine is off; says whether the node refuses to open for it. An error is
    /// damage that nobody names.
    pub fn rot(&mut self) -> Result<bool, String> {
        let store = StoreId::new(&self.options.name).map_err(|error| error.to_string())?;
        let options = self.log_options();
        let outcome = rot::strike(&self.disk, &store, &options, &mut self.dice);
        self.trace.note(format_args!("{} rots: {outcome}", self.options.name));
        match outcome {
            Outcome::Nothing | Outcome::Harmless(_) => Ok(false),
            Outcome::Refused(copy) => {
                self.disk = copy;
                Ok(true)
            }
            Outcome::Limit(copy) => {
                self.disk = copy;
                Ok(false)
            }
            Outcome::Named(damage) => {
                self.book.set_damaged(true);
                self.network.set_damaged(&self.options.name, true);
                self.damage = Some(damage);
                Ok(false)
            }
            Outcome::Unnoticed(what) => Err(format!("{}: {what}", self.options.name)),
        }
    }

    /// Whether something of its log is damaged.
    pub fn is_damaged(&self) -> bool {
        self.damage.is_some()
    }

    /// The operator stops the node and repairs what is damaged.
    pub async fn repair(&mut self) {
        if self.damage.is_none() {
            return;
        }
        self.end(Death::Stop).await;
        if self.disk.is_off() {
            self.disk = self.disk.crashed(self.dice.number());
        }
        if let Some(damage) = self.damage.take() {
            self.trace.note(format_args!("{} repairs {}", self.options.name, damage.path));
            damage.repair(&self.disk);
        }
        self.book.set_damaged(false);
        self.network.set_damaged(&self.options.name, false);
    }

    /// Tells why it didn't start.
    pub fn note(&self, error: &str) {
        self.trace.note(format_args!("{} doesn't start: {error}", self.options.name));
    }

    /// Writes down what the log has made durable since the last time.
    pub fn tell(&self) {
        if let Some(running) = &self.running {
            self.book.catch_up(running.app.log());
        }
    }

    fn log_options(&mut self) -> LogOptions {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.dice.number().to_le_bytes());
        let now_us = self.wall_us();
        LogOptions {
            owner: self.options.name.as_bytes().to_vec(),
            segment_bytes: self.options.segment_bytes,
            alignment: Some(512),
            new_log_id: LogId::from_parts(now_us, random),
            epoch_random: self.dice.number(),
            opened_at_us: now_us,
            holder: format!("boot {}", self.boots),
            ..LogOptions::default()
        }
    }

    fn app_options(&mut self) -> AppOptions {
        AppOptions {
            reply_deadline: Duration::from_secs(3),
            body_deadline: Duration::from_secs(3),
            slow_request: Duration::from_hours(1),
            require_version: false,
            load: LoadLimits::default(),
            scrub_bytes_per_second: 0,
            drain_body_deadline: Duration::from_secs(1),
            retention: Retention {
                archive: self.options.archive,
                archive_keep_us: ARCHIVE_KEEP_US,
                snapshots_keep: 2,
                disk_budget_bytes: None,
            },
            request_id_seed: self.dice.number(),
            offloads: false,
        }
    }

    fn wall_us(&self) -> i64 {
        wall_us(self.began, *self.clock_error_us.lock())
    }

    fn clock(&self, last_logged: Timestamp) -> Result<Now, String> {
        let began = self.began;
        let error_us = Arc::clone(&self.clock_error_us);
        let wall = Timestamp::from_micros(self.wall_us());
        let boot_us = began.elapsed().as_micros() as i64;
        let time = SlewedTime::begin(last_logged, wall, boot_us, false)
            .map_err(|error| error.to_string())?;
        let time = Mutex::new(time);
        Ok(Arc::new(move || {
            let boot_us = began.elapsed().as_micros() as i64;
            time.lock().advance(boot_us, wall_us(began, *error_us.lock()))
        }))
    }
}

fn wall_us(began: Instant, error_us: i64) -> i64 {
    EPOCH_US + began.elapsed().as_micros() as i64 + error_us
}

/// The committer: one frame at a time, each as long as the disk takes; a checkpoint a second after
/// the last. Ends when the log does.
async fn commit(log: Arc<Log<SimStorage>>, mut dice: Dice, sync_ms: u64) {
    let mut checkpoint_at = Some(Instant::now() + Duration::from_secs(1));
    loop {
        sleep(Duration::from_millis(dice.between(1, sync_ms.max(1)))).await;
        let done = if log.durable() < log.last() {
            checkpoint_at = Some(Instant::now() + Duration::from_secs(1));
            log.commit_once()
        } else if checkpoint_at.is_some_and(|at| at <= Instant::now()) {
            checkpoint_at = None;
            log.checkpoint_once()
        } else {
            continue;
        };
        if done.is_err() {
            return;
        }
    }
}

/// The preallocator.
async fn preallocate(log: Arc<Log<SimStorage>>) {
    loop {
        let pause_ms = match log.preallocate_once() {
            Ok(true) => 1,
            Ok(false) => 10,
            Err(_) => 500,
        };
        sleep(Duration::from_millis(pause_ms)).await;
    }
}

/// What time asks for.
async fn expire(app: Arc<App<SimStorage>>, obstacles_us: Arc<Mutex<Vec<i64>>>) {
    loop {
        sleep(Duration::from_millis(250)).await;
        let now = app.now();
        if app.log().state() != LogState::Writable {
            obstacles_us.lock().push(now.as_micros());
        }
        app.ledger().sweep_expired(now);
        app.ledger().forget_expired_keys(now);
    }
}

/// A snapshot and a compaction, again and again.
async fn maintain(
    app: Arc<App<SimStorage>>,
    book: Book,
    trace: Trace,
    mut dice: Dice,
    pause_ms: u64,
) {
    loop {
        sleep(Duration::from_millis(dice.between(pause_ms / 2, pause_ms * 3 / 2))).await;
        match snapshot(&app).await {
            Ok(hi) => trace.note(format_args!("{} has a snapshot up to {hi}", app.store_id())),
            Err(error) => {
                trace.note(format_args!("{} has no snapshot: {error}", app.store_id()));
                continue;
            }
        }
        // What is deleted now must have been told before.
        if book.catch_up(app.log()) {
            compact(&app, &trace);
        }
    }
}

fn compact(app: &App<SimStorage>, trace: &Trace) {
    let now_us = app.now().as_micros();
    match app.log().compact(&app.options().retention, now_us, &mut event_log::go_on) {
        Ok(report) => trace.note(format_args!(
            "{} is compacted to {}, held by {:?}",
            app.store_id(),
            report.floor,
            report.floor_held_by
        )),
        Err(error) => trace.note(format_args!("{} isn't compacted: {error}", app.store_id())),
    }
}

async fn snapshot(app: &App<SimStorage>) -> Result<u64, String> {
    let drawn = app.ledger().draw_snapshot(app.now(), &mut event_log::go_on);
    let pending = drawn.map_err(|error| error.to_string())?;
    let hi = pending.hi();
    app.log().wait(hi).await.map_err(|error| error.to_string())?;
    pending.finish().map_err(|error| error.to_string())?;
    Ok(hi.get())
}
