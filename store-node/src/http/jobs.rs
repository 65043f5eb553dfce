//! `/api/jobs`: work that an operator started and that takes longer than a request. One job of a
//! kind runs at a time; finished ones are remembered, a bounded number of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::MethodFilter;
use event_log::storage::Storage;
use parking_lot::Mutex;
use serde::Serialize;
use shared::Timestamp;
use shared::wire::problem::ErrorCode;

use super::app::App;
use super::call::{Call, Outcome, route};
use super::failure::Failure;
use super::metrics::Endpoint;
use super::{query, reply};

/// How many jobs are remembered.
const JOBS_MAX: usize = 100;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum JobKind {
    /// Writes a snapshot.
    Snapshot,
    /// Archives and deletes what nobody needs.
    Compact,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum JobState {
    /// It is being done.
    Running,
    /// It is done.
    Done,
    /// It failed: see `error`.
    Failed,
}

/// A job as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What it does.
    pub kind: JobKind,
    /// How far it is.
    pub state: JobState,
    /// Units done.
    pub done: u64,
    /// Units in all; 0 = not known yet.
    pub total: u64,
    /// Why it failed.
    pub error: Option<String>,
    /// What it came to.
    pub result: Option<serde_json::Value>,
    /// Logged time of its start.
    pub started_at: Timestamp,
    /// Logged time of its end.
    pub finished_at: Option<Timestamp>,
}

/// A job while it runs.
pub(super) struct Running {
    job: Mutex<Job>,
    done: AtomicU64,
    total: AtomicU64,
}

impl Running {
    /// Tells how far the work is.
    pub(super) fn progress(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    fn show(&self) -> Job {
        let mut job = self.job.lock().clone();
        job.done = self.done.load(Ordering::Relaxed);
        job.total = self.total.load(Ordering::Relaxed);
        job
    }

    fn finish(&self, result: Result<serde_json::Value, String>, at: Timestamp) {
        let mut job = self.job.lock();
        job.finished_at = Some(at);
        match result {
            Ok(result) => {
                job.state = JobState::Done;
                job.result = Some(result);
            }
            Err(error) => {
                job.state = JobState::Failed;
                job.error = Some(error);
            }
        }
    }

    fn is_running(&self) -> bool {
        self.job.lock().state == JobState::Running
    }
}

/// All jobs of this process, newest last.
#[derive(Default)]
pub(super) struct Jobs {
    all: Mutex<VecDeque<Arc<Running>>>,
    next: AtomicU64,
}

impl Jobs {
    /// Starts `work` on a thread of its own; `Err` is the job of this kind that runs already.
    pub(super) fn start<S: Storage>(
        app: &Arc<App<S>>,
        kind: JobKind,
        work: impl FnOnce(&App<S>, &Running) -> Result<serde_json::Value, String> + Send + 'static,
    ) -> Result<Job, Box<Job>> {
        let mut all = app.jobs.all.lock();
        if let Some(other) = all.iter().find(|job| job.is_running() && job.job.lock().kind == kind)
        {
            return Err(Box::new(other.show()));
        }
        let number = app.jobs.next.fetch_add(1, Ordering::Relaxed) + 1;
        let running = Arc::new(Running {
            job: Mutex::new(Job {
                id: format!("job-{number}"),
                kind,
                state: JobState::Running,
                done: 0,
                total: 0,
                error: None,
                result: None,
                started_at: app.now(),
                finished_at: None,
            }),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
        });
        while all.len() >= JOBS_MAX && all.front().is_some_and(|job| !job.is_running()) {
            all.pop_front();
        }
        all.push_back(Arc::clone(&running));
        drop(all);
        let (app, thread) = (Arc::clone(app), Arc::clone(&running));
        let shown = running.show();
        std::thread::spawn(move || {
            let guarded = std::panic::AssertUnwindSafe(|| work(&app, &thread));
            let result = std::panic::catch_unwind(guarded)
                .unwrap_or_else(|_| Err("the job panicked".to_owned()));
            match &result {
                Ok(result) => tracing::info!(kind = ?kind, %result, "job done"),
                Err(error) => tracing::error!(kind = ?kind, error, "job failed"),
            }
            thread.finish(result, app.now());
        });
        Ok(shown)
    }

    fn show(&self, id: &str) -> Option<Job> {
        let all = self.all.lock();
        all.iter().map(|job| job.show()).find(|job| job.id == id)
    }

    fn show_all(&self) -> Vec<Job> {
        self.all.lock().iter().rev().map(|job| job.show()).collect()
    }
}

#[derive(Serialize)]
struct JobList {
    items: Vec<Job>,
}

pub(super) fn routes<S: Storage>() -> Router<Arc<App<S>>> {
    Router::new()
        .route("/api/jobs", route(MethodFilter::GET, Endpoint::Jobs, list))
        .route("/api/jobs/{id}", route(MethodFilter::GET, Endpoint::Jobs, get))
}

/// 202 with the place where the job can be watched.
pub(super) fn accepted(job: &Job) -> Response {
    let mut response = reply::json(StatusCode::ACCEPTED, job);
    reply::set_location(&mut response, format!("/api/jobs/{}", job.id));
    response
}

async fn list<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    Ok(reply::ok(&JobList { items: call.app().jobs.show_all() }))
}

async fn get<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    let id = call.segment(2, "id")?;
    match call.app().jobs.show(&id) {
        Some(job) => Ok(reply::ok(&job)),
        None => Err(Failure::new(ErrorCode::NotFound, format!("there is no job {id}"))),
    }
}
