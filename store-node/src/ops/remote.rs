//! Asking a running node: admin jobs and batches over HTTP. It must never wait for ever.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::OpError;
use super::terminal::Progress;

/// How long one request to the node may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// How long `--wait` waits for a job.
pub const JOB_WAIT_MAX: Duration = Duration::from_hours(24);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Which node.
#[derive(Debug, Clone, Args)]
pub struct Remote {
    /// A running node's address, such as http://127.0.0.1:4101, instead of a data directory.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The API token, if the node wants one.
    #[arg(long, value_name = "TOKEN", env = "STORE_NODE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// A job of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What it does.
    #[serde(default)]
    pub kind: String,
    /// `running`, `done`, `failed`, `cancelled`…
    pub state: String,
    /// How much is done.
    #[serde(default)]
    pub done: u64,
    /// How much there is to do.
    #[serde(default)]
    pub total: u64,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
}

impl std::fmt::Display for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "job {} ({}): {}, {}/{}", self.id, self.kind, self.state, self.done, self.total)
    }
}

/// A node's answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Whether it is the stored answer of an earlier request with the same key.
    pub replayed: bool,
    /// When to ask again, if the node said so.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Vec<u8>,
}

/// A connection to a node, for a command's one thread.
pub struct Node {
    base: String,
    token: Option<String>,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    /// Gets ready to ask; asks nothing yet.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, OpError> {
        let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build();
        let client = client.map_err(OpError::failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(OpError::failed)?;
        Ok(Self { base: url.trim_end_matches('/').to_owned(), token, client, runtime })
    }

    /// POSTs a body.
    pub fn post(&self, path: &str, key: Option<&str>, body: Vec<u8>) -> Result<Reply, OpError> {
        let mut request = self.client.post(format!("{}{path}", self.base)).body(body);
        request = request.header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.send(request)
    }

    /// Starts an admin job and, if asked to, waits for its end.
    pub fn run_job(&self, path: &str, what: &'static str, wait: bool) -> Result<Job, OpError> {
        let Reply { status, body, .. } = self.post(path, None, Vec::new())?;
        if status != 202 {
            return Err(refused(path, status, &body));
        }
        let mut job: Job = serde_json::from_slice(&body).map_err(OpError::failed)?;
        let mut progress = Progress::begin(what);
        let started = std::time::Instant::now();
        while wait && is_open(&job) {
            if started.elapsed() > JOB_WAIT_MAX {
                return Err(OpError::Failed(format!("job {} goes on after a day", job.id)));
            }
            std::thread::sleep(POLL_INTERVAL);
            let request = self.client.get(format!("{}/api/jobs/{}", self.base, job.id));
            let Reply { status, body, .. } = self.send(request)?;
            if status != 200 {
                return Err(refused("/api/jobs", status, &body));
            }
            job = serde_json::from_slice(&body).map_err(OpError::failed)?;
            progress.tell(job.done, job.total);
        }
        progress.end();
        match (job.state.as_str(), &job.error) {
            ("failed" | "cancelled", error) => {
                let why = error.clone().unwrap_or_default();
                Err(OpError::Failed(format!("job {} {}: {why}", job.id, job.state)))
            }
            _ => Ok(job),
        }
    }

    fn send(&self, mut request: reqwest::RequestBuilder) -> Result<Reply, OpError> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        self.runtime.block_on(async {
            let answer = request.send().await.map_err(|error| with_sources(&error))?;
            let status = answer.status().as_u16();
            let header = |name: &str| answer.headers().get(name)?.to_str().ok();
            let replayed = header("idempotent-replayed").is_some_and(|value| value == "true");
            let seconds = header("retry-after").and_then(|value| value.parse().ok());
            let retry_after = seconds.map(Duration::from_secs);
            let body = answer.bytes().await.map_err(|error| with_sources(&error))?.to_vec();
            Ok(Reply { status, replayed, retry_after, body })
        })
    }
}

fn is_open(job: &Job) -> bool {
    matches!(job.state.as_str(), "queued" | "pending" | "running")
}

/// A refusal in the node's own words.
pub fn refused(what: &str, status: u16, body: &[u8]) -> OpError {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    let detail = detail.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    OpError::Failed(format!("{what} answered {status}: {detail}"))
}

fn with_sources(error: &reqwest::Error) -> OpError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    OpError::Failed(text)
}
