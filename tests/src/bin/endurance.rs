//! `make endurance`: a mixed load for a long time, and whether memory, files, disk and latency stay
//! flat. It exits with 1 if they don't, or if a sum doesn't hold.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tests::endurance::flatness::WARM_UP_SHARE;
use tests::endurance::{Load, Plan, plot, run};
use tests::world::Binaries;

/// The pace of an hour that isn't hurried, in requests a second.
const UNHURRIED: u32 = 1_000;

/// One node and one aggregator under a mixed load for a long time.
#[derive(Debug, Parser)]
struct Options {
    /// Requests: by default those of an hour at 1,000 a second.
    #[arg(long, default_value_t = 3_600_000)]
    operations: u64,
    /// Requests a second, at most.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    per_second: u32,
    /// Instead: so many hours at 1,000 requests a second.
    #[arg(long, conflicts_with_all = ["operations", "per_second"])]
    hours: Option<f64>,
    /// Where the reports and the plot go.
    #[arg(long, default_value = "bench")]
    output: PathBuf,
    /// Where the data goes meanwhile.
    #[arg(long, default_value = "bench/endurance-data")]
    directory: PathBuf,
    /// Between two samples, in seconds.
    #[arg(long, default_value_t = 3)]
    sample_seconds: u64,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let load = match options.hours {
        None => Load { operations: options.operations, per_second: options.per_second },
        Some(hours) => {
            let duration = Duration::try_from_secs_f64(hours * 3600.0).context("--hours")?;
            Load { operations: duration.as_secs() * u64::from(UNHURRIED), per_second: UNHURRIED }
        }
    };
    let directory = std::path::absolute(&options.directory)?;
    if directory.exists() {
        std::fs::remove_dir_all(&directory).context("removing the last run's data")?;
    }
    std::fs::create_dir_all(&directory)?;
    let binaries = Binaries::beside_this_program()?;
    let plan = Plan { binaries, directory, load, sample_seconds: options.sample_seconds };
    let outcome = run(&plan).await?;
    std::fs::create_dir_all(&options.output)?;
    let warm_up_minutes = outcome.seconds * WARM_UP_SHARE / 60.0;
    let files = [
        ("endurance.md", outcome.markdown()),
        ("endurance.json", serde_json::to_string_pretty(&outcome)?),
        ("endurance.svg", plot::svg(&outcome.panels(), warm_up_minutes)),
    ];
    for (name, text) in files {
        std::fs::write(options.output.join(name), text)?;
    }
    println!("{}", outcome.markdown());
    println!("{} and .json, .svg", options.output.join("endurance.md").display());
    Ok(ExitCode::from(u8::from(!outcome.is_good())))
}
