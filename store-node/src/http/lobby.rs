//! Where the requests of one lane wait until they are durable. Only one of them, the keeper, waits at
//! the log; woken, it wakes all the others that its frame made durable, on its own thread, where that
//! takes no lock that another core holds and no call of the system. One deadline is watched at a time
//! too: the keeper's, who waits for the least and is nearly always the oldest.
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
use tokio::time::{Instant, Timeout, timeout_at};

/// Who waits. Its lock is its thread's alone, or nearly so.
#[derive(Debug, Default)]
pub(super) struct Lobby(Mutex<Guests>);

#[derive(Debug, Default)]
struct Guests {
    waiting: BTreeMap<Place, Guest>,
    keeper: Option<Place>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Guest {
    waker: Waker,
    deadline: Instant,
}

/// How a wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Waited {
    /// The log is durable up to what was waited for.
    Durable,
    /// It was not in time.
    TooSlow,
    /// It never will be.
    Failed(WaitError),
}

/// By seq, then by the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place(Seq, u64);

impl Lobby {
    /// Waits until `seq` is durable, or never will be, or `deadline` has passed. The deadline of one
    /// that isn't the keeper is looked at when it becomes the keeper, or when another one's passes: the
    /// keeper may have come later, if it waits for less, and then it is up to twice as long.
    pub(super) fn wait<'a, S: Storage>(
        &'a self,
        log: &'a Arc<Log<S>>,
        seq: Seq,
        deadline: Duration,
    ) -> Wait<'a, S> {
        Wait {
            lobby: self,
            log,
            seq,
            deadline: Instant::now() + deadline,
            place: None,
            door: None,
            is_too_slow: false,
        }
    }

    /// Has `place` leave, wakes everyone up to `durable`, and sees to it that there is a keeper. One
    /// that was too slow wakes all whose deadlines have passed as well.
    fn leave(&self, place: Place, durable: Seq, is_too_slow: bool) {
        let mut guests = self.0.lock();
        // Wakers are used and dropped only once the lock is free.
        let left = guests.waiting.remove(&place);
        let (mut woken, mut others) = (BTreeMap::new(), Vec::new());
        if guests.keeper == Some(place) {
            let later = guests.waiting.split_off(&Place(durable.next(), 0));
            woken = std::mem::replace(&mut guests.waiting, later);
            guests.keeper = guests.waiting.keys().next().copied();
            others.extend(guests.waiting.values().next().map(|guest| guest.waker.clone()));
        }
        if is_too_slow {
            let now = Instant::now();
            let due = guests.waiting.values().filter(|guest| guest.deadline <= now);
            others.extend(due.map(|guest| guest.waker.clone()));
        }
        drop(guests);
        drop(left);
        woken.into_values().map(|guest| guest.waker).chain(others).for_each(Waker::wake);
    }

    /// Takes a place, or notes the newest waker at one; whether it is the keeper's.
    fn take_place(
        &self,
        seq: Seq,
        place: &mut Option<Place>,
        waker: &Waker,
        deadline: Instant,
    ) -> bool {
        let mut guests = self.0.lock();
        let place = *place.get_or_insert_with(|| {
            guests.next_ticket += 1;
            Place(seq, guests.next_ticket)
        });
        let guest = Guest { waker: waker.clone(), deadline };
        let before = guests.waiting.insert(place, guest);
        // Who waits for less than the keeper must not wait for the keeper's.
        if guests.keeper.is_none_or(|keeper| keeper > place) {
            guests.keeper = Some(place);
        }
        let is_keeper = guests.keeper == Some(place);
        drop(guests);
        drop(before);
        is_keeper
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
    is_too_slow: bool,
}

impl<S: Storage> Future for Wait<'_, S> {
    type Output = Waited;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Waited> {
        let this = &mut *self;
        if this.log.durable() >= this.seq {
            return Poll::Ready(Waited::Durable);
        }
        let (log, seq, deadline) = (this.log, this.seq, this.deadline);
        // Woken without being durable: it may be another one's deadline that passed.
        if this.place.is_some() && this.door.is_none() && deadline <= Instant::now() {
            this.is_too_slow = true;
            return Poll::Ready(Waited::TooSlow);
        }
        let waker = context.waker();
        let is_keeper = this.lobby.take_place(seq, &mut this.place, waker, deadline);
        if !is_keeper && this.door.is_none() {
            // The frame may have come between the first look and the place.
            let is_durable = log.durable() >= seq;
            return if is_durable { Poll::Ready(Waited::Durable) } else { Poll::Pending };
        }
        let door = this.door.get_or_insert_with(|| Box::pin(timeout_at(deadline, log.wait(seq))));
        door.as_mut().poll(context).map(|waited| match waited {
            Ok(Ok(())) => Waited::Durable,
            Ok(Err(error)) => Waited::Failed(error),
            Err(_) => {
                this.is_too_slow = true;
                Waited::TooSlow
            }
        })
    }
}

impl<S: Storage> Drop for Wait<'_, S> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.lobby.leave(place, self.log.durable(), self.is_too_slow);
        }
    }
}

#[cfg(test)]
mod tests;
