//! Measures the whole view while it is followed, saved and asked: the longest time in which a store
//! makes no progress, and how long lists and searches take over HTTP.
//!
//! `cargo run --release -p aggregator --example view_bench -- [SKUs] [stores] [rounds]`

mod maker;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aggregator::clock;
use aggregator::http::{ApiState, router, server};
use aggregator::hub::{Hub, HubParts, StoreHandle, StoreSpec};
use aggregator::sync_worker::WorkerOptions;
use aggregator::view::MemoryView;
use anyhow::Context;
use event_log::storage::disk::DiskStorage;
use shared::StoreId;
use tokio::net::TcpListener;
use tokio::sync::watch;

use maker::{MadeSource, Plan, category, place, word};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often progress is looked at.
const LOOK_INTERVAL: Duration = Duration::from_micros(100);
/// How long the saves are watched while nobody asks anything.
const WATCH: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(1);
const SALES_A_FRAME: usize = 5;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().unwrap_or(1_000_000));
    let skus: usize = arguments.next().unwrap_or(1_000_000);
    let stores = arguments.next().unwrap_or(3);
    let rounds = arguments.next().unwrap_or(100);
    let directory = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(directory.path(), skus, stores, rounds))
}

async fn measure(
    directory: &Path,
    skus: usize,
    stores: usize,
    rounds: usize,
) -> anyhow::Result<()> {
    let hub = start(directory, skus, stores)?;
    let begun = Instant::now();
    while !hub.stores().iter().all(|store| store.shared.status().seq > skus as u64) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{stores} stores × {skus} SKUs filled in {:.1?}", begun.elapsed());
    let watching = Watching::begin(&hub);
    tokio::time::sleep(WATCH).await;
    println!("saving, nobody asks: {}", watching.end());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    let state = ApiState::new(hub.clone(), None, Duration::from_secs(30));
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(server::serve(listener, router(state), stopped, Duration::from_secs(1)));
    let client = reqwest::Client::new();
    for (name, path) in QUESTIONS {
        let watching = Watching::begin(&hub);
        let took = ask(&client, &base, *path, rounds).await?;
        println!("{name:<44} {}  sync {}", percentiles(took), watching.end());
    }
    hub.stop(Duration::from_mins(1)).await;
    Ok(())
}

type Question = fn(u64) -> String;

const QUESTIONS: &[(&str, Question)] = &[
    ("list of 100", |_| "/api/inventory".to_owned()),
    ("prefix", |n| format!("/api/inventory?prefix=SKU-{:04}", n * 37 % 100)),
    ("storeId", |_| "/api/inventory?storeId=store-1".to_owned()),
    ("sort=-availableStock", |_| "/api/inventory?sort=-availableStock".to_owned()),
    ("sort=stock&storeId", |_| "/api/inventory?sort=stock&storeId=store-1".to_owned()),
    ("lowStock", |_| "/api/inventory?lowStock=true".to_owned()),
    ("lowStock&sort=availableStock", |_| {
        "/api/inventory?lowStock=true&sort=availableStock".to_owned()
    }),
    ("outOfStock", |_| "/api/inventory?outOfStock=true".to_owned()),
    ("category", |n| format!("/api/inventory?category={}", category(n).replace(' ', "%20"))),
    ("category&sort=-availableStock", |n| {
        let category = category(n).replace(' ', "%20");
        format!("/api/inventory?category={category}&sort=-availableStock")
    }),
    ("category that is nowhere", |_| "/api/inventory?category=none".to_owned()),
    ("location", |n| format!("/api/inventory?location={}", place(n * 7).replace(' ', "%20"))),
    ("q, a common word", |n| format!("/api/inventory?q={}", word(n))),
    ("q, a rare text", |n| format!("/api/inventory?q={:06}", n * 9_973 % 1_000_000)),
    ("q that is nowhere", |_| "/api/inventory?q=zzzz".to_owned()),
    ("minAvailable, nothing", |_| "/api/inventory?minAvailable=90000000".to_owned()),
    ("prefix&sort=-availableStock", |n| {
        format!("/api/inventory?prefix=SKU-{:04}&sort=-availableStock", n * 37 % 100)
    }),
    ("one item", |n| format!("/api/inventory/SKU-{:08}", n * 997)),
    ("summary", |_| "/api/summary".to_owned()),
];

fn start(directory: &Path, skus: usize, stores: usize) -> anyhow::Result<Arc<Hub>> {
    let plan = Plan { skus, pause: PAUSE, sales_a_frame: SALES_A_FRAME };
    let source_of = move |spec: &StoreSpec| {
        let store_id = spec.store_id.clone().ok_or("named below")?;
        let number = spec.url.bytes().last().unwrap_or(0);
        Ok(MadeSource { store_id, number, plan })
    };
    let spec = |number: usize| {
        let mut spec = StoreSpec::at(format!("http://{number}"));
        spec.store_id = StoreId::new(&format!("store-{number}")).ok();
        spec
    };
    let parts = HubParts {
        view: MemoryView::default(),
        storage: DiskStorage::new(directory.to_path_buf()),
        clock: clock::system(),
        options: WorkerOptions::default(),
        source_of: Arc::new(source_of),
    };
    Hub::start(parts, &(0..stores).map(spec).collect::<Vec<_>>()).context("starting")
}

/// Asks for so many rounds, each page of each round.
async fn ask(
    client: &reqwest::Client,
    base: &str,
    path: Question,
    rounds: usize,
) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let begun = Instant::now();
        let url = format!("{base}{}", path(round as u64));
        let answer = client.get(url).send().await?.error_for_status()?;
        answer.bytes().await?;
        took.push(begun.elapsed());
    }
    Ok(took)
}

fn percentiles(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    format!("p50 {:8.2} ms  p95 {:8.2} ms  max {:8.2} ms", at(50), at(95), at(100))
}

/// The longest time in which any store made no progress.
struct Watching {
    is_over: Arc<AtomicBool>,
    looking: std::thread::JoinHandle<Duration>,
}

impl Watching {
    fn begin(hub: &Arc<Hub>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (stores, over) = (hub.stores(), is_over.clone());
        let looking = std::thread::spawn(move || look(&stores, &over));
        Self { is_over, looking }
    }

    fn end(self) -> String {
        self.is_over.store(true, Ordering::Relaxed);
        let longest = self.looking.join().unwrap_or_default();
        format!("longest gap {:7.2} ms", longest.as_secs_f64() * 1e3)
    }
}

fn look(stores: &[Arc<StoreHandle>], is_over: &AtomicBool) -> Duration {
    let mut seen: Vec<(u64, Instant)> = stores.iter().map(|_| (0, Instant::now())).collect();
    let mut longest = Duration::ZERO;
    while !is_over.load(Ordering::Relaxed) {
        for (store, (seq, since)) in stores.iter().zip(&mut seen) {
            let now_at = store.shared.status().seq;
            if now_at != *seq {
                longest = longest.max(since.elapsed());
                (*seq, *since) = (now_at, Instant::now());
            }
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    longest
}
