//! The mixed load of an endurance run: tills that sell, promise, take back, restock and look, each
//! closing what it opens. What they were told is summed up; an answer that isn't the expected one ends
//! the run. It must never open more than it closes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Load;
use crate::dice::Dice;
use crate::http::{Client, Reply};

/// Units of each item at the beginning: no run sells them out.
pub const STOCK: i64 = 1_000_000_000;
/// Tills at work.
const TILLS: usize = 12;
/// Lines of a batch.
const BATCH_LINES: usize = 20;
/// Items that the tills create, all of them in the warm-up; after that they ask in vain.
const CREATED_MAX: u64 = 2_000;
/// Seconds after which a promise ends that nobody closes.
const PROMISE_SECONDS: u64 = 1;

/// The name of an item.
pub fn sku(number: usize) -> String {
    format!("SKU-{number:06}")
}

/// The store, the office and what the tills have counted.
#[derive(Debug)]
pub struct Shop {
    node: Client,
    office: Client,
    items: usize,
    stock: AtomicI64,
    sold: AtomicI64,
    created: AtomicU64,
    operations: AtomicU64,
    latencies: Mutex<Latencies>,
}

/// How long answers took since they were last taken, in milliseconds.
#[derive(Debug, Default)]
pub struct Latencies {
    /// Writes at the node.
    pub writes_ms: Vec<f64>,
    /// Reads and lists at the node.
    pub reads_ms: Vec<f64>,
    /// Reads at the aggregator.
    pub view_reads_ms: Vec<f64>,
}

/// What must be there in the end, over all items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Units in stock.
    pub stock: i64,
    /// Units sold.
    pub sold: i64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Write,
    Read,
    ViewRead,
}

impl Shop {
    /// A shop with [`STOCK`] units of each of `items`.
    pub fn new(node: Client, office: Client, items: usize) -> Self {
        Self {
            node,
            office,
            items,
            stock: AtomicI64::new(items as i64 * STOCK),
            sold: AtomicI64::new(0),
            created: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            latencies: Mutex::default(),
        }
    }

    /// What must be there once all tills are done.
    pub fn expected(&self) -> Expected {
        let load = |sum: &AtomicI64| sum.load(Ordering::Relaxed);
        Expected { stock: load(&self.stock), sold: load(&self.sold) }
    }

    /// Requests that were answered.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// The latencies since the last call.
    pub fn take_latencies(&self) -> Latencies {
        std::mem::take(&mut *self.latencies.lock())
    }

    fn count(&self, stock: i64, sold: i64) {
        self.stock.fetch_add(stock, Ordering::Relaxed);
        self.sold.fetch_add(sold, Ordering::Relaxed);
    }
}

/// Tills at work.
#[derive(Debug)]
pub struct Crew {
    done: Arc<AtomicBool>,
    tasks: JoinSet<Result<()>>,
}

impl Crew {
    /// Begins.
    pub fn start(shop: &Arc<Shop>, load: Load) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let mut dice = Dice::new(1);
        let mut tasks = JoinSet::new();
        for number in 0..TILLS {
            let till = Till { shop: Arc::clone(shop), dice: dice.fork(), number, turn: 0 };
            let done = Arc::clone(&done);
            tasks.spawn(async move {
                let worked = till.work(load, &done).await;
                done.store(true, Ordering::Relaxed);
                worked
            });
        }
        Self { done, tasks }
    }

    /// Whether the end has come, or a till broke off.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Lets each till bring to its end what it is at; the first thing that went wrong is the error.
    pub async fn finish(mut self) -> Result<()> {
        self.done.store(true, Ordering::Relaxed);
        while let Some(till) = self.tasks.join_next().await {
            till.context("a till broke off")??;
        }
        Ok(())
    }
}

struct Till {
    shop: Arc<Shop>,
    dice: Dice,
    number: usize,
    turn: u64,
}

impl Till {
    async fn work(mut self, load: Load, done: &AtomicBool) -> Result<()> {
        let started = Instant::now();
        while !done.load(Ordering::Relaxed) {
            let operations = self.shop.operations();
            if operations >= load.operations {
                break;
            }
            let due = operations as f64 / f64::from(load.per_second);
            sleep_until(started + Duration::from_secs_f64(due)).await;
            self.turn += 1;
            self.turn()
                .await
                .with_context(|| format!("till {}, turn {}", self.number, self.turn))?;
        }
        Ok(())
    }

    /// One thing that a till does, to its end.
    async fn turn(&mut self) -> Result<()> {
        let item = sku(self.dice.between(0, self.shop.items as u64 - 1) as usize);
        let units = self.dice.between(1, 3) as i64;
        match self.dice.between(0, 99) {
            0..20 => {
                self.write(&item, "sell", json!({"quantity": units})).await?;
                self.shop.count(-units, units);
            }
            20..38 => self.order(&item, units).await?,
            38..42 => {
                let body = json!({"orderId": self.id(), "quantity": units, "expiresInSeconds": PROMISE_SECONDS});
                self.write(&item, "reserve", body).await?;
            }
            42..54 => {
                let verb = if self.dice.chance(800) { "receive" } else { "return" };
                self.write(&item, verb, json!({"quantity": units})).await?;
                self.shop.count(units, 0);
            }
            54..57 => self.create().await?,
            57..61 => self.batch().await?,
            61..82 => {
                self.ask(Kind::Read, Method::GET, &format!("/api/inventory/{item}"), None)
                    .await?
                    .ok()?;
            }
            82..84 => {
                self.ask(Kind::Read, Method::GET, "/api/inventory?limit=50", None).await?.ok()?;
            }
            _ => {
                let path = format!("/api/inventory/{item}");
                let reply = self.ask(Kind::ViewRead, Method::GET, &path, None).await?;
                ensure!([200, 404].contains(&reply.status), "{}: {}", reply.status, reply.text());
            }
        }
        Ok(())
    }

    /// A promise that is kept, or taken back.
    async fn order(&mut self, item: &str, units: i64) -> Result<()> {
        let order = self.id();
        let body = json!({"orderId": order, "quantity": units});
        self.write(item, "reserve", body).await?;
        if self.dice.chance(700) {
            self.write(item, "deduct", json!({"orderId": order})).await?;
            self.shop.count(-units, units);
        } else {
            self.write(item, "release", json!({"orderId": order})).await?;
        }
        Ok(())
    }

    async fn create(&mut self) -> Result<()> {
        let number = self.shop.created.fetch_add(1, Ordering::Relaxed);
        let body = json!({"sku": format!("NEW-{:04}", number % CREATED_MAX), "stock": 0});
        let reply = self.ask(Kind::Write, Method::POST, "/api/inventory", Some(&body)).await?;
        let is_new = number < CREATED_MAX;
        let expected = if is_new { 201 } else { 409 };
        ensure!(
            reply.status == expected,
            "{} instead of {expected}: {}",
            reply.status,
            reply.text()
        );
        Ok(())
    }

    /// As many units received as sold, all or nothing, under a key.
    async fn batch(&mut self) -> Result<()> {
        let first = self.dice.between(0, (self.shop.items - BATCH_LINES) as u64) as usize;
        let line = |number: usize| {
            let op = if number.is_multiple_of(2) { "receive" } else { "sell" };
            json!({"op": op, "sku": sku(first + number), "quantity": 1})
        };
        let lines: Vec<Value> = (0..BATCH_LINES).map(line).collect();
        let body = json!({"atomic": true, "operations": lines});
        self.keyed("/api/batch", &body).await?;
        self.shop.count(0, BATCH_LINES as i64 / 2);
        Ok(())
    }

    async fn write(&mut self, item: &str, verb: &str, body: Value) -> Result<()> {
        let path = format!("/api/inventory/{item}/{verb}");
        if self.dice.chance(500) {
            return self.keyed(&path, &body).await;
        }
        self.ask(Kind::Write, Method::POST, &path, Some(&body)).await?.ok()?;
        Ok(())
    }

    /// Under a key, and now and then a second time: one effect, one answer.
    async fn keyed(&mut self, path: &str, body: &Value) -> Result<()> {
        let key = self.id();
        let first = self.ask_keyed(path, &key, body).await?.ok()?;
        if self.dice.chance(100) {
            let second = self.ask_keyed(path, &key, body).await?.ok()?;
            ensure!(second.body == first.body, "told {} and then {}", first.text(), second.text());
            ensure!(second.header("idempotent-replayed") == Some("true"), "{path} was done twice");
        }
        Ok(())
    }

    async fn ask_keyed(&mut self, path: &str, key: &str, body: &Value) -> Result<Reply> {
        let started = Instant::now();
        let reply = self.shop.node.post_keyed(path, key, body).await?;
        self.note(Kind::Write, started);
        Ok(reply)
    }

    async fn ask(
        &mut self,
        kind: Kind,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply> {
        let client = match kind {
            Kind::Write | Kind::Read => &self.shop.node,
            Kind::ViewRead => &self.shop.office,
        };
        let started = Instant::now();
        let reply = client.send(method, path, &[], body.map(ToString::to_string)).await?;
        self.note(kind, started);
        Ok(reply)
    }

    fn note(&self, kind: Kind, started: Instant) {
        self.shop.operations.fetch_add(1, Ordering::Relaxed);
        let ms = started.elapsed().as_secs_f64() * 1e3;
        let mut latencies = self.shop.latencies.lock();
        match kind {
            Kind::Write => latencies.writes_ms.push(ms),
            Kind::Read => latencies.reads_ms.push(ms),
            Kind::ViewRead => latencies.view_reads_ms.push(ms),
        }
    }

    /// A name that nothing else has.
    fn id(&mut self) -> String {
        format!("till-{}-{}-{:x}", self.number, self.turn, self.dice.number())
    }
}
