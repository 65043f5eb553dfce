//! `/api/jobs`: work that an operator started and that takes longer than a request. One job of a
//! kind runs at a time; finished ones are remembered, a bounded number of them.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::MethodFilter;
use event_log::storage::Storage;
use parking_lot::Mutex;
use serde::Serialize;
use shared::Timestamp;
use shared::wire::problem::{ErrorCode, Problem};

use super::app::App;
use super::call::{Call, Outcome, route};
use super::failure::Failure;
use super::metrics::Endpoint;
use super::{query, reply};

/// How far behind everything else a job's thread stands for a core (`nice`): far enough that writers
/// go first, near enough that a lock it holds is given back soon. What it is worth:
/// docs/decisions/2026-11-27-long-files-never-far-ahead.md.
const JOB_NICENESS: i32 = 10;
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
    /// Reads everything on disk again and checks it.
    Scrub,
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
    /// It was told to stop, and left nothing half done.
    Cancelled,
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

/// Why a job has no result.
#[derive(Debug)]
pub(super) enum JobEnd {
    /// It was told to stop.
    Cancelled,
    /// It failed, in its own words.
    Failed(String),
}

impl JobEnd {
    /// A failure in its own words.
    pub(super) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A job while it runs.
pub(super) struct Running {
    job: Mutex<Job>,
    stop: Arc<AtomicBool>,
    done: AtomicU64,
    total: AtomicU64,
}

impl Running {
    /// Tells how far the work is; says whether to go on.
    pub(super) fn progress(&self, done: u64, total: u64) -> ControlFlow<()> {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        if self.stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Set once the job was told to stop.
    pub(super) fn stop(&self) -> &Arc<AtomicBool> {
        &self.stop
    }

    fn show(&self) -> Job {
        let mut job = self.job.lock().clone();
        job.done = self.done.load(Ordering::Relaxed);
        job.total = self.total.load(Ordering::Relaxed);
        job
    }

    fn finish(&self, result: Result<serde_json::Value, JobEnd>, at: Timestamp) {
        let mut job = self.job.lock();
        job.finished_at = Some(at);
        match result {
            Ok(result) => {
                job.state = JobState::Done;
                job.result = Some(result);
            }
            Err(JobEnd::Cancelled) => job.state = JobState::Cancelled,
            Err(JobEnd::Failed(error)) => {
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
        work: impl FnOnce(&App<S>, &Running) -> Result<serde_json::Value, JobEnd> + Send + 'static,
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
            stop: Arc::default(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
        });
        while all.len() >= JOBS_MAX && all.front().is_some_and(|job| !job.is_running()) {
            all.pop_front();
        }
        all.push_back(Arc::clone(&running));
        drop(all);
        let (on_thread, thread) = (Arc::clone(app), Arc::clone(&running));
        let spawned = std::thread::Builder::new().name("job".to_owned()).spawn(move || {
            let app = on_thread;
            if let Err(error) = rustix::process::setpriority_process(None, JOB_NICENESS) {
                tracing::warn!(%error, "a job runs at the priority of requests");
            }
            let guarded = std::panic::AssertUnwindSafe(|| work(&app, &thread));
            let result = std::panic::catch_unwind(guarded)
                .unwrap_or_else(|_| Err(JobEnd::failed("the job panicked")));
            match &result {
                Ok(result) => tracing::info!(kind = ?kind, %result, "job done"),
                Err(JobEnd::Cancelled) => tracing::info!(kind = ?kind, "job cancelled"),
                Err(JobEnd::Failed(error)) => tracing::error!(kind = ?kind, error, "job failed"),
            }
            thread.finish(result, app.now());
        });
        if let Err(error) = spawned {
            running.finish(Err(JobEnd::failed(error)), app.now());
        }
        Ok(running.show())
    }

    /// Whether a job of this kind runs.
    pub(super) fn is_running(&self, kind: JobKind) -> bool {
        self.all.lock().iter().any(|job| job.is_running() && job.job.lock().kind == kind)
    }

    /// Tells every running job to stop: the process leaves.
    pub(super) fn stop_all(&self) {
        self.all.lock().iter().for_each(|job| job.stop.store(true, Ordering::Relaxed));
    }

    fn find(&self, id: &str) -> Option<Arc<Running>> {
        self.all.lock().iter().find(|job| job.job.lock().id == id).cloned()
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
    Router::new().route("/api/jobs", route(MethodFilter::GET, Endpoint::Jobs, list)).route(
        "/api/jobs/{id}",
        route(MethodFilter::GET, Endpoint::Jobs, get).merge(route(
            MethodFilter::DELETE,
            Endpoint::Jobs,
            cancel,
        )),
    )
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
    Ok(reply::ok(&find(&call)?.show()))
}

/// Tells a job to stop: 202 while it comes to its end, which `GET` shows; asking again is as good.
async fn cancel<S: Storage>(call: Call<S>) -> Outcome {
    query::require_none(call.uri())?;
    let running = find(&call)?;
    running.stop.store(true, Ordering::Relaxed);
    let job = running.show();
    match job.state {
        JobState::Running => Ok(accepted(&job)),
        JobState::Cancelled => Ok(reply::ok(&job)),
        JobState::Done | JobState::Failed => {
            let detail = format!("{} has come to its end", job.id);
            let problem = Problem::new(ErrorCode::JobFinished, detail);
            Err(problem.with("jobId", job.id).into())
        }
    }
}

fn find<S: Storage>(call: &Call<S>) -> Result<Arc<Running>, Failure> {
    let id = call.segment(2, "id")?;
    let job = call.app().jobs.find(&id);
    job.ok_or_else(|| Failure::new(ErrorCode::NotFound, format!("there is no job {id}")))
}
