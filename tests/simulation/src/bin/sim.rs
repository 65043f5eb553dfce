//! `make sim`, `make soak`: runs seeds and says what they found.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use simulation::mischief::Counts;
use simulation::{Plan, Report, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The commit this is built from, where it was built from a checkout.
const COMMIT: &str = match option_env!("ONHAND_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
/// How often `soak` says how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

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
    /// How many run side by side, each in a thread of its own [default: one for each core].
    #[arg(long)]
    threads: Option<usize>,
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
        "seed {} at commit {COMMIT}: {} operations, {} records, {:?}, simulated {:?}, agreed after {:?}, story {}",
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

/// What many runs came to.
#[derive(Default)]
struct Sum {
    seeds: u64,
    operations: usize,
    counts: Counts,
    simulated: Duration,
    failed: Vec<u64>,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.operations += report.operations;
        self.counts.add(&report.counts);
        self.simulated += report.simulated;
        if !report.faults.is_empty() {
            for line in &report.tail {
                println!("{line}");
            }
            tell(report);
            self.failed.push(report.seed);
        }
    }

    fn tell(mut self, took: Duration) -> ExitCode {
        let minutes = took.as_secs_f64() / 60.0;
        println!(
            "commit {COMMIT}: {} seeds in {:.1} s ({:.1}/s): {} operations, {:?}",
            self.seeds,
            took.as_secs_f64(),
            self.seeds as f64 / took.as_secs_f64(),
            self.operations,
            self.counts
        );
        println!(
            "a minute gives {:.1} simulated hours and {:.0} crashes",
            self.simulated.as_secs_f64() / 3600.0 / minutes,
            self.counts.crashes() as f64 / minutes
        );
        if self.failed.is_empty() {
            println!("no promise was broken");
            return ExitCode::SUCCESS;
        }
        self.failed.sort_unstable();
        println!("failed seeds: {:?}; look at one with `make sim SEED=…`", self.failed);
        ExitCode::FAILURE
    }
}

fn soak(options: &Options) -> ExitCode {
    let threads =
        options.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let (next, end) = (AtomicU64::new(options.from), options.from + options.count);
    let began = Instant::now();
    let sum = thread::scope(|scope| {
        let (report, reports) = mpsc::sync_channel(threads);
        for _ in 0..threads.max(1) {
            let (report, next) = (report.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || report.send(run(Plan::of(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(report);
        gather(&reports, options, began)
    });
    sum.tell(began.elapsed())
}

fn gather(reports: &mpsc::Receiver<Report>, options: &Options, began: Instant) -> Sum {
    let (mut sum, mut told) = (Sum::default(), began);
    for report in reports {
        sum.add(&report);
        if !options.quiet && told.elapsed() > PROGRESS {
            told = Instant::now();
            let rate = sum.seeds as f64 / began.elapsed().as_secs_f64();
            let failed = sum.failed.len();
            eprintln!("{} of {} seeds, {rate:.1}/s, {failed} failed", sum.seeds, options.count);
        }
    }
    sum
}
