//! Waiting for a condition, or for an operator's job, with a deadline. It must never be used without saying what is awaited.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::http::Client;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks at `condition` until it gives a value, at most for `deadline`; an error names `what`.
pub async fn until<T, F, Fut>(what: &str, deadline: Duration, mut condition: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return Ok(value);
        }
        if started.elapsed() > deadline {
            bail!("waited {deadline:?} in vain for {what}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// POSTs to an operator's endpoint and follows the job to its end, at most for `deadline`; how it
/// ended is for the caller to judge.
pub async fn run_job(client: &Client, path: &str, deadline: Duration) -> Result<Value> {
    let reply = client.post(path, &json!({})).await?;
    ensure!(reply.status == 202, "POST {path}: {} {}", reply.status, reply.text());
    let place = reply.header("location").context("202 names the job")?.to_owned();
    until(&format!("the job of {path}"), deadline, || async {
        let job = client.get(&place).await.ok()?.json().ok()?;
        (job["state"] != "running").then_some(job)
    })
    .await
}
