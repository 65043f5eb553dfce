//! Writing the ledger's state into a snapshot while writers go on. It must never write an item
//! that isn't applied yet but durable before the snapshot began: an item's lock is held from its
//! append to its apply, and a shard's keys are copied after the claims in flight.

use std::ops::ControlFlow;
use std::sync::Arc;

use event_log::planted;
use event_log::snapshot::{SnapshotError, SnapshotInfo, SnapshotWriter};
use event_log::storage::Storage;
use event_log::{Progress, Seq, WaitError};
use shared::{Timestamp, digest};
use thiserror::Error;

use super::Ledger;
use super::tables::{
    SECTION_BYTES_SOFT_MAX, SECTION_COUNTS, SECTION_ITEMS, SECTION_KEYS, counts_bytes, put_item,
    put_key,
};
use crate::idempotency::KEY_SHARDS;

/// Progress is told every so many items.
const PROGRESS_ITEMS: u64 = 8192;

/// Why there is no new snapshot. Older ones are as they were.
#[derive(Debug, Error)]
pub enum LedgerSnapshotError {
    /// The log refused or the disk failed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// What the snapshot holds won't become durable: restart the process.
    #[error("the snapshot can't become durable: {0}")]
    Wait(#[from] WaitError),
    /// `progress` said to stop; nothing is left of it.
    #[error("cancelled")]
    Cancelled,
}

/// A snapshot whose sections are written and whose end isn't durable yet. Dropped, it leaves
/// nothing behind.
pub struct PendingSnapshot<S: Storage> {
    writer: SnapshotWriter<S>,
    hi: Seq,
    digest: u128,
}

impl<S: Storage> PendingSnapshot<S> {
    /// The seq that must be durable before [`PendingSnapshot::finish`].
    pub fn hi(&self) -> Seq {
        self.hi
    }

    /// Makes it a snapshot: sync, rename, read back, verify.
    pub fn finish(mut self) -> Result<SnapshotInfo, LedgerSnapshotError> {
        Ok(self.writer.finish(self.digest)?)
    }
}

impl<S: Storage> Ledger<S> {
    /// Takes a snapshot; blocks until it is durable and verified. Writers go on. `progress` is told
    /// (items written, items in all) and may say stop.
    pub fn snapshot(
        &self,
        now: Timestamp,
        progress: Progress<'_>,
    ) -> Result<SnapshotInfo, LedgerSnapshotError> {
        let pending = self.draw_snapshot(now, progress)?;
        self.log.wait_blocking(pending.hi())?;
        pending.finish()
    }

    /// Writes the sections of a snapshot, without waiting for anything.
    pub fn draw_snapshot(
        &self,
        now: Timestamp,
        progress: Progress<'_>,
    ) -> Result<PendingSnapshot<S>, LedgerSnapshotError> {
        let mut writer = Arc::clone(&self.log).begin_snapshot(now.as_micros())?;
        let counts = counts_bytes(self.items.len(), self.keys.len());
        writer.section(SECTION_COUNTS, 0, &counts)?;
        let digest = self.write_items(&mut writer, progress)?;
        if !planted::is("snapshot without keys") {
            self.write_keys(&mut writer, progress)?;
        }
        let sealed = writer.seal();
        let hi = if planted::is("snapshot what isn't durable") { writer.lo() } else { sealed };
        Ok(PendingSnapshot { writer, hi, digest })
    }

    fn write_items(
        &self,
        writer: &mut SnapshotWriter<S>,
        progress: Progress<'_>,
    ) -> Result<u128, LedgerSnapshotError> {
        let mut sum = 0_u128;
        let mut written = 0;
        let mut sections = Sections::new(SECTION_ITEMS);
        for (sku, handle) in self.items.walk() {
            let slot = handle.lock();
            if !slot.exists() {
                continue;
            }
            put_item(&mut sections.bytes, &sku, &slot.item, slot.last_seq.get());
            let cell = *slot.item.cell();
            drop(slot);
            sum = sum.wrapping_add(digest::item_digest(&sku, &cell));
            sections.close_if_full(writer)?;
            written += 1;
            if written % PROGRESS_ITEMS == 0 {
                go_on(progress(written, self.items.len() as u64))?;
            }
        }
        sections.close(writer)?;
        go_on(progress(written, written))?;
        Ok(sum)
    }

    fn write_keys(
        &self,
        writer: &mut SnapshotWriter<S>,
        progress: Progress<'_>,
    ) -> Result<(), LedgerSnapshotError> {
        let mut sections = Sections::new(SECTION_KEYS);
        let items = self.items.len() as u64;
        for shard in 0..KEY_SHARDS {
            go_on(progress(items, items))?;
            for entry in self.keys.copy_shard(shard) {
                put_key(&mut sections.bytes, &entry);
                sections.close_if_full(writer)?;
            }
        }
        Ok(sections.close(writer)?)
    }
}

fn go_on(flow: ControlFlow<()>) -> Result<(), LedgerSnapshotError> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(LedgerSnapshotError::Cancelled),
    }
}

/// The section being filled.
struct Sections {
    kind: u16,
    id: u32,
    bytes: Vec<u8>,
}

impl Sections {
    fn new(kind: u16) -> Self {
        Self { kind, id: 0, bytes: Vec::new() }
    }

    fn close_if_full<S: Storage>(
        &mut self,
        writer: &mut SnapshotWriter<S>,
    ) -> Result<(), SnapshotError> {
        if self.bytes.len() < SECTION_BYTES_SOFT_MAX { Ok(()) } else { self.close(writer) }
    }

    fn close<S: Storage>(&mut self, writer: &mut SnapshotWriter<S>) -> Result<(), SnapshotError> {
        if !self.bytes.is_empty() {
            writer.section(self.kind, self.id, &self.bytes)?;
            self.bytes.clear();
            self.id += 1;
        }
        Ok(())
    }
}
