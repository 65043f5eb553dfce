//! `aggregator serve`: puts everything together, and takes it apart again when told to. Nothing is
//! decided here.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use event_log::storage::Storage;
use event_log::storage::disk::DiskStorage;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock;
use crate::config::{ConfigError, LogFormat, ServeArgs, Settings};
use crate::http::{ApiState, router, server};
use crate::hub::{Hub, HubParts, StoreSpec};
use crate::source::NodeSource;
use crate::source::http::HttpOptions;
use crate::view::MemoryView;

/// Exit codes besides success and usage (docs/runbook.md).
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const LOCKED: u8 = 4;
/// The lock file of a data directory.
const LOCK_FILE: &str = "LOCK";
/// How long workers may take to save when the process ends.
const SAVE_PATIENCE: Duration = Duration::from_mins(1);
/// How often the metrics' histograms are swept.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Serves until a signal; returns the exit code.
pub fn run(args: &ServeArgs) -> ExitCode {
    let settings = match Settings::load(args, std::env::vars()) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("aggregator: {error}");
            return ExitCode::from(USAGE);
        }
    };
    if args.print_config {
        print!("{}", settings.to_toml());
        return ExitCode::SUCCESS;
    }
    if let Err(error) = start_logging(&settings) {
        eprintln!("aggregator: {error}");
        return ExitCode::from(USAGE);
    }
    let storage = DiskStorage::new(settings.data_dir.clone());
    let holder = format!("aggregator, process {}", std::process::id());
    let locked = storage.create_dir("").and_then(|()| storage.try_lock(LOCK_FILE, &holder));
    let _lock = match locked {
        Ok(Ok(lock)) => lock,
        Ok(Err(holder)) => {
            eprintln!("aggregator: {} is used by {holder}", settings.data_dir.display());
            return ExitCode::from(LOCKED);
        }
        Err(error) => {
            eprintln!("aggregator: {}: {error}", settings.data_dir.display());
            return ExitCode::from(FAILED);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let served = runtime
        .context("no threads")
        .and_then(|runtime| runtime.block_on(serve(&settings, args, storage)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "ended");
            eprintln!("aggregator: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

async fn serve(settings: &Settings, args: &ServeArgs, storage: DiskStorage) -> anyhow::Result<()> {
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("listen on {}", settings.listen))?;
    let metrics = PrometheusBuilder::new().install_recorder().context("metrics")?;
    let hub = Hub::start(
        HubParts {
            view: MemoryView::default(),
            storage,
            clock: clock::system(),
            options: settings.worker_options(),
            source_of: source_of(settings.consumer.clone(), settings.http_options()),
        },
        &settings.specs()?,
    )
    .context("load the saved view")?;
    let address = listener.local_addr().context("the listener's address")?;
    tracing::info!(%address, stores = hub.stores().len(), "serving");
    println!("listening on http://{address}");
    let timeout = Duration::from_millis(settings.request_timeout_ms);
    let state = ApiState::new(hub.clone(), Some(metrics.clone()), timeout);
    let (stop, stopped) = watch::channel(false);
    let drain = Duration::from_millis(settings.drain_deadline_ms);
    let server = tokio::spawn(server::serve(listener, router(state.clone()), stopped, drain));
    tokio::spawn(sweep(metrics));
    until_told_to_stop(&hub, args).await?;
    tracing::info!("stopping");
    state.leave();
    stop.send_replace(true);
    let end = async {
        let is_drained = server.await.unwrap_or(false);
        let is_saved = hub.stop(SAVE_PATIENCE).await;
        tracing::info!(is_drained, is_saved, "stopped");
    };
    // A second signal leaves at once: what was acknowledged to nodes is on disk already.
    tokio::select! {
        () = end => {}
        told = told_to_stop() => told?,
    }
    Ok(())
}

/// Waits for SIGTERM or SIGINT; SIGHUP reads the configuration again on the way.
async fn until_told_to_stop(hub: &Arc<Hub>, args: &ServeArgs) -> anyhow::Result<()> {
    let mut reload = signal(SignalKind::hangup()).context("SIGHUP")?;
    loop {
        tokio::select! {
            told = told_to_stop() => return told,
            _ = reload.recv() => match reloaded(args) {
                Ok(specs) => {
                    tracing::info!(stores = specs.len(), "configuration read again");
                    hub.reconcile(&specs).await;
                }
                Err(error) => tracing::error!(%error, "configuration refused, the former one stays"),
            },
        }
    }
}

fn reloaded(args: &ServeArgs) -> Result<Vec<StoreSpec>, ConfigError> {
    Settings::load(args, std::env::vars())?.specs()
}

async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn source_of(consumer: String, options: HttpOptions) -> crate::hub::SourceOf<NodeSource> {
    Arc::new(move |spec: &StoreSpec| NodeSource::at(&spec.url, &consumer, options))
}

async fn sweep(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP_INTERVAL).await;
        metrics.run_upkeep();
    }
}

fn start_logging(settings: &Settings) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(&settings.log_level).map_err(|error| ConfigError::Value {
        key: "log_level".to_owned(),
        problem: error.to_string(),
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
        LogFormat::Text => registry.with(layer).init(),
    }
    Ok(())
}
