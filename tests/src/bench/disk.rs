//! How long the disk takes to make a small write durable: what every figure of a durable program
//! stands on. It must never measure another directory than the one it is given.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

/// How often the disk is asked to sync.
const SYNCS: usize = 500;
/// What is written before each sync, in bytes: a small frame with its padding.
const WRITE_BYTES: usize = 4_096;

/// A 4 KiB overwrite with fdatasync, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Syncs {
    /// Median.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
}

impl Syncs {
    /// Measures on a file in `folder` that is written through first, as the log's segments are.
    pub fn measure(folder: &Path) -> Result<Self> {
        let path = folder.join("fdatasync.probe");
        let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
        let bytes = [7_u8; WRITE_BYTES];
        for block in 0..SYNCS {
            file.write_all_at(&bytes, (block * WRITE_BYTES) as u64)?;
        }
        file.sync_all()?;
        let mut times = Vec::new();
        for block in 0..SYNCS {
            let started = Instant::now();
            file.write_all_at(&bytes, (block * WRITE_BYTES) as u64)?;
            file.sync_data()?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
        std::fs::remove_file(&path)?;
        times.sort_by(f64::total_cmp);
        Ok(Self { p50_us: times[SYNCS / 2], p99_us: times[SYNCS * 99 / 100] })
    }
}
