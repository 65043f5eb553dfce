//! Snapshots and compaction of a running node, whatever else is broken meanwhile: what an operator
//! would start by hand, through the node's own address. It must never let a compaction pass that
//! took away what somebody still needs.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::system::System;
use crate::audit::{Line, Outcome, Promise, Verb};
use crate::http::Client;
use crate::load::till;
use crate::world::until;

/// How long a job may take, and how long the aggregator may take to need no more what is to go.
const DONE_WITHIN: Duration = Duration::from_mins(1);
/// How long the aggregator may take to need no more what is full already; it acknowledges what it
/// has kept every other second, and may have an open circuit breaker from the fault before.
const PASSES_WITHIN: Duration = Duration::from_secs(45);
/// Full segments that a compaction finds at least.
const SEGMENTS_MIN: usize = 2;
/// Lines of a batch that fills segments.
const LINES: usize = 1_000;
/// Batches until there are so many full segments, at most.
const BATCHES_MAX: u64 = 100;

/// Has the node of a store take two snapshots (fewer let nothing go) over some full segments, and
/// begin to compact; where to ask for the job. One that will be struck begins once there is something
/// to take away, the other while there is something that somebody still needs.
pub async fn begin_compaction(
    system: &mut System,
    store: usize,
    is_struck: bool,
) -> Result<String> {
    let node = system.stores[store].node.client().clone();
    let name = system.stores[store].name().to_owned();
    system.fillings += 1;
    let sku = format!("bulk-{}", system.fillings);
    let mut filler = till(&format!("{name}-{sku}"), &name, node.base(), &system.history)?;
    let line = |verb| Line { sku: sku.clone(), verb };
    filler.carry_out(vec![line(Verb::Create(1))], true, true).await;
    let held = cursors(&consumers(&node).await?).max().unwrap_or_default();
    let mut batches = 0;
    loop {
        let full = full_segments(&node).await?;
        // One that will be struck waits for the cursors; the other is to leave what lies above them.
        let is_above = full.last().is_some_and(|last| is_struck || *last > held);
        if full.len() >= SEGMENTS_MIN && is_above {
            break;
        }
        if batches == BATCHES_MAX {
            bail!("{name}: {batches} batches of {LINES} lines don't fill {SEGMENTS_MIN} segments");
        }
        let outcome = filler.carry_out(vec![line(Verb::Receive(1)); LINES], true, true).await;
        if outcome == Outcome::Unknown {
            bail!("{name} left a batch unanswered, and nothing there is broken");
        }
        batches += 1;
    }
    for _ in 0..2 {
        // A snapshot of nothing new would be the same file again.
        filler.carry_out(vec![line(Verb::Receive(1))], true, true).await;
        let place = begin_job(&node, "/api/admin/snapshot").await?;
        let snapshot = ended(&node, &place).await?;
        if snapshot["state"] != "done" {
            bail!("{name}: a snapshot wasn't taken: {snapshot}");
        }
    }
    if is_struck {
        let last = full_segments(&node).await?.last().copied().unwrap_or_default();
        // In vain it isn't counted: a compaction that has nothing to do is over before it is struck.
        let _ = until("the aggregator to need them no more", PASSES_WITHIN, || async {
            let consumers = consumers(&node).await.ok()?;
            cursors(&consumers).all(|seq| seq >= last).then_some(())
        })
        .await;
    }
    begin_job(&node, "/api/admin/compact").await
}

/// Whether a job is at work this very moment.
pub async fn is_running(node: &Client, place: &str) -> bool {
    let Ok(reply) = node.get(place).await else {
        return false;
    };
    reply.json().is_ok_and(|job| job["state"] == "running")
}

/// Waits for a compaction and notes a floor above somebody's cursor.
pub async fn judge_compaction(system: &mut System, store: usize, place: &str) -> Result<()> {
    let node = system.stores[store].node.client();
    let job = ended(node, place).await?;
    let consumers = consumers(node).await?;
    if job["state"] != "done" || overtakes(&job, &consumers) {
        let name = system.stores[store].name();
        let what = format!("{name} compacted to {job} while it has {consumers}");
        system.faults.note(Promise::Converged, what);
    }
    Ok(())
}

/// Compacts until something was taken away: as soon as nobody needs the full segments any more.
pub async fn compact_all(system: &mut System, store: usize) -> Result<()> {
    let node = system.stores[store].node.client().clone();
    until("full segments to be taken away", DONE_WITHIN, || async {
        if full_segments(&node).await.ok()?.is_empty() {
            return Some(());
        }
        let place = begin_job(&node, "/api/admin/compact").await.ok()?;
        let job = ended(&node, &place).await.ok()?;
        (job["result"]["archived"].as_u64() > Some(0)).then_some(())
    })
    .await
}

async fn consumers(node: &Client) -> Result<Value> {
    node.get("/api/log/consumers").await?.ok()?.json()
}

/// Whether a compaction's floor lies above a cursor that was read after it: cursors never go back.
fn overtakes(job: &Value, consumers: &Value) -> bool {
    let floor = job["result"]["floor"].as_u64().unwrap_or(0);
    cursors(consumers).any(|seq| seq < floor)
}

fn cursors(consumers: &Value) -> impl Iterator<Item = u64> + '_ {
    let consumers = consumers["consumers"].as_array().into_iter().flatten();
    consumers.filter_map(|consumer| consumer["seq"].as_u64())
}

/// The last seqs of the segments that are written to no more and haven't been archived.
async fn full_segments(node: &Client) -> Result<Vec<u64>> {
    let status = node.get("/api/sync/status").await?.ok()?.json()?;
    let segments = status["segments"].as_array().context("a log has segments")?;
    let own = segments.iter().filter(|segment| segment["archived"] != true);
    let mut lasts: Vec<u64> = own.filter_map(|segment| segment["last"].as_u64()).collect();
    lasts.pop();
    Ok(lasts)
}

/// Starts an operator's job; where to ask for it. The node may have one of its own at work.
async fn begin_job(node: &Client, path: &str) -> Result<String> {
    until(&format!("{path} to be accepted"), DONE_WITHIN, || async {
        let reply = node.post(path, &json!({})).await.ok()?;
        let place = reply.header("location").filter(|_| reply.status == 202)?;
        Some(place.to_owned())
    })
    .await
}

/// Waits for the end of a job.
async fn ended(node: &Client, place: &str) -> Result<Value> {
    until(&format!("{place} to end"), DONE_WITHIN, || async {
        let job = node.get(place).await.ok()?.json().ok()?;
        (job["state"] != "running").then_some(job)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_above_a_cursor_is_seen() {
        let consumers = json!({"consumers": [{"id": "a", "seq": 40}, {"id": "b", "seq": 30}]});
        for (floor, expected) in [(0, false), (30, false), (31, true), (50, true)] {
            let job = json!({"state": "done", "result": {"floor": floor}});
            assert_eq!(overtakes(&job, &consumers), expected, "{floor}");
        }
        assert!(!overtakes(&json!({"state": "failed"}), &consumers));
        assert!(!overtakes(&json!({"result": {"floor": 9}}), &json!({"consumers": []})));
    }
}
