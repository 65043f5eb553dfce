//! Operators' long work: resyncs, rebinds and rebuilds, each over one or more stores. Only workers
//! move a job on; nothing here does any work.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use shared::wire::global_sync::{JobView, ResyncReport};

/// Jobs that are remembered; the oldest finished ones are forgotten first.
pub const JOBS_MAX: usize = 256;

/// What a job does with each of its stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Bootstrap one store anew and report what differed.
    Resync,
    /// The same for a store whose node has another log now.
    Rebind,
    /// Bootstrap every store anew.
    Rebuild,
}

impl JobKind {
    /// The kind as the API shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resync => "resync",
            Self::Rebind => "rebind",
            Self::Rebuild => "rebuild",
        }
    }
}

/// All jobs of this process.
#[derive(Debug, Clone, Default)]
pub struct Jobs {
    jobs: Arc<Mutex<VecDeque<Job>>>,
}

#[derive(Debug)]
struct Job {
    id: String,
    kind: JobKind,
    total: u64,
    done: u64,
    cancelled: bool,
    errors: Vec<String>,
    reports: Vec<ResyncReport>,
}

impl Job {
    fn is_finished(&self) -> bool {
        self.done == self.total
    }

    fn view(&self) -> JobView {
        let state = match (self.is_finished(), self.cancelled, self.errors.is_empty()) {
            (false, ..) => "running",
            (true, true, _) => "cancelled",
            (true, false, true) => "done",
            (true, false, false) => "failed",
        };
        JobView {
            id: self.id.clone(),
            kind: self.kind.name(),
            state,
            done: self.done,
            total: self.total,
            error: (!self.errors.is_empty()).then(|| self.errors.join("; ")),
            reports: self.reports.clone(),
        }
    }
}

/// One store's share of a job. Dropped unfinished, it counts as failed, so that no job runs for
/// ever.
#[derive(Debug)]
pub struct JobTicket {
    jobs: Jobs,
    id: String,
    is_finished: bool,
}

impl Jobs {
    /// Begins a job over `total` stores, and hands out a ticket for each.
    pub fn begin(&self, kind: JobKind, total: usize) -> (String, Vec<JobTicket>) {
        let id = uuid::Uuid::now_v7().to_string();
        let mut jobs = self.jobs.lock();
        while jobs.len() >= JOBS_MAX {
            let oldest = jobs.iter().position(Job::is_finished).unwrap_or(0);
            jobs.remove(oldest);
        }
        jobs.push_back(Job {
            id: id.clone(),
            kind,
            total: total as u64,
            done: 0,
            cancelled: false,
            errors: Vec::new(),
            reports: Vec::new(),
        });
        let ticket = |_| JobTicket { jobs: self.clone(), id: id.clone(), is_finished: false };
        let tickets = (0..total).map(ticket).collect();
        (id, tickets)
    }

    /// The job of this id.
    pub fn get(&self, id: &str) -> Option<JobView> {
        self.jobs.lock().iter().find(|job| job.id == id).map(Job::view)
    }

    /// All remembered jobs, oldest first.
    pub fn list(&self) -> Vec<JobView> {
        self.jobs.lock().iter().map(Job::view).collect()
    }

    /// Cancels what isn't finished of a job; says whether there is such a job.
    pub fn cancel(&self, id: &str) -> bool {
        let mut jobs = self.jobs.lock();
        let job = jobs.iter_mut().find(|job| job.id == id);
        job.is_some_and(|job| {
            job.cancelled |= !job.is_finished();
            true
        })
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Job)) {
        if let Some(job) = self.jobs.lock().iter_mut().find(|job| job.id == id) {
            job.done += 1;
            change(job);
        }
    }
}

/// Looks at a job; says nothing to it.
#[derive(Debug, Clone)]
pub struct JobWatch {
    jobs: Jobs,
    id: String,
}

impl JobWatch {
    /// Whether an operator has cancelled the job.
    pub fn is_cancelled(&self) -> bool {
        self.jobs.jobs.lock().iter().any(|job| job.id == self.id && job.cancelled)
    }
}

impl JobTicket {
    /// A look at the ticket's job.
    pub fn watch(&self) -> JobWatch {
        JobWatch { jobs: self.jobs.clone(), id: self.id.clone() }
    }

    /// The store is done.
    pub fn done(mut self, report: Option<ResyncReport>) {
        self.is_finished = true;
        self.jobs.change(&self.id, |job| job.reports.extend(report));
    }

    /// The store's part failed.
    pub fn failed(mut self, error: String) {
        self.is_finished = true;
        self.jobs.change(&self.id, |job| job.errors.push(error));
    }

    /// An operator stopped it.
    pub fn cancelled(mut self) {
        self.is_finished = true;
        self.jobs.change(&self.id, |job| job.cancelled = true);
    }
}

impl Drop for JobTicket {
    fn drop(&mut self) {
        if !self.is_finished {
            self.jobs.change(&self.id, |job| job.errors.push("given up".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_ends_with_its_last_ticket() {
        let jobs = Jobs::default();
        let (id, mut tickets) = jobs.begin(JobKind::Rebuild, 3);
        let state = || jobs.get(&id).map(|job| (job.state, job.done));
        tickets.pop().unwrap().done(None);
        tickets.pop().unwrap().failed("store-b: no".to_owned());
        assert_eq!(state(), Some(("running", 2)));
        drop(tickets);
        assert_eq!(state(), Some(("failed", 3)));
        let job = jobs.get(&id).unwrap();
        assert_eq!(job.error.as_deref(), Some("store-b: no; given up"));
        assert!(jobs.cancel(&id) && !jobs.cancel("none"));
        assert_eq!(state(), Some(("failed", 3)), "what is over can't be cancelled");
        let (none, _) = jobs.begin(JobKind::Rebuild, 0);
        assert_eq!(jobs.get(&none).unwrap().state, "done");
    }
}
