//! Reads the logs of nodes from their first frames as the aggregator does, checks each frame's crc,
//! and throws it away: what following costs before anything is followed. It must never acknowledge
//! anything: a node would keep its log for it.
//!
//! `cargo run --release -p aggregator --example read_logs -- --json FILE --node URL --node URL`

use std::path::PathBuf;
use std::time::Instant;

use aggregator::source::http::{HttpOptions, HttpSource};
use aggregator::source::{FrameStream, LogSource};
use anyhow::{Context, Result};
use clap::Parser;
use event_log::frame::FrameKind;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    /// Where the figures go.
    #[arg(long)]
    json: PathBuf,
    /// The nodes.
    #[arg(long)]
    node: Vec<String>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (events, seconds) = runtime.block_on(read_all(&options.node))?;
    let figures = serde_json::json!({"events": events, "seconds": seconds});
    std::fs::write(&options.json, figures.to_string()).context("writing the figures")
}

async fn read_all(nodes: &[String]) -> Result<(u64, f64)> {
    let begun = Instant::now();
    let reading: Vec<_> = nodes.iter().map(|node| tokio::spawn(read(node.clone()))).collect();
    let mut events = 0;
    for node in reading {
        events += node.await??;
    }
    Ok((events, begun.elapsed().as_secs_f64()))
}

/// Reads up to what is durable now; returns how many events that is.
async fn read(node: String) -> Result<u64> {
    let source = HttpSource::new(&node, "read-logs", HttpOptions::default());
    let durable = source.status().await?.durable_seq;
    let (_, mut frames) = source.follow(None).await?;
    let mut events = 0;
    loop {
        let frame = frames.next().await?;
        if frame.header.kind == FrameKind::Data {
            events += u64::from(frame.header.record_count);
            if frame.header.last_seq() >= durable {
                return Ok(events);
            }
        }
    }
}
