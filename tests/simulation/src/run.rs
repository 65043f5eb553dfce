//! One run: a world made from a seed, broken on purpose while tills work, healed, and then asked to
//! agree with itself and with everything that anybody was ever told.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use serde_json::Value;
use tests::audit::history::State;
use tests::audit::{
    Fault, Faults, Held, History, Promise, Uptime, agreement, deadlines, evidence, linearizable,
};
use tests::till::Till;
use tokio::time::{Instant, sleep};

use crate::bounds;
use crate::dice::Dice;
use crate::mischief::{Counts, Mischief, Mix};
use crate::network::Network;
use crate::node::{Node, NodeOptions};
use crate::office::{OFFICE, Office};
use crate::signal::Signal;
use crate::till::Aisle;
use crate::trace::Trace;

/// How long everything may take to agree once nothing is broken, simulated.
const LIVENESS: Duration = Duration::from_mins(3);
/// A till's day has so many operations at most.
const OPERATIONS_MAX: u32 = 150;
/// No reservation of a till ends later than this.
const LONGEST_PROMISE: Duration = Duration::from_secs(10);

/// How a run is made.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Everything else follows from it.
    pub seed: u64,
    /// Print the story as it goes.
    pub aloud: bool,
    /// The bug on purpose, in builds that have them.
    pub bug: Option<&'static str>,
}

impl Plan {
    /// A quiet run of the code as it is.
    pub fn of(seed: u64) -> Self {
        Self { seed, aloud: false, bug: None }
    }
}

/// What became of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Promises that were broken.
    pub faults: Vec<Fault>,
    /// The hash of its story.
    pub hash: String,
    /// The last lines of its story.
    pub tail: Vec<String>,
    /// Operations that tills began.
    pub operations: usize,
    /// Events and receipts in all logs.
    pub records: usize,
    /// What was broken, how often.
    pub counts: Counts,
    /// How long it took, simulated.
    pub simulated: Duration,
    /// How long agreement took after healing, simulated.
    pub converged: Duration,
}

/// Everything in one place.
pub struct World {
    /// The stores.
    pub nodes: Vec<Node>,
    /// Head office.
    pub office: Office,
    /// The network.
    pub network: Network,
    /// The story.
    pub trace: Trace,
}

/// Runs a plan on a runtime of its own.
pub fn run(plan: Plan) -> Report {
    #[cfg(feature = "planted-bugs")]
    event_log::planted::plant(plan.bug);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without threads needs nothing");
    runtime.block_on(live(plan))
}

async fn live(plan: Plan) -> Report {
    let mut dice = Dice::new(plan.seed);
    let trace = Trace::new(plan.aloud);
    let began = Instant::now();
    let (mix, shape) = (Mix::throw(&mut dice), Shape::throw(&mut dice));
    trace.note(format_args!("seed {}: {shape:?}, {mix:?}", plan.seed));
    let mut world = World::new(&shape, &trace, &mut dice);
    let history = History::default();
    let closing = Signal::new(false);
    let tills = shape.tills(&world.network, &history, &trace, &closing, &mut dice);
    let tasks: Vec<_> = tills.into_iter().map(|till| tokio::spawn(till.work())).collect();
    let mut mischief = Mischief::new(mix, dice.fork());
    let ends = Instant::now() + shape.duration;
    while Instant::now() < ends {
        sleep(mischief.pause()).await;
        mischief.strike(&mut world).await;
    }
    trace.note("healing");
    closing.set(true);
    mischief.heal(&mut world).await;
    let healed = Instant::now();
    let mut faults = Faults::default();
    for what in mischief.unnoticed() {
        faults.note(Promise::Durable, what);
    }
    for task in tasks {
        while !task.is_finished() && healed.elapsed() < LIVENESS {
            mischief.revive(&mut world).await;
            sleep(Duration::from_millis(50)).await;
        }
        if !task.is_finished() {
            faults.note(Promise::Converged, "a till never got its answer");
        }
        task.abort();
    }
    settle(&mut world, &mut mischief, healed, &mut faults).await;
    // What can run out runs out before anybody compares.
    sleep(LONGEST_PROMISE).await;
    settle(&mut world, &mut mischief, healed, &mut faults).await;
    let converged = healed.elapsed().saturating_sub(LONGEST_PROMISE);
    let records = judge(&world, &history, &mut faults).await;
    bounds::check(&mut world, &mut mischief, &mut faults).await;
    let simulated = began.elapsed();
    let faults = faults.into_vec();
    for fault in &faults {
        trace.note(format_args!("FAULT {fault}"));
    }
    let (hash, tail) = (trace.hash(), trace.tail());
    let (operations, counts) = (history.len(), mischief.counts());
    Report {
        seed: plan.seed,
        faults,
        hash,
        tail,
        operations,
        records,
        counts,
        simulated,
        converged,
    }
}

/// Waits until the office holds what every store holds, verified.
async fn settle(world: &mut World, mischief: &mut Mischief, healed: Instant, faults: &mut Faults) {
    loop {
        mischief.revive(world).await;
        let waiting: Vec<String> =
            world.nodes.iter().filter_map(|node| world.waits_for(node)).collect();
        if waiting.is_empty() {
            return;
        }
        if healed.elapsed() > LIVENESS {
            for what in waiting {
                faults.note(Promise::Converged, what);
            }
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Compares everything with everything; returns how many records there are.
async fn judge(world: &World, history: &History, faults: &mut Faults) -> usize {
    let operations = history.operations();
    let mut records = 0;
    for node in &world.nodes {
        node.tell();
        let log = node.book.log();
        records += log.events.len() + log.receipts.len();
        for what in node.book.broken() {
            faults.note(Promise::Durable, what);
        }
        for what in world.office.broken() {
            faults.note(Promise::Durable, what);
        }
        evidence(&operations, &log, faults);
        linearizable::linearizability(&operations, &log, faults);
        if let Some(app) = node.app() {
            let obstacles_us = node.obstacles_us.lock().clone();
            let uptime = Uptime { obstacles_us, seen_us: app.now().as_micros() };
            deadlines(&log, Some(&uptime), faults);
        }
        let store = &node.options.name;
        match holds(&world.network, store).await {
            Ok(held) => agreement(&log, &held, &world.office.held(store), faults),
            Err(what) => faults.note(Promise::Converged, format!("{store} can't be read: {what}")),
        }
        world.trace.mix(format!("{log:?}").as_bytes());
    }
    records
}

/// All items of a node, by its own list.
async fn holds(network: &Network, store: &str) -> Result<Held, String> {
    let request = Request::builder()
        .uri("/api/inventory?limit=1000")
        .header("host", store)
        .body(Bytes::new())
        .map_err(|error| error.to_string())?;
    let response = network.send("auditor", store, request).await;
    let response = response.map_err(|broken| format!("{broken:?}"))?;
    let body = response.into_body().collect().await.map_err(|broken| format!("{broken:?}"))?;
    let list: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let rows = list["items"].as_array().ok_or_else(|| list.to_string())?;
    let state = |row: &Value| {
        let number = |field: &str| row[field].as_u64().unwrap_or(u64::MAX);
        let state = State {
            stock: number("stock"),
            reserved: number("reserved"),
            sold: number("sold"),
            version: number("version"),
            seq: None,
        };
        (row["sku"].as_str().unwrap_or_default().to_owned(), state)
    };
    Ok(rows.iter().map(state).collect())
}

/// How large a world is.
#[derive(Debug)]
struct Shape {
    stores: Vec<NodeOptions>,
    skus: Vec<String>,
    tills_per_store: u64,
    pause_ms: u64,
    duration: Duration,
}

impl Shape {
    fn throw(dice: &mut Dice) -> Self {
        let stores = dice.between(1, 3);
        let store = |number: u64, dice: &mut Dice| NodeOptions {
            name: format!("store-{}", char::from(b'a' + number as u8)),
            segment_bytes: dice.between(1, 8) * 16 * 1024,
            archive: dice.chance(700),
            maintenance_ms: if dice.chance(800) { dice.between(300, 6000) } else { 0 },
            sync_ms: *dice.pick(&[2, 5, 20, 60]),
        };
        Self {
            stores: (0..stores).map(|number| store(number, dice)).collect(),
            skus: (0..dice.between(1, 6)).map(|number| format!("sku-{number}")).collect(),
            tills_per_store: dice.between(1, 4),
            pause_ms: *dice.pick(&[5, 40, 200]),
            duration: Duration::from_millis(dice.between(4_000, 20_000)),
        }
    }

    fn tills(
        &self,
        network: &Network,
        history: &History,
        trace: &Trace,
        closing: &Signal<bool>,
        dice: &mut Dice,
    ) -> Vec<Till<Aisle>> {
        let skus = Arc::new(self.skus.clone());
        let mut tills = Vec::new();
        for store in &self.stores {
            for number in 0..self.tills_per_store {
                let name = format!("{}-till-{number}", store.name);
                let way = Aisle {
                    till: name.clone(),
                    store: store.name.clone(),
                    network: network.clone(),
                    trace: trace.clone(),
                    closing: closing.clone(),
                };
                tills.push(Till {
                    name,
                    store: store.name.clone(),
                    skus: Arc::clone(&skus),
                    way,
                    history: history.clone(),
                    dice: dice.fork(),
                    // An answer is told again from the log: what is deleted can't be.
                    may_key: store.archive,
                    pause_ms: self.pause_ms,
                    operations_max: OPERATIONS_MAX,
                });
            }
        }
        tills
    }
}

impl World {
    fn new(shape: &Shape, trace: &Trace, dice: &mut Dice) -> Self {
        let network = Network::new(dice.fork());
        let node = |options: &NodeOptions| {
            let (network, trace) = (network.clone(), trace.clone());
            let mut node = Node::new(options.clone(), network, trace, dice.fork());
            if let Err(error) = node.start() {
                node.note(&error);
            }
            node
        };
        let nodes: Vec<Node> = shape.stores.iter().map(node).collect();
        let stores = shape.stores.iter().map(|store| store.name.clone()).collect();
        let mut office = Office::new(stores, network.clone(), trace.clone(), dice.fork());
        if let Err(error) = office.start() {
            trace.note(format_args!("the office doesn't start: {error}"));
        }
        Self { nodes, office, network, trace: trace.clone() }
    }

    /// Why the office doesn't hold yet what this store holds.
    fn waits_for(&self, node: &Node) -> Option<String> {
        let store = &node.options.name;
        let Some(app) = node.app() else {
            return Some(format!("{store} doesn't run"));
        };
        let (last, durable) = (app.log().last(), app.log().durable());
        if last != durable {
            return Some(format!("{store} has {last}, durable is {durable}"));
        }
        let Some(status) = self.office.status(store) else {
            return Some(format!("{OFFICE} doesn't know {store}"));
        };
        let is_there = status.verified && status.seq == durable.get();
        (!is_there).then(|| format!("{store} is at {durable}, the office says {status:?}"))
    }
}
