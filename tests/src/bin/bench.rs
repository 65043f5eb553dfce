//! `make bench`: measures and writes `bench/report.md` and `bench/report.json`. It must never leave
//! out a missed bar.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tests::bench::machine::Machine;
use tests::bench::part::Setup;
use tests::bench::report::Report;
use tests::bench::{parts, suite};
use tests::world::Binaries;
use tests::world::binaries::repository;
use tokio::signal::unix::{SignalKind, signal};

/// Measures the bars of docs/performance.md.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which bars, separated by commas: P1, P4, … or all.
    #[arg(long, value_delimiter = ',', default_value = parts::EVERY)]
    parts: Vec<String>,
    /// Where the reports go.
    #[arg(long, default_value = "bench")]
    output: PathBuf,
    /// Where the data goes while measuring (on the disk that is to be measured); made empty first.
    #[arg(long, default_value = "bench/data")]
    directory: PathBuf,
    /// Rounds of every part that has servers.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each run in a round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// SKUs of a large store.
    #[arg(long, default_value_t = 10_000_000)]
    skus: u64,
    /// Give the nodes this option (repeatable).
    #[arg(long, allow_hyphen_values = true)]
    node_option: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = tokio::select! {
        ended = run(&arguments) => ended,
        ended = interrupted(&arguments.directory) => ended,
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A missed bar is a result, not a failure; a measurement that couldn't be made is one.
async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let parts = parts::named(&arguments.parts)?;
    let directory = std::path::absolute(&arguments.directory)?;
    if directory.exists() {
        std::fs::remove_dir_all(&directory).context("removing the last run's data")?;
    }
    std::fs::create_dir_all(&directory)?;
    let setup = Setup {
        binaries: Binaries::beside_this_program()?,
        repository: repository(),
        directory: directory.clone(),
        shared: directory.join("shared"),
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        skus: arguments.skus,
        node_options: arguments.node_option.clone(),
    };
    let machine = Machine::look(&setup.repository, &directory)?;
    let report = Report { machine, parts: suite::run(&parts, &setup).await };
    std::fs::remove_dir_all(&directory).context("removing the run's data")?;
    let (text, json) = (arguments.output.join("report.md"), arguments.output.join("report.json"));
    std::fs::write(&text, report.markdown())?;
    std::fs::write(&json, serde_json::to_string_pretty(&report)?)?;
    println!("{} and {}", text.display(), json.display());
    Ok(ExitCode::from(u8::from(report.any_failed())))
}

/// Ctrl-C or SIGTERM: the servers end with this program (`launch`), and its data goes.
async fn interrupted(directory: &Path) -> Result<ExitCode> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    std::fs::remove_dir_all(directory).context("removing the data of a run that was stopped")?;
    anyhow::bail!("stopped before the end: no report was written")
}
