//! What is broken on purpose: power, processes, disks, lines, clocks, and operators in the wrong
//! moment. It must never break a promise that real machines keep: a disk that said "safe" keeps what
//! it has, and where bits rot they rot in one place at a time, at rest (`rot.rs`).

use std::time::Duration;

use event_log::storage::sim::{Fault, SimStorage};
use tokio::time::timeout;

use crate::dice::Dice;
use crate::network::Line;
use crate::node::{Death, Node};
use crate::office::{OFFICE, Office};
use crate::run::World;

/// How long a snapshot may take.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(1);

/// How likely each kind is in one run; 0 = never.
#[derive(Debug, Clone)]
pub struct Mix {
    power: u64,
    kill: u64,
    stop: u64,
    snapshot: u64,
    office: u64,
    disk: u64,
    full: u64,
    line: u64,
    clock: u64,
    operator: u64,
    rot: u64,
    pause_ms: u64,
}

impl Mix {
    /// Each run has its own weather; some have none.
    pub fn throw(dice: &mut Dice) -> Self {
        let mut some = |most: u64| if dice.chance(600) { dice.between(1, most) } else { 0 };
        Self {
            power: some(10),
            kill: some(10),
            stop: some(5),
            snapshot: some(5),
            office: some(10),
            disk: some(8),
            full: some(4),
            line: some(20),
            clock: some(5),
            operator: some(5),
            rot: some(4),
            pause_ms: *dice.pick(&[100, 400, 1500]),
        }
    }

    fn kinds(&self) -> [(Kind, u64); 11] {
        [
            (Kind::Power, self.power),
            (Kind::Kill, self.kill),
            (Kind::Stop, self.stop),
            (Kind::Snapshot, self.snapshot),
            (Kind::Office, self.office),
            (Kind::Disk, self.disk),
            (Kind::Full, self.full),
            (Kind::Line, self.line),
            (Kind::Clock, self.clock),
            (Kind::Operator, self.operator),
            (Kind::Rot, self.rot),
        ]
    }
}

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Power,
    Kill,
    Stop,
    Snapshot,
    Office,
    Disk,
    Full,
    Line,
    Clock,
    Operator,
    Rot,
}

/// How often each kind struck.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Power cuts of nodes and of the office.
    pub power_cuts: u64,
    /// Processes killed.
    pub kills: u64,
    /// Clean ends.
    pub stops: u64,
    /// Disks that failed, filled up, or went dark in the middle of an operation.
    pub disk_faults: u64,
    /// Lines cut, silent, half open or slow.
    pub line_faults: u64,
    /// Clocks that jumped.
    pub clock_jumps: u64,
    /// Resyncs, pauses and rebuilds.
    pub operator_acts: u64,
    /// Files in which bits rotted.
    pub rotten_files: u64,
    /// Directories that refused to open for it.
    pub rot_refused: u64,
    /// Starts that were refused.
    pub refused_starts: u64,
}

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.power_cuts += other.power_cuts;
        self.kills += other.kills;
        self.stops += other.stops;
        self.disk_faults += other.disk_faults;
        self.line_faults += other.line_faults;
        self.clock_jumps += other.clock_jumps;
        self.operator_acts += other.operator_acts;
        self.rotten_files += other.rotten_files;
        self.rot_refused += other.rot_refused;
        self.refused_starts += other.refused_starts;
    }

    /// Crashes of any kind.
    pub fn crashes(&self) -> u64 {
        self.power_cuts + self.kills
    }
}

/// A machine whose disk is about to fail: once it has, somebody pulls the plug. Between a disk that
/// failed and the next good save is where promises are broken.
#[derive(Debug, Clone, Copy)]
struct Doom {
    /// Which node; none = the office.
    node: Option<usize>,
    /// The operation that fails.
    operation: u64,
}

/// Whoever breaks things.
pub struct Mischief {
    mix: Mix,
    dice: Dice,
    counts: Counts,
    doom: Option<Doom>,
    unnoticed: Vec<String>,
}

impl Mischief {
    /// With this weather.
    pub fn new(mix: Mix, dice: Dice) -> Self {
        Self { mix, dice, counts: Counts::default(), doom: None, unnoticed: Vec::new() }
    }

    /// How often each kind struck.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Until the next strike.
    pub fn pause(&mut self) -> Duration {
        Duration::from_millis(self.dice.between(1, self.mix.pause_ms * 2))
    }

    /// Starts again what failed or doesn't run, as a supervisor does.
    pub async fn revive(&mut self, world: &mut World) {
        for node in &mut world.nodes {
            if node.is_failed() {
                let death = if node.disk.is_off() { Death::PowerCut } else { Death::Kill };
                self.count(death);
                node.end(death).await;
            }
            if !node.is_running()
                && let Err(error) = node.start()
            {
                self.counts.refused_starts += 1;
                node.note(&error);
            }
        }
        if world.office.is_failed() {
            self.count(Death::PowerCut);
            world.office.end(Death::PowerCut).await;
        }
        if !world.office.is_running()
            && let Err(error) = world.office.start()
        {
            world.trace.note(format_args!("the office doesn't start: {error}"));
        }
    }

    /// Breaks one thing.
    pub async fn strike(&mut self, world: &mut World) {
        if self.dice.chance(500) {
            self.revive(world).await;
        }
        if let Some(doom) = self.doom.take() {
            self.strike_the_doomed(doom, world).await;
        }
        let kinds = self.mix.kinds();
        let sum: u64 = kinds.iter().map(|(_, weight)| weight).sum();
        if sum == 0 {
            return;
        }
        let mut throw = self.dice.between(0, sum - 1);
        for (kind, weight) in kinds {
            if throw < weight {
                return self.break_one(kind, world).await;
            }
            throw -= weight;
        }
    }

    async fn break_one(&mut self, kind: Kind, world: &mut World) {
        let chosen = self.dice.between(0, world.nodes.len() as u64 - 1) as usize;
        match kind {
            Kind::Power => self.end(&mut world.nodes[chosen], Death::PowerCut).await,
            Kind::Kill => self.end(&mut world.nodes[chosen], Death::Kill).await,
            Kind::Stop => self.end(&mut world.nodes[chosen], Death::Stop).await,
            Kind::Snapshot => self.cut_after_snapshot(&mut world.nodes[chosen]).await,
            Kind::Office => {
                let death = *self.dice.pick(&[Death::PowerCut, Death::Kill, Death::Stop]);
                self.end_office(&mut world.office, death).await;
            }
            Kind::Disk => self.break_disk(world, chosen),
            Kind::Full => self.fill_disk(world, chosen),
            Kind::Line => self.break_line(world, chosen),
            Kind::Clock => {
                let node = &world.nodes[chosen];
                let jump_us = self.dice.between(0, 7_200_000_000) as i64 - 3_600_000_000;
                *node.clock_error_us.lock() += jump_us;
                self.counts.clock_jumps += 1;
                world.trace.note(format_args!("{} clock {jump_us} µs", node.options.name));
            }
            Kind::Operator => self.operate(world, chosen),
            Kind::Rot => self.rot(world, chosen).await,
        }
    }

    /// Ends a machine whose disk has failed; one whose disk hasn't yet stays doomed.
    async fn strike_the_doomed(&mut self, doom: Doom, world: &mut World) {
        let disk = doom.node.map_or(&world.office.disk, |node| &world.nodes[node].disk);
        if disk.op_count() <= doom.operation {
            self.doom = Some(doom);
            return;
        }
        let death = *self.dice.pick(&[Death::PowerCut, Death::Kill]);
        match doom.node {
            Some(node) => self.end(&mut world.nodes[node], death).await,
            None => self.end_office(&mut world.office, death).await,
        }
    }

    /// The power goes just after a snapshot was finished: what it holds must be in the log.
    async fn cut_after_snapshot(&mut self, node: &mut Node) {
        let is_made = timeout(SNAPSHOT_PATIENCE, node.snapshot()).await.unwrap_or(false);
        if is_made {
            self.end(node, Death::PowerCut).await;
        }
    }

    async fn end_office(&mut self, office: &mut Office, death: Death) {
        if office.is_running() {
            self.count(death);
            office.end(death).await;
        }
    }

    /// A machine is switched off, and when it comes back bits have flipped.
    async fn rot(&mut self, world: &mut World, chosen: usize) {
        let death = *self.dice.pick(&[Death::PowerCut, Death::Stop]);
        if self.dice.chance(250) && world.office.is_running() {
            self.end_office(&mut world.office, death).await;
            self.counts.rotten_files += 1;
            return world.office.rot();
        }
        let node = &mut world.nodes[chosen];
        if node.is_damaged() {
            return node.repair().await;
        }
        if !node.is_running() || node.disk.is_off() {
            return;
        }
        self.end(node, death).await;
        self.counts.rotten_files += 1;
        match node.rot() {
            Ok(is_refused) => self.counts.rot_refused += u64::from(is_refused),
            Err(what) => self.unnoticed.push(what),
        }
    }

    /// Rot that nobody saw.
    pub fn unnoticed(&self) -> &[String] {
        &self.unnoticed
    }

    async fn end(&mut self, node: &mut Node, death: Death) {
        if node.is_running() {
            // Nothing that was said to be durable may be missing from the book.
            if self.dice.chance(500) {
                node.tell();
            }
            self.count(death);
            node.end(death).await;
        }
    }

    fn count(&mut self, death: Death) {
        match death {
            Death::PowerCut => self.counts.power_cuts += 1,
            Death::Kill => self.counts.kills += 1,
            Death::Stop => self.counts.stops += 1,
        }
    }

    /// One of the next operations on a disk fails, or the power goes in the middle of it.
    fn break_disk(&mut self, world: &World, chosen: usize) {
        let (node, disk, whose) = self.choose_disk(world, chosen);
        let fault = *self.dice.pick(&[Fault::Crash, Fault::Crash, Fault::Eio, Fault::Enospc]);
        let ahead = self.dice.between(0, 30);
        let operation = disk.op_count() + ahead;
        disk.fail_at(operation, fault);
        self.counts.disk_faults += 1;
        self.doom = self.dice.chance(400).then_some(Doom { node, operation });
        world.trace.note(format_args!("{whose} disk: {fault:?} in {ahead} operations"));
    }

    /// A disk has little room left, or gets all of it back.
    fn fill_disk(&mut self, world: &World, chosen: usize) {
        let (_, disk, whose) = self.choose_disk(world, chosen);
        let is_full = self.dice.chance(600);
        let used: u64 = disk.contents().iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let room = used + self.dice.between(0, 40_000);
        disk.set_capacity(is_full.then_some(room));
        self.counts.disk_faults += 1;
        world.trace.note(format_args!("{whose} full: {is_full}"));
    }

    /// The chosen node's disk, or now and then the office's: which node it is, the disk, its owner.
    fn choose_disk<'a>(
        &mut self,
        world: &'a World,
        chosen: usize,
    ) -> (Option<usize>, &'a SimStorage, &'a str) {
        if self.dice.chance(300) {
            return (None, &world.office.disk, OFFICE);
        }
        let node = &world.nodes[chosen];
        (Some(chosen), &node.disk, &node.options.name)
    }

    fn break_line(&mut self, world: &World, chosen: usize) {
        let store = &world.nodes[chosen].options.name;
        let from = if self.dice.chance(500) {
            OFFICE.to_owned()
        } else {
            format!("{store}-till-{}", self.dice.between(0, 3))
        };
        let lines = [Line::Cut, Line::Silent, Line::HalfOpen, Line::Slow, Line::Up, Line::Up];
        let line = *self.dice.pick(&lines);
        self.counts.line_faults += u64::from(line != Line::Up);
        world.trace.note(format_args!("line {from} to {store}: {line:?}"));
        world.network.set(&from, store, line);
    }

    fn operate(&mut self, world: &World, chosen: usize) {
        use aggregator::sync_worker::Control;
        let store = &world.nodes[chosen].options.name;
        self.counts.operator_acts += 1;
        let act = self.dice.between(0, 4);
        world.trace.note(format_args!("operator: act {act} on {store}"));
        match act {
            0 => world.office.resync(Some(store)),
            1 => world.office.resync(None),
            2 => world.office.tell(store, Control::Pause),
            _ => world.office.tell(store, Control::Resume),
        }
    }

    /// Ends all mischief.
    pub async fn heal(&mut self, world: &mut World) {
        world.network.heal();
        for node in &mut world.nodes {
            node.disk.set_capacity(None);
            node.disk.no_more_faults();
        }
        world.office.disk.set_capacity(None);
        world.office.disk.no_more_faults();
        self.doom = None;
        for node in &mut world.nodes {
            node.repair().await;
        }
        self.revive(world).await;
        for node in &world.nodes {
            world.office.tell(&node.options.name, aggregator::sync_worker::Control::Resume);
        }
    }
}
