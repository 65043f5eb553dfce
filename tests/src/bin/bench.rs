//! `make bench`: measures and writes `bench/report.md` and `bench/report.json`. It must never leave
//! out a missed bar.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tests::bench::machine::Machine;
use tests::bench::parts::{Part, Verdict};
use tests::bench::report::Report;
use tests::bench::reservations;
use tests::world::Binaries;
use tests::world::binaries::repository;

/// Measures the bars of docs/performance.md that have a program for them.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which: p1 (reservations over HTTP), p4 (the log alone), p5 (replay), separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "p1,p4,p5")]
    parts: Vec<String>,
    /// Where the reports go.
    #[arg(long, default_value = "bench")]
    output: PathBuf,
    /// Where the data goes while measuring (on the disk that is to be measured).
    #[arg(long, default_value = "bench/data")]
    directory: PathBuf,
    /// Rounds of P1.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each run of P1.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Give the node this option (repeatable).
    #[arg(long, allow_hyphen_values = true)]
    node_option: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A missed bar is a result, not a failure; a measurement that couldn't be made is one.
async fn run(arguments: &Arguments) -> Result<ExitCode> {
    for part in &arguments.parts {
        ensure!(
            ["p1", "p4", "p5"].contains(&part.to_lowercase().as_str()),
            "{part} has no program here: choose among p1, p4, p5"
        );
    }
    let directory = std::path::absolute(&arguments.directory)?;
    if directory.exists() {
        std::fs::remove_dir_all(&directory).context("removing the last run's data")?;
    }
    std::fs::create_dir_all(&directory)?;
    let report = measure(arguments, &directory).await?;
    std::fs::remove_dir_all(&directory).context("removing the run's data")?;
    let (text, json) = (arguments.output.join("report.md"), arguments.output.join("report.json"));
    std::fs::write(&text, report.markdown())?;
    std::fs::write(&json, serde_json::to_string_pretty(&report)?)?;
    println!("{} and {}", text.display(), json.display());
    let verdicts = report.verdicts();
    for (bar, verdict) in &verdicts {
        println!("{bar}: {}", verdict.word());
    }
    let failed = verdicts.iter().any(|(_, verdict)| *verdict == Verdict::Failed);
    Ok(ExitCode::from(u8::from(failed)))
}

async fn measure(arguments: &Arguments, directory: &Path) -> Result<Report> {
    let wanted = |name: &str| {
        let mut parts = arguments.parts.iter();
        parts.any(|part| part.eq_ignore_ascii_case(name))
    };
    let mut report = Report {
        machine: Machine::look(&repository(), directory)?,
        reservations: None,
        parts: Vec::new(),
    };
    if wanted("p1") {
        println!("P1: single durable reservations over HTTP");
        let options = reservations::Options {
            binaries: Binaries::beside_this_program()?,
            directory: directory.join("p1"),
            script: repository().join("tests/bench/reserve.lua"),
            rounds: arguments.rounds,
            seconds: arguments.seconds,
            node_options: arguments.node_option.clone(),
        };
        report.reservations = Some(reservations::compare(&options).await?);
    }
    for part in [Part::Log, Part::Replay] {
        if wanted(part.bar()) {
            println!("{}: running its example …", part.bar());
            let measured = part.measure(&repository(), &directory.join(part.bar()));
            println!("{}", measured.printed.trim_end());
            report.parts.push(measured);
        }
    }
    Ok(report)
}
