//! How soon the global view shows what a node has acknowledged. A probe writes to an item of its
//! own kind, notes the moment of the answer, and asks the aggregator until the version is there.
//! What is told is an upper bound: it ends with the *answer* that shows the version, so it holds one
//! round trip to the aggregator more than the truth.
//!
//! The tills and the offices that would ask stand elsewhere: the probing thread has the machine
//! before everything that it measures, where the system lets it. Otherwise a machine with more to do
//! than cores shows how late the *probe* is.
//!
//! Probes begin at fixed times, whatever became of the ones before: a view that stands still for a
//! second is seen by every probe of that second (no coordinated omission). A probe must never be
//! left out: one that isn't seen in time fails the measurement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::setpriority_process;
use serde::Serialize;
use serde_json::json;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::http::Client;
use crate::quantile::Ordered;

/// Probes under way at once; more mean that the view stands still.
const IN_FLIGHT_MAX: usize = 2_000;
/// A probe that isn't seen within this time fails the run.
const DEADLINE: Duration = Duration::from_secs(20);
/// So long the view is asked without any pause; a probe that takes longer needs no such precision.
const TIGHT: Duration = Duration::from_millis(5);
/// Between two questions after that.
const PAUSE: Duration = Duration::from_millis(1);

/// What the probing thread asks for (`nice(1)`).
const PRIORITY: i32 = -15;

/// Where a probe writes.
#[derive(Debug, Clone)]
pub struct Target {
    /// The store's node.
    pub node: Client,
    /// An item that only probes write to, and only this store has.
    pub sku: String,
}

/// How soon writes were visible, in microseconds after their acknowledgement.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Freshness {
    /// Probes.
    pub probes: usize,
    /// Median.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// The worst.
    pub max_us: f64,
    /// Median round trip of a question to the aggregator: the resolution.
    pub question_p50_us: f64,
    /// 99th percentile of it.
    pub question_p99_us: f64,
}

/// Probes at work.
#[derive(Debug)]
pub struct Probes {
    ending: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Seen>>>,
}

/// What one probe saw.
#[derive(Debug, Default)]
struct Seen {
    after_us: f64,
    questions_us: Vec<f64>,
}

impl Probes {
    /// Begins: `per_second` probes, one target after another.
    pub fn start(targets: Vec<Target>, view: Client, per_second: u32) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&ending);
        let thread = thread::spawn(move || {
            // A thread's priority is its own (`setpriority(2)`); without the right to it, it stays.
            let _ = setpriority_process(None, PRIORITY);
            let runtime = Builder::new_current_thread().enable_all().build()?;
            // Connections live and end with their runtime: none may be anybody else's.
            let own = |client: &Client| Client::new(client.base());
            let view = own(&view)?;
            let targets =
                targets.into_iter().map(|target| Ok(Target { node: own(&target.node)?, ..target }));
            let targets = targets.collect::<Result<Vec<Target>>>()?;
            runtime.block_on(run(targets, view, per_second, ends))
        });
        Self { ending, thread }
    }

    /// Begins no more probes, waits for the last ones and tells what all of them saw.
    pub async fn finish(self) -> Result<Freshness> {
        self.ending.store(true, Ordering::Relaxed);
        let ended = spawn_blocking(|| self.thread.join()).await?;
        let seen = ended.map_err(|_| anyhow!("the probes broke off"))??;
        ensure!(!seen.is_empty(), "no probe was begun");
        Ok(Freshness::of(&seen))
    }

    /// Probes for so long.
    pub async fn run_for(
        targets: Vec<Target>,
        view: Client,
        per_second: u32,
        window: Duration,
    ) -> Result<Freshness> {
        let probes = Self::start(targets, view, per_second);
        sleep(window).await;
        probes.finish().await
    }
}

impl Freshness {
    fn of(seen: &[Seen]) -> Self {
        let after = Ordered::new(seen.iter().map(|seen| seen.after_us).collect());
        let questions = seen.iter().flat_map(|seen| seen.questions_us.iter().copied());
        let questions = Ordered::new(questions.collect());
        Self {
            probes: after.count(),
            p50_us: after.quantile(0.5),
            p99_us: after.quantile(0.99),
            max_us: after.max(),
            question_p50_us: questions.quantile(0.5),
            question_p99_us: questions.quantile(0.99),
        }
    }
}

async fn run(
    targets: Vec<Target>,
    view: Client,
    per_second: u32,
    ending: Arc<AtomicBool>,
) -> Result<Vec<Seen>> {
    let mut clock = interval(Duration::from_secs(1) / per_second);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    let mut seen = Vec::new();
    for target in targets.iter().cycle() {
        clock.tick().await;
        if ending.load(Ordering::Relaxed) {
            break;
        }
        under_way.spawn(probe(target.clone(), view.clone()));
        while let Some(done) = under_way.try_join_next() {
            seen.push(done.context("a probe broke off")??);
        }
        ensure!(under_way.len() < IN_FLIGHT_MAX, "{IN_FLIGHT_MAX} writes wait to be seen");
    }
    while let Some(done) = under_way.join_next().await {
        seen.push(done.context("a probe broke off")??);
    }
    Ok(seen)
}

async fn probe(target: Target, view: Client) -> Result<Seen> {
    let path = format!("/api/inventory/{}", target.sku);
    let write = format!("{path}/receive");
    let written = target.node.post(&write, &json!({"quantity": 1})).await?.ok()?;
    let acknowledged = Instant::now();
    let version = written.json()?["version"].as_u64().context("an answer says the version")?;
    let mut seen = Seen::default();
    loop {
        let asked = Instant::now();
        let reply = view.get(&path).await?;
        seen.questions_us.push(asked.elapsed().as_secs_f64() * 1e6);
        let elapsed = acknowledged.elapsed();
        if reply.status == 200 && reply.json()?["stores"][0]["version"].as_u64() >= Some(version) {
            seen.after_us = elapsed.as_secs_f64() * 1e6;
            return Ok(seen);
        }
        if elapsed > DEADLINE {
            bail!("{} version {version} isn't in the view after {DEADLINE:?}", target.sku);
        }
        if elapsed > TIGHT {
            sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_counts() {
        let seen: Vec<Seen> = (1..=200)
            .map(|number| Seen { after_us: f64::from(number), questions_us: vec![9.0, 1.0] })
            .collect();
        let freshness = Freshness::of(&seen);
        assert_eq!(freshness.probes, 200);
        let found = [freshness.p50_us, freshness.p99_us, freshness.max_us];
        assert_eq!(found.map(|value| value as u64), [100, 198, 200]);
        assert_eq!(freshness.question_p50_us as u64, 1);
        assert_eq!(freshness.question_p99_us as u64, 9);
    }
}
