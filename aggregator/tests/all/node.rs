//! A node over a *real* log: real rules make the events, the real log seals, keeps and reads the
//! frames. Only its HTTP side is small, and can be made to misbehave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aggregator::sync_worker::ITEMS_SECTION_KIND;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use event_log::storage::sim::SimStorage;
use event_log::{
    Chain, Cursor, FrameReader, Log, LogId, LogOptions, RecordBuffer, Seq, keep_alive,
};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use serde_json::{Value, json};
use shared::codec::{encode_event, encode_item};
use shared::command::{Action, Command, NewItem};
use shared::digest::{delta, item_digest};
use shared::rules::{apply, decide};
use shared::{Cell, Event, Item, Quantity, Sku, Timestamp};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// How a node misbehaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Knobs {
    /// Every stream ends after so many bytes.
    pub(crate) cut_after_bytes: Option<usize>,
    /// Streams begin with noise.
    pub(crate) garbage: bool,
    /// Streams come in pieces of so many bytes.
    pub(crate) piece_bytes: Option<usize>,
    /// What comes after seqs below this is gone.
    pub(crate) floor: u64,
    /// It calls itself so.
    pub(crate) store_id: Option<String>,
    /// It claims this format.
    pub(crate) format: Option<u16>,
    /// It answers nothing but 503.
    pub(crate) is_down: bool,
    /// It has no snapshot to give.
    pub(crate) no_snapshot: bool,
}

/// What was asked of a node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) streams_after: Vec<u64>,
    pub(crate) snapshots: usize,
    pub(crate) acknowledged: Vec<u64>,
    pub(crate) deregistered: usize,
}

struct Store {
    log: Arc<Log<SimStorage>>,
    items: BTreeMap<Sku, (Item, u64)>,
    now: i64,
}

struct Inner {
    store_id: String,
    store: Mutex<Store>,
    knobs: Mutex<Knobs>,
    asked: Mutex<Asked>,
}

/// A store, its log and its HTTP side.
pub(crate) struct Node {
    inner: Arc<Inner>,
    address: SocketAddr,
    server: Mutex<Option<JoinHandle<()>>>,
}

pub(crate) fn sku(text: &str) -> Sku {
    Sku::new(text).unwrap()
}

pub(crate) fn create(stock: u64, name: &str) -> Action {
    let name = name.into();
    let stock = Quantity::new(stock).unwrap();
    Action::create(NewItem { stock, name, category: "kitchen".into(), ..NewItem::default() })
}

pub(crate) fn sell(quantity: u64) -> Action {
    Action::Sell { quantity: Quantity::new(quantity).unwrap() }
}

fn open_log(store_id: &str, log_number: u8) -> Arc<Log<SimStorage>> {
    let options = LogOptions {
        owner: store_id.as_bytes().to_vec(),
        segment_bytes: 1 << 20,
        new_log_id: LogId::from_parts(1_700_000_000_000_000, [log_number; 10]),
        opened_at_us: 1,
        ..LogOptions::default()
    };
    Log::open(SimStorage::new(u64::from(log_number)), options).unwrap()
}

impl Node {
    /// A node of `store_id` with an empty log.
    pub(crate) async fn start(store_id: &str) -> Self {
        let now = wall_us();
        let log = open_log(store_id, store_id.as_bytes()[store_id.len() - 1]);
        let inner = Arc::new(Inner {
            store_id: store_id.to_owned(),
            store: Mutex::new(Store { log, items: BTreeMap::new(), now }),
            knobs: Mutex::default(),
            asked: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = Self { inner, address, server: Mutex::default() };
        node.serve(listener);
        node
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn misbehave(&self, change: impl FnOnce(&mut Knobs)) {
        change(&mut self.inner.knobs.lock());
    }

    pub(crate) fn asked(&self) -> Asked {
        self.inner.asked.lock().clone()
    }

    /// Nobody answers at its address.
    pub(crate) fn stop(&self) {
        if let Some(server) = self.server.lock().take() {
            server.abort();
        }
    }

    /// Somebody answers again.
    pub(crate) async fn restart(&self) {
        loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => return self.serve(listener),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Answers at another node's address from now on.
    pub(crate) async fn take_over(&self, url: &str) {
        let address: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return self.serve(listener),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Its directory was replaced: another log, empty.
    pub(crate) fn replace_log(&self) {
        let mut store = self.inner.store.lock();
        store.log = open_log(&self.inner.store_id, 200);
        store.items.clear();
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> SimStorage {
        self.inner.store.lock().log.storage().clone()
    }

    /// Decides, logs and commits; every command must make an event.
    pub(crate) fn commit(&self, commands: &[(&str, Action)]) -> u64 {
        self.commit_bent(commands, |_| {}, 0)
    }

    /// The same, each record bent before it is logged, and the digest moved by `lie`.
    pub(crate) fn commit_bent(
        &self,
        commands: &[(&str, Action)],
        bend: impl Fn(&mut Vec<u8>),
        lie: u128,
    ) -> u64 {
        let mut store = self.inner.store.lock();
        let mut records = RecordBuffer::new();
        let mut moved = lie;
        let mut touched = Vec::new();
        for (text, action) in commands {
            store.now = wall_us().max(store.now + 1);
            let (sku, now) = (sku(text), Timestamp::from_micros(store.now));
            let (event, step) = store.decide(&sku, action, now);
            moved = moved.wrapping_add(step);
            records.push_with(|out| {
                let mut record = Vec::new();
                encode_event(&mut record, &event);
                bend(&mut record);
                out.extend_from_slice(&record);
            });
            touched.push(sku);
        }
        let range = store.log.append(&records, store.now, moved).unwrap();
        for (sku, seq) in touched.into_iter().zip(range.first.get()..) {
            store.items.get_mut(&sku).unwrap().1 = seq;
        }
        store.log.commit_once().unwrap();
        range.last.get()
    }

    pub(crate) fn checkpoint(&self) {
        self.inner.store.lock().log.checkpoint_once().unwrap();
    }

    /// Takes a snapshot; returns its hi.
    pub(crate) fn snapshot(&self) -> u64 {
        self.inner.store.lock().snapshot()
    }

    pub(crate) fn cells(&self) -> BTreeMap<Sku, (Cell, u64)> {
        let store = self.inner.store.lock();
        store.items.iter().map(|(sku, (item, seq))| (sku.clone(), (*item.cell(), *seq))).collect()
    }

    pub(crate) fn log_id(&self) -> String {
        self.inner.store.lock().log.log_id().to_string()
    }

    fn serve(&self, listener: TcpListener) {
        let routes = Router::new()
            .route("/api/sync/status", get(status))
            .route("/api/log", get(stream))
            .route("/api/log/snapshot", get(snapshot))
            .route("/api/log/consumers/{id}", put(acknowledge).delete(deregister))
            .with_state(self.inner.clone());
        // Connections end with the task, as they do when a process is killed.
        let server = async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let service = TowerToHyperService::new(routes.clone());
                let connection = TokioIo::new(connection);
                connections.spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(connection, service),
                );
            }
        };
        *self.server.lock() = Some(tokio::spawn(server));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Store {
    fn decide(&mut self, sku: &Sku, action: &Action, now: Timestamp) -> (Event, u128) {
        let entry = self.items.entry(sku.clone()).or_default();
        let command = Command { sku: sku.clone(), action: action.clone(), expected_version: None };
        let event = decide(&entry.0, &command, now).unwrap().expect("a change");
        let before = *entry.0.cell();
        apply(&mut entry.0, &event);
        let step = delta(sku, &before, entry.0.cell());
        (event, step)
    }

    fn snapshot(&self) -> u64 {
        let mut writer = self.log.begin_snapshot(self.now).unwrap();
        let mut bytes = Vec::new();
        let mut digest = 0_u128;
        for (sku, (item, seq)) in &self.items {
            encode_item(&mut bytes, sku, item, *seq);
            digest = digest.wrapping_add(item_digest(sku, item.cell()));
        }
        writer.section(2, 0, b"idempotency keys, not for the view").unwrap();
        writer.section(ITEMS_SECTION_KIND, 0, &bytes).unwrap();
        let hi = writer.seal();
        writer.finish(digest).unwrap();
        hi.get()
    }
}

fn wall_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

fn problem(status: u16, error: &str, extra: &Value) -> Response {
    let mut body = json!({"error": error, "detail": error});
    for (name, value) in extra.as_object().cloned().unwrap_or_default() {
        body[name] = value;
    }
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

fn identify(inner: &Inner, mut response: Response) -> Response {
    let knobs = inner.knobs.lock().clone();
    let store = inner.store.lock();
    let headers = [
        ("x-store-id", knobs.store_id.unwrap_or_else(|| inner.store_id.clone())),
        ("x-log-id", store.log.log_id().to_string()),
        ("x-log-epoch", store.log.epoch().counter.to_string()),
        ("x-log-format", knobs.format.unwrap_or(1).to_string()),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

async fn status(State(inner): State<Arc<Inner>>) -> Response {
    if inner.knobs.lock().is_down {
        return problem(503, "Overloaded", &Value::Null);
    }
    let store_id = inner.knobs.lock().store_id.clone().unwrap_or_else(|| inner.store_id.clone());
    let store = inner.store.lock();
    let tip = store.log.tip();
    let snapshots = store.log.snapshots().unwrap();
    Json(json!({
        "storeId": store_id,
        "logId": store.log.log_id().to_string(),
        "epoch": store.log.epoch().counter,
        "durableSeq": tip.seq.get(),
        "snapshots": snapshots.iter().map(|info| info.lo().get()).collect::<Vec<_>>(),
    }))
    .into_response()
}

async fn stream(
    State(inner): State<Arc<Inner>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let knobs = inner.knobs.lock().clone();
    if knobs.is_down {
        return problem(503, "Overloaded", &Value::Null);
    }
    let after: u64 = query["after"].parse().unwrap();
    inner.asked.lock().streams_after.push(after);
    if after < knobs.floor {
        return problem(410, "Compacted", &json!({"resumeFrom": knobs.floor}));
    }
    let chain: Option<Chain> = query.get("chain").map(|chain| chain.parse().unwrap());
    let log = inner.store.lock().log.clone();
    let reader = match log.reader(Cursor { seq: Seq::new(after), chain }) {
        Ok(reader) => reader,
        Err(error) => {
            let name = match &error {
                event_log::CursorError::Ahead { .. } => "LogAhead",
                event_log::CursorError::Rewritten { .. } => "LogRewritten",
                other => panic!("{other}"),
            };
            return problem(409, name, &json!({"detail": error.to_string()}));
        }
    };
    let tail = Tail { log, reader, knobs, sent: 0, pending: Bytes::new(), has_begun: false };
    let pieces = futures_util::stream::unfold(tail, |mut tail| async {
        let piece = tail.next_piece().await?;
        Some((Ok::<_, std::io::Error>(piece), tail))
    });
    identify(&inner, Body::from_stream(pieces).into_response())
}

struct Tail {
    log: Arc<Log<SimStorage>>,
    reader: FrameReader<SimStorage>,
    knobs: Knobs,
    sent: usize,
    pending: Bytes,
    has_begun: bool,
}

impl Tail {
    async fn next_piece(&mut self) -> Option<Bytes> {
        if self.knobs.garbage && !self.has_begun {
            self.pending = Bytes::from_static(&[0xa5; 300]);
        }
        while self.pending.is_empty() {
            self.pending = self.next_frame().await;
        }
        self.has_begun = true;
        let mut count = self.knobs.piece_bytes.unwrap_or(usize::MAX).min(self.pending.len());
        if let Some(cut) = self.knobs.cut_after_bytes {
            count = count.min(cut.saturating_sub(self.sent));
            if count == 0 {
                return None;
            }
        }
        if self.knobs.piece_bytes.is_some() {
            tokio::task::yield_now().await;
        }
        self.sent += count;
        Some(self.pending.split_to(count))
    }

    async fn next_frame(&mut self) -> Bytes {
        for _ in 0..10 {
            if let Some(frame) = self.reader.next().unwrap() {
                return Bytes::copy_from_slice(&frame.stored);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let tip = self.log.tip();
        if self.reader.cursor().seq == tip.seq {
            return keep_alive(self.log.log_id(), self.log.epoch().counter, &tip).into();
        }
        Bytes::new()
    }
}

async fn snapshot(State(inner): State<Arc<Inner>>) -> Response {
    inner.asked.lock().snapshots += 1;
    if inner.knobs.lock().no_snapshot {
        return problem(503, "Overloaded", &Value::Null);
    }
    let bytes = {
        let store = inner.store.lock();
        if store.log.snapshots().unwrap().is_empty() {
            store.snapshot();
        }
        let info = store.log.latest_snapshot().unwrap().unwrap();
        let mut bytes = Vec::new();
        let mut file = store.log.open_snapshot_file(&info).unwrap();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        bytes
    };
    identify(&inner, bytes.into_response())
}

async fn acknowledge(
    State(inner): State<Arc<Inner>>,
    Path(_): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    let seq = body["seq"].as_u64().unwrap();
    let chain: Chain = body["chain"].as_str().unwrap().parse().unwrap();
    let known = inner.store.lock().log.reader(Cursor { seq: Seq::new(seq), chain: Some(chain) });
    if known.is_err() {
        return problem(409, "LogRewritten", &Value::Null);
    }
    inner.asked.lock().acknowledged.push(seq);
    Json(json!({})).into_response()
}

async fn deregister(State(inner): State<Arc<Inner>>, Path(_): Path<String>) -> StatusCode {
    inner.asked.lock().deregistered += 1;
    StatusCode::NO_CONTENT
}
