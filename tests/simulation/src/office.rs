//! Head office: the real hub, sync workers, followers, view and persistence of the aggregator over a
//! simulated disk, and the ways in which it dies and comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aggregator::hub::{Hub, HubParts, StoreSpec};
use aggregator::jobs::JobKind;
use aggregator::source::SourceError;
use aggregator::source::http::{HttpOptions, HttpSource};
use aggregator::source::transport::{Transport, TransportBody};
use aggregator::store_state::StoreStatus;
use aggregator::sync_worker::WorkerOptions;
use aggregator::view::{MemoryView, ViewStore};
use axum::body::Bytes;
use axum::http::{Method, Request, Response, StatusCode};
use event_log::storage::sim::SimStorage;
use parking_lot::Mutex;
use serde_json::Value;
use shared::Timestamp;
use tests::audit::Held;
use tests::audit::history::State;
use tokio::time::Instant;

use crate::dice::Dice;
use crate::network::{Broken, Network, Pieces};
use crate::node::{Death, EPOCH_US};
use crate::rot;
use crate::signal::Signal;
use crate::trace::Trace;

/// What the office is called on the network, and as a consumer.
pub const OFFICE: &str = "office";
/// How long a clean stop may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The office, running or not.
pub struct Office {
    /// Its disk.
    pub disk: SimStorage,
    stores: Vec<String>,
    network: Network,
    trace: Trace,
    dice: Dice,
    began: Instant,
    running: Option<Running>,
    promises: Arc<Mutex<Promises>>,
}

/// What nodes and the office promised each other: what the office has acknowledged, it has after
/// any death of its own, and never has to ask for again.
#[derive(Debug, Default)]
struct Promises {
    acknowledged: BTreeSet<String>,
    /// The last seq that each store was told the office has.
    told: BTreeMap<String, u64>,
    broken: Vec<String>,
}

impl Promises {
    /// Something leaves the office.
    fn note_request(&mut self, store: &str, request: &Request<Bytes>) {
        if *request.method() == Method::PUT {
            let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
            self.told.insert(store.to_owned(), body["seq"].as_u64().unwrap_or(u64::MAX));
        } else if request.uri().path() == "/api/log/snapshot" || asks_anew(request) {
            // Whoever begins anew may go back.
            self.told.remove(store);
        }
    }

    /// What the office had on its disk is damaged: it may go back, and ask for what is gone.
    fn forget(&mut self) {
        self.acknowledged.clear();
        self.told.clear();
    }

    /// The office comes back, and stands here with a store.
    fn note_return(&mut self, store: &str, seq: u64) {
        if let Some(told) = self.told.get(store).filter(|told| **told > seq) {
            let what = format!("{store} was told that the office has {told}, it has {seq}");
            self.broken.push(what);
        }
    }

    fn note(&mut self, store: &str, method: &Method, status: StatusCode) {
        if *method == Method::PUT && status.is_success() {
            self.acknowledged.insert(store.to_owned());
        } else if *method == Method::DELETE {
            self.acknowledged.remove(store);
        } else if status == StatusCode::GONE && self.acknowledged.contains(store) {
            self.broken.push(format!("{store} compacted away what a consumer still needs"));
        }
    }
}

/// Whether a request is for the log from its beginning on: everybody may ask for that, and be told
/// that it is gone.
fn asks_anew(request: &Request<Bytes>) -> bool {
    request.uri().query().is_some_and(|query| query.contains("after=0"))
}

struct Running {
    hub: Arc<Hub>,
    view: MemoryView,
    alive: Signal<bool>,
    open: Arc<Mutex<BTreeMap<String, Arc<()>>>>,
}

impl Office {
    /// An office that follows these stores, with an empty disk.
    pub fn new(stores: Vec<String>, network: Network, trace: Trace, mut dice: Dice) -> Self {
        let disk = SimStorage::new(dice.number());
        let (began, promises) = (Instant::now(), Arc::default());
        Self { disk, stores, network, trace, dice, began, running: None, promises }
    }

    /// Whether a process runs.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether the running process has lost its disk.
    pub fn is_failed(&self) -> bool {
        self.running.is_some() && self.disk.is_off()
    }

    /// Starts the process.
    pub fn start(&mut self) -> Result<(), String> {
        if self.disk.is_off() {
            self.disk = self.disk.crashed(self.dice.number());
        }
        let alive = Signal::new(true);
        let line = OfficeLine {
            network: self.network.clone(),
            alive: alive.clone(),
            disk: self.disk.clone(),
            promises: Arc::clone(&self.promises),
            open: Arc::default(),
        };
        let open = Arc::clone(&line.open);
        let http = HttpOptions {
            connect: Duration::from_secs(1),
            answer: Duration::from_secs(2),
            silence: Duration::from_secs(4),
            snapshot: Duration::from_secs(10),
        };
        let view = MemoryView::default();
        let began = self.began;
        let parts = HubParts {
            view: view.clone(),
            storage: self.disk.clone(),
            clock: Arc::new(move || {
                Timestamp::from_micros(EPOCH_US + began.elapsed().as_micros() as i64)
            }),
            options: worker_options(&mut self.dice),
            source_of: Arc::new(move |spec: &StoreSpec| {
                Ok(HttpSource::over(line.clone(), &spec.url, OFFICE, http))
            }),
        };
        let spec = |name: &String| StoreSpec::at(format!("http://{name}"));
        let specs: Vec<StoreSpec> = self.stores.iter().map(spec).collect();
        let hub = Hub::start(parts, &specs).map_err(|error| error.to_string())?;
        for store in &self.stores {
            let seq = hub.store(store).map_or(0, |handle| handle.shared.status().seq);
            self.promises.lock().note_return(store, seq);
        }
        self.trace.note("the office starts");
        self.running = Some(Running { hub, view, alive, open });
        Ok(())
    }

    /// Ends the process.
    pub async fn end(&mut self, death: Death) {
        let Some(Running { hub, alive, .. }) = self.running.take() else {
            return;
        };
        self.trace.note(format_args!("the office ends: {death:?}"));
        let disk = self.disk.clone();
        match death {
            Death::Stop => {
                hub.stop(PATIENCE).await;
                self.disk = disk.fork();
            }
            Death::Kill => self.disk = disk.fork(),
            Death::PowerCut => self.disk = disk.crashed(self.dice.number()),
        }
        let _dark = disk.crash(0);
        alive.set(false);
        drop(hub);
        tokio::task::yield_now().await;
    }

    /// Bits rot while the machine is off. If the office then can't start it gets its copy back;
    /// otherwise it may be further back than it was, and knows it.
    pub fn rot(&mut self) {
        let clean = self.disk.fork();
        let Some(damage) = rot::flip(&self.disk, &mut self.dice) else {
            return;
        };
        self.trace.note(format_args!("the office rots: {}", damage.path));
        self.promises.lock().forget();
        if let Err(error) = self.start() {
            self.trace.note(format_args!("the office doesn't start: {error}"));
            self.disk = clean;
        }
    }

    /// What it says about a store; none if it doesn't run or never met it.
    pub fn status(&self, store: &str) -> Option<StoreStatus> {
        let handle = self.running.as_ref()?.hub.store(store)?;
        Some(handle.shared.status())
    }

    /// An operator asks for a resync of a store, or of all.
    pub fn resync(&self, store: Option<&str>) {
        let Some(running) = &self.running else {
            return;
        };
        let handle = store.and_then(|store| running.hub.store(store));
        let kind = if store.is_some() { JobKind::Resync } else { JobKind::Rebuild };
        if store.is_some() == handle.is_some() {
            let _told = running.hub.bootstrap(kind, handle.as_deref());
        }
    }

    /// An operator tells a store's worker something.
    pub fn tell(&self, store: &str, control: aggregator::sync_worker::Control) {
        if let Some(handle) = self.running.as_ref().and_then(|running| running.hub.store(store)) {
            let _told = handle.tell(control);
        }
    }

    /// What the view shows of a store.
    pub fn held(&self, store: &str) -> Held {
        let mut held: Held = BTreeMap::new();
        let Some(running) = &self.running else {
            return held;
        };
        let visible = running.view.visible();
        let Some(slot) = visible.iter().find(|slot| slot.store_id.as_str() == store) else {
            return held;
        };
        running.view.for_each(slot.slot(), &mut |sku, cell, _| {
            let quantities = cell.cell.quantities;
            let state = State {
                stock: quantities.stock.get(),
                reserved: quantities.reserved.get(),
                sold: quantities.sold.get(),
                version: cell.cell.version.get(),
                seq: None,
            };
            held.insert(sku.to_string(), state);
        });
        held
    }

    /// How many answers of a store the office is reading, or holds without reading.
    pub fn connections(&self, store: &str) -> usize {
        let open = self.running.as_ref().map(|running| running.open.lock().get(store).cloned());
        open.flatten().map_or(0, |open| Arc::strong_count(&open) - 2)
    }

    /// Promises that were broken.
    pub fn broken(&self) -> Vec<String> {
        self.promises.lock().broken.clone()
    }
}

fn worker_options(dice: &mut Dice) -> WorkerOptions {
    WorkerOptions {
        persist_interval: Duration::from_millis(dice.between(200, 2000)),
        snapshot_events_min: dice.between(5, 400),
        backoff_min: Duration::from_millis(50),
        backoff_max: Duration::from_secs(2),
        backoff_seed: Some(dice.number()),
        breaker_open: Duration::from_secs(dice.between(1, 30)),
        probe_interval: Duration::from_secs(1),
    }
}

/// The office's way to the nodes, as long as its process lives and its machine has power.
#[derive(Clone)]
struct OfficeLine {
    network: Network,
    alive: Signal<bool>,
    disk: SimStorage,
    promises: Arc<Mutex<Promises>>,
    /// By store: shared with each of its connections.
    open: Arc<Mutex<BTreeMap<String, Arc<()>>>>,
}

impl OfficeLine {
    async fn while_alive<T>(
        &self,
        work: impl Future<Output = Result<T, Broken>> + Send,
    ) -> Result<T, SourceError> {
        if self.disk.is_off() {
            return std::future::pending().await;
        }
        tokio::select! {
            biased;
            () = self.alive.until(|alive| !alive) => std::future::pending().await,
            done = work => done.map_err(|broken| match broken {
                Broken::Refused => SourceError::Unreachable("connection refused".to_owned()),
                Broken::Reset => SourceError::Unreachable("connection reset".to_owned()),
            }),
        }
    }
}

impl Transport for OfficeLine {
    type Body = OfficeBody;

    async fn send(&self, request: Request<Bytes>) -> Result<Response<OfficeBody>, SourceError> {
        let to = request.uri().host().unwrap_or_default().to_owned();
        let asks_anew = asks_anew(&request);
        let method = request.method().clone();
        if !self.disk.is_off() {
            self.promises.lock().note_request(&to, &request);
        }
        let response = self.while_alive(self.network.send(OFFICE, &to, request)).await?;
        if !asks_anew {
            self.promises.lock().note(&to, &method, response.status());
        }
        let line = self.clone();
        let open = Arc::clone(self.open.lock().entry(to).or_default());
        Ok(response.map(|pieces| OfficeBody { pieces, line, _open: open }))
    }
}

/// An answer's body on its way to the office.
struct OfficeBody {
    pieces: Pieces,
    line: OfficeLine,
    /// Counts as long as it lives.
    _open: Arc<()>,
}

impl TransportBody for OfficeBody {
    async fn chunk(&mut self) -> Result<Option<Bytes>, SourceError> {
        let Self { pieces, line, .. } = self;
        line.while_alive(pieces.next()).await
    }
}
