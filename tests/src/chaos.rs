//! Real processes, broken on purpose: three nodes and an aggregator as their programs, tills on real
//! sockets, and from one seed a schedule of kills, frozen processes, broken lines, failing system
//! calls, full disks and power cuts. Then everything is mended, and the one checker of all layers
//! ([`crate::audit`]) says whether every answer was true. It must never break what it didn't start.
//!
//! The seed fixes the schedule, not the story: real threads and disks don't repeat. A fault that it
//! finds is brought into the simulation, which does.

pub mod disk;
pub mod line;
pub mod report;
pub mod strikes;
pub mod system;
pub mod upkeep;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::dice::Dice;
use crate::findings::{Findings, nothing_runs_out};
use crate::load::{Crew, Load};
use crate::retail::incidents::{is_verified_at, sync_status};
use crate::world::{Binaries, until};

pub use report::{Report, Told};
use strikes::{Counts, Kind, Strike, pause};
use system::System;

/// Strikes at a time.
const STRIKES_MAX: usize = 2;
/// Between strikes, and while one lasts, ms, at most.
const PAUSE_MS: u64 = 1_200;
/// How long everything may take to agree once nothing is broken.
const CONVERGES_WITHIN: Duration = Duration::from_mins(1);

/// How a run is made.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The schedule follows from it.
    pub seed: u64,
    /// Rounds go on for so long; in a round every kind of fault comes once, and there is at least
    /// one.
    pub duration: Duration,
    /// Tell what happens as it happens.
    pub aloud: bool,
}

/// Runs a plan; the report, and what it was made from. An error means that the run itself couldn't
/// go on, which a service that doesn't come back is a reason for.
pub async fn run(binaries: Binaries, plan: Plan) -> Result<(Report, Findings)> {
    let mut dice = Dice::new(plan.seed);
    let minutes = plan.duration.as_secs().div_ceil(60);
    let mut system = System::start(binaries, minutes).await?;
    let history = system.history.clone();
    let stores = system.stores.iter();
    let stores: Vec<_> = stores.map(|store| (store.name().to_owned(), store.tills.url())).collect();
    let began = Instant::now();
    let load = Load::start(&stores, Crew::default(), &history, &mut dice)?;
    let mut counts = Counts::new();
    let result = async {
        loop {
            round(&mut system, &mut dice, &mut counts, plan, began).await?;
            if began.elapsed() >= plan.duration {
                break;
            }
        }
        system.heal().await?;
        let (duration, healed) = (began.elapsed(), Instant::now());
        load.finish().await?;
        converged(&system).await?;
        let converged_in = healed.elapsed();
        let nodes: Vec<_> = system.stores.iter().map(|store| store.node.client()).collect();
        nothing_runs_out(&nodes).await?;
        converged(&system).await?;
        let findings = system.end().await?;
        Ok::<_, anyhow::Error>((duration, converged_in, findings))
    };
    let result = result.await;
    let left_out = std::mem::take(&mut system.left_out);
    let (duration, converged, findings) = result
        .with_context(|| format!("everything is kept in {}", system.world.keep().display()))?;
    let faults = findings.judge();
    let kept = (!faults.is_empty()).then(|| system.world.keep().to_path_buf());
    let told = Told::of(&findings.operations);
    let seed = plan.seed;
    Ok((Report { seed, duration, counts, left_out, told, converged, faults, kept }, findings))
}

/// Every kind of fault once, in an order that the dice say, some of them together.
async fn round(
    system: &mut System,
    dice: &mut Dice,
    counts: &mut Counts,
    plan: Plan,
    began: Instant,
) -> Result<()> {
    let mut waiting: Vec<Kind> =
        Kind::ALL.into_iter().filter(|kind| Strike::is_possible(*kind, system)).collect();
    dice.shuffle(&mut waiting);
    while !waiting.is_empty() {
        let mut strikes: Vec<Strike> = Vec::new();
        let mut index = 0;
        while strikes.len() < STRIKES_MAX && index < waiting.len() {
            match Strike::aim(waiting[index], &strikes, system, dice) {
                Some(strike) => {
                    waiting.remove(index);
                    strikes.push(strike);
                }
                None => index += 1,
            }
        }
        strikes.sort_by_key(Strike::is_last);
        if plan.aloud {
            let names: Vec<String> = strikes.iter().map(|strike| strike.kind().name()).collect();
            eprintln!("{:>7.1} s  {}", began.elapsed().as_secs_f64(), names.join(" + "));
        }
        pause(dice, PAUSE_MS / 2).await;
        for strike in &mut strikes {
            let struck = strike.begin(system, dice).await;
            struck.with_context(|| format!("{strike:?}"))?;
        }
        pause(dice, PAUSE_MS).await;
        for strike in &strikes {
            let is_struck = strike.end(system).await;
            let is_struck = is_struck.with_context(|| format!("mending {strike:?}"))?;
            *counts.entry(strike.kind()).or_default() += u64::from(is_struck);
        }
    }
    Ok(())
}

/// Waits until the aggregator has what every node has, verified.
async fn converged(system: &System) -> Result<()> {
    let aggregator = system.aggregator.client();
    let waited = until("log, node and view to agree", CONVERGES_WITHIN, || async {
        let status = sync_status(aggregator).await?;
        let rows = status["stores"].as_array()?;
        for store in &system.stores {
            let own = store.node.client().get("/api/sync/status").await.ok()?.json().ok()?;
            let seq = own["durableSeq"].as_u64()?;
            let row = rows.iter().find(|row| row["storeId"] == store.name())?;
            if !is_verified_at(row, seq) {
                return None;
            }
        }
        (status["global"]["deadLetters"] == 0).then_some(())
    });
    let waited = waited.await;
    if waited.is_err() {
        let status = sync_status(aggregator).await.unwrap_or_default();
        return waited.with_context(|| format!("the aggregator says {status}"));
    }
    Ok(())
}
