//! The `aggregator` program: which command, with which options. What commands do is in the library;
//! this file must never decide anything else.

use std::process::ExitCode;

use aggregator::commands::{self, DlqCommand, RebuildArgs, StatusArgs};
use aggregator::config::ServeArgs;
use aggregator::serve;
use clap::{Parser, Subcommand};

/// The view is millions of small things; measured in docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One honest view of all stores, proved to equal their sum.
#[derive(Debug, Parser)]
#[command(name = "aggregator", version, about)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Follow the stores and serve the HTTP API of the global view.
    Serve(Box<ServeArgs>),
    /// Show how the sync of every store is doing.
    Status(StatusArgs),
    /// Bootstrap every store anew, in the shadow, and swap in what its digest proves.
    Rebuild(RebuildArgs),
    /// Records that couldn't be taken over.
    #[command(subcommand)]
    Dlq(DlqCommand),
}

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Status(args) => commands::status(&args),
        Command::Rebuild(args) => commands::rebuild(&args),
        Command::Dlq(command) => commands::dlq(&command),
    }
}
