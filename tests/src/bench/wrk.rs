//! wrk, the load generator: started, and its one line of JSON read. It must never count an answer
//! that wrk itself didn't see.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Keep-alive connections.
pub const CONNECTIONS: usize = 64;
/// wrk's own threads.
pub const THREADS: usize = 2;
const MARK: &str = "onhand-wrk ";

/// One run of wrk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Answers received.
    pub requests: u64,
    /// Answers with a status of 400 and more among them.
    pub refused: u64,
    /// Connections that failed, and requests that got no answer.
    pub broken: u64,
    /// How long it ran.
    pub microseconds: u64,
    /// Median latency.
    pub p50_us: u64,
    /// 99th percentile of the latency.
    pub p99_us: u64,
    /// The longest latency.
    pub max_us: u64,
}

impl Load {
    /// Successful answers a second.
    pub fn per_second(&self) -> f64 {
        self.acknowledged() as f64 * 1e6 / self.microseconds.max(1) as f64
    }

    /// Successful answers.
    pub fn acknowledged(&self) -> u64 {
        self.requests - self.refused
    }
}

/// Whether wrk is there; an error says how to get it.
pub fn check_program() -> Result<()> {
    let found =
        Command::new("wrk").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        bail!("wrk isn't installed: the load comes from it (apt-get install wrk)");
    }
    Ok(())
}

/// The command that a run is, for the report.
pub fn command(script: &Path, base: &str, prefix: &str, skus: usize, seconds: u64) -> Vec<String> {
    let script = script.display().to_string();
    [
        "wrk",
        &format!("-t{THREADS}"),
        &format!("-c{CONNECTIONS}"),
        &format!("-d{seconds}s"),
        "-s",
        &script,
        base,
        "--",
        prefix,
        &skus.to_string(),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Runs one of [`command`]'s to its end.
pub fn run(command: &[String]) -> Result<Load> {
    let output = Command::new(&command[0]).args(&command[1..]).output().context("starting wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix(MARK));
    let Some(line) = line else {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("wrk failed ({}): {text}{complaint}", output.status);
    };
    serde_json::from_str(line).with_context(|| format!("wrk printed {line}"))
}
