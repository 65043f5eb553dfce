//! An aggregator in the test's process: real hub, workers, source, storage trait and API server.

use std::sync::Arc;
use std::time::Duration;

use aggregator::clock;
use aggregator::follower::digest_of_slot;
use aggregator::http::{ApiState, router, server};
use aggregator::hub::{Hub, HubParts, SourceOf, StoreSpec};
use aggregator::persistence::load_all;
use aggregator::source::LogSource;
use aggregator::source::http::{HttpOptions, HttpSource};
use aggregator::sync_worker::WorkerOptions;
use aggregator::view::MemoryView;
use event_log::storage::sim::SimStorage;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::node::Node;

/// Until something that must come has come.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn fast() -> WorkerOptions {
    WorkerOptions {
        persist_interval: Duration::from_millis(30),
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(40),
        breaker_open: Duration::from_millis(50),
        probe_interval: Duration::from_millis(100),
        ..WorkerOptions::default()
    }
}

pub(crate) struct Aggregator {
    pub(crate) hub: Arc<Hub>,
    pub(crate) base: String,
    client: reqwest::Client,
    stop: watch::Sender<bool>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

pub(crate) fn spec(node: &Node) -> StoreSpec {
    StoreSpec::at(node.url())
}

impl Aggregator {
    pub(crate) async fn start(storage: &SimStorage, nodes: &[&Node]) -> Self {
        let specs: Vec<StoreSpec> = nodes.iter().map(|node| spec(node)).collect();
        Self::start_with(storage, &specs, fast()).await
    }

    pub(crate) async fn start_with(
        storage: &SimStorage,
        specs: &[StoreSpec],
        options: WorkerOptions,
    ) -> Self {
        let http = HttpOptions { silence: Duration::from_secs(2), ..HttpOptions::default() };
        let source_of = move |spec: &StoreSpec| Ok(HttpSource::new(&spec.url, "test", http));
        Self::start_from(storage, specs, options, Arc::new(source_of)).await
    }

    pub(crate) async fn start_from<L: LogSource>(
        storage: &SimStorage,
        specs: &[StoreSpec],
        options: WorkerOptions,
        source_of: SourceOf<L>,
    ) -> Self {
        let parts = HubParts {
            view: MemoryView::default(),
            storage: storage.clone(),
            clock: clock::system(),
            options,
            source_of,
        };
        let hub = Hub::start(parts, specs).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state = ApiState::new(hub.clone(), None, Duration::from_secs(10));
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(server::serve(listener, router(state), stopped, Duration::from_secs(1)));
        Self { hub, base, client: reqwest::Client::new(), stop }
    }

    /// Ends it as a signal does.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        assert!(self.hub.stop(Duration::from_secs(10)).await, "workers end in time");
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let method = method.parse().unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body.to_owned()).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.call("POST", path, &[], "").await
    }

    /// One store's sync.
    pub(crate) async fn store(&self, id: &str) -> Value {
        let status = self.get("/api/sync/status").await.json();
        let stores = status["stores"].as_array().unwrap();
        stores.iter().find(|store| store["storeId"] == id).cloned().unwrap_or_default()
    }

    /// Waits until the store is so.
    pub(crate) async fn wait(&self, id: &str, what: &str, test: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let waited = tokio::time::timeout(DEADLINE, async {
            loop {
                last = self.store(id).await;
                if test(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(waited.await.is_ok(), "{id} never was {what}; last: {last}");
        last
    }

    pub(crate) async fn wait_state(&self, id: &str, state: &str) -> Value {
        self.wait(id, state, |store| store["state"] == state).await
    }

    /// Waits until the store is live and verified at `seq`.
    pub(crate) async fn wait_verified(&self, id: &str, seq: u64) -> Value {
        self.wait(id, &format!("live and verified at {seq}"), |store| {
            store["state"] == "live" && store["verified"] == true && store["verifiedSeq"] == seq
        })
        .await
    }

    /// Waits for a job's end.
    pub(crate) async fn run_job(&self, path: &str) -> Value {
        let begun = self.post(path).await;
        assert_eq!(begun.status, 202, "{}", begun.text);
        let location = begun.headers["location"].to_str().unwrap().to_owned();
        let waited = tokio::time::timeout(DEADLINE, async {
            loop {
                let job = self.get(&location).await.json();
                if job["state"] != "running" {
                    return job;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{path} never ended"))
    }

    /// Every cell of the node, and no other, is in the view.
    pub(crate) fn assert_holds(&self, store_id: &str, node: &Node) {
        let view = self.hub.view();
        let cells = node.cells();
        for (sku, (cell, seq)) in &cells {
            let row = view.item(sku).unwrap_or_else(|| panic!("{sku} is missing"));
            let part = row.parts.iter().find(|part| part.store_id.as_str() == store_id).unwrap();
            assert_eq!((&part.held.cell, part.held.seq), (cell, *seq), "{sku}");
        }
        let visible = view.visible();
        let slot = visible.iter().find(|slot| slot.store_id.as_str() == store_id).unwrap();
        assert_eq!(view.sums(slot).items, cells.len() as u64);
    }
}

/// What a restart would find: the seq of each store, its cells and digest checked.
pub(crate) fn saved_seqs(storage: &SimStorage) -> Vec<(String, u64)> {
    let view = MemoryView::default();
    let loaded = load_all(storage, &view).unwrap();
    assert!(loaded.damaged.is_empty(), "{:?}", loaded.damaged);
    let seqs = loaded.stores.iter().map(|store| {
        assert_eq!(digest_of_slot(&view, &store.slot), store.saved.state.digest);
        (store.saved.store_id.to_string(), store.saved.state.position.seq.get())
    });
    seqs.collect()
}

/// Waits for something that isn't a store's state.
pub(crate) async fn until(what: &str, test: impl Fn() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !test() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}
