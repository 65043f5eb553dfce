//! Settings of `aggregator serve`: defaults < `--config` file (with `[[store]]`) < environment
//! (`AGGREGATOR_…`) < flags. A bad value is refused at start with the key's name; an unknown key of
//! the file too.

mod file_types;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use config::builder::DefaultState;
use config::{Config, ConfigBuilder, Environment, File, FileFormat, Map, Source};
use serde::{Deserialize, Serialize};
use shared::StoreId;
use thiserror::Error;

use crate::address::NodeAddress;
use crate::hub::{STORES_MAX, StoreSpec};
use crate::registry::NAME_BYTES_MAX;
use crate::source::http::HttpOptions;
use crate::sync_worker::WorkerOptions;
use crate::timezone::TimeZoneName;

/// The environment's names begin so.
pub const ENVIRONMENT_PREFIX: &str = "AGGREGATOR";
/// The longest time of any kind, in ms.
const MS_MAX: u64 = 3_600_000;
/// The longest name under which nodes know an aggregator, in bytes.
const CONSUMER_BYTES_MAX: usize = 64;

/// Why the settings can't be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A source can't be read, a key is unknown, or a value is of another type.
    #[error("{0}")]
    Source(String),
    /// A value breaks a rule.
    #[error("{key}: {problem}")]
    Value {
        /// The key.
        key: String,
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

/// A `[[store]]` of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSetting {
    /// Where its node answers: `http://host:port`, or `file:///path` for its data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its node's data directory on this machine or a shared disk, instead of `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Which store that must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its IANA time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

impl StoreSetting {
    fn at(url: &str) -> Self {
        Self { url: Some(url.to_owned()), dir: None, id: None, name: None, timezone: None }
    }

    fn spec(&self) -> Result<StoreSpec, ConfigError> {
        let url = self.place()?;
        let store_id = self.id.as_deref().map(StoreId::new).transpose();
        let store_id = store_id.map_err(|error| value("store.id", error.to_string()))?;
        let is_name = |name: &&String| (1..=NAME_BYTES_MAX).contains(&name.len());
        if self.name.as_ref().is_some_and(|name| !is_name(&name)) {
            return Err(value("store.name", format!("must be 1 to {NAME_BYTES_MAX} bytes")));
        }
        let timezone = self.timezone.as_deref().map(TimeZoneName::parse).transpose();
        let timezone = timezone.map_err(|error| value("store.timezone", error.to_string()))?;
        Ok(StoreSpec { url, store_id, name: self.name.clone(), timezone })
    }

    fn place(&self) -> Result<String, ConfigError> {
        let (key, shown, address) = match (&self.url, &self.dir) {
            (Some(url), None) => ("store.url", url.clone(), NodeAddress::parse(url)),
            (None, Some(dir)) => {
                ("store.dir", dir.display().to_string(), NodeAddress::of_directory(dir))
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(value("store", "must have one of url and dir".to_owned()));
            }
        };
        let url = address.and_then(|address| address.to_url());
        url.map_err(|problem| value(key, format!("{shown:?} {problem}")))
    }
}

/// All settings, with their names in file and environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the view is kept.
    pub data_dir: PathBuf,
    /// The nodes' URLs (`file:///path` for a data directory), separated by commas; `--node` and `[[store]]` name more.
    pub nodes: String,
    /// The name under which nodes know this aggregator; two of them need two.
    pub consumer: String,
    /// Between saves of a store's part, at least, in ms.
    pub persist_interval_ms: u64,
    /// A node with more events is begun from its snapshot.
    pub snapshot_events_min: u64,
    /// The first wait before a lost node is tried again, at most, in ms.
    pub backoff_min_ms: u64,
    /// The longest such wait, in ms.
    pub backoff_max_ms: u64,
    /// How long a store's circuit breaker stays open at most, in ms; the first time it is a second.
    pub breaker_open_ms: u64,
    /// A node that says nothing for so long is unreachable, in ms.
    pub silence_ms: u64,
    /// How long a connection to a node may take, in ms.
    pub connect_timeout_ms: u64,
    /// How long an answer may take, in ms.
    pub request_timeout_ms: u64,
    /// How long answers under way may take after the first signal, in ms.
    pub drain_deadline_ms: u64,
    /// How logs are written.
    pub log_format: LogFormat,
    /// Which logs are written: `info`, `debug`, or a filter such as `aggregator=debug`.
    pub log_level: String,
    /// The stores of the file.
    #[serde(default)]
    pub store: Vec<StoreSetting>,
}

/// The flags of `aggregator serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// A TOML file with settings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the settings that would be used, and exit.
    #[arg(long)]
    pub print_config: bool,
    /// Where to listen [default: 127.0.0.1:4100]; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where the view is kept [default: ./data/aggregator].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A node to follow: http://host:port, or file:///path for its data directory on this machine or
    /// a shared disk. May be given more than once.
    #[arg(long = "node", value_name = "URL")]
    pub nodes: Vec<String>,
    /// The name under which nodes know this aggregator [default: aggregator].
    #[arg(long, value_name = "NAME")]
    pub consumer: Option<String>,
    /// How logs are written [default: json].
    #[arg(long)]
    pub log_format: Option<LogFormat>,
    /// Which logs are written [default: info].
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,
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

        /// All keys that the environment may set.
        const KEYS: &[&str] = &[$(stringify!($key),)*];
    };
}

defaults! {
    listen = "127.0.0.1:4100",
    data_dir = "./data/aggregator",
    nodes = "",
    consumer = "aggregator",
    persist_interval_ms = 2_000_u64,
    snapshot_events_min = 100_000_u64,
    backoff_min_ms = 100_u64,
    backoff_max_ms = 10_000_u64,
    breaker_open_ms = 30_000_u64,
    silence_ms = 10_000_u64,
    connect_timeout_ms = 5_000_u64,
    request_timeout_ms = 30_000_u64,
    drain_deadline_ms = 10_000_u64,
    log_format = "json",
    log_level = "info",
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
            let file = File::from(path.as_path()).format(FileFormat::Toml);
            let values = file.collect().map_err(source)?;
            let defaults = builder.build_cloned().and_then(|all| all.collect()).map_err(source)?;
            file_types::check(&values, &defaults, KEYS)?;
            builder = builder.add_source(file);
        }
        builder = builder.add_source(
            Environment::with_prefix(ENVIRONMENT_PREFIX)
                .prefix_separator("_")
                .source(Some(known_variables(environment))),
        );
        builder = with_flags(builder, args).map_err(source)?;
        let mut settings: Self =
            builder.build().and_then(Config::try_deserialize).map_err(source)?;
        settings.store.extend(args.nodes.iter().map(|url| StoreSetting::at(url)));
        settings.check()?;
        Ok(settings)
    }

    /// The stores to follow, from the file, the environment and the flags, each URL once.
    pub fn specs(&self) -> Result<Vec<StoreSpec>, ConfigError> {
        let listed = self.nodes.split(',').map(str::trim).filter(|url| !url.is_empty());
        let mut specs: Vec<StoreSpec> = Vec::new();
        for setting in self.store.iter().cloned().chain(listed.map(StoreSetting::at)) {
            let spec = setting.spec()?;
            match specs.iter_mut().find(|known| known.url == spec.url) {
                None => specs.push(spec),
                Some(known) => {
                    known.store_id = known.store_id.take().or(spec.store_id);
                    known.name = known.name.take().or(spec.name);
                    known.timezone = known.timezone.take().or(spec.timezone);
                }
            }
        }
        for (place, spec) in specs.iter().enumerate() {
            let is_same =
                |other: &StoreSpec| spec.store_id.is_some() && other.store_id == spec.store_id;
            if let Some(other) = specs.iter().take(place).find(|other| is_same(other)) {
                let problem = format!("is given to {} and to {}", other.url, spec.url);
                return Err(value("store.id", problem));
            }
        }
        if specs.len() > STORES_MAX {
            return Err(value("store", format!("at most {STORES_MAX} stores are followed")));
        }
        Ok(specs)
    }

    /// What the workers are tuned by.
    pub fn worker_options(&self) -> WorkerOptions {
        WorkerOptions {
            persist_interval: Duration::from_millis(self.persist_interval_ms),
            snapshot_events_min: self.snapshot_events_min,
            backoff_min: Duration::from_millis(self.backoff_min_ms),
            backoff_max: Duration::from_millis(self.backoff_max_ms),
            breaker_open: Duration::from_millis(self.breaker_open_ms),
            ..WorkerOptions::default()
        }
    }

    /// How patient the sources are.
    pub fn http_options(&self) -> HttpOptions {
        HttpOptions {
            connect: Duration::from_millis(self.connect_timeout_ms),
            silence: Duration::from_millis(self.silence_ms),
            ..HttpOptions::default()
        }
    }

    /// The settings as a file that `--config` takes.
    pub fn to_toml(&self) -> String {
        let Ok(serde_json::Value::Object(members)) = serde_json::to_value(self) else {
            return String::new();
        };
        let plain = members.iter().filter(|(key, _)| *key != "store");
        let mut lines: Vec<String> =
            plain.map(|(key, value)| format!("{key} = {value}\n")).collect();
        for store in &self.store {
            lines.push("\n[[store]]\n".to_owned());
            let dir = store.dir.as_ref().map(|dir| dir.display().to_string());
            let StoreSetting { url, id, name, timezone, .. } = store;
            let members =
                [("url", url), ("dir", &dir), ("id", id), ("name", name), ("timezone", timezone)];
            let given = members.iter().filter_map(|(key, text)| Some((key, text.as_ref()?)));
            lines.extend(given.map(|(key, text)| format!("{key} = {}\n", toml_text(text))));
        }
        lines.concat()
    }

    fn check(&self) -> Result<(), ConfigError> {
        let times = [
            ("persist_interval_ms", self.persist_interval_ms, 10),
            ("backoff_min_ms", self.backoff_min_ms, 1),
            ("backoff_max_ms", self.backoff_max_ms, self.backoff_min_ms),
            ("breaker_open_ms", self.breaker_open_ms, 1),
            ("silence_ms", self.silence_ms, 2_000),
            ("connect_timeout_ms", self.connect_timeout_ms, 1),
            ("request_timeout_ms", self.request_timeout_ms, 1),
            ("drain_deadline_ms", self.drain_deadline_ms, 0),
        ];
        for (key, ms, min) in times {
            if !(min..=MS_MAX).contains(&ms) {
                return Err(value(key, format!("must be {min} to {MS_MAX}, is {ms}")));
            }
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let length = self.consumer.len();
        if !(1..=CONSUMER_BYTES_MAX).contains(&length) || !self.consumer.bytes().all(is_name) {
            let problem = format!("must be 1 to {CONSUMER_BYTES_MAX} letters, digits, -, _ and .");
            return Err(value("consumer", problem));
        }
        self.specs().map(drop)
    }
}

fn value(key: &str, problem: String) -> ConfigError {
    ConfigError::Value { key: key.to_owned(), problem }
}

/// A text as TOML quotes it, which is as JSON does.
fn toml_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
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
    builder
        .set_override_option("listen", args.listen.clone())?
        .set_override_option("data_dir", args.data_dir.as_ref().map(path))?
        .set_override_option("consumer", args.consumer.clone())?
        .set_override_option("log_format", args.log_format.map(format))?
        .set_override_option("log_level", args.log_level.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(args: &ServeArgs, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let pairs = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Settings::load(args, pairs)
    }

    fn file(text: &str) -> (tempfile::TempDir, ServeArgs) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aggregator.toml");
        std::fs::write(&path, text).unwrap();
        (dir, ServeArgs { config: Some(path), ..ServeArgs::default() })
    }

    #[test]
    fn later_sources_win_and_stores_add_up() {
        let text = "listen = \"127.0.0.1:1\"\nsilence_ms = 3000\nbackoff_max_ms = 7000\n\
                    [[store]]\nurl = \"http://a:1/\"\nid = \"store-a\"\n[[store]]\nurl = \"http://b:1\"\n";
        let (_dir, args) = file(text);
        let args = ServeArgs {
            listen: Some("127.0.0.1:3".to_owned()),
            nodes: vec!["http://a:1".to_owned(), "http://c:1".to_owned()],
            ..args
        };
        let environment = [
            ("AGGREGATOR_LISTEN", "127.0.0.1:2"),
            ("AGGREGATOR_SILENCE_MS", "4000"),
            ("AGGREGATOR_NODES", "http://d:1, http://b:1"),
            ("AGGREGATOR_SERVICE_HOST", "10.0.0.1"),
        ];
        let settings = load(&args, &environment).unwrap();
        assert_eq!(settings.listen.port(), 3);
        assert_eq!((settings.silence_ms, settings.backoff_max_ms), (4000, 7000));
        let specs = settings.specs().unwrap();
        let urls: Vec<&str> = specs.iter().map(|spec| spec.url.as_str()).collect();
        assert_eq!(urls, ["http://a:1", "http://b:1", "http://c:1", "http://d:1"]);
        assert_eq!(specs[0].store_id.as_ref().map(StoreId::as_str), Some("store-a"));
    }

    #[test]
    fn texts_of_the_environment_stay_texts() {
        let environment = [("AGGREGATOR_CONSUMER", "007"), ("AGGREGATOR_DATA_DIR", "1e3")];
        let settings = load(&ServeArgs::default(), &environment).unwrap();
        assert_eq!(settings.consumer, "007");
        assert_eq!(settings.data_dir, PathBuf::from("1e3"));
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let (_dir, args) = file(
            "[[store]]\nurl = \"http://a:1\"\nid = \"store-a\"\nname = 'Mitte \"1\"'\n\
             timezone = \"Europe/Berlin\"\n[[store]]\ndir = \"/data/store b\"\n",
        );
        let settings = load(&args, &[]).unwrap();
        let (_dir, args) = file(&settings.to_toml());
        assert_eq!(load(&args, &[]).unwrap(), settings);
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        let cases = [
            ("AGGREGATOR_LISTEN", "here", "listen"),
            ("AGGREGATOR_SILENCE_MS", "soon", "silence_ms"),
            ("AGGREGATOR_SILENCE_MS", "10", "silence_ms"),
            ("AGGREGATOR_SILENCE_MS", "3000.5", "silence_ms"),
            ("AGGREGATOR_BACKOFF_MAX_MS", "1", "backoff_max_ms"),
            ("AGGREGATOR_CONSUMER", "a b", "consumer"),
            ("AGGREGATOR_NODES", "ftp://a", "store.url"),
            ("AGGREGATOR_LOG_FORMAT", "xml", "log_format"),
        ];
        for (name, text, key) in cases {
            let error = load(&ServeArgs::default(), &[(name, text)]).unwrap_err().to_string();
            assert!(error.contains(key), "{name}={text}: {error}");
        }
        for (text, key) in [
            ("no_such_key = 1\n", "no_such_key"),
            ("[[store]]\nurl = \"http://a:1\"\nid = \"../x\"\n", "store.id"),
            ("[[store]]\nid = \"a\"\n", "url and dir"),
            ("[[store]]\nurl = \"http://a:1\"\ndir = \"/x\"\n", "url and dir"),
            ("[[store]]\nurl = \"http://a:1\"\nname = \"\"\n", "store.name"),
            ("[[store]]\nurl = \"http://a:1\"\ntimezone = \"Mars\"\n", "store.timezone"),
            (
                "[[store]]\nurl = \"http://a:1\"\nid = \"a\"\n[[store]]\nurl = \"http://b:1\"\nid = \"a\"\n",
                "store.id",
            ),
            ("silence_ms = 3000.5\n", "silence_ms: must be a whole number"),
            ("data_dir = 5\n", "data_dir: must be a text, is 5"),
            ("[[store]]\nurl = \"http://a:1\"\nid = 330\n", "store.id: must be a text, is 330"),
            ("store = \"http://a:1\"\n", "store: must be a list of tables"),
        ] {
            let (_dir, args) = file(text);
            let error = load(&args, &[]).unwrap_err().to_string();
            assert!(error.contains(key), "{text}: {error}");
        }
    }
}
