//! Waiting on the durable watermark: a future and a parking wait over the same table of wakers.
//!
//! This file must never wake a waiter before its seq is durable, and never lose one that registers while the watermark moves:
//! the watermark is stored before the table is looked at, and looked at again after registering.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use threading::Mutex;
use threading::atomic::{AtomicBool, AtomicU64, Ordering};
use threading::thread::{self, Thread};

use crate::error::WaitError;
use crate::log::Shared;
use crate::planted;
use crate::seq::Seq;
use crate::storage::Storage;

/// The watermark and who waits for it to pass.
pub(crate) struct Waiters {
    durable: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// By seq, then by the order of arrival.
    wakers: BTreeMap<(u64, u64), Waker>,
    next_ticket: u64,
    end: Option<WaitError>,
}

impl Waiters {
    pub(crate) fn new(durable: Seq) -> Self {
        Waiters { durable: AtomicU64::new(durable.get()), table: Mutex::default() }
    }

    pub(crate) fn durable(&self) -> Seq {
        Seq::new(self.durable.load(Ordering::Acquire))
    }

    /// Moves the watermark and wakes exactly those it now covers.
    pub(crate) fn publish(&self, durable: Seq, woken: &mut Vec<Waker>) {
        assert!(durable >= self.durable(), "the watermark never goes back");
        let wake_first = planted::is("wake before the watermark moves");
        if !wake_first {
            self.durable.store(durable.get(), Ordering::Release);
        }
        let mut table = self.table.lock();
        while let Some(entry) = table.wakers.first_entry() {
            if entry.key().0 > durable.get() {
                break;
            }
            woken.push(entry.remove());
        }
        drop(table);
        woken.drain(..).for_each(Waker::wake);
        if wake_first {
            self.durable.store(durable.get(), Ordering::Release);
        }
    }

    /// No seq beyond the watermark will ever be durable: tells everyone why. The first reason stays.
    pub(crate) fn end(&self, reason: WaitError) {
        let mut table = self.table.lock();
        table.end.get_or_insert(reason);
        let wakers = std::mem::take(&mut table.wakers);
        drop(table);
        wakers.into_values().for_each(Waker::wake);
    }

    fn poll(
        &self,
        seq: Seq,
        ticket: &mut Option<u64>,
        waker: &Waker,
    ) -> Poll<Result<(), WaitError>> {
        if self.durable() >= seq {
            return Poll::Ready(Ok(()));
        }
        let mut table = self.table.lock();
        if self.durable() >= seq && !planted::is("register without a second look") {
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = &table.end {
            return Poll::Ready(Err(end.clone()));
        }
        let number = *ticket.get_or_insert_with(|| {
            table.next_ticket += 1;
            table.next_ticket
        });
        match table.wakers.get_mut(&(seq.get(), number)) {
            Some(registered) => registered.clone_from(waker),
            None => {
                table.wakers.insert((seq.get(), number), waker.clone());
            }
        }
        Poll::Pending
    }

    /// How many futures wait.
    pub(crate) fn waiting(&self) -> usize {
        self.table.lock().wakers.len()
    }

    fn forget(&self, seq: Seq, ticket: u64) {
        self.table.lock().wakers.remove(&(seq.get(), ticket));
    }

    /// Parks the calling thread until the seq is durable or never will be.
    pub(crate) fn wait_blocking(&self, seq: Seq) -> Result<(), WaitError> {
        if self.durable() >= seq {
            return Ok(());
        }
        let parker = Arc::new(Parker { thread: thread::current(), woken: AtomicBool::new(false) });
        let waker = Waker::from(Arc::clone(&parker));
        let mut ticket = None;
        loop {
            if let Poll::Ready(outcome) = self.poll(seq, &mut ticket, &waker) {
                return outcome;
            }
            while !parker.woken.swap(false, Ordering::Acquire) {
                thread::park();
            }
        }
    }
}

struct Parker {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Resolves once its seq is durable, or says why it won't be. Needs no particular runtime; dropping it stops waiting.
pub struct Durable<S: Storage> {
    shared: Arc<Shared<S>>,
    seq: Seq,
    ticket: Option<u64>,
}

impl<S: Storage> Durable<S> {
    pub(crate) fn new(shared: Arc<Shared<S>>, seq: Seq) -> Self {
        Durable { shared, seq, ticket: None }
    }

    /// The seq it waits for.
    pub const fn seq(&self) -> Seq {
        self.seq
    }
}

impl<S: Storage> Future for Durable<S> {
    type Output = Result<(), WaitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.shared.waiters.poll(this.seq, &mut this.ticket, context.waker())
    }
}

impl<S: Storage> Drop for Durable<S> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket
            && !planted::is("give up and stay in the table")
        {
            self.shared.waiters.forget(self.seq, ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn exactly_the_covered_are_woken() {
        let waiters = Waiters::new(Seq::ZERO);
        let flags: Vec<_> = (1..=4).map(|_| Arc::new(Flag::default())).collect();
        for (index, flag) in flags.iter().enumerate() {
            let waker = Waker::from(Arc::clone(flag));
            assert_eq!(waiters.poll(Seq::new(index as u64 + 1), &mut None, &waker), Poll::Pending);
        }
        waiters.publish(Seq::new(2), &mut Vec::new());
        let woken: Vec<_> = flags.iter().map(|flag| flag.0.load(Ordering::Relaxed)).collect();
        assert_eq!(woken, [true, true, false, false]);
        waiters.end(WaitError::Closed);
        assert!(flags[3].0.load(Ordering::Relaxed));
        let waker = Waker::from(Arc::clone(&flags[0]));
        assert_eq!(waiters.poll(Seq::new(2), &mut None, &waker), Poll::Ready(Ok(())));
        assert_eq!(
            waiters.poll(Seq::new(3), &mut None, &waker),
            Poll::Ready(Err(WaitError::Closed))
        );
    }

    #[test]
    fn a_repeated_poll_keeps_one_registration_and_the_newest_waker() {
        let waiters = Waiters::new(Seq::ZERO);
        let (old, new) = (Arc::new(Flag::default()), Arc::new(Flag::default()));
        let mut ticket = None;
        for flag in [&old, &new] {
            assert_eq!(
                waiters.poll(Seq::new(1), &mut ticket, &Waker::from(Arc::clone(flag))),
                Poll::Pending
            );
        }
        assert_eq!(waiters.table.lock().wakers.len(), 1);
        waiters.publish(Seq::new(1), &mut Vec::new());
        assert!(!old.0.load(Ordering::Relaxed) && new.0.load(Ordering::Relaxed));
    }

    #[test]
    fn parked_threads_all_return() {
        let waiters = Arc::new(Waiters::new(Seq::ZERO));
        let threads: Vec<_> = (1..=64)
            .map(|seq| {
                let waiters = Arc::clone(&waiters);
                std::thread::spawn(move || waiters.wait_blocking(Seq::new(seq)))
            })
            .collect();
        for durable in 1..=63 {
            waiters.publish(Seq::new(durable), &mut Vec::new());
            std::thread::sleep(Duration::from_micros(50));
        }
        waiters.end(WaitError::OutcomeUnknown("a failure".into()));
        let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(outcomes[..63].iter().all(Result::is_ok));
        assert_eq!(outcomes[63], Err(WaitError::OutcomeUnknown("a failure".into())));
    }

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
