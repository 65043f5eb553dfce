//! P5 of the performance contract: how fast recovery is, beside what the machine could do at best.
//!
//! Makes a log of many events once, then times in turn (A B A B …), page cache warm:
//! (a) the real recovery: open the log, read every frame (crc, chain), decode, check and apply every
//!     record, rebuild the key table, compare every frame's state digest;
//! (b) the ceiling: read the same bytes, crc32 and BLAKE3 chain of each frame, xxh3 of each record,
//!     on one thread, and nothing else.
//! Then opens a snapshot of ten million SKUs, made by the real writer.
//!
//! `cargo run --release -p store-node --example replay_bench -- --dir DIR [--json FILE]`
//! It must never measure anything that a node doesn't do at opening.

mod replay_bench_support;

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use event_log::Log;
use event_log::storage::disk::DiskStorage;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use shared::{StoreId, Timestamp};
use store_node::clock::wall_now;
use store_node::ledger::{Ledger, LedgerOptions, RecoveryReport};
use store_node::ops::store::log_options;

use replay_bench_support::ceiling::{self, Ceiling};
use replay_bench_support::generate;
use replay_bench_support::{STORE, Series, failed};

/// The bars of the contract.
const EVENTS_PER_SECOND_BAR: f64 = 4_000_000.0;
const RATIO_BAR: f64 = 0.5;
const SNAPSHOT_SECONDS_BAR: f64 = 5.0;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    /// Where the logs are made, and found again by the next run with the same figures.
    #[arg(long)]
    dir: PathBuf,
    /// Events in the log, creations included.
    #[arg(long, default_value_t = 4_000_000)]
    events: u64,
    /// SKUs they are about.
    #[arg(long, default_value_t = 100_000)]
    skus: u64,
    /// Records in each frame: how many clients were waiting for a commit.
    #[arg(long, default_value_t = 64)]
    frame_records: u64,
    /// How many events of a hundred carry an idempotency key.
    #[arg(long, default_value_t = 50)]
    keyed_percent: u64,
    /// Rounds, each with both sides.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Items in the snapshot; 0 leaves it out.
    #[arg(long, default_value_t = 10_000_000)]
    snapshot_items: u64,
    /// Write the figures here too.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    events: u64,
    keys: u64,
    frames: u64,
    bytes: u64,
    bytes_per_record: f64,
    frame_records: u64,
    keyed_percent: u64,
    cores: usize,
    replay_events_per_second: Series,
    ceiling_events_per_second: Series,
    ratio: Series,
    snapshot: Option<SnapshotReport>,
    bars_met: bool,
}

#[derive(Serialize)]
struct SnapshotReport {
    items: u64,
    bytes: u64,
    open_seconds: Series,
}

fn main() {
    let options = Options::parse();
    let report = measure(&options);
    let text = serde_json::to_string_pretty(&report).expect("figures are JSON");
    if let Some(path) = &options.json {
        std::fs::write(path, format!("{text}\n")).unwrap_or_else(|error| failed(&error));
    }
    print(&report);
    std::process::exit(i32::from(!report.bars_met));
}

fn measure(options: &Options) -> Report {
    let name = format!(
        "log-{}-{}-{}-{}",
        options.events, options.skus, options.frame_records, options.keyed_percent
    );
    let dir = options.dir.join(name);
    generate::events(
        &dir,
        options.events,
        options.skus,
        options.frame_records,
        options.keyed_percent,
    );
    // Once each without the clock, so that the page cache is warm.
    ceiling::run(&dir);
    open(&dir);
    let (mut replay, mut best, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = (RecoveryReport::default(), Ceiling::default());
    for round in 1..=options.rounds {
        let (Opening { replay: seconds, .. }, recovered) = open(&dir);
        let replayed = recovered.replay.records as f64 / seconds;
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let walked = ceiling::run(&dir);
        let cpu = cpu_seconds() - cpu;
        let ceiling = walked.records as f64 / started.elapsed().as_secs_f64();
        eprintln!(
            "round {round}: replay {replayed:.0}/s, ceiling {ceiling:.0}/s, {cpu:.3} s of cpu"
        );
        assert_eq!(walked.records, recovered.replay.records, "both sides did the same records");
        replay.push(replayed);
        best.push(ceiling);
        ratio.push(replayed / ceiling);
        last = (recovered, walked);
    }
    let snapshot = (options.snapshot_items > 0).then(|| measure_snapshot(options));
    let (recovered, walked) = last;
    let replay = Series::of(replay);
    let ratio = Series::of(ratio);
    let snapshot_met =
        snapshot.as_ref().is_none_or(|s| s.open_seconds.median <= SNAPSHOT_SECONDS_BAR);
    let bars_met =
        replay.median >= EVENTS_PER_SECOND_BAR && ratio.median >= RATIO_BAR && snapshot_met;
    Report {
        events: recovered.replay.applied,
        keys: recovered.keys,
        frames: walked.frames,
        bytes: walked.bytes,
        bytes_per_record: walked.bytes as f64 / walked.records as f64,
        frame_records: options.frame_records,
        keyed_percent: options.keyed_percent,
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        replay_events_per_second: replay,
        ceiling_events_per_second: Series::of(best),
        ratio,
        snapshot,
        bars_met,
    }
}

fn measure_snapshot(options: &Options) -> SnapshotReport {
    let dir = options.dir.join(format!("snapshot-{}", options.snapshot_items));
    generate::snapshot(&dir, options.snapshot_items, 0, generate::never_short);
    open(&dir);
    let mut seconds = Vec::new();
    let mut bytes = 0;
    for round in 1..=options.rounds {
        let (Opening { whole: opened, .. }, recovered) = open(&dir);
        assert_eq!(recovered.items, options.snapshot_items);
        bytes = recovered.snapshot.map_or(0, |info| info.footer.file_bytes);
        eprintln!("round {round}: snapshot opened in {opened:.2} s");
        seconds.push(opened);
    }
    SnapshotReport { items: options.snapshot_items, bytes, open_seconds: Series::of(seconds) }
}

/// How long an opening took, in seconds.
struct Opening {
    /// Until the store could serve.
    whole: f64,
    /// The part after the log had checked its last segment: snapshot and replay.
    replay: f64,
}

/// Opens a store as a node does, and closes it again.
fn open(dir: &std::path::Path) -> (Opening, RecoveryReport) {
    let store_id = StoreId::new(STORE).unwrap_or_else(|error| failed(&error));
    let storage = DiskStorage::new(dir.to_owned());
    let now: Timestamp = wall_now();
    let started = Instant::now();
    let log = Log::open(storage, log_options(&store_id)).unwrap_or_else(|error| failed(&error));
    let (log_seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds());
    let opened = Ledger::open(log, store_id, LedgerOptions::default(), now, &mut |_, _| ());
    let (ledger, report) = opened.unwrap_or_else(|error| failed(&error));
    let whole = started.elapsed().as_secs_f64();
    let replay = whole - log_seconds;
    let cpu = cpu_seconds() - cpu;
    eprintln!(
        "opened in {whole:.3} s: log {log_seconds:.3} s, state {replay:.3} s ({cpu:.3} s of cpu)"
    );
    ledger.log().close().unwrap_or_else(|error| failed(&error));
    (Opening { whole, replay }, report)
}

/// Processor time of this process so far, all threads together.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn print(report: &Report) {
    println!(
        "{} events ({} keys) in {} frames of {} records, {:.0} bytes a record, {} cores",
        report.events,
        report.keys,
        report.frames,
        report.frame_records,
        report.bytes_per_record,
        report.cores
    );
    println!("replay    events/s  {}", report.replay_events_per_second);
    println!("ceiling   events/s  {}", report.ceiling_events_per_second);
    println!("ratio               {}", report.ratio);
    if let Some(snapshot) = &report.snapshot {
        println!(
            "snapshot of {} SKUs ({} bytes) opens in s  {}",
            snapshot.items, snapshot.bytes, snapshot.open_seconds
        );
    }
    println!(
        "bars (≥ 4M/s, ratio ≥ 0.5, ≤ 5 s): {}",
        if report.bars_met { "met" } else { "NOT MET" }
    );
}
