//! What the numbers were measured on. It must never name the machine or its users.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde::Serialize;

use super::disk::Syncs;

/// Machine, commit and disk.
#[derive(Debug, Clone, Default, Serialize)]
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
    /// fdatasync in the data directory, before the first part.
    pub fdatasync: Syncs,
}

impl Machine {
    /// Looks at this machine, the repository and the disk of `data`.
    pub fn look(repository: &Path, data: &Path) -> Result<Self> {
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
            fdatasync: Syncs::measure(data)?,
        })
    }
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
