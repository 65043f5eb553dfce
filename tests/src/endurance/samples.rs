//! What a run is sampled for. It must never hold more than [`SAMPLES_MAX`]: when there are more,
//! every other one goes and the next ones are taken half as often.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::tills::Shop;
use crate::quantile::Ordered;
use crate::world::Service;

/// Samples that are kept.
pub const SAMPLES_MAX: usize = 1_000;
/// Looks at a node's disk for each sample: compactions take away what comes in between.
pub const DISK_LOOKS: u32 = 12;
/// The folder of a node's archived segments, which age by the day.
const ARCHIVE: &str = "archive";

/// One look.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Seconds since the beginning.
    pub at_seconds: f64,
    /// Requests answered so far.
    pub operations: u64,
    /// Requests answered a second, since the last sample.
    pub per_second: f64,
    /// The node's process.
    pub node: Held,
    /// The aggregator's.
    pub aggregator: Held,
    /// Bytes of the node's directory without the archive.
    pub node_disk_bytes: u64,
    /// The least that these were since the last sample, seen [`DISK_LOOKS`] times.
    pub node_disk_least_bytes: u64,
    /// Bytes of its archive.
    pub archive_bytes: u64,
    /// Bytes of the aggregator's directory.
    pub aggregator_disk_bytes: u64,
    /// 99th percentiles since the last sample: writes at the node, in ms.
    pub writes_p99_ms: f64,
    /// Reads and lists at the node.
    pub reads_p99_ms: f64,
    /// Reads at the aggregator.
    pub view_reads_p99_ms: f64,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Open files and sockets.
    pub descriptors: u64,
}

/// All looks of a run.
#[derive(Debug, Clone, Default)]
pub struct Samples(pub Vec<Sample>);

impl Samples {
    /// When the last one was taken.
    pub fn last_at_seconds(&self) -> f64 {
        self.0.last().map_or(0.0, |sample| sample.at_seconds)
    }

    /// Time and value of every sample.
    pub fn series(&self, value: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
        self.0.iter().map(|sample| (sample.at_seconds, value(sample))).collect()
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        write!(
            out,
            "{:>6.0} s {:>10} requests, {:.0}/s; memory {} + {} MiB, files {} + {}, disk {} + {} MiB and {} archived; p99 {:.1} ms",
            self.at_seconds,
            self.operations,
            self.per_second,
            mib(self.node.resident_bytes),
            mib(self.aggregator.resident_bytes),
            self.node.descriptors,
            self.aggregator.descriptors,
            mib(self.node_disk_bytes),
            mib(self.aggregator_disk_bytes),
            mib(self.archive_bytes),
            self.writes_p99_ms
        )
    }
}

/// Takes samples.
#[derive(Debug)]
pub struct Sampler {
    node: (u32, PathBuf),
    aggregator: (u32, PathBuf),
    started: Instant,
    interval: Duration,
    samples: Samples,
    /// The least bytes of the node's directory since the last sample.
    node_disk_least_bytes: u64,
}

impl Sampler {
    /// Of these two, every so many seconds at first.
    pub fn start(node: &Service, aggregator: &Service, seconds: u64) -> Result<Self> {
        let of = |service: &Service| {
            let id = service.id().with_context(|| format!("{} runs", service.name()))?;
            anyhow::Ok((id, service.spec().data_dir.clone()))
        };
        Ok(Self {
            node: of(node)?,
            aggregator: of(aggregator)?,
            started: Instant::now(),
            interval: Duration::from_secs(seconds),
            samples: Samples::default(),
            node_disk_least_bytes: u64::MAX,
        })
    }

    /// Until the next look.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Looks at the node's disk alone, in between; answers its bytes, and those of the archive.
    pub fn look_at_disk(&mut self) -> (u64, u64) {
        let archive_bytes = bytes_of(&self.node.1.join(ARCHIVE));
        let bytes = bytes_of(&self.node.1).saturating_sub(archive_bytes);
        self.node_disk_least_bytes = self.node_disk_least_bytes.min(bytes);
        (bytes, archive_bytes)
    }

    /// Looks.
    pub fn look(&mut self, shop: &Shop) -> Result<Sample> {
        let latencies = shop.take_latencies();
        let p99 = |values| Ordered::new(values).quantile(0.99);
        let at_seconds = self.started.elapsed().as_secs_f64();
        let operations = shop.operations();
        let last = self.samples.0.last();
        let (last_at, last_operations) =
            last.map_or((0.0, 0), |last| (last.at_seconds, last.operations));
        let (node_disk_bytes, archive_bytes) = self.look_at_disk();
        let sample = Sample {
            at_seconds,
            operations,
            per_second: (operations - last_operations) as f64 / (at_seconds - last_at),
            node: Held::of(self.node.0)?,
            aggregator: Held::of(self.aggregator.0)?,
            node_disk_bytes,
            node_disk_least_bytes: std::mem::replace(&mut self.node_disk_least_bytes, u64::MAX),
            archive_bytes,
            aggregator_disk_bytes: bytes_of(&self.aggregator.1),
            writes_p99_ms: p99(latencies.writes_ms),
            reads_p99_ms: p99(latencies.reads_ms),
            view_reads_p99_ms: p99(latencies.view_reads_ms),
        };
        self.samples.0.push(sample.clone());
        if self.samples.0.len() >= SAMPLES_MAX {
            thin(&mut self.samples.0);
            self.interval *= 2;
        }
        Ok(sample)
    }

    /// Everything that was seen.
    pub fn into_samples(self) -> Samples {
        self.samples
    }
}

impl Held {
    /// Of the process with this id.
    pub fn of(process: u32) -> Result<Self> {
        let path = format!("/proc/{process}/status");
        let status = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = value.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
        let open =
            std::fs::read_dir(format!("/proc/{process}/fd")).context("looking at open files")?;
        Ok(Self {
            resident_bytes: kib.context("a process says what it holds")? * 1024,
            descriptors: open.count() as u64,
        })
    }
}

/// Every other sample goes.
fn thin(samples: &mut Vec<Sample>) {
    let mut number = 0_usize;
    samples.retain(|_| {
        number += 1;
        number.is_multiple_of(2)
    });
}

/// Bytes of all files below a folder; files come and go meanwhile.
fn bytes_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_open_files_of_a_process_are_seen() {
        let before = Held::of(std::process::id()).unwrap();
        let files: Vec<_> = (0..64).map(|_| tempfile::tempfile().unwrap()).collect();
        let after = Held::of(std::process::id()).unwrap();
        // Other tests of this process open and close files of their own.
        assert!(after.descriptors >= before.descriptors + 32, "{before:?} {after:?}");
        assert!(after.resident_bytes > 1 << 20);
        drop(files);
        assert!(Held::of(u32::MAX).is_err());
    }

    #[test]
    fn all_files_below_a_folder_count() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        std::fs::write(folder.path().join("inner/a"), [0; 100]).unwrap();
        std::fs::write(folder.path().join("b"), [0; 23]).unwrap();
        assert_eq!(bytes_of(folder.path()), 123);
        assert_eq!(bytes_of(&folder.path().join("gone")), 0);
    }

    #[test]
    fn thinning_keeps_the_last_sample_and_every_other_one() {
        let mut samples: Vec<Sample> =
            (1..=10_u64).map(|operations| Sample { operations, ..Sample::default() }).collect();
        thin(&mut samples);
        let kept: Vec<u64> = samples.iter().map(|sample| sample.operations).collect();
        assert_eq!(kept, [2, 4, 6, 8, 10]);
    }
}
