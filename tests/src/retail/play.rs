//! The tills: each takes the next basket in time order, sends it as one atomic batch and repeats it
//! under the same key until it is answered. A till must never skip a basket nor change it between
//! two tries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::plan::{Basket, Plan, StorePlan};
use crate::http::{Client, Reply};

/// How long one basket may go unanswered, all tries together.
const BASKET_DEADLINE: Duration = Duration::from_mins(2);
/// The first pause before another try; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(320);
/// SKUs per opening request: two lines each, within the API's 10,000.
const OPENING_SKUS_MAX: usize = 2_500;

/// The tills' work, shared with those who watch it.
#[derive(Debug)]
pub struct Playback {
    plan: Arc<Plan>,
    clients: Vec<Client>,
    next: AtomicUsize,
    answered: AtomicUsize,
}

/// What became of all baskets.
#[derive(Debug, Default)]
pub struct Played {
    /// Baskets that were applied.
    pub applied_baskets: usize,
    /// Their lines.
    pub applied_lines: usize,
    /// Baskets that were refused, with the node's reason.
    pub refused: Vec<Refused>,
    /// Requests that had to be sent again.
    pub retries: usize,
    /// Answers that the node said were those of an earlier try.
    pub replayed: usize,
}

/// A basket that a node refused.
#[derive(Debug, Clone, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// The store.
    pub store: String,
    /// The basket.
    pub basket: String,
    /// How many lines it has.
    pub lines: usize,
    /// The SKUs that were refused.
    pub skus: Vec<String>,
    /// The error codes of those lines, each once.
    pub errors: Vec<String>,
}

enum Answer {
    Applied,
    Refused(Refused),
}

impl Playback {
    /// Ready to play; `clients[i]` speaks to the node of `plan.stores[i]`.
    pub fn new(plan: Arc<Plan>, clients: Vec<Client>) -> Arc<Self> {
        Arc::new(Self { plan, clients, next: AtomicUsize::new(0), answered: AtomicUsize::new(0) })
    }

    /// How many baskets have been answered so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Starts the tills, each a task of its own.
    pub fn start(self: &Arc<Self>, tills: usize) -> Vec<tokio::task::JoinHandle<Result<Played>>> {
        (0..tills).map(|_| tokio::spawn(Arc::clone(self).till())).collect()
    }

    async fn till(self: Arc<Self>) -> Result<Played> {
        let mut played = Played::default();
        while let Some(basket) = self.take() {
            match self.play(basket, &mut played).await? {
                Answer::Applied => {
                    played.applied_baskets += 1;
                    played.applied_lines += basket.lines;
                }
                Answer::Refused(refused) => played.refused.push(refused),
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(played)
    }

    fn take(&self) -> Option<&Basket> {
        self.plan.baskets.get(self.next.fetch_add(1, Ordering::Relaxed))
    }

    async fn play(&self, basket: &Basket, played: &mut Played) -> Result<Answer> {
        let client = &self.clients[basket.store];
        let (reply, tries) = until_answered(client, &basket.key, &basket.body).await?;
        played.retries += tries - 1;
        if reply.header("idempotent-replayed") == Some("true") {
            played.replayed += 1;
        }
        let store = &self.plan.stores[basket.store].store;
        match reply.status {
            200 => Ok(Answer::Applied),
            409 if reply.error_code() == "BatchRejected" => {
                Ok(Answer::Refused(refused(store, basket, &reply)?))
            }
            status => {
                bail!("basket {} of store {store} got status {status}: {}", basket.id, reply.text())
            }
        }
    }
}

impl Played {
    /// Adds another till's results.
    pub fn add(&mut self, other: Self) {
        self.applied_baskets += other.applied_baskets;
        self.applied_lines += other.applied_lines;
        self.refused.extend(other.refused);
        self.retries += other.retries;
        self.replayed += other.replayed;
    }
}

/// Sends `POST /api/batch` under the key until there is an answer that isn't "try again"; also how
/// many tries it took.
pub async fn until_answered(client: &Client, key: &str, body: &str) -> Result<(Reply, usize)> {
    let started = Instant::now();
    let mut pause = PAUSE_FIRST;
    let mut tries = 0;
    loop {
        tries += 1;
        let headers = [("idempotency-key", key)];
        let sent = client.send(Method::POST, "/api/batch", &headers, Some(body.to_owned())).await;
        match sent {
            Ok(reply) if !matches!(reply.status, 408 | 429 | 503 | 504) => {
                return Ok((reply, tries));
            }
            Ok(reply) if started.elapsed() > BASKET_DEADLINE => {
                bail!("{key} is refused still: {} {}", reply.status, reply.text());
            }
            Err(error) if started.elapsed() > BASKET_DEADLINE => {
                return Err(error).with_context(|| format!("{key} is unanswered still"));
            }
            Ok(_) | Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Creates each SKU of a store and receives its opening stock; how many units that were.
pub async fn open_store(client: &Client, store: &StorePlan) -> Result<u64> {
    let skus: Vec<_> = store.opening.iter().collect();
    for (number, chunk) in skus.chunks(OPENING_SKUS_MAX).enumerate() {
        let mut operations = Vec::new();
        for (sku, opening) in chunk {
            let mut create = json!({"op": "create", "sku": sku, "stock": 0});
            if let Some(name) = &opening.name {
                create["name"] = json!(name);
            }
            operations.push(create);
            if opening.quantity > 0 {
                let quantity = opening.quantity;
                operations.push(json!({"op": "receive", "sku": sku, "quantity": quantity,
                    "reference": "opening"}));
            }
        }
        let body = json!({"atomic": true, "operations": operations}).to_string();
        let key = format!("opening-{}-{number}", store.store);
        let (reply, _) = until_answered(client, &key, &body).await?;
        reply.ok().with_context(|| format!("opening stock of store {}", store.store))?;
    }
    Ok(store.opening.values().map(|opening| opening.quantity).sum())
}

fn refused(store: &str, basket: &Basket, reply: &Reply) -> Result<Refused> {
    let body = reply.json()?;
    let results = body["results"].as_array().context("a rejected batch lists its lines")?;
    let at_fault: Vec<&Value> = results.iter().filter(|line| line["status"] != 424).collect();
    let texts = |field: &str| {
        let mut texts: Vec<String> =
            at_fault.iter().filter_map(|line| line[field].as_str().map(str::to_owned)).collect();
        texts.sort();
        texts.dedup();
        texts
    };
    Ok(Refused {
        store: store.to_owned(),
        basket: basket.id.clone(),
        lines: basket.lines,
        skus: texts("sku"),
        errors: texts("error"),
    })
}
