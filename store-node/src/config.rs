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
    /// How many bytes a second the background scrub reads; 0 = none, and one by command at full speed.
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
    /// Threads of the HTTP side; 0 = one for each core.
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
            ("worker_threads", self.worker_threads, 0, 1024),
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
mod tests {
    use super::*;

    fn flags() -> ServeArgs {
        ServeArgs {
            store_id: Some("store-a".to_owned()),
            data_dir: Some("/data".into()),
            ..ServeArgs::default()
        }
    }

    fn load(args: &ServeArgs, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let pairs = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Settings::load(args, pairs)
    }

    #[test]
    fn later_sources_win() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        std::fs::write(&file, "listen = \"127.0.0.1:1\"\nkeys_max = 7\nsnapshots_keep = 3\n")
            .unwrap();
        let args =
            ServeArgs { config: Some(file), listen: Some("127.0.0.1:3".to_owned()), ..flags() };
        let environment = [
            ("STORE_NODE_LISTEN", "127.0.0.1:2"),
            ("STORE_NODE_KEYS_MAX", "8"),
            ("STORE_NODE_SERVICE_HOST", "10.0.0.1"),
            ("OTHER", "x"),
        ];
        let settings = load(&args, &environment).unwrap();
        assert_eq!(settings.listen.port(), 3);
        assert_eq!(settings.keys_max, 8);
        assert_eq!(settings.snapshots_keep, 3);
        assert_eq!(settings.segment_bytes, 64 << 20);
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        let cases = [
            ("STORE_NODE_LISTEN", "here", "listen"),
            ("STORE_NODE_KEYS_MAX", "many", "keys_max"),
            ("STORE_NODE_KEYS_MAX", "0", "keys_max"),
            ("STORE_NODE_KEYS_MAX", "-1", "keys_max"),
            ("STORE_NODE_ARCHIVE_KEEP_DAYS", "29", "archive_keep_days"),
            ("STORE_NODE_SEGMENT_BYTES", "1048575", "segment_bytes: must be 1048576 to 1073741824"),
            ("STORE_NODE_SEGMENT_BYTES", "1073741825", "to 1073741824, is 1073741825"),
            ("STORE_NODE_LOG_FORMAT", "xml", "log_format"),
            ("STORE_NODE_READ_ONLY", "perhaps", "read_only"),
            ("STORE_NODE_KEYS_MAX", "1e6", "keys_max"),
            ("STORE_NODE_LOG_LEVEL", "loud", "log_level"),
            ("STORE_NODE_LOG_LEVEL", "info,store_node=loud", "log_level"),
            ("STORE_NODE_LOG_LEVEL", "", "log_level"),
        ];
        for (name, value, key) in cases {
            let error = load(&flags(), &[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(key), "{name}={value}: {error}");
        }
        assert!(load(&flags(), &[("STORE_NODE_SEGMENT_BYTES", "1073741824")]).is_ok());
        let nameless = ServeArgs { store_id: Some("a b".to_owned()), ..flags() };
        assert!(load(&nameless, &[]).unwrap_err().to_string().contains("store_id"));
        let missing = ServeArgs { data_dir: None, ..flags() };
        assert!(load(&missing, &[]).unwrap_err().to_string().contains("data_dir"));
    }

    #[test]
    fn texts_of_the_environment_stay_texts() {
        let args = ServeArgs::default();
        let environment = [
            ("STORE_NODE_STORE_ID", "007"),
            ("STORE_NODE_DATA_DIR", "1e3"),
            ("STORE_NODE_REQUIRE_VERSION", "true"),
            ("STORE_NODE_READ_ONLY", "1"),
            ("STORE_NODE_LOG_LEVEL", "warn,store_node=debug"),
        ];
        let settings = load(&args, &environment).unwrap();
        assert_eq!(settings.store_id, "007");
        assert_eq!(settings.data_dir, Path::new("1e3"));
        assert!(settings.require_version && settings.read_only);
    }

    /// What a file with this text is refused with.
    fn refused_file(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        std::fs::write(&file, text).unwrap();
        let args = ServeArgs { config: Some(file), ..ServeArgs::default() };
        let outcome = load(&args, &[("STORE_NODE_STORE_ID", "a"), ("STORE_NODE_DATA_DIR", "d")]);
        outcome.expect_err(text).to_string()
    }

    #[test]
    fn unknown_keys_of_the_file_are_refused() {
        assert!(refused_file("lissten = \"127.0.0.1:1\"\n").contains("lissten"));
    }

    #[test]
    fn values_of_the_file_are_of_their_keys_type() {
        let cases = [
            (
                "keys_max = 1.5",
                "keys_max: must be a whole number, is a number with a fraction (1.5)",
            ),
            ("keys_max = 2.0", "keys_max: must be a whole number, is a number with a fraction (2)"),
            ("keys_max = \"7\"", "keys_max: must be a whole number, is the text \"7\""),
            ("keys_max = true", "keys_max: must be a whole number, is true"),
            ("data_dir = 5", "data_dir: must be a text, is 5"),
            ("store_id = 7", "store_id: must be a text, is 7"),
            ("store_id = [\"a\"]", "store_id: must be a text, is a list"),
            ("log_level = true", "log_level: must be a text, is true"),
            ("read_only = 1", "read_only: must be true or false, is 1"),
            ("read_only = \"yes\"", "read_only: must be true or false, is the text \"yes\""),
            ("[listen]\nport = 1", "listen: must be a text, is a table"),
        ];
        for (text, problem) in cases {
            assert_eq!(refused_file(text), problem, "{text}");
        }
        assert!(refused_file("keys_max = -1").contains("keys_max"));
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let settings = load(&flags(), &[]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        std::fs::write(&file, settings.to_toml()).unwrap();
        let args = ServeArgs { config: Some(file), ..ServeArgs::default() };
        assert_eq!(load(&args, &[]).unwrap(), settings);
    }
}
