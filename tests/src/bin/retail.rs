//! `make retail`: real receipts through real nodes, through a killed node and a killed aggregator,
//! compared to the unit with what sqlite makes of the same files. It must exit 1 on any difference.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tests::retail::input::DataSet;
use tests::retail::report::Report;
use tests::retail::run::{Options, run};
use tests::retail::{STORES, TILLS, expected};
use tests::sample;
use tests::world::Binaries;
use tests::world::binaries::repository;

/// Plays real till receipts through store nodes and an aggregator and compares the outcome with an
/// independent computation.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder of the data files; without them the generated samples are played.
    #[arg(long, env = "ONHAND_DATA", default_value = "../shared/data")]
    data: PathBuf,
    /// Only the first so many baskets of each data set.
    #[arg(long)]
    limit: Option<usize>,
    /// Only this data set: complete-journey or online-retail.
    #[arg(long)]
    only: Option<String>,
    /// Write the whole report here, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Keep the services' data and logs in this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Give every node this option (repeatable), such as --node-option=--segment-bytes=1048576.
    #[arg(long, allow_hyphen_values = true)]
    node_option: Vec<String>,
    /// Write the generated samples into this folder and do nothing else.
    #[arg(long)]
    write_samples: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run_all(&Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("retail: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run_all(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(folder) = &arguments.write_samples {
        for (name, text) in sample::receipt_files() {
            std::fs::write(folder.join(name), text)?;
            println!("wrote {}", folder.join(name).display());
        }
        return Ok(ExitCode::SUCCESS);
    }
    expected::check_programs()?;
    let mut reports = Vec::new();
    for set in [DataSet::CompleteJourney, DataSet::OnlineRetail] {
        if arguments.only.as_ref().is_none_or(|only| only == set.name()) {
            reports.push(play(set, arguments).await?);
        }
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&reports)?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        println!("report: {}", path.display());
    }
    let good = !reports.is_empty() && reports.iter().all(Report::is_good);
    println!("{}", if good { "retail: all equal" } else { "retail: FAILED" });
    Ok(ExitCode::from(u8::from(!good)))
}

async fn play(set: DataSet, arguments: &Arguments) -> Result<Report> {
    let source = set.source(&arguments.data, &repository().join("fixtures"));
    println!("{}", set.name());
    if source.is_sample {
        println!("  {} has no such data: playing the generated sample", arguments.data.display());
    }
    let stores = match set {
        DataSet::CompleteJourney => STORES,
        DataSet::OnlineRetail => 1,
    };
    println!("  up to {stores} nodes, one aggregator, {TILLS} tills …");
    let temporary = tempfile::Builder::new().prefix("onhand-retail-").tempdir()?;
    let folder = arguments
        .keep
        .as_ref()
        .map_or_else(|| temporary.path().to_path_buf(), |keep| keep.join(set.name()));
    std::fs::create_dir_all(&folder)?;
    let options = Options {
        binaries: Binaries::beside_this_program()?,
        directory: folder,
        basket_limit: arguments.limit,
        node_options: arguments.node_option.clone(),
    };
    let report = run(set, &source, &options).await?;
    println!("{}", report.table());
    Ok(report)
}
