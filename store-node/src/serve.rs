//! `store-node serve`: the composition root. It opens storage, log, clock and ledger, starts the
//! threads, listens, and takes everything down again in order. Decisions belong elsewhere.

mod connections;
mod heads;
mod lanes;
mod listener;
pub mod logging;
mod upkeep;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use event_log::storage::Storage;
use event_log::storage::disk::DiskStorage;
use event_log::{Log, LogOptions, Retention};
use shared::{StoreId, Timestamp};
use tokio::net::{TcpListener, TcpSocket};

use crate::clock::LoggedClock;
use crate::config::{ServeArgs, Settings};
use crate::http::{App, AppOptions, BATCH_STREAMS_MAX, LoadLimits, Now, SNAPSHOT_DOWNLOADS_MAX};
use crate::ledger::{Ledger, LedgerOptions};
use crate::ops::store::{ledger_error, log_options, open_error, require_log};
use crate::ops::{EXIT_USAGE, OpError};

use listener::Server;
use std::process::ExitCode;
use upkeep::{Duties, Upkeep};

const DAY_US: i64 = 24 * 3600 * 1_000_000;
/// How many connections may wait to be accepted (the system may have a lower bound).
const UNACCEPTED_MAX: u32 = 4096;

/// Runs the command.
pub fn run(args: &ServeArgs) -> Result<ExitCode, OpError> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let settings = match Settings::load(args, environment) {
        Ok(settings) => settings,
        Err(error) => return Err(OpError::Usage(error.to_string())),
    };
    if args.print_config {
        let _ = std::io::stdout().write_all(settings.to_toml().as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    if let Err(error) = logging::start(settings.log_format, &settings.log_level) {
        eprintln!("error: {error}");
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    let app = open(&settings)?;
    let upkeep = Upkeep::start(&app, Duties::of(&settings)).map_err(OpError::failed)?;
    let served = listen(&app, &settings);
    upkeep.stop();
    served.map(|()| ExitCode::SUCCESS)
}

/// Opens everything below HTTP.
fn open(settings: &Settings) -> Result<Arc<App<DiskStorage>>, OpError> {
    let store_id = settings.parsed_store_id().map_err(|error| OpError::Usage(error.to_string()))?;
    let log = open_log(settings, &store_id)?;
    let last_logged = Timestamp::from_micros(log.tip().logged_at_us);
    // An old directory may be looked at; nothing is measured by its clock.
    let accept_any = settings.accept_clock || settings.read_only;
    let clock = LoggedClock::open(last_logged, accept_any).map_err(OpError::failed)?;
    let ledger_options = LedgerOptions {
        keys_max: usize::try_from(settings.keys_max).unwrap_or(usize::MAX),
        key_life_us: settings.key_life_days as i64 * DAY_US,
        text_index: settings.text_index,
    };
    let mut told = std::time::Instant::now();
    let progress = &mut |done: u64, total: u64| {
        if told.elapsed().as_secs() >= 1 {
            told = std::time::Instant::now();
            tracing::info!(done, total, "recovering");
        }
    };
    let opened =
        Ledger::open(Arc::clone(&log), store_id.clone(), ledger_options, clock.now(), progress);
    let (ledger, report) = opened.map_err(ledger_error)?;
    tracing::info!(
        %store_id,
        log_id = %log.log_id(),
        items = report.items,
        keys = report.keys,
        last_seq = log.last().get(),
        digest = format!("{:032x}", report.digest),
        "recovered"
    );
    log.start().map_err(OpError::failed)?;
    let now: Now = Arc::new(move || clock.now());
    Ok(App::new(ledger, now, app_options(settings)))
}

fn open_log(settings: &Settings, store_id: &StoreId) -> Result<Arc<Log<DiskStorage>>, OpError> {
    let data_dir = &settings.data_dir;
    let storage = DiskStorage::new(data_dir.clone());
    let options = LogOptions {
        segment_bytes: settings.segment_bytes,
        disk_floor_bytes: settings.disk_floor_bytes,
        ..log_options(store_id)
    };
    if !settings.read_only {
        create_data_dir(data_dir)?;
        let log = Log::open(storage, options).map_err(open_error(data_dir))?;
        warn_of_leftovers(&log);
        return Ok(log);
    }
    require_log(data_dir)?;
    let log = Log::open_read_only(storage, options).map_err(open_error(data_dir))?;
    if let Some(opening) = log.read_only() {
        tracing::warn!("{opening}");
        for damage in &opening.damages {
            tracing::error!(%damage, "the log is damaged");
        }
    }
    warn_of_leftovers(&log);
    Ok(log)
}

fn warn_of_leftovers(log: &Log<DiskStorage>) {
    for leftover in log.leftovers() {
        tracing::warn!("{leftover}; compaction removes it");
    }
}

fn app_options(settings: &Settings) -> AppOptions {
    AppOptions {
        reply_deadline: Settings::duration_ms(settings.reply_deadline_ms),
        body_deadline: Settings::duration_ms(settings.body_deadline_ms),
        drain_body_deadline: Settings::duration_ms(settings.drain_body_deadline_ms),
        slow_request: Settings::duration_ms(settings.slow_request_ms),
        require_version: settings.require_version,
        load: load_limits(settings),
        retention: Retention {
            archive: true,
            archive_keep_us: settings.archive_keep_days as i64 * DAY_US,
            snapshots_keep: usize::try_from(settings.snapshots_keep).unwrap_or(usize::MAX),
            disk_budget_bytes: Some(settings.disk_budget_bytes).filter(|bytes| *bytes > 0),
        },
        scrub_bytes_per_second: settings.scrub_bytes_per_second,
        request_id_seed: uuid::Uuid::now_v7().as_u64_pair().1,
        offloads: true,
    }
}

fn load_limits(settings: &Settings) -> LoadLimits {
    let count = |setting: u64| usize::try_from(setting).unwrap_or(usize::MAX);
    LoadLimits {
        requests_max: count(settings.requests_max),
        log_streams_max: count(settings.log_streams_max),
        snapshot_downloads_max: SNAPSHOT_DOWNLOADS_MAX,
        batch_streams_max: BATCH_STREAMS_MAX,
        searches_max: match count(settings.searches_max) {
            0 => (crate::cores() / 2).max(1),
            searches => searches,
        },
        searches_waiting_max: count(settings.searches_waiting_max),
    }
}

fn create_data_dir(data_dir: &Path) -> Result<(), OpError> {
    std::fs::create_dir_all(data_dir)
        .map_err(|error| OpError::Failed(format!("data_dir: {}: {error}", data_dir.display())))
}

/// Listens until a signal ends it.
fn listen<S: Storage>(app: &Arc<App<S>>, settings: &Settings) -> Result<(), OpError> {
    // Requests are answered on lanes; here connections are accepted, and signals heard.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(OpError::failed)?;
    runtime.block_on(async {
        let server = Server::new(app, settings).map_err(OpError::failed)?;
        let listener = bind(settings.listen)
            .map_err(|error| OpError::Failed(format!("listen: {}: {error}", settings.listen)))?;
        let address = listener.local_addr().map_err(OpError::failed)?;
        tracing::info!(%address, "listening");
        let mut stdout = std::io::stdout();
        let _ = writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush());
        listener::serve(listener, server, Arc::clone(app), settings).await.map_err(OpError::failed)
    })
}

/// Listens with a queue that takes a burst of callers: one that finds it full waits a second.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(UNACCEPTED_MAX)
}
