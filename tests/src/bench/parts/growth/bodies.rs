//! Batches of movements over all SKUs of a generated store: so many different ones that posting
//! them in turn doesn't come back to an item while it is in a cache. Each line of a body is about
//! another item, whatever the store's size: how often a batch names one twice is another question.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bench::large;
use crate::bench::parts::batches::bodies::{Movement, compact};

/// Lines of a body.
pub(super) const LINES: usize = 8_000;
/// What the bodies are.
pub(super) const MEDIA_TYPE: &str = "application/vnd.onhand.batch.v1";
/// Different bodies: two and a half million lines.
const BODIES: usize = 320;
const SEED: u64 = 20_261_127;
/// From one line's item to the next one's, in numbers: it shares no factor with a power of ten, so
/// that a body comes to none twice.
const STEP: u64 = 7_919;

/// Bodies on disk, for wrk to read.
pub(super) struct Bodies {
    directory: PathBuf,
}

impl Bodies {
    /// Writes them.
    pub(super) fn write(directory: &Path, skus: u64) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut dice = fastrand::Rng::with_seed(SEED);
        for number in 0..BODIES {
            let first = dice.u64(..skus);
            let mut movement = |line: u64| Movement {
                is_sale: dice.bool(),
                sku: large::sku((first + line * STEP) % skus),
                quantity: dice.u8(1..10),
            };
            let movements: Vec<Movement> = (0..LINES as u64).map(&mut movement).collect();
            let path = file(directory, number);
            std::fs::write(&path, compact(&movements))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// Their files.
    pub(super) fn files(&self) -> Vec<String> {
        (0..BODIES).map(|number| file(&self.directory, number).display().to_string()).collect()
    }
}

fn file(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("{number}.batch"))
}
