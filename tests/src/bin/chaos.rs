//! `make chaos`: real processes, broken on purpose for minutes, and a table of what came of it. It
//! exits with 1 if any promise was broken.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use tests::chaos::{Plan, run};
use tests::world::Binaries;

/// Break real processes on purpose while tills work, mend everything, and judge every answer.
#[derive(Parser)]
struct Options {
    /// Goes on for so long; the last round is brought to its end.
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// The schedule follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Say nothing but the result.
    #[arg(long)]
    quiet: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let plan = Plan {
        seed: options.seed,
        duration: Duration::from_mins(options.minutes),
        aloud: !options.quiet,
    };
    let (report, _) = run(Binaries::beside_this_program()?, plan).await?;
    println!("{report}");
    Ok(if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
