//! Settings of `store-node serve`: defaults < `--config` file < environment (`STORE_NODE_…`) <
//! flags. A bad value is refused at start with the key's name; an unknown key too.

mod file_types;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use config::builder::DefaultState;
use config::{Config, ConfigBuilder, Environment, File, FileFormat, Map, Source};
use event_log::SEGMENT_BYTES_MAX;
use serde::{Deserialize, Serialize};
use shared::StoreId;
use thiserror::Error;

/// The environment's names begin so.
pub const ENVIRONMENT_PREFIX: &str = "STORE_NODE";
/// The fewest bytes of a segment.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// The longest deadline, in ms.
const DEADLINE_MS_MAX: u64 = 600_000;
/// The most idempotency keys that may be remembered.
const KEYS_MAX_MAX: u64 = 100_000_000;
/// The fastest scrub, in bytes a second.
const SCRUB_RATE_MAX: u64 = 1 << 40;
/// The longest time that anything is kept, in days.
const DAYS_MAX: u64 = 36_500;

/// Why the settings can't be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A source can't be read, or a value is of another type.
    #[error("{0}")]
    Source(String),
    /// A value is out of its range.
    #[error("{key}: {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// What to do when the log fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnPoison {
    /// Go on answering reads of what is durable.
    Stay,
    /// Leave with exit code 1, so that a supervisor starts the node again.
    Exit,
}

/// All settings, with their names in file and environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Settings {
    /// Which store this is.
    pub store_id: String,
    /// Where its log lives.
    pub data_dir: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Open the directory to look at it, however damaged: write nothing, refuse all writes.
    pub read_only: bool,
    /// Accept a wall clock that is more than 400 days ahead of the log.
    pub accept_clock: bool,
    /// Refuse changes of existing items without `If-Match` or `expectedVersion`.
    pub require_version: bool,
    /// Bytes of a segment: 1 MiB to 1 GiB.
    pub segment_bytes: u64,
    /// Free bytes below which the node takes no writes.
    pub disk_floor_bytes: u64,
    /// Idempotency keys that are remembered at most.
    pub keys_max: u64,
    /// How long they are remembered, in days.
    pub key_life_days: u64,
    /// How long archived segments are kept, in days; not shorter than the keys.
    pub archive_keep_days: u64,
    /// A snapshot and a compaction follow so many durable events; 0 = only by command.
    pub snapshot_every_events: u64,
    /// How many snapshots are kept.
    pub snapshots_keep: u64,
    /// Bytes on disk above which the slowest consumer is dropped; 0 = no limit.
    pub disk_budget_bytes: u64,
    /// How fast the background scrub reads what is on disk, in bytes a second; 0 = none, and one by
    /// command runs as fast as the disk gives.
    pub scrub_bytes_per_second: u64,
    /// How long the scrub rests between two rounds, in minutes.
    pub scrub_pause_minutes: u64,
    /// How long a reply waits for durability, in ms.
    pub reply_deadline_ms: u64,
    /// How long a request's head may take, in ms.
    pub header_deadline_ms: u64,
    /// How long a request's body may take, in ms.
    pub body_deadline_ms: u64,
    /// How long requests may go on after the first signal, in ms.
    pub drain_deadline_ms: u64,
    /// How long after the first signal a body may take to be complete, in ms.
    pub drain_body_deadline_ms: u64,
    /// Requests slower than this are logged, in ms.
    pub slow_request_ms: u64,
    /// Connections at a time; a few more are told to come back.
    pub connections_max: u64,
    /// Requests being worked on that are a full load: from 80 % on, what can wait is put off.
    pub requests_max: u64,
    /// Log streams at a time.
    pub log_streams_max: u64,
    /// Searches that run at a time; 0 = half of the cores.
    pub searches_max: u64,
    /// Searches that wait to run.
    pub searches_waiting_max: u64,
    /// Searches for a text may make an index of 24 bytes a SKU and keep it.
    pub text_index: bool,
    /// Lanes: threads that serve connections, each its own; 0 = one for each core.
    pub worker_threads: u64,
    /// How logs are written.
    pub log_format: LogFormat,
    /// Which logs are written: `info`, `debug`, or a filter such as `store_node=debug`.
    pub log_level: String,
    /// What to do when the log fails.
    pub on_poison: OnPoison,
}

/// The flags of `store-node serve`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// A TOML file with settings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the settings that would be used, and exit.
    #[arg(long)]
    pub print_config: bool,
    /// Which store this is.
    #[arg(long)]
    pub store_id: Option<String>,
    /// Where its log lives.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:4101]; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Open the directory to look at it, however damaged: write nothing, refuse all writes.
    #[arg(long)]
    pub read_only: bool,
    /// Accept a wall clock that is more than 400 days ahead of the log.
    #[arg(long)]
    pub accept_clock: bool,
    /// Refuse changes of existing items without If-Match or expectedVersion.
    #[arg(long)]
    pub require_version: bool,
    /// Bytes of a segment, 1048576 to 1073741824 [default: 67108864].
    #[arg(long, value_name = "BYTES")]
    pub segment_bytes: Option<u64>,
    /// How long a reply waits for durability [default: 10000].
    #[arg(long, value_name = "MS")]
    pub reply_deadline_ms: Option<u64>,
    /// How logs are written [default: json].
    #[arg(long)]
    pub log_format: Option<LogFormat>,
    /// Which logs are written [default: info].
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,
    /// What to do when the log fails [default: stay].
    #[arg(long)]
    pub on_poison: Option<OnPoison>,
}

macro_rules! defaults {
    ($($key:ident = $value:expr,)*) => {
        /// Keys that have a default, with it.
        fn with_defaults(
            mut builder: ConfigBuilder<DefaultState>,
        ) -> Result<ConfigBuilder<DefaultState>, config::ConfigError> {
            $(builder = builder.set_default(stringify!($key), $value)?;)*
            Ok(builder)
        }

        /// All keys.
        const KEYS: &[&str] = &["store_id", "data_dir", $(stringify!($key),)*];
    };
}

defaults! {
    listen = "127.0.0.1:4101",
    read_only = false,
    accept_clock = false,
    require_version = false,
    segment_bytes = 64_u64 << 20,
    disk_floor_bytes = 64_u64 << 20,
    keys_max = 5_000_000_u64,
    key_life_days = 30_u64,
    archive_keep_days = 400_u64,
    snapshot_every_events = 2_000_000_u64,
    snapshots_keep = 2_u64,
    disk_budget_bytes = 0_u64,
    scrub_bytes_per_second = 8_u64 << 20,
    scrub_pause_minutes = 1440_u64,
    reply_deadline_ms = 10_000_u64,
    header_deadline_ms = 10_000_u64,
    body_deadline_ms = 30_000_u64,
    drain_deadline_ms = 10_000_u64,
    drain_body_deadline_ms = 1_000_u64,
    slow_request_ms = 1000_u64,
    connections_max = 10_000_u64,
    requests_max = 5_000_u64,
    log_streams_max = 64_u64,
    searches_max = 0_u64,
    searches_waiting_max = 100_u64,
    text_index = true,
    worker_threads = 0_u64,
    log_format = "json",
    log_level = "info",
    on_poison = "stay",
}

impl Settings {
    /// Puts the settings together; `environment` is that of the process.
    pub fn load(
        args: &ServeArgs,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let source = |error: config::ConfigError| ConfigError::Source(error.to_string());
        let mut builder = with_defaults(Config::builder()).map_err(source)?;
        if let Some(path) = &args.config {
            let file = File::from(Path::new(path)).format(FileFormat::Toml);
            let values = file.collect().map_err(source)?;
            let defaults = builder.build_cloned().and_then(|all| all.collect()).map_err(source)?;
            file_types::check(&values, &defaults, KEYS)?;
            builder = builder.add_source(file);
        }
        let environment = known_variables(environment);
        builder = builder.add_source(
            Environment::with_prefix(ENVIRONMENT_PREFIX)
                .prefix_separator("_")
                .source(Some(environment)),
        );
        builder = with_flags(builder, args).map_err(source)?;
        let merged = builder.build().map_err(source)?;
        for key in ["store_id", "data_dir"] {
            if merged.get_string(key).is_err() {
                let problem = format!("is required: --{}", key.replace('_', "-"));
                return Err(ConfigError::Source(format!("{key} {problem}")));
            }
        }
        let settings: Self = merged.try_deserialize().map_err(source)?;
        settings.check()?;
        Ok(settings)
    }

    /// The store's id.
    pub fn parsed_store_id(&self) -> Result<StoreId, ConfigError> {
        StoreId::new(&self.store_id)
            .map_err(|error| ConfigError::Value { key: "store_id", problem: error.to_string() })
    }

    /// The settings as a file that `--config` takes.
    pub fn to_toml(&self) -> String {
        let Ok(serde_json::Value::Object(members)) = serde_json::to_value(self) else {
            return String::new();
        };
        let lines = members.into_iter().map(|(key, value)| format!("{key} = {value}\n"));
        lines.collect()
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.parsed_store_id()?;
        check_log_level(&self.log_level)?;
        let ranges = [
            ("segment_bytes", self.segment_bytes, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
            ("keys_max", self.keys_max, 1, KEYS_MAX_MAX),
            ("key_life_days", self.key_life_days, 1, DAYS_MAX),
            ("archive_keep_days", self.archive_keep_days, self.key_life_days, DAYS_MAX),
            ("snapshots_keep", self.snapshots_keep, 2, 1000),
            ("scrub_bytes_per_second", self.scrub_bytes_per_second, 0, SCRUB_RATE_MAX),
            ("scrub_pause_minutes", self.scrub_pause_minutes, 1, DAYS_MAX * 24 * 60),
            ("reply_deadline_ms", self.reply_deadline_ms, 1, DEADLINE_MS_MAX),
            ("header_deadline_ms", self.header_deadline_ms, 1, DEADLINE_MS_MAX),
            ("body_deadline_ms", self.body_deadline_ms, 1, DEADLINE_MS_MAX),
            ("drain_deadline_ms", self.drain_deadline_ms, 0, DEADLINE_MS_MAX),
            ("drain_body_deadline_ms", self.drain_body_deadline_ms, 0, DEADLINE_MS_MAX),
            ("connections_max", self.connections_max, 1, 1_000_000),
            ("requests_max", self.requests_max, 1, 1_000_000),
            ("log_streams_max", self.log_streams_max, 1, 100_000),
            ("searches_max", self.searches_max, 0, 1024),
            ("searches_waiting_max", self.searches_waiting_max, 0, 100_000),
            ("worker_threads", self.worker_threads, 0, 256),
        ];
        for (key, value, min, max) in ranges {
            if !(min..=max).contains(&value) {
                let problem = format!("must be {min} to {max}, is {value}");
                return Err(ConfigError::Value { key, problem });
            }
        }
        Ok(())
    }

    /// A setting in ms as a duration.
    pub fn duration_ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}

/// Refuses filters that would silently log nothing: a bare word that is no level is a target to
/// the logging crate.
fn check_log_level(filter: &str) -> Result<(), ConfigError> {
    let is_level = |word: &str| word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    let is_good = filter.split(',').all(|directive| match directive.trim().rsplit_once('=') {
        Some((target, level)) => !target.trim().is_empty() && is_level(level.trim()),
        None => !directive.trim().is_empty() && is_level(directive.trim()),
    });
    if is_good {
        return Ok(());
    }
    let problem = format!(
        "{filter:?} is not off, error, warn, info, debug or trace, nor target=level such as store_node=debug"
    );
    Err(ConfigError::Value { key: "log_level", problem })
}

/// The variables that name a key of ours; orchestrators set others with the same beginning.
fn known_variables(environment: impl Iterator<Item = (String, String)>) -> Map<String, String> {
    let is_known = |name: &str| {
        let key = name.strip_prefix(ENVIRONMENT_PREFIX).and_then(|rest| rest.strip_prefix('_'));
        key.is_some_and(|key| KEYS.contains(&key.to_ascii_lowercase().as_str()))
    };
    environment.filter(|(name, _)| is_known(name)).collect()
}

fn with_flags(
    builder: ConfigBuilder<DefaultState>,
    args: &ServeArgs,
) -> Result<ConfigBuilder<DefaultState>, config::ConfigError> {
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    let format = |format: LogFormat| match format {
        LogFormat::Json => "json",
        LogFormat::Text => "text",
    };
    let on_poison = |policy: OnPoison| match policy {
        OnPoison::Stay => "stay",
        OnPoison::Exit => "exit",
    };
    builder
        .set_override_option("store_id", args.store_id.clone())?
        .set_override_option("data_dir", args.data_dir.as_ref().map(path))?
        .set_override_option("listen", args.listen.clone())?
        .set_override_option("read_only", args.read_only.then_some(true))?
        .set_override_option("accept_clock", args.accept_clock.then_some(true))?
        .set_override_option("require_version", args.require_version.then_some(true))?
        .set_override_option("segment_bytes", args.segment_bytes)?
        .set_override_option("reply_deadline_ms", args.reply_deadline_ms)?
        .set_override_option("log_format", args.log_format.map(format))?
        .set_override_option("log_level", args.log_level.clone())?
        .set_override_option("on_poison", args.on_poison.map(on_poison))
}

#[cfg(test)]
mod tests;
