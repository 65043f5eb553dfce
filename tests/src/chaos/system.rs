//! The processes of a chaos run: three stores, each behind two lines (one for its tills, one for
//! the aggregator), and the aggregator. A process that ends without having been told or broken is
//! noted. It must never leave one behind.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::disk::{Disk, Kind as DiskKind};
use super::line::{Condition, Line};
use crate::audit::{Faults, History, Promise, StoreLog};
use crate::findings::{Findings, StoreFindings, held_by_node, held_by_view, log_of_dump};
use crate::world::process::{self, Output};
use crate::world::{Binaries, SMALL_SEGMENTS, Service, ServiceSpec, World, free_address, strace};

/// Below this a node is read-only, bytes.
const DISK_FLOOR_BYTES: &str = "1048576";
/// Room on a small disk to begin with, bytes, and for each minute of load.
const DISK_BYTES: u64 = 96 << 20;

/// One store.
#[derive(Debug)]
pub struct Store {
    /// Its node.
    pub node: Service,
    /// From the tills to the node.
    pub tills: Line,
    /// From the aggregator to the node.
    pub feed: Line,
    /// The file system that its data is on, if it is one of its own.
    pub disk: Option<(DiskKind, Disk)>,
    /// How its node is started, were its data on the common disk.
    bare: ServiceSpec,
    may_end: bool,
}

/// All of it.
#[derive(Debug)]
pub struct System {
    /// Where everything is.
    pub world: World,
    /// The stores.
    pub stores: Vec<Store>,
    /// The aggregator.
    pub aggregator: Service,
    /// What was asked of the stores, by tills and by whoever fills segments.
    pub history: History,
    /// How often segments were filled.
    pub fillings: u64,
    /// Promises that were seen broken on the way.
    pub faults: Faults,
    /// What can't be done here, and why.
    pub left_out: Vec<(String, String)>,
    /// Whether system calls can be made to fail here.
    pub can_trace: bool,
}

impl System {
    /// Starts everything and waits until it is ready. Small disks have room for so many minutes.
    pub async fn start(binaries: Binaries, minutes: u64) -> Result<Self> {
        let world = World::of(binaries)?;
        let mut left_out = Vec::new();
        let mut stores = Vec::new();
        let disks = [
            ("store-a", None),
            ("store-b", Some((DiskKind::Image, "power cut"))),
            ("store-c", Some((DiskKind::Memory, "disk full"))),
        ];
        for (name, wanted) in disks {
            let mut disk = None;
            if let Some((kind, purpose)) = wanted {
                let place = world.path().join("disks").join(name);
                let bytes = DISK_BYTES * (1 + minutes);
                match Disk::mount(world.binaries(), kind, &place, bytes).await? {
                    Ok(mounted) => disk = Some((kind, mounted)),
                    Err(why) => left_out.push((purpose.to_owned(), why)),
                }
            }
            stores.push(Store::start(&world, name, disk).await?);
        }
        let can_trace = strace::can_trace();
        if let Err(why) = can_trace.clone() {
            left_out.push(("failing system calls".to_owned(), why));
        }
        let feeds: Vec<String> = stores.iter().map(|store| store.feed.url()).collect();
        let directory = world.data_dir("aggregator");
        let binaries = world.binaries();
        let spec = ServiceSpec::aggregator(binaries, &directory, free_address()?, &feeds)
            .log_in(&world.path().join("logs"))
            .ends_with_its_starter(binaries);
        let aggregator = Service::start(spec).await?;
        Ok(Self {
            world,
            stores,
            aggregator,
            history: History::default(),
            fillings: 0,
            faults: Faults::default(),
            left_out,
            can_trace: can_trace.is_ok(),
        })
    }

    /// SIGKILL to a node; a node that was gone already, and wasn't broken, is noted.
    pub fn kill_node(&mut self, store: usize) -> Result<()> {
        let Store { node, may_end, .. } = &mut self.stores[store];
        expect_running(node, *may_end, &mut self.faults)?;
        node.kill()
    }

    /// SIGTERM to a node; one that doesn't end cleanly is noted.
    pub async fn stop_node(&mut self, store: usize) -> Result<()> {
        stop(&mut self.stores[store].node, &mut self.faults).await
    }

    /// Starts a killed node as it was meant to be and waits until it is ready.
    pub async fn revive_node(&mut self, store: usize) -> Result<()> {
        let store = &mut self.stores[store];
        store.may_end = false;
        *store.node.spec_mut() = store.place(store.bare.clone());
        store.node.restart().await.context("after a fault")?;
        Ok(())
    }

    /// SIGKILL to the aggregator; one that was gone already is noted.
    pub fn kill_aggregator(&mut self) -> Result<()> {
        expect_running(&mut self.aggregator, false, &mut self.faults)?;
        self.aggregator.kill()
    }

    /// From now on the node may end by itself: what it stands on is broken.
    pub fn break_ground(&mut self, store: usize) {
        self.stores[store].may_end = true;
    }

    /// Has a killed node start with failing system calls, without waiting for anything.
    pub fn begin_injected(&mut self, store: usize, injection: &str, told: &Path) -> Result<()> {
        let store = &mut self.stores[store];
        store.may_end = true;
        let injected = strace::injected(store.bare.clone(), injection, told);
        *store.node.spec_mut() = store.place(injected);
        store.node.begin()
    }

    /// Whatever is left of the faults ends: lines are up, everything runs.
    pub async fn heal(&mut self) -> Result<()> {
        for store in &mut self.stores {
            store.tills.set(Condition::Up);
            store.feed.set(Condition::Up);
            expect_running(&mut store.node, false, &mut self.faults)?;
            store.node.wait_ready().await?;
        }
        expect_running(&mut self.aggregator, false, &mut self.faults)?;
        self.aggregator.wait_ready().await
    }

    /// Ends all processes in order, for only a log that was closed can be read to its last record
    /// from outside; what they showed before, and what they left.
    pub async fn end(&mut self) -> Result<Findings> {
        let mut held = Vec::new();
        for store in &self.stores {
            let node = held_by_node(store.node.client()).await?;
            held.push((node, held_by_view(self.aggregator.client(), store.name()).await?));
        }
        self.stop().await?;
        let mut stores = Vec::new();
        let mut faults = std::mem::take(&mut self.faults);
        let program = self.world.binaries().store_node();
        for (store, (node, view)) in self.stores.iter().zip(held) {
            let log = self.dumped(store, &program)?;
            let verified = store.command(&program, &["verify"])?;
            if verified.code != Some(0) {
                let what = format!("{}: {}{}", store.name(), verified.stdout, verified.stderr);
                faults.note(Promise::Durable, what);
            }
            stores.push(StoreFindings { log, node, view: Some(view) });
        }
        Ok(Findings { operations: self.history.operations(), stores, noted: faults.into_vec() })
    }

    /// The log of a stopped store.
    fn dumped(&self, store: &Store, program: &Path) -> Result<StoreLog> {
        let dumped = store.command(program, &["dump", "--json"])?;
        if dumped.code != Some(0) {
            bail!("{} can't be read: {}", store.name(), dumped.stderr);
        }
        // For whoever looks into a failure.
        let kept = self.world.path().join(format!("{}.jsonl", store.name()));
        std::fs::write(kept, &dumped.stdout)?;
        log_of_dump(store.name(), &dumped.stdout)
    }

    /// SIGTERM to everything; whatever doesn't end cleanly is noted.
    async fn stop(&mut self) -> Result<()> {
        for store in &mut self.stores {
            stop(&mut store.node, &mut self.faults).await?;
        }
        stop(&mut self.aggregator, &mut self.faults).await
    }
}

impl Store {
    async fn start(world: &World, name: &str, disk: Option<(DiskKind, Disk)>) -> Result<Self> {
        let directory = match &disk {
            Some((_, disk)) => disk.place().join("data"),
            None => world.data_dir(name),
        };
        let address = free_address()?;
        let bare = ServiceSpec::node(world.binaries(), name, &directory, address)
            .log_in(&world.path().join("logs"))
            .with_options(&SMALL_SEGMENTS.map(str::to_owned))
            .with_environment("STORE_NODE_DISK_FLOOR_BYTES", DISK_FLOOR_BYTES)
            .ends_with_its_starter(world.binaries());
        let (tills, feed) = (Line::to(address).await?, Line::to(address).await?);
        let node = Service::stopped(bare.clone())?;
        let mut store = Self { node, tills, feed, disk, bare, may_end: false };
        *store.node.spec_mut() = store.place(store.bare.clone());
        store.node.restart().await?;
        Ok(store)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.node.name()
    }

    /// The file system of its own.
    pub fn disk(&self) -> Result<&Disk> {
        let (_, disk) = self.disk.as_ref().context("it has no disk of its own")?;
        Ok(disk)
    }

    /// Runs a command of `store-node` on its data directory, where that is mounted.
    pub fn command(&self, program: &Path, arguments: &[&str]) -> Result<Output> {
        let directory = self.bare.data_dir.display().to_string();
        let mut all = arguments.to_vec();
        all.extend(["--data-dir", &directory]);
        match &self.disk {
            Some((_, disk)) => disk.run(program, &all),
            None => process::run(program, &all),
        }
    }

    fn place(&self, spec: ServiceSpec) -> ServiceSpec {
        match &self.disk {
            Some((_, disk)) => disk.inside(spec),
            None => spec,
        }
    }
}

/// SIGTERM; a service that doesn't end cleanly is noted.
async fn stop(service: &mut Service, faults: &mut Faults) -> Result<()> {
    let status = service.stop().await?;
    if status.code() != Some(0) {
        let what = format!("{} ended with {status} after SIGTERM", service.name());
        faults.note(Promise::Converged, what);
    }
    Ok(())
}

/// Notes a service that has ended by itself.
fn expect_running(service: &mut Service, may_end: bool, faults: &mut Faults) -> Result<()> {
    let name = service.name().to_owned();
    let Some(process) = service.process() else {
        return Ok(());
    };
    if let Some(status) = process.exited()?
        && !may_end
    {
        let what = format!("{name} ended by itself ({status}):\n{}", process.log_tail());
        faults.note(Promise::Converged, what);
    }
    Ok(())
}
