//! What is there when everything is whole again: each log as `store-node dump` tells it, what its
//! node and the aggregator hold, and what the tills were told. The verdict is the one checker's. It
//! must never be lenient with a log that can't be read.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use shared::Timestamp;

use super::system::{Store, System};
use crate::audit::history::State;
use crate::audit::{
    Fault, Faults, Held, History, LogEvent, LogReceipt, Operation, Promise, StoreLog, agreement,
    deadlines, evidence, linearizable,
};
use crate::http::percent_encode;

/// All of it, as plain values.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// What the tills did and were told.
    pub operations: Vec<Operation>,
    /// By store: its log, what its node holds, what the aggregator holds of it.
    pub stores: Vec<(StoreLog, Held, Held)>,
    /// What was noted before anybody compared.
    pub noted: Vec<Fault>,
}

impl Findings {
    /// Reads everything, and ends all processes in order on the way: only a log that was closed
    /// can be read to its last record from outside.
    pub async fn gather(system: &mut System, history: &History) -> Result<Self> {
        let mut held = Vec::new();
        for store in &system.stores {
            let rows = store.node.client().list_all("/api/inventory").await?;
            let node = rows.iter().map(|row| row_state(row, row)).collect::<Result<Held>>()?;
            let path = format!("/api/inventory?storeId={}", percent_encode(store.name()));
            let mut view = BTreeMap::new();
            for row in system.aggregator.client().list_all(&path).await? {
                let parts = row["stores"].as_array().with_context(|| format!("{row}"))?;
                for part in parts.iter().filter(|part| part["storeId"] == store.name()) {
                    view.extend([row_state(&row, part)?]);
                }
            }
            held.push((node, view));
        }
        system.stop().await?;
        let mut stores = Vec::new();
        let mut faults = std::mem::take(&mut system.faults);
        for (store, (node, view)) in system.stores.iter().zip(held) {
            let log = dumped(store, system)?;
            let verified = store.command(&system.world.binaries().store_node(), &["verify"])?;
            if verified.code != Some(0) {
                let what = format!("{}: {}{}", store.name(), verified.stdout, verified.stderr);
                faults.note(Promise::Durable, what);
            }
            stores.push((log, node, view));
        }
        Ok(Self { operations: history.operations(), stores, noted: faults.into_vec() })
    }

    /// Every promise that was broken.
    pub fn judge(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        for (log, node, view) in &self.stores {
            evidence(&self.operations, log, &mut faults);
            linearizable::linearizability(&self.operations, log, &mut faults);
            agreement(log, node, view, &mut faults);
            deadlines(log, None, &mut faults);
        }
        let mut all = self.noted.clone();
        all.extend(faults.into_vec());
        all
    }
}

/// The log of a stopped store.
fn dumped(store: &Store, system: &System) -> Result<StoreLog> {
    let dumped = store.command(&system.world.binaries().store_node(), &["dump", "--json"])?;
    if dumped.code != Some(0) {
        bail!("{} can't be read: {}", store.name(), dumped.stderr);
    }
    // For whoever looks into a failure.
    std::fs::write(system.world.path().join(format!("{}.jsonl", store.name())), &dumped.stdout)?;
    let mut log = StoreLog { store: store.name().to_owned(), ..StoreLog::default() };
    for line in dumped.stdout.lines() {
        let record: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let seq = number(&record, "seq")?;
        if record["type"] == "receipt" {
            log.receipts.push(LogReceipt { seq });
        } else {
            log.events.push(event(seq, &record).with_context(|| line.to_owned())?);
        }
    }
    Ok(log)
}

/// An event as the checker reads it, from its line of `dump`.
fn event(seq: u64, record: &Value) -> Result<LogEvent> {
    let change = record["type"].as_str().context("no type")?;
    let stock = number(record, "stock")? as i64;
    let units = record["quantity"].as_i64();
    let units = || units.with_context(|| format!("{change} without a quantity"));
    let moved = match change {
        "created" => (stock, 0, 0),
        "updated" | "deactivated" | "extended" => (0, 0, 0),
        "received" | "adjusted" => (units()?, 0, 0),
        "returned" => (if record["restocked"] == true { units()? } else { 0 }, 0, 0),
        "sold" => (-units()?, 0, units()?),
        "reserved" => (0, units()?, 0),
        "released" | "expired" => (0, -units()?, 0),
        "deducted" => (-units()?, -units()?, units()?),
        other => bail!("an event that nobody knows: {other}"),
    };
    let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
    Ok(LogEvent {
        seq,
        sku: text("sku"),
        version: number(record, "version")?,
        change: change.to_owned(),
        moved,
        after: (number(record, "stock")?, number(record, "reserved")?, number(record, "sold")?),
        order: text("orderId"),
        request_id: text("requestId"),
        at_us: micros(record, "recordedAt")?.context("no time")?,
        expires_at_us: micros(record, "expiresAt")?,
    })
}

/// A time, if there is one.
fn micros(value: &Value, field: &str) -> Result<Option<i64>> {
    let Some(text) = value[field].as_str() else {
        return Ok(None);
    };
    let time = Timestamp::parse(text).with_context(|| format!("{field} in {value}"))?;
    Ok(Some(time.as_micros()))
}

/// The SKU of a row, and the figures in it or in a part of it.
fn row_state(row: &Value, figures: &Value) -> Result<(String, State)> {
    let sku = row["sku"].as_str().with_context(|| format!("no sku in {row}"))?;
    let state = State {
        stock: number(figures, "stock")?,
        reserved: number(figures, "reserved")?,
        sold: number(figures, "sold")?,
        version: number(figures, "version")?,
        seq: None,
    };
    Ok((sku.to_owned(), state))
}

fn number(value: &Value, field: &str) -> Result<u64> {
    value[field].as_u64().with_context(|| format!("no number {field} in {value}"))
}
