//! What stores leave when they have ended: each log as `store-node dump` tells it, what its node and
//! the aggregator held, and what the callers were told. The verdict is the one checker's
//! ([`crate::audit`]); the end-to-end tests and the chaos runs gather the same. It must never be
//! lenient with a log that can't be read.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use shared::Timestamp;

use crate::audit::history::State;
use crate::audit::{
    Fault, Faults, Held, LogEvent, LogReceipt, Operation, StoreLog, agreement, deadlines, evidence,
    linearizable,
};
use crate::http::{Client, percent_encode};
use crate::world::until;

/// How long reservations may take to run out; tills make none for longer than seconds.
const RUNS_OUT_WITHIN: Duration = Duration::from_mins(1);

/// All of it, as plain values.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// What the callers did and were told.
    pub operations: Vec<Operation>,
    /// What each store left.
    pub stores: Vec<StoreFindings>,
    /// What was noted before anybody compared.
    pub noted: Vec<Fault>,
}

/// What one store left.
#[derive(Debug, Clone, Default)]
pub struct StoreFindings {
    /// Its log from the first record on.
    pub log: StoreLog,
    /// What its node showed.
    pub node: Held,
    /// What the aggregator showed of it, if there was one.
    pub view: Option<Held>,
}

impl Findings {
    /// Every promise that was broken.
    pub fn judge(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        for StoreFindings { log, node, view } in &self.stores {
            evidence(&self.operations, log, &mut faults);
            linearizable::linearizability(&self.operations, log, &mut faults);
            agreement(log, node, view.as_ref().unwrap_or(node), &mut faults);
            deadlines(log, None, &mut faults);
        }
        let mut all = self.noted.clone();
        all.extend(faults.into_vec());
        all
    }
}

/// What a node shows of all its items.
pub async fn held_by_node(node: &Client) -> Result<Held> {
    let rows = node.list_all("/api/inventory").await?;
    rows.iter().map(|row| row_state(row, row)).collect()
}

/// What an aggregator shows of all items of a store.
pub async fn held_by_view(aggregator: &Client, store: &str) -> Result<Held> {
    let path = format!("/api/inventory?storeId={}", percent_encode(store));
    let mut view = Held::new();
    for row in aggregator.list_all(&path).await? {
        let parts = row["stores"].as_array().with_context(|| format!("{row}"))?;
        for part in parts.iter().filter(|part| part["storeId"] == store) {
            view.extend([row_state(&row, part)?]);
        }
    }
    Ok(view)
}

/// Waits until no node holds a reservation that time would end: what can run out runs out before
/// anybody compares.
pub async fn nothing_runs_out(nodes: &[&Client]) -> Result<()> {
    until("reservations to run out", RUNS_OUT_WITHIN, || async {
        for node in nodes {
            let path = "/api/reservations?expiresBefore=2999-01-01T00:00:00Z";
            if !node.list_all(path).await.ok()?.is_empty() {
                return None;
            }
        }
        Some(())
    })
    .await
}

/// A store's log, from the lines that `store-node dump` writes.
pub fn log_of_dump(store: &str, dumped: &str) -> Result<StoreLog> {
    let mut log = StoreLog { store: store.to_owned(), ..StoreLog::default() };
    for line in dumped.lines() {
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
