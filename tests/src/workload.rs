//! Concurrent tills that sell one unit at a time and write down exactly what they were told. A
//! keyed sale is repeated under its key until it is answered; an unkeyed one never is: whether it
//! happened stays unknown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use reqwest::Method;
use serde_json::{Value, json};

use crate::checker::{Attempt, Outcome};
use crate::http::{Client, percent_encode};

/// How long a keyed sale may go unanswered, all tries together.
const ANSWER_DEADLINE: Duration = Duration::from_mins(1);
/// The pause after a try without an answer.
const PAUSE: Duration = Duration::from_millis(10);

/// Tills at work.
#[derive(Debug)]
pub struct Tills {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Result<Vec<Attempt>>>>,
}

impl Tills {
    /// Starts so many tills; each sells the SKUs in turn, with keys or without.
    pub fn start(client: &Client, skus: &[String], keyed: bool, tills: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let tasks = (0..tills)
            .map(|till| {
                let till = Till {
                    client: client.clone(),
                    skus: skus.to_vec(),
                    name: keyed.then(|| format!("till-{till}")),
                    stop: Arc::clone(&stop),
                    acknowledged: Arc::clone(&acknowledged),
                };
                tokio::spawn(till.work())
            })
            .collect();
        Self { stop, acknowledged, tasks }
    }

    /// Sales acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more sales are acknowledged.
    pub async fn sell_more(&self, sales: usize) -> Result<()> {
        let target = self.acknowledged() + sales;
        crate::world::until("more sales", ANSWER_DEADLINE, || async {
            (self.acknowledged() >= target).then_some(())
        })
        .await
    }

    /// Lets each till finish the sale it is at; all that was done.
    pub async fn finish(self) -> Result<Vec<Attempt>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut attempts = Vec::new();
        for task in self.tasks {
            attempts.extend(task.await??);
        }
        Ok(attempts)
    }
}

struct Till {
    client: Client,
    skus: Vec<String>,
    name: Option<String>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
}

impl Till {
    async fn work(self) -> Result<Vec<Attempt>> {
        let mut attempts = Vec::new();
        for sale in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let sku = self.skus[sale % self.skus.len()].clone();
            let key = self.name.as_ref().map(|name| format!("{name}-{sale}"));
            let outcome = match &key {
                Some(key) => sell_until_answered(&self.client, &sku, key).await?,
                None => sell(&self.client, &sku, None).await?,
            };
            match outcome {
                Outcome::Acknowledged { .. } => {
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                // Nobody is there just now: don't spin.
                Outcome::Unknown | Outcome::Refused { .. } => tokio::time::sleep(PAUSE).await,
            }
            attempts.push(Attempt { sku, key, outcome });
        }
        Ok(attempts)
    }
}

/// One try to sell one unit.
pub async fn sell(client: &Client, sku: &str, key: Option<&str>) -> Result<Outcome> {
    let path = format!("/api/inventory/{}/sell", percent_encode(sku));
    let headers: Vec<(&str, &str)> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
    let body = json!({"quantity": 1}).to_string();
    let Ok(reply) = client.send(Method::POST, &path, &headers, Some(body)).await else {
        return Ok(Outcome::Unknown);
    };
    match reply.status {
        200 => {
            let answer = reply.json()?;
            let (Some(version), Some(seq)) = (answer["version"].as_u64(), answer["seq"].as_u64())
            else {
                bail!("an acknowledged sale without version or seq: {answer}");
            };
            Ok(Outcome::Acknowledged { version, seq, body: reply.text() })
        }
        504 => Ok(Outcome::Unknown),
        status @ (409 | 429 | 503) => Ok(Outcome::Refused { status, error: reply.error_code() }),
        status => bail!("a sale got status {status}: {}", reply.text()),
    }
}

/// Sells one unit under the key, as often as it takes.
pub async fn sell_until_answered(client: &Client, sku: &str, key: &str) -> Result<Outcome> {
    let started = Instant::now();
    loop {
        match sell(client, sku, Some(key)).await? {
            Outcome::Unknown | Outcome::Refused { status: 429 | 503, .. } => {}
            answered => return Ok(answered),
        }
        if started.elapsed() > ANSWER_DEADLINE {
            bail!("{key} is unanswered after {ANSWER_DEADLINE:?}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Creates items with the same stock each, in one atomic batch.
pub async fn create_items(client: &Client, skus: &[String], stock: u64) -> Result<()> {
    let operations: Vec<Value> =
        skus.iter().map(|sku| json!({"op": "create", "sku": sku, "stock": stock})).collect();
    let body = json!({"atomic": true, "operations": operations});
    client.post("/api/batch", &body).await?.ok()?;
    Ok(())
}
