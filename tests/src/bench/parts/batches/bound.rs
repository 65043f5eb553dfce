//! The bound of P3: one thread that copies the bytes which the log has for a batch and makes them
//! durable, over and over. It must never sync less than it wrote.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long it runs.
const TIME: Duration = Duration::from_secs(1);
/// The file is written through first, as the log's segments are, and then from its start again.
const FILE_BYTES: usize = 256 << 20;
const BLOCK_BYTES: usize = 4096;

/// Batches of so many bytes a second.
pub(super) fn batches_per_second(directory: &Path, batch_bytes: usize) -> Result<f64> {
    let path = directory.join("bound");
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    let chunk = vec![0; 1 << 20];
    for offset in (0..FILE_BYTES).step_by(chunk.len()) {
        file.write_all_at(&chunk, offset as u64)?;
    }
    file.sync_all()?;
    let source = vec![7_u8; batch_bytes];
    let frame_bytes = batch_bytes.next_multiple_of(BLOCK_BYTES);
    let mut frame = Vec::with_capacity(frame_bytes);
    let (mut batches, mut offset) = (0_u32, 0);
    let started = Instant::now();
    while started.elapsed() < TIME {
        if offset + frame_bytes > FILE_BYTES {
            offset = 0;
        }
        frame.clear();
        frame.extend_from_slice(&source);
        frame.resize(frame_bytes, 0);
        file.write_all_at(&frame, offset as u64)?;
        file.sync_data()?;
        offset += frame_bytes;
        batches += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(f64::from(batches) / seconds)
}
