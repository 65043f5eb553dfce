//! State rebuilt without a ledger: for looking at it. It must never be written to.

use event_log::Seq;
use event_log::snapshot::{SnapshotInfo, SnapshotReader};
use event_log::storage::Storage;
use shared::{Item, Sku};
use thiserror::Error;

use super::{FrameSource, Replay, ReplayError, ReplayOptions, ReplayReport, Replayed};
use crate::idempotency::KeyTable;
use crate::ledger::items::Items;
use crate::ledger::{LedgerOpenError, LedgerOptions};

/// Why a state couldn't be rebuilt.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// The snapshot isn't what it should be.
    #[error(transparent)]
    Load(#[from] LedgerOpenError),
    /// A record or frame isn't.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

/// The state at some seq.
pub struct Rebuilt {
    items: Items,
    /// How it came about.
    pub report: ReplayReport,
}

impl Rebuilt {
    /// Rebuilds from a snapshot (or from nothing) and the frames behind it. `progress` is told the
    /// seq reached.
    pub fn new<S: Storage>(
        storage: &S,
        base: Option<&SnapshotInfo>,
        source: &mut dyn FrameSource,
        options: ReplayOptions,
        progress: &mut dyn FnMut(Seq),
    ) -> Result<Self, RebuildError> {
        let LedgerOptions { keys_max, key_life_us, .. } = LedgerOptions::default();
        let mut keys = KeyTable::new(keys_max, key_life_us);
        let mut replay = Replay::new(&mut keys, options);
        if let Some(info) = base {
            let reader =
                SnapshotReader::open(storage, &info.file).map_err(LedgerOpenError::from)?;
            replay.load(reader, info)?;
        }
        let Replayed { report, items, .. } = replay.run(source, progress)?;
        Ok(Self { items, report })
    }

    /// How many items there are.
    pub fn items(&self) -> usize {
        self.items.len()
    }

    /// One item, if it exists.
    pub fn item(&self, sku: &Sku) -> Option<Item> {
        self.items.get(sku).map(|handle| handle.lock().item.clone())
    }
}
