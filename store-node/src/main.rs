//! The `store-node` program: which command, with which options. What commands do is in
//! `store_node::serve` and `store_node::ops`; this file must never decide anything else.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use store_node::config::ServeArgs;
use store_node::{ops, serve};

/// Measured on the write path against the system's allocator: docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One store's inventory, durable in a local event log.
#[derive(Debug, Parser)]
#[command(name = "store-node", version, about)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP API of one store.
    Serve(Box<ServeArgs>),
    /// Write a snapshot.
    Snapshot(ops::snapshot::SnapshotArgs),
    /// Archive and delete what nobody needs any more.
    Compact(ops::compact::CompactArgs),
    /// Check every byte and name every damaged range.
    Verify(ops::verify::VerifyArgs),
    /// Rebuild the state from the log and compare.
    Replay(ops::replay::ReplayArgs),
    /// Show the events of an item.
    History(ops::history::HistoryArgs),
    /// Print the log's records as JSON lines.
    Dump(ops::dump::DumpArgs),
    /// Take items or movements from CSV or NDJSON.
    Import(ops::import::ImportArgs),
}

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Serve(args) => ops::finish(serve::run(&args)),
        Command::Snapshot(args) => ops::snapshot::run(&args),
        Command::Compact(args) => ops::compact::run(&args),
        Command::Verify(args) => ops::verify::run(&args),
        Command::Replay(args) => ops::replay::run(&args),
        Command::History(args) => ops::history::run(&args),
        Command::Dump(args) => ops::dump::run(&args),
        Command::Import(args) => ops::import::run(&args),
    }
}
