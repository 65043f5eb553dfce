//! Logs: JSON lines (or text) on stderr. Standard output is for what commands print.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts logging for the whole process; the error names the filter that can't be used.
pub fn start(format: LogFormat, level: &str) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(level).map_err(|error| format!("log_level: {level:?}: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(false).try_init(),
    };
    started.map_err(|error| format!("logging is started already: {error}"))
}
