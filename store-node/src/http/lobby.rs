//! Where the requests of one lane wait until they are durable. Only one of them, the keeper, waits at
//! the log; woken, it wakes all the others that its frame made durable, on its own thread, where that
//! takes no lock that another core holds and no call of the system. One deadline is watched at a time
//! too: the keeper is the oldest.
//!
//! A wait that isn't durable must never end as if it were, and nobody may be left without a keeper: a
//! keeper that leaves, however it does, makes the next one that waits the keeper.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use event_log::storage::Storage;
use event_log::{Durable, Log, Seq, WaitError};
use parking_lot::Mutex;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, Timeout, timeout_at};

/// Who waits. Its lock is its thread's alone, or nearly so.
#[derive(Debug, Default)]
pub(super) struct Lobby(Mutex<Guests>);

#[derive(Debug, Default)]
struct Guests {
    waiting: BTreeMap<Place, Waker>,
    keeper: Option<Place>,
    next_ticket: u64,
}

/// By seq, then by the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place(Seq, u64);

impl Lobby {
    /// Waits until `seq` is durable, or never will be, or `deadline` has passed. The deadline of one
    /// that isn't the keeper is looked at when it becomes the keeper: the oldest do first, but a wait
    /// for less than theirs may come before them, and then it is up to twice as long.
    pub(super) fn wait<'a, S: Storage>(
        &'a self,
        log: &'a Arc<Log<S>>,
        seq: Seq,
        deadline: Duration,
    ) -> Wait<'a, S> {
        Wait { lobby: self, log, seq, deadline: Instant::now() + deadline, place: None, door: None }
    }

    /// Has `place` leave, wakes everyone up to `durable`, and sees to it that there is a keeper.
    fn leave(&self, place: Place, durable: Seq) {
        let mut guests = self.0.lock();
        guests.waiting.remove(&place);
        if guests.keeper != Some(place) {
            return;
        }
        let later = guests.waiting.split_off(&Place(durable.next(), 0));
        let woken = std::mem::replace(&mut guests.waiting, later);
        guests.keeper = guests.waiting.keys().next().copied();
        let next = guests.waiting.values().next().cloned();
        drop(guests);
        woken.into_values().chain(next).for_each(Waker::wake);
    }

    /// Takes a place, or notes the newest waker at one; whether it is the keeper's.
    fn take_place(&self, seq: Seq, place: &mut Option<Place>, waker: &Waker) -> bool {
        let mut guests = self.0.lock();
        let place = *place.get_or_insert_with(|| {
            guests.next_ticket += 1;
            Place(seq, guests.next_ticket)
        });
        match guests.waiting.get_mut(&place) {
            Some(registered) => registered.clone_from(waker),
            None => {
                guests.waiting.insert(place, waker.clone());
            }
        }
        // Who waits for less than the keeper must not wait for the keeper's.
        if guests.keeper.is_none_or(|keeper| keeper > place) {
            guests.keeper = Some(place);
        }
        guests.keeper == Some(place)
    }
}

/// See [`Lobby::wait`]. Dropping it stops waiting.
pub(super) struct Wait<'a, S: Storage> {
    lobby: &'a Lobby,
    log: &'a Arc<Log<S>>,
    seq: Seq,
    deadline: Instant,
    place: Option<Place>,
    /// What a keeper waits at.
    door: Option<Pin<Box<Timeout<Durable<S>>>>>,
}

impl<S: Storage> Future for Wait<'_, S> {
    type Output = Result<Result<(), WaitError>, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.log.durable() >= this.seq {
            return Poll::Ready(Ok(Ok(())));
        }
        let is_keeper = this.lobby.take_place(this.seq, &mut this.place, context.waker());
        if !is_keeper && this.door.is_none() {
            // The frame may have come between the first look and the place.
            let is_durable = this.log.durable() >= this.seq;
            return if is_durable { Poll::Ready(Ok(Ok(()))) } else { Poll::Pending };
        }
        let (log, seq, deadline) = (this.log, this.seq, this.deadline);
        let door = this.door.get_or_insert_with(|| Box::pin(timeout_at(deadline, log.wait(seq))));
        door.as_mut().poll(context)
    }
}

impl<S: Storage> Drop for Wait<'_, S> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.lobby.leave(place, self.log.durable());
        }
    }
}

#[cfg(test)]
mod tests;
