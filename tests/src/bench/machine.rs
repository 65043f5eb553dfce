//! What the numbers were measured on. It must never name the machine or its users.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

/// How often the disk is asked to sync.
const SYNCS: usize = 500;
/// What is written before each sync, in bytes: a small frame with its padding.
const WRITE_BYTES: usize = 4_096;

/// Machine, commit and disk.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// The processor's model.
    pub cpu: String,
    /// Logical processors this program may use.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// How many programs wanted to run, on average over the last minute, before this one began:
    /// above a fraction of `cores`, others share the machine and the figures.
    pub load: String,
    /// The kernel's release.
    pub kernel: String,
    /// The compiler.
    pub rustc: String,
    /// The commit, with `+` if the tree has changes.
    pub commit: String,
    /// The file system of the data directory.
    pub file_system: String,
    /// A 4 KiB overwrite with fdatasync in the data directory, median, in microseconds.
    pub fdatasync_p50_us: f64,
    /// The same, 99th percentile.
    pub fdatasync_p99_us: f64,
}

impl Machine {
    /// Looks at this machine, the repository and the disk of `data`.
    pub fn look(repository: &Path, data: &Path) -> Result<Self> {
        let (fdatasync_p50_us, fdatasync_p99_us) = fdatasync(data)?;
        let git = |arguments: &[&str]| printed("git", arguments, repository);
        let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
        let mark = if changes.is_empty() { "" } else { "+" };
        let directory = data.display().to_string();
        let file_system = printed("stat", &["-f", "-c", "%T", &directory], repository);
        Ok(Self {
            cpu: after_colon("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: after_colon("/proc/meminfo", "MemTotal")
                .split_whitespace()
                .next()
                .and_then(|kib| kib.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024),
            load: read_line("/proc/loadavg")
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned(),
            kernel: read_line("/proc/sys/kernel/osrelease"),
            rustc: printed("rustc", &["--version"], repository),
            commit: format!("{}{mark}", git(&["rev-parse", "--short=12", "HEAD"])),
            file_system,
            fdatasync_p50_us,
            fdatasync_p99_us,
        })
    }
}

/// Median and 99th percentile in microseconds, on a file that is written through first, as the
/// log's segments are.
fn fdatasync(folder: &Path) -> Result<(f64, f64)> {
    let path = folder.join("fdatasync.probe");
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    let bytes = [7_u8; WRITE_BYTES];
    for block in 0..SYNCS {
        file.write_all_at(&bytes, (block * WRITE_BYTES) as u64)?;
    }
    file.sync_all()?;
    let mut times = Vec::new();
    for block in 0..SYNCS {
        let started = Instant::now();
        file.write_all_at(&bytes, (block * WRITE_BYTES) as u64)?;
        file.sync_data()?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    std::fs::remove_file(&path)?;
    times.sort_by(f64::total_cmp);
    Ok((times[SYNCS / 2], times[SYNCS * 99 / 100]))
}

fn printed(program: &str, arguments: &[&str], folder: &Path) -> String {
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

fn read_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn after_colon(path: &str, name: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_once(':'))
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}
