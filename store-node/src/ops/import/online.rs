//! Importing into a running node: batches over HTTP, again and again until each is answered.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Batch, ImportReport, Target};
use crate::ops::OpError;
use crate::ops::remote::{Node, Reply, refused};

/// How often one batch is tried; its key makes that harmless.
const TRIES_MAX: u32 = 30;
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A node's batch endpoint.
pub(super) struct NodeTarget {
    node: Node,
}

/// What is read of a batch's answer.
#[derive(Deserialize)]
struct BatchAnswer {
    results: Vec<LineAnswer>,
}

#[derive(Deserialize)]
struct LineAnswer {
    status: u16,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    errors: Option<Value>,
}

impl NodeTarget {
    pub(super) fn new(node: Node) -> Self {
        Self { node }
    }

    /// Sends until there is an answer that another try wouldn't change.
    fn post(&self, batch: &Batch) -> Result<Reply, OpError> {
        let operations: Vec<&Value> = batch.lines.iter().map(|line| &line.operation).collect();
        let body = json!({ "atomic": false, "operations": operations });
        let body = serde_json::to_vec(&body).map_err(OpError::failed)?;
        let mut pause = Duration::from_millis(100);
        for attempt in 1..=TRIES_MAX {
            let last = attempt == TRIES_MAX;
            let reply = match self.node.post("/api/batch", Some(&batch.key), body.clone()) {
                Ok(reply) if last || !matches!(reply.status, 408 | 429 | 503 | 504) => {
                    return Ok(reply);
                }
                Err(error) if last => return Err(error),
                Ok(reply) => Some(reply),
                Err(_) => None,
            };
            let asked = reply.and_then(|reply| reply.retry_after);
            std::thread::sleep(asked.unwrap_or(pause).min(PAUSE_MAX));
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(OpError::Failed("no try was made".to_owned()))
    }
}

impl Target for NodeTarget {
    fn send(&mut self, batch: &Batch, report: &mut ImportReport) -> Result<(), OpError> {
        let reply = self.post(batch)?;
        if reply.status != 200 {
            return Err(refused("/api/batch", reply.status, &reply.body));
        }
        let answer: BatchAnswer = serde_json::from_slice(&reply.body).map_err(OpError::failed)?;
        if answer.results.len() != batch.lines.len() {
            let message =
                format!("{} lines sent, {} answered", batch.lines.len(), answer.results.len());
            return Err(OpError::Failed(message));
        }
        for (line, result) in batch.lines.iter().zip(answer.results) {
            if (200..300).contains(&result.status) {
                report.add_done(reply.replayed);
                continue;
            }
            let why = result.message.or(result.error).unwrap_or_default();
            let errors = result.errors.map(|errors| format!(" {errors}")).unwrap_or_default();
            report.add_refusal(line.number, format!("({}) {why}{errors}", result.status));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), OpError> {
        Ok(())
    }
}
