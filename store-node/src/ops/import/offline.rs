//! Importing through the ledger of a data directory that no node uses.

use std::path::Path;
use std::time::Duration;

use event_log::{AppendError, Seq};
use shared::{Context, StoreId};

use super::{Batch, ImportReport, Target};
use crate::idempotency::RequestKey;
use crate::ledger::{BatchLine, BatchOutcome, BatchRequest, ExecutedBatch, LedgerError};
use crate::ops::OpError;
use crate::ops::record_json::rejection_name;
use crate::ops::store::{OpenStore, open_store};

/// How often a busy log is asked again, a millisecond apart.
const BUSY_RETRIES_MAX: usize = 10_000;
/// How many batches may be on their way to the disk.
const BATCHES_UNSETTLED_MAX: usize = 16;

/// A data directory, opened for writing.
pub(super) struct LedgerTarget {
    store: OpenStore,
    settle: Seq,
    unsettled: usize,
}

impl LedgerTarget {
    pub(super) fn open(data_dir: &Path, store_id: Option<StoreId>) -> Result<Self, OpError> {
        let store = open_store(data_dir, store_id)?;
        Ok(Self { store, settle: Seq::ZERO, unsettled: 0 })
    }

    pub(super) fn close(self) -> Result<(), OpError> {
        self.store.close()
    }

    fn execute(&self, batch: &Batch) -> Result<ExecutedBatch, OpError> {
        let line = |line: &super::ImportLine| {
            BatchLine::command(line.command.clone(), line.context.clone())
        };
        let request = BatchRequest {
            atomic: false,
            lines: batch.lines.iter().map(line).collect(),
            key: Some(request_key(batch)?),
            context: Context { actor: Some("import".into()), ..Context::default() },
        };
        for _ in 0..BUSY_RETRIES_MAX {
            match self.store.ledger.execute_batch(&request, self.store.clock.now()) {
                Err(LedgerError::Append(AppendError::Busy)) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(LedgerError::Unsettled { settle }) => {
                    self.store.ledger.log().wait_blocking(settle).map_err(OpError::failed)?;
                }
                executed => return executed.map_err(OpError::failed),
            }
        }
        Err(OpError::Failed("the log stays busy".to_owned()))
    }
}

impl Target for LedgerTarget {
    fn send(&mut self, batch: &Batch, report: &mut ImportReport) -> Result<(), OpError> {
        let executed = self.execute(batch)?;
        for (line, outcome) in batch.lines.iter().zip(executed.lines) {
            match outcome {
                BatchOutcome::Changed { .. } | BatchOutcome::Unchanged(_) => {
                    report.add_done(executed.replayed);
                }
                BatchOutcome::Refused(refused) => {
                    let name = rejection_name(&refused.rejection);
                    report.add_refusal(line.number, format!("{:?}: {name}", refused.sku));
                }
                BatchOutcome::NotApplied { .. } | BatchOutcome::Invalid => {
                    report.add_refusal(line.number, "was not applied".to_owned());
                }
            }
        }
        self.settle = self.settle.max(executed.settle);
        self.unsettled += 1;
        if self.unsettled == BATCHES_UNSETTLED_MAX { self.finish() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), OpError> {
        self.unsettled = 0;
        self.store.ledger.log().wait_blocking(self.settle).map_err(OpError::failed)
    }
}

/// The hashes of a batch's key and content.
fn request_key(batch: &Batch) -> Result<RequestKey, OpError> {
    let operations: Vec<_> = batch.lines.iter().map(|line| &line.operation).collect();
    let body = serde_json::to_vec(&operations).map_err(OpError::failed)?;
    let mut fingerprint = blake3::Hasher::new();
    fingerprint.update(b"import").update(&body);
    let key_hash = half(&blake3::hash(batch.key.as_bytes()));
    Ok(RequestKey { key_hash, fingerprint: half(&fingerprint.finalize()) })
}

fn half(hash: &blake3::Hash) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}
