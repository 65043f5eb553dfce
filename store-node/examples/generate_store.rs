//! Makes the data directory of a store with many SKUs, by the real ledger, committer and snapshot
//! writer: `store-node serve` opens it as its own. For measurements; it must never write into a
//! directory that holds anything else.
//!
//! `cargo run --release -p store-node --example generate_store -- --data-dir DIR --skus 10000000`
//!
//! The store is called `bench`. SKU number n, from 0, is `S` and the eleven digits of
//! n × 7,368,787 mod 10^11 (S00000000000, S00007368787, …): the same everywhere, in no order, and
//! exact in a script whose numbers are doubles. It has a name of 24 bytes that says n, one of three
//! categories (kitchen, garden, toys), one of 500 places (W-0 to W-499), between 0 and 1,000 units
//! (every 50th SKU none) and a reorder point of 10. With `--plain` it has only the name and a million
//! units: the shape of which P6 of the performance contract counts the bytes.

#[path = "replay_bench_support/generate.rs"]
mod generate;

use std::fmt;
use std::path::PathBuf;

use clap::Parser;
use generate::{Start, never_short};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The store that the directory belongs to.
const STORE: &str = "bench";

#[derive(Parser)]
struct Options {
    /// The directory; left as it is if an earlier run made it.
    #[arg(long)]
    data_dir: PathBuf,
    /// How many SKUs the snapshot holds.
    #[arg(long, default_value_t = 10_000_000)]
    skus: u64,
    /// How many receipts of goods with an idempotency key follow the snapshot in the log.
    #[arg(long, default_value_t = 0)]
    keys: u64,
    /// Items without category, place and reorder point, never short of stock.
    #[arg(long)]
    plain: bool,
    /// Instead of a snapshot only a log of so many events, creations and sales.
    #[arg(long, conflicts_with = "keys")]
    events: Option<u64>,
    /// How many of a hundred of those sales have an idempotency key.
    #[arg(long, default_value_t = 0, requires = "events")]
    keyed_percent: u64,
}

fn main() {
    let options = Options::parse();
    if let Some(events) = options.events {
        let keyed_percent = options.keyed_percent;
        generate::events(&options.data_dir, events, options.skus, FRAME_RECORDS, keyed_percent);
    } else {
        let start = if options.plain { plain } else { assortment };
        generate::snapshot(&options.data_dir, options.skus, options.keys, start);
    }
}

/// Records in each frame of a log of sales.
const FRAME_RECORDS: u64 = 64;

/// What a shop has of its items.
fn assortment(number: u64) -> Start {
    let stock = if number.is_multiple_of(50) { 0 } else { number.wrapping_mul(7_919) % 1_001 };
    Start { stock, reorder_point: Some(10), has_place: true }
}

/// What P6 counts the bytes of.
fn plain(number: u64) -> Start {
    Start { has_place: false, ..never_short(number) }
}

/// Ends the run with a message.
fn failed(error: &dyn fmt::Display) -> ! {
    eprintln!("error: {error}");
    std::process::exit(1)
}
