//! What is broken, and how it is mended. Each strike has a beginning and an end, so that the system
//! is whole between two of them. It must never count what didn't happen.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::json;

use super::disk::Kind as DiskKind;
use super::line::Condition;
use super::system::{Store, System};
use super::upkeep;
use crate::dice::Dice;
use crate::world::{strace, until};

/// Kills of one storm.
const STORM_KILLS: u64 = 5;
/// From one kill of a storm to the next at most, ms.
const STORM_PAUSE_MS: u64 = 200;
/// How long an injection may take until it strikes; one that doesn't isn't counted.
const STRIKES_WITHIN: Duration = Duration::from_secs(4);
/// How long a node may take to need room on a full disk; one that doesn't isn't counted.
const NEEDS_ROOM_WITHIN: Duration = Duration::from_secs(20);
/// How long a node may take to notice that there is room again.
const HAS_ROOM_WITHIN: Duration = Duration::from_mins(1);

/// How far into a compaction it is struck at most, ms.
const INTO_COMPACTION_MS: u64 = 10;
/// Compactions that are begun until one is still at work when it is to be struck, at most.
const COMPACTIONS_MAX: usize = 5;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `kill -9` of a node.
    NodeKilled,
    /// SIGTERM to a node, which must end cleanly under load.
    NodeStopped,
    /// SIGSTOP, later SIGCONT.
    NodeFrozen,
    /// Kills within a second, at any point of the start.
    NodeStorm,
    /// `kill -9` of the aggregator.
    AggregatorKilled,
    /// SIGSTOP, later SIGCONT.
    AggregatorFrozen,
    /// Kills within a second, at any point of the start.
    AggregatorStorm,
    /// The tills' line to a store.
    TillsLine(Condition),
    /// The aggregator's line to a store.
    FeedLine(Condition),
    /// A system call fails, or kills: the call, and what happens to it in strace's words.
    Call(&'static str, &'static str),
    /// No room on the disk of a running node, for a while.
    DiskFull,
    /// The power of a running node's disk fails: what wasn't synced is lost.
    PowerCut,
    /// No fault: a node is told to write a snapshot while it works.
    Snapshot,
    /// Two snapshots and a compaction of a node while it works, and how they end.
    Compaction(Ending),
}

/// How a compaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// By itself while the aggregator is cut off, which stays to be sent what it hasn't got.
    Finished,
    /// `kill -9` in the middle of it.
    Killed,
    /// The power of its disk fails in the middle of it.
    PowerCut,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::NodeKilled,
        Self::NodeStopped,
        Self::NodeFrozen,
        Self::NodeStorm,
        Self::AggregatorKilled,
        Self::AggregatorFrozen,
        Self::AggregatorStorm,
        Self::TillsLine(Condition::Cut),
        Self::TillsLine(Condition::Slow),
        Self::TillsLine(Condition::Silent),
        Self::FeedLine(Condition::Cut),
        Self::FeedLine(Condition::Slow),
        Self::FeedLine(Condition::Silent),
        Self::Call("fdatasync", "error=EIO"),
        Self::Call("fdatasync", "error=ENOSPC"),
        Self::Call("fdatasync", "signal=KILL"),
        Self::Call("pwrite64", "error=ENOSPC"),
        Self::Call("pwrite64", "signal=KILL"),
        Self::DiskFull,
        Self::PowerCut,
        Self::Snapshot,
        Self::Compaction(Ending::Finished),
        Self::Compaction(Ending::Killed),
        Self::Compaction(Ending::PowerCut),
    ];

    /// What the report calls it.
    pub fn name(self) -> String {
        match self {
            Self::NodeKilled => "node: kill -9".to_owned(),
            Self::NodeStopped => "node: SIGTERM under load".to_owned(),
            Self::NodeFrozen => "node: SIGSTOP, SIGCONT".to_owned(),
            Self::NodeStorm => format!("node: {STORM_KILLS} kills within a second"),
            Self::AggregatorKilled => "aggregator: kill -9".to_owned(),
            Self::AggregatorFrozen => "aggregator: SIGSTOP, SIGCONT".to_owned(),
            Self::AggregatorStorm => format!("aggregator: {STORM_KILLS} kills within a second"),
            Self::TillsLine(condition) => format!("tills' line: {}", named(condition)),
            Self::FeedLine(condition) => format!("aggregator's line: {}", named(condition)),
            Self::Call(call, fate) => format!("{call}: {fate}"),
            Self::DiskFull => "disk full".to_owned(),
            Self::PowerCut => "power cut (ext4 shut down)".to_owned(),
            Self::Snapshot => "(no fault) snapshot under load".to_owned(),
            Self::Compaction(Ending::Finished) => "compaction: aggregator cut off".to_owned(),
            Self::Compaction(Ending::Killed) => "compaction: kill -9".to_owned(),
            Self::Compaction(Ending::PowerCut) => "compaction: power cut".to_owned(),
        }
    }

    fn is_struck_compaction(self) -> bool {
        matches!(self, Self::Compaction(Ending::Killed | Ending::PowerCut))
    }

    /// Something in this system that can be struck so, if there is anything.
    fn target(self, system: &System, dice: &mut Dice) -> Option<Target> {
        let any = dice.between(0, system.stores.len() as u64 - 1) as usize;
        let on = |kind: DiskKind| {
            let is_on = |store: &usize| {
                let disk = system.stores[*store].disk.as_ref();
                disk.is_some_and(|(mounted, _)| *mounted == kind)
            };
            (0..system.stores.len()).find(is_on)
        };
        let (part, store) = match self {
            Self::NodeKilled
            | Self::NodeStopped
            | Self::NodeFrozen
            | Self::NodeStorm
            | Self::Snapshot
            | Self::Compaction(Ending::Finished | Ending::Killed) => (Part::Node, Some(any)),
            Self::AggregatorKilled | Self::AggregatorFrozen | Self::AggregatorStorm => {
                (Part::Aggregator, Some(0))
            }
            Self::TillsLine(_) => (Part::TillsLine, Some(any)),
            Self::FeedLine(_) => (Part::FeedLine, Some(any)),
            Self::Call(..) => (Part::Node, system.can_trace.then_some(any)),
            Self::DiskFull => (Part::Node, on(DiskKind::Memory)),
            Self::PowerCut | Self::Compaction(Ending::PowerCut) => {
                (Part::Node, on(DiskKind::Image))
            }
        };
        Some(Target { part, store: store? })
    }
}

fn named(condition: Condition) -> &'static str {
    match condition {
        Condition::Up => "up",
        Condition::Slow => "slow",
        Condition::Cut => "cut",
        Condition::Silent => "half open",
    }
}

/// What a strike strikes; two at a time never strike the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target {
    part: Part,
    /// The store's number; of the aggregator, of which there is one, 0.
    store: usize,
}

impl Target {
    /// Whether the aggregator's cursors stand still meanwhile.
    fn holds_cursors(self) -> bool {
        matches!(self.part, Part::Aggregator | Part::FeedLine)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Node,
    Aggregator,
    TillsLine,
    FeedLine,
}

/// How often each kind happened.
pub type Counts = BTreeMap<Kind, u64>;

/// One strike under way.
#[derive(Debug)]
pub struct Strike {
    kind: Kind,
    target: Target,
    /// Where an injection tells that it struck.
    told: PathBuf,
    /// A compaction's job, from its beginning on, and whether it was at work when it was struck.
    job: Option<(String, bool)>,
}

impl Strike {
    /// A strike of this kind at something that isn't `taken`; none if nothing of the sort is here.
    pub fn aim(kind: Kind, taken: &[Self], system: &System, dice: &mut Dice) -> Option<Self> {
        let target = kind.target(system, dice)?;
        let is_taken = taken.iter().any(|strike| {
            // A node whose tills can't reach it needs no room.
            let starves = strike.target.store == target.store
                && [strike.kind, kind].contains(&Kind::DiskFull)
                && [strike.target.part, target.part].contains(&Part::TillsLine);
            // What the aggregator still needs isn't compacted, and can't be struck there.
            let holds = [strike.kind, kind].iter().any(|kind| kind.is_struck_compaction())
                && [strike.target, target].iter().any(|target| target.holds_cursors());
            // The line that a compaction cuts by itself.
            let cuts = strike.target.store == target.store
                && [strike.kind, kind].contains(&Kind::Compaction(Ending::Finished))
                && [strike.target.part, target.part].contains(&Part::FeedLine);
            strike.target == target || starves || holds || cuts
        });
        let told = system.world.path().join("logs").join(format!("strace-{}", dice.number()));
        (!is_taken).then_some(Self { kind, target, told, job: None })
    }

    /// Whether there is anything of the sort to strike.
    pub fn is_possible(kind: Kind, system: &System) -> bool {
        kind.target(system, &mut Dice::new(0)).is_some()
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it comes after the other faults and is mended after them: it is to meet them at work.
    pub fn is_last(&self) -> bool {
        matches!(self.kind, Kind::Compaction(_))
    }

    /// Strikes.
    pub async fn begin(&mut self, system: &mut System, dice: &mut Dice) -> Result<()> {
        let number = self.target.store;
        let store = &mut system.stores[number];
        match self.kind {
            Kind::TillsLine(condition) => store.tills.set(condition),
            Kind::FeedLine(condition) => store.feed.set(condition),
            Kind::NodeFrozen => store.node.signal(Signal::STOP)?,
            Kind::AggregatorFrozen => system.aggregator.signal(Signal::STOP)?,
            Kind::NodeKilled => system.kill_node(number)?,
            Kind::AggregatorKilled => system.kill_aggregator()?,
            Kind::NodeStopped => system.stop_node(number).await?,
            Kind::NodeStorm => {
                for _ in 0..STORM_KILLS {
                    system.kill_node(number)?;
                    system.stores[number].node.begin()?;
                    pause(dice, STORM_PAUSE_MS).await;
                }
            }
            Kind::AggregatorStorm => {
                for _ in 0..STORM_KILLS {
                    system.kill_aggregator()?;
                    system.aggregator.begin()?;
                    pause(dice, STORM_PAUSE_MS).await;
                }
            }
            Kind::Call(call, fate) => {
                system.kill_node(number)?;
                let injection = format!("{call}:{fate}:when={}", dice.between(2, 40));
                system.begin_injected(number, &injection, &self.told)?;
            }
            Kind::DiskFull => store.disk()?.fill()?,
            Kind::PowerCut => cut_power(system, number)?,
            Kind::Snapshot => {
                store.node.client().post("/api/admin/snapshot", &json!({})).await?.ok()?;
            }
            Kind::Compaction(ending) => {
                self.job = Some(begin_compaction(system, number, ending, dice).await?);
            }
        }
        Ok(())
    }

    /// Mends what was struck; whether it was.
    pub async fn end(&self, system: &mut System) -> Result<bool> {
        let number = self.target.store;
        let store = &mut system.stores[number];
        match self.kind {
            Kind::TillsLine(_) => store.tills.set(Condition::Up),
            Kind::FeedLine(_) => store.feed.set(Condition::Up),
            Kind::NodeFrozen => store.node.signal(Signal::CONT)?,
            Kind::AggregatorFrozen => system.aggregator.signal(Signal::CONT)?,
            Kind::NodeKilled | Kind::NodeStopped => system.revive_node(number).await?,
            Kind::AggregatorKilled => drop(system.aggregator.restart().await?),
            Kind::NodeStorm | Kind::Snapshot => store.node.wait_ready().await?,
            Kind::AggregatorStorm => system.aggregator.wait_ready().await?,
            Kind::Call(..) => {
                let struck = || async { strace::has_struck(&self.told).then_some(()) };
                let struck = until("the injection", STRIKES_WITHIN, struck).await.is_ok();
                system.kill_node(number)?;
                system.revive_node(number).await?;
                return Ok(struck);
            }
            Kind::DiskFull => {
                let is_noticed = is_ready(store, 503, NEEDS_ROOM_WITHIN).await.is_ok();
                store.disk()?.free()?;
                is_ready(store, 200, HAS_ROOM_WITHIN).await.context("there is room again")?;
                return Ok(is_noticed);
            }
            Kind::PowerCut => restore_power(system, number).await?,
            Kind::Compaction(ending) => {
                let (job, is_struck) = self.job.clone().context("it was begun")?;
                match ending {
                    Ending::Finished => {
                        upkeep::judge_compaction(system, number, &job).await?;
                        system.stores[number].feed.set(Condition::Up);
                        upkeep::compact_all(system, number).await?;
                        return Ok(true);
                    }
                    Ending::Killed => system.revive_node(number).await?,
                    Ending::PowerCut => restore_power(system, number).await?,
                }
                return Ok(is_struck);
            }
        }
        Ok(true)
    }
}

/// Begins a compaction, and ends it as it is to end; its job, and whether it was at work when it
/// was struck.
async fn begin_compaction(
    system: &mut System,
    number: usize,
    ending: Ending,
    dice: &mut Dice,
) -> Result<(String, bool)> {
    let is_struck = ending != Ending::Finished;
    if !is_struck {
        system.stores[number].feed.set(Condition::Cut);
    }
    let mut job = upkeep::begin_compaction(system, number, is_struck).await?;
    let mut is_at_work = false;
    for _ in 1..COMPACTIONS_MAX {
        pause(dice, INTO_COMPACTION_MS).await;
        is_at_work = upkeep::is_running(system.stores[number].node.client(), &job).await;
        if is_at_work || !is_struck {
            break;
        }
        // It was over too fast to be struck.
        job = upkeep::begin_compaction(system, number, is_struck).await?;
    }
    match ending {
        Ending::Finished => {}
        Ending::Killed => system.kill_node(number)?,
        Ending::PowerCut => cut_power(system, number)?,
    }
    Ok((job, is_at_work))
}

fn cut_power(system: &mut System, number: usize) -> Result<()> {
    system.stores[number].disk()?.cut_power()?;
    system.break_ground(number);
    Ok(())
}

async fn restore_power(system: &mut System, number: usize) -> Result<()> {
    system.kill_node(number)?;
    system.stores[number].disk()?.restore_power().await?;
    system.revive_node(number).await
}

/// Waits until a node answers the question for readiness with this status.
async fn is_ready(store: &Store, expected: u16, deadline: Duration) -> Result<()> {
    until("a node to notice its disk", deadline, || async {
        let reply = store.node.client().get("/api/health/ready").await.ok()?;
        (reply.status == expected).then_some(())
    })
    .await
}

/// Lets some time pass.
pub async fn pause(dice: &mut Dice, most_ms: u64) {
    tokio::time::sleep(Duration::from_millis(dice.between(0, most_ms))).await;
}
