//! Redis as a peer: a server of our own on a free port, its load by redis-benchmark. It must never
//! touch a server that was there before, nor count an answer that was an error.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::usage::Usage;
use crate::world::{Binaries, Process, free_address, until};

/// How long the server may take to load its file.
const READY_DEADLINE: Duration = Duration::from_mins(1);
/// Units of each item: as many as the node's.
const STOCK: u64 = super::node::STOCK;

/// Checks what is available, reserves, writes the ledger; an error if there isn't enough.
const RESERVE: &str = "\
local item = redis.call('HMGET', KEYS[1], 'stock', 'reserved')
if not item[1] then return redis.error_reply('NOITEM') end
if item[1] - item[2] < tonumber(ARGV[1]) then return redis.error_reply('SHORT') end
redis.call('HINCRBY', KEYS[1], 'reserved', ARGV[1])
return redis.call('XADD', KEYS[2], '*', 'sku', KEYS[1], 'quantity', ARGV[1])";

/// A running server.
#[derive(Debug)]
pub struct Redis {
    launcher: PathBuf,
    directory: PathBuf,
    address: SocketAddr,
    process: Process,
}

/// What redis-benchmark said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    /// Answers a second.
    pub per_second: f64,
    /// Median latency in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile in milliseconds.
    pub p99_ms: f64,
}

impl Redis {
    /// Starts one with its data in `directory`, every answer after a sync, and waits for it.
    pub async fn start(binaries: &Binaries, directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let (launcher, directory) = (binaries.launch(), directory.to_path_buf());
        let address = free_address()?;
        let process = spawn(&launcher, &directory, address)?;
        let mut redis = Self { launcher, directory, address, process };
        redis.wait_ready().await?;
        Ok(redis)
    }

    /// The options that matter, for the report. Its own file isn't rewritten during a measurement,
    /// which spares it a fork.
    pub const OPTIONS: [&'static str; 8] = [
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--save",
        "",
        "--auto-aof-rewrite-percentage",
        "0",
    ];

    /// Makes `skus` items.
    pub fn create_items(&self, skus: usize) -> Result<()> {
        let script = format!(
            "for n = 0, {} do redis.call('HSET', string.format('item:%012d', n), 'stock', {STOCK}, 'reserved', 0) end",
            skus - 1
        );
        self.ask(&["EVAL", &script, "0"])?;
        Ok(())
    }

    /// redis-benchmark's command for `requests` reservations of one unit by `clients`.
    pub fn command(&self, clients: usize, skus: usize, requests: u64) -> Result<Vec<String>> {
        let digest = self.ask(&["SCRIPT", "LOAD", RESERVE])?;
        ensure!(digest.len() == 40, "the script wasn't taken: {digest}");
        let text = format!(
            "redis-benchmark -h 127.0.0.1 -p {} -c {clients} -n {requests} -r {skus} --precision 3 --csv EVALSHA {digest} 2 item:__rand_int__ ledger 1",
            self.address.port()
        );
        Ok(text.split(' ').map(str::to_owned).collect())
    }

    /// Runs one of [`Redis::command`]'s to its end; what it told and what the server used.
    pub fn run(&self, command: &[String]) -> Result<(Told, Usage)> {
        let before = self.usage()?;
        let output = Command::new(&command[0])
            .args(&command[1..])
            .output()
            .context("starting redis-benchmark (apt-get install redis-server)")?;
        let usage = self.usage()?.since(before);
        let text = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        let told = output.status.success().then(|| parse(&text)).flatten();
        let told = told.with_context(|| format!("redis-benchmark printed {text}{complaint}"))?;
        Ok((told, usage))
    }

    /// Entries of the ledger and units reserved over all of `skus` items.
    pub fn counts(&self, skus: usize) -> Result<(u64, u64)> {
        let script = format!(
            "local sum = 0; for n = 0, {} do sum = sum + redis.call('HGET', string.format('item:%012d', n), 'reserved') end; return sum",
            skus - 1
        );
        let entries = self.ask(&["XLEN", "ledger"])?;
        let reserved = self.ask(&["EVAL", &script, "0"])?;
        let number = |text: &str| {
            text.parse().with_context(|| format!("redis answered {text} and not a number"))
        };
        Ok((number(&entries)?, number(&reserved)?))
    }

    /// What the server has used.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.process.id())
    }

    /// kill -9, and a new process over the same data.
    pub async fn kill_and_restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = spawn(&self.launcher, &self.directory, self.address)?;
        self.wait_ready().await
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let redis = &*self;
        let ready = until("redis to answer", READY_DEADLINE, || async {
            redis.ask(&["PING"]).is_ok_and(|answer| answer == "PONG").then_some(())
        });
        ready.await.with_context(|| self.process.log_tail())
    }

    fn ask(&self, words: &[&str]) -> Result<String> {
        let port = self.address.port().to_string();
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &port, "-e"])
            .args(words)
            .output()
            .context("starting redis-cli (apt-get install redis-server)")?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() {
            bail!("redis refused {}: {text}{}", words[0], String::from_utf8_lossy(&output.stderr));
        }
        Ok(text)
    }
}

fn spawn(launcher: &Path, directory: &Path, address: SocketAddr) -> Result<Process> {
    let mut arguments = vec![std::process::id().to_string(), "redis-server".to_owned()];
    let port = address.port().to_string();
    let place = directory.display().to_string();
    arguments.extend(["--bind", "127.0.0.1", "--port", &port, "--dir", &place].map(str::to_owned));
    arguments.extend(Redis::OPTIONS.map(str::to_owned));
    Process::start(launcher, &arguments, &[], &directory.with_extension("log"))
}

/// The CSV of redis-benchmark: a line of names, a line of figures in quotes. An error answer makes
/// it print a sentence instead.
fn parse(text: &str) -> Option<Told> {
    if text.contains("Error from server") {
        return None;
    }
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let names = rows.headers().ok()?.clone();
    let row = rows.records().next()?.ok()?;
    let figure = |name: &str| {
        let column = names.iter().position(|column| column == name)?;
        row.get(column)?.parse().ok()
    };
    Some(Told {
        per_second: figure("rps")?,
        p50_ms: figure("p50_latency_ms")?,
        p99_ms: figure("p99_latency_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_redis_benchmark_prints() {
        let text = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
                    \"EVALSHA ab 2 item:__rand_int__ ledger 1\",\"41736.23\",\"1.514\",\"0.216\",\"1.439\",\"2.127\",\"3.031\",\"9.551\"\n";
        let told = parse(text).unwrap();
        assert_eq!(told, Told { per_second: 41_736.23, p50_ms: 1.439, p99_ms: 3.031 });
    }

    #[test]
    fn an_error_answer_is_no_rate() {
        let text = "Error from server: SHORT script: ab, on @user_script:3.\n";
        assert_eq!(parse(text), None);
        assert_eq!(parse(""), None);
        assert_eq!(parse("\"test\",\"rps\"\n\"SET\",\"fast\"\n"), None);
    }
}
