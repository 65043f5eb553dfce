//! `make sim`, `make soak`: runs seeds and says what they found.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use simulation::mischief::Counts;
use simulation::{Plan, Report, run};

/// Watch the whole system being broken on purpose.
#[derive(Parser)]
struct Options {
    /// One seed, told line by line.
    #[arg(long)]
    seed: Option<u64>,
    /// The first seed of many.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 500)]
    count: u64,
    /// Say nothing but the result.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(seed) = options.seed {
        if !options.quiet {
            tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().init();
        }
        let report = run(Plan { aloud: !options.quiet, ..Plan::of(seed) });
        return tell(&report);
    }
    soak(&options)
}

fn tell(report: &Report) -> ExitCode {
    println!(
        "seed {}: {} operations, {} records, {:?}, simulated {:?}, agreed after {:?}, story {}",
        report.seed,
        report.operations,
        report.records,
        report.counts,
        report.simulated,
        report.converged,
        report.hash
    );
    for fault in &report.faults {
        println!("FAULT {fault}");
    }
    if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn soak(options: &Options) -> ExitCode {
    let began = Instant::now();
    let mut told = began;
    let mut counts = Counts::default();
    let (mut simulated, mut operations, mut failed) = (Duration::ZERO, 0, Vec::new());
    for (done, seed) in (1_u64..).zip(options.from..options.from + options.count) {
        let report = run(Plan::of(seed));
        counts.add(&report.counts);
        simulated += report.simulated;
        operations += report.operations;
        if !report.faults.is_empty() {
            tell(&report);
            failed.push(seed);
        }
        if !options.quiet && told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            let rate = done as f64 / began.elapsed().as_secs_f64();
            eprintln!("{done} of {} seeds, {rate:.1}/s, {} failed", options.count, failed.len());
        }
    }
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!(
        "{} seeds in {:.1} s ({:.1}/s): {operations} operations, {counts:?}",
        options.count,
        minutes * 60.0,
        options.count as f64 / minutes / 60.0
    );
    println!(
        "a minute gives {:.1} simulated hours and {:.0} crashes",
        simulated.as_secs_f64() / 3600.0 / minutes,
        counts.crashes() as f64 / minutes
    );
    if failed.is_empty() {
        println!("no promise was broken");
        return ExitCode::SUCCESS;
    }
    println!("failed seeds: {failed:?}; look at one with `make sim SEED=…`");
    ExitCode::FAILURE
}
