//! P4 and P5: the log alone and the replay alone, measured by the examples of their own crates.
//! Nothing here may interpret more of their JSON than the ratios and the bars.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;

/// A measuring program of another crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// P4.
    Log,
    /// P5.
    Replay,
}

/// What it measured.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// The bar's name.
    pub bar: &'static str,
    /// The command, for the report.
    pub command: String,
    /// What it printed.
    pub printed: String,
    /// Its JSON.
    pub result: Value,
}

impl Part {
    /// The bar's name.
    pub fn bar(self) -> &'static str {
        match self {
            Self::Log => "P4",
            Self::Replay => "P5",
        }
    }

    fn package_and_example(self) -> (&'static str, &'static str) {
        match self {
            Self::Log => ("event-log", "log_bench"),
            Self::Replay => ("store-node", "replay_bench"),
        }
    }

    /// Builds and runs it over an empty directory.
    pub fn measure(self, repository: &Path, directory: &Path) -> Result<Measured> {
        let (package, example) = self.package_and_example();
        std::fs::create_dir_all(directory)?;
        let json = directory.with_extension("json");
        let command = [
            "cargo",
            "run",
            "--release",
            "-p",
            package,
            "--example",
            example,
            "--",
        ];
        let output = Command::new(command[0])
            .args(&command[1..])
            .arg(directory)
            .arg("--json")
            .arg(&json)
            .current_dir(repository)
            .output()
            .with_context(|| format!("starting {}", command.join(" ")))?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{example} failed:\n{complaint}");
        let text = std::fs::read_to_string(&json)
            .with_context(|| format!("{example} wrote no {}", json.display()))?;
        Ok(Measured {
            bar: self.bar(),
            command: format!("{} DIR --json FILE", command.join(" ")),
            printed: String::from_utf8_lossy(&output.stdout).into_owned(),
            result: serde_json::from_str(&text)?,
        })
    }
}
