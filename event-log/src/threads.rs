//! The two threads of a log in production: the committer and the preallocator. The simulator starts
//! neither and calls `commit_once`, `checkpoint_once` and `preallocate_once` itself.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use threading::thread::{Builder, yield_now};

use crate::catalog::Spare;
use crate::error::PreallocateError;
use crate::log::{Committed, Log, Shared};
use crate::planted;
use crate::queue::{Gate, Shortage};
use crate::storage::{Storage, is_no_space};

/// How often the committer lets others go first before a frame.
const YIELDS_MAX: usize = 2;
/// How long after a shortage the preallocator looks again.
const SHORTAGE_RETRY_MS: u64 = 500;

impl<S: Storage> Log<S> {
    /// Starts the committer and the preallocator; a log opened for reading only needs neither.
    pub fn start(&self) -> io::Result<()> {
        if self.read_only().is_some() {
            return Ok(());
        }
        let mut threads = self.threads.lock();
        let shared = Arc::clone(&self.shared);
        threads
            .push(Builder::new().name("log-committer".into()).spawn(move || commit_loop(&shared))?);
        let shared = Arc::clone(&self.shared);
        threads.push(
            Builder::new()
                .name("log-preallocate".into())
                .spawn(move || preallocate_loop(&shared))?,
        );
        Ok(())
    }

    /// Makes one spare segment if one is missing; whether it did. On a shortage the log goes
    /// read-only when its room is used up, and writable again once this succeeds.
    pub fn preallocate_once(&self) -> Result<bool, PreallocateError> {
        self.shared.preallocate_once()
    }
}

impl<S: Storage> Shared<S> {
    pub(crate) fn preallocate_once(&self) -> Result<bool, PreallocateError> {
        let (bytes, number) = {
            let mut queue = self.queue.lock();
            let Some(bytes) = queue.spare_wanted(&self.limits) else { return Ok(false) };
            queue.spares_made += 1;
            (bytes, queue.spares_made)
        };
        match self.make_spare(number, bytes) {
            Ok(spare) => {
                self.queue.lock().add_spare(spare, &self.limits);
                Ok(true)
            }
            Err(error) => {
                let reason = error.to_string();
                let no_space = is_no_space(&error);
                let shortage = if no_space {
                    Shortage::NoSpace { reason: reason.clone() }
                } else {
                    Shortage::Io { reason: reason.clone() }
                };
                self.queue.lock().note_shortage(shortage);
                Err(if no_space {
                    PreallocateError::NoSpace { reason }
                } else {
                    PreallocateError::Io { reason }
                })
            }
        }
    }

    fn make_spare(&self, number: u64, bytes: u64) -> io::Result<Spare<S>> {
        let free = self.storage.available_bytes()?;
        if free < bytes.saturating_add(self.limits.disk_floor_bytes) {
            let reason = format!(
                "{free} bytes are free, a segment of {bytes} must leave {}",
                self.limits.disk_floor_bytes
            );
            return Err(io::Error::new(io::ErrorKind::StorageFull, reason));
        }
        Spare::make(&self.storage, number, bytes)
    }
}

/// Lets those whom the last frame woke go first, as long as that brings records, so that what they
/// write next is in this frame and not in one of its own. One yield: 13 to 22 % more writes a second
/// from 64 connections on 2 cores (medians of four runs each, in turn). More than two brought another
/// 13 % as long as a frame woke each writer by itself, and nothing since. Where nobody wants the core
/// it takes no time, and no clock is waited for.
fn gather<S: Storage>(shared: &Shared<S>) {
    let mut seen = shared.queue.lock().last;
    for _ in 0..YIELDS_MAX {
        yield_now();
        let last = shared.queue.lock().last;
        if last == seen {
            break;
        }
        seen = last;
    }
}

fn commit_loop<S: Storage>(shared: &Shared<S>) {
    let guard = PoisonOnPanic(shared);
    let checkpoint_after = Duration::from_millis(shared.limits.checkpoint_after_ms);
    // What an unclean end left behind wants its checkpoint too.
    let unsealed = shared.committer.lock().unsealed;
    let mut checkpoint_at = unsealed.then(|| Instant::now() + checkpoint_after);
    // Ends when the log is closed, dropped or poisoned.
    loop {
        gather(shared);
        match shared.commit_once() {
            Ok(Committed::Frame { .. }) => checkpoint_at = Some(Instant::now() + checkpoint_after),
            Ok(Committed::Nothing) => {
                if checkpoint_at.is_some_and(|at| at <= Instant::now()) {
                    checkpoint_at = None;
                    if shared.checkpoint_once().is_err() {
                        break;
                    }
                }
                if !sleep_until_work(shared, checkpoint_at) {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    std::mem::forget(guard);
}

/// Waits for an append or for the checkpoint's time; false when the log stops and nothing waits.
fn sleep_until_work<S: Storage>(shared: &Shared<S>, checkpoint_at: Option<Instant>) -> bool {
    let mut queue = shared.queue.lock();
    if !queue.batch.is_empty() && !planted::is("sleep without a look at the batch") {
        return true;
    }
    if queue.stopping {
        return false;
    }
    queue.committer_sleeps = true;
    match checkpoint_at {
        Some(at) => {
            shared.work.wait_until(&mut queue, at);
        }
        None => shared.work.wait(&mut queue),
    }
    queue.committer_sleeps = false;
    true
}

fn preallocate_loop<S: Storage>(shared: &Shared<S>) {
    let retry = Duration::from_millis(SHORTAGE_RETRY_MS);
    loop {
        let short = match shared.preallocate_once() {
            Ok(true) => continue,
            Ok(false) => false,
            Err(_) => true,
        };
        let mut queue = shared.queue.lock();
        if queue.stopping || matches!(queue.gate, Gate::Poisoned { .. }) {
            return;
        }
        if short {
            shared.room.wait_for(&mut queue, retry);
        } else if queue.spare_wanted(&shared.limits).is_none() {
            shared.room.wait(&mut queue);
        }
    }
}

/// A committer that panics leaves a log of which nobody knows what is durable.
struct PoisonOnPanic<'shared, S: Storage>(&'shared Shared<S>);

impl<S: Storage> Drop for PoisonOnPanic<'_, S> {
    fn drop(&mut self) {
        self.0.poison("committing", &io::Error::other("the committer panicked"));
    }
}

#[cfg(test)]
mod tests;
