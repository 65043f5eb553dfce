//! PostgreSQL 15 as a peer: a cluster of our own on a free port, its load by pgbench. It must never
//! touch a cluster that was there before, nor count a transaction that failed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::node::STOCK;
use super::usage::{Usage, children};
use crate::world::{Process, free_address, until};

/// Where Debian's package puts its programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// The user that Debian's package makes; the server refuses to run as root.
const USER: &str = "postgres";
/// How long the server may take to recover.
const READY_DEADLINE: Duration = Duration::from_mins(1);

/// Settings that differ from the defaults. No checkpoint falls into a measurement; the tables fit
/// into the buffers.
pub const SETTINGS: [&str; 9] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=on",
    "synchronous_commit=on",
    "shared_buffers=1GB",
    "max_wal_size=8GB",
    "checkpoint_timeout=1h",
    "autovacuum=off",
    "max_connections=100",
];

/// One statement: reserve if there is enough, and write the ledger. A SKU is an integer here, which
/// is cheaper for it than a text.
const RESERVE: &str = "\\set sku random(0, MOST)
WITH moved AS (
  UPDATE items SET reserved = reserved + 1 WHERE sku = :sku AND stock - reserved >= 1
  RETURNING sku, reserved)
INSERT INTO ledger (sku, quantity, reserved) SELECT sku, 1, reserved FROM moved RETURNING id;
";

/// A running cluster.
#[derive(Debug)]
pub struct Postgres {
    directory: PathBuf,
    address: SocketAddr,
    process: Process,
}

/// What pgbench said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    /// Transactions that were committed.
    pub transactions: u64,
    /// The same a second, without the time it took to connect.
    pub per_second: f64,
    /// The mean latency in milliseconds.
    pub mean_ms: f64,
}

impl Postgres {
    /// Makes a cluster in `directory`, starts it and waits for it.
    pub async fn start(directory: &Path) -> Result<Self> {
        let data = directory.join("data");
        std::fs::create_dir_all(directory)?;
        if is_root()? {
            let owner = Command::new("chown").arg(USER).arg(directory).status()?;
            ensure!(owner.success(), "{} can't be given to {USER}", directory.display());
        }
        let place = data.display().to_string();
        let initdb = format!("{PROGRAMS}/initdb");
        run(&as_user(&[
            &initdb,
            "-D",
            &place,
            "-U",
            USER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
        ])?)
        .context("making a cluster (apt-get install postgresql-15)")?;
        let address = free_address()?;
        let process = spawn(&data, address)?;
        let mut postgres = Self { directory: directory.to_path_buf(), address, process };
        postgres.wait_ready().await?;
        Ok(postgres)
    }

    /// Makes the tables with `skus` items, and pgbench's script. Rows have room beside them, so that
    /// an update stays on its page.
    pub fn create_items(&self, skus: usize) -> Result<()> {
        let most = skus - 1;
        self.ask(&format!(
            "CREATE TABLE items (sku bigint PRIMARY KEY, stock bigint NOT NULL, reserved bigint NOT NULL, CHECK (reserved <= stock)) WITH (fillfactor = 50);
             CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sku bigint NOT NULL, quantity bigint NOT NULL, reserved bigint NOT NULL, at timestamptz NOT NULL DEFAULT now());
             INSERT INTO items SELECT n, {STOCK}, 0 FROM generate_series(0, {most}) n;"
        ))?;
        self.ask("VACUUM ANALYZE items")?;
        std::fs::write(self.script(), RESERVE.replace("MOST", &most.to_string()))?;
        Ok(())
    }

    fn script(&self) -> PathBuf {
        self.directory.join("reserve.sql")
    }

    /// pgbench's command.
    pub fn command(&self, clients: usize, seconds: u64) -> Vec<String> {
        let port = self.address.port();
        let text = format!(
            "{PROGRAMS}/pgbench -h 127.0.0.1 -p {port} -U {USER} -n -M prepared -c {clients} -j 2 -T {seconds} -f"
        );
        let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        words.extend([self.script().display().to_string(), USER.to_owned()]);
        words
    }

    /// Runs one of [`Postgres::command`]'s to its end; what it told and what the cluster's
    /// processes used, those of its clients included: they are waited for, and then their time is
    /// the first process's.
    pub async fn run(&self, command: &[String]) -> Result<(Told, Usage)> {
        let id = self.process.id();
        let (before, others) = (Usage::of_family(id)?, children(id)?.len());
        let text = run(command).context("running pgbench (apt-get install postgresql-15)")?;
        until("the processes of pgbench's clients to end", READY_DEADLINE, || async {
            children(id).is_ok_and(|now| now.len() <= others).then_some(())
        })
        .await?;
        let usage = Usage::of_family(id)?.since(before);
        let told = parse(&text).with_context(|| format!("pgbench printed {text}"))?;
        Ok((told, usage))
    }

    /// Entries of the ledger and units reserved over all items.
    pub fn counts(&self) -> Result<(u64, u64)> {
        let text = self.ask(
            "SELECT (SELECT count(*) FROM ledger) || ' ' || (SELECT sum(reserved) FROM items)",
        )?;
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let mut next = || numbers.next().with_context(|| format!("psql printed {text}"));
        Ok((next()??, next()??))
    }

    /// kill -9 of the first process, whereupon the others leave, and a new one over the same data.
    pub async fn kill_and_restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = spawn(&self.directory.join("data"), self.address)?;
        self.wait_ready().await
    }

    /// A server that finds the memory of the killed one still in use ends at once: it is started
    /// again until that is free.
    async fn wait_ready(&mut self) -> Result<()> {
        let data = self.directory.join("data");
        let deadline = std::time::Instant::now() + READY_DEADLINE;
        loop {
            if self.process.exited()?.is_some() {
                self.process = spawn(&data, self.address)?;
            }
            if self.ask("SELECT 1").is_ok_and(|answer| answer == "1") {
                return Ok(());
            }
            if std::time::Instant::now() > deadline {
                bail!("PostgreSQL isn't ready:\n{}", self.process.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn ask(&self, statement: &str) -> Result<String> {
        let port = self.address.port().to_string();
        let psql = format!("{PROGRAMS}/psql");
        let words = [
            &psql,
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            USER,
            "-d",
            USER,
            "-X",
            "-q",
            "-t",
            "-A",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statement,
        ];
        Ok(run(&words.map(str::to_owned))?.trim().to_owned())
    }

    /// Ends it: SIGINT, which asks its clients to leave, and waits until all of it is gone.
    pub async fn stop(mut self) -> Result<()> {
        self.process.signal(rustix::process::Signal::INT)?;
        self.process.wait(READY_DEADLINE).await.map(|_| ())
    }
}

/// `setpriv` has the kernel tell the server when its starter ends, also after the change of user.
fn spawn(data: &Path, address: SocketAddr) -> Result<Process> {
    let mut words = vec![format!("{PROGRAMS}/postgres"), "-D".to_owned()];
    words.push(data.display().to_string());
    words.extend(["-p".to_owned(), address.port().to_string()]);
    for setting in SETTINGS {
        words.extend(["-c".to_owned(), setting.to_owned()]);
    }
    let mut words = as_user(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    let program = PathBuf::from(words.remove(0));
    let log = data.parent().unwrap_or(data).with_extension("log");
    Process::start(&program, &words, &[], &log)
}

/// The command as [`USER`] if this program runs as root.
fn as_user(words: &[&str]) -> Result<Vec<String>> {
    let mut command = vec!["setpriv", "--pdeathsig", "INT"];
    if is_root()? {
        command.extend(["--reuid", USER, "--regid", USER, "--init-groups"]);
    }
    command.push("--");
    command.extend_from_slice(words);
    Ok(command.into_iter().map(str::to_owned).collect())
}

fn is_root() -> Result<bool> {
    Ok(run(&["id".to_owned(), "-u".to_owned()])?.trim() == "0")
}

fn run(command: &[String]) -> Result<String> {
    let output = Command::new(&command[0])
        .args(&command[1..])
        .current_dir("/")
        .output()
        .with_context(|| format!("starting {}", command[0]))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}): {text}{complaint}", command[0], output.status);
    }
    Ok(text)
}

/// pgbench's report; none of it if a transaction failed.
fn parse(text: &str) -> Option<Told> {
    let after = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim_start_matches([':', '=', ' ']).split_whitespace().next()
    };
    if after("number of failed transactions")? != "0" {
        return None;
    }
    Some(Told {
        transactions: after("number of transactions actually processed")?.parse().ok()?,
        per_second: after("tps")?.parse().ok()?,
        mean_ms: after("latency average")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
transaction type: reserve.sql
scaling factor: 1
query mode: prepared
number of clients: 16
number of threads: 2
duration: 5 s
number of transactions actually processed: 61234
number of failed transactions: 0 (0.000%)
latency average = 1.305 ms
initial connection time = 21.411 ms
tps = 12263.518121 (without initial connection time)
";

    #[test]
    fn reads_what_pgbench_prints() {
        let told = parse(PRINTED).unwrap();
        let expected = Told { transactions: 61_234, per_second: 12_263.518_121, mean_ms: 1.305 };
        assert_eq!(told, expected);
    }

    #[test]
    fn a_failed_transaction_is_no_rate() {
        assert_eq!(
            parse(&PRINTED.replace("failed transactions: 0", "failed transactions: 7")),
            None
        );
        assert_eq!(parse(&PRINTED.replace("tps = 12263.518121", "tps = ?")), None);
        assert_eq!(parse(""), None);
    }
}
