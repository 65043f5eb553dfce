//! wrk, the load generator: started, and its one line of JSON read. It must never count an answer
//! that wrk itself didn't see.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// Keep-alive connections, unless a part asks for others.
pub const CONNECTIONS: usize = 64;
/// The most of wrk's own threads.
const THREADS_MAX: usize = 2;
const MARK: &str = "onhand-wrk ";

/// How wrk is run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The Lua script that makes the requests and prints the result.
    pub script: PathBuf,
    /// Keep-alive connections.
    pub connections: usize,
    /// How long.
    pub seconds: u64,
    /// The script's arguments.
    pub arguments: Vec<String>,
}

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

    /// An error unless every request was answered well: a rate of refusals is no rate.
    pub fn ensure_all_good(&self) -> Result<()> {
        ensure!(self.requests > 0, "wrk got no answer");
        ensure!(self.refused == 0, "{} of {} requests were refused", self.refused, self.requests);
        ensure!(self.broken == 0, "{} requests broke", self.broken);
        Ok(())
    }
}

impl Plan {
    /// The command against `base` (`http://host:port`).
    pub fn command(&self, base: &str) -> Vec<String> {
        let threads = self.connections.clamp(1, THREADS_MAX);
        let mut command = vec![
            "wrk".to_owned(),
            format!("-t{threads}"),
            format!("-c{}", self.connections),
            format!("-d{}s", self.seconds),
            "-s".to_owned(),
            self.script.display().to_string(),
            base.to_owned(),
            "--".to_owned(),
        ];
        command.extend_from_slice(&self.arguments);
        command
    }

    /// Runs it to its end.
    pub fn run(&self, base: &str) -> Result<Load> {
        let command = self.command(base);
        let started = Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).output();
        let output = started.context("starting wrk (apt-get install wrk)")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix(MARK));
        let Some(line) = line else {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("wrk failed ({}): {text}{complaint}", output.status);
        };
        serde_json::from_str(line).with_context(|| format!("wrk printed {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_or_break_spoils_a_run() {
        let load = |requests, refused, broken| Load {
            requests,
            refused,
            broken,
            microseconds: 2_000_000,
            p50_us: 1,
            p99_us: 2,
            max_us: 3,
        };
        assert!(load(10, 0, 0).ensure_all_good().is_ok());
        assert!(load(0, 0, 0).ensure_all_good().is_err());
        assert!(load(10, 1, 0).ensure_all_good().is_err());
        assert!(load(10, 0, 1).ensure_all_good().is_err());
        assert!((load(10, 4, 0).per_second() - 3.0).abs() < 1e-9);
    }
}
