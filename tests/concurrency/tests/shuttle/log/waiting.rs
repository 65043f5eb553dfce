//! Waiting on the watermark while it moves: registering, being polled again, giving up.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use concurrency::explore;
use event_log::storage::sim::SimStorage;
use event_log::{Committed, Log, Seq};
use threading::shuttle::future::block_on;
use threading::thread;

use super::world::{World, append};

#[test]
fn whoever_registers_just_when_the_only_frame_is_published_is_woken() {
    explore(20_000, racing);
}

/// One frame, and two who come to wait for it: nothing later would wake them.
pub(crate) fn racing() {
    let world = World::quiet();
    let seq = append(&world.log, "only").unwrap();
    let parked = {
        let log = Arc::clone(&world.log);
        thread::spawn(move || log.wait_blocking(seq))
    };
    let future = {
        let log = Arc::clone(&world.log);
        thread::spawn(move || block_on(log.wait(seq)))
    };
    world.log.commit_once().unwrap();
    assert_eq!((parked.join().unwrap(), future.join().unwrap()), (Ok(()), Ok(())));
}

#[test]
fn whoever_registers_while_the_watermark_moves_is_woken_and_who_gave_up_is_not() {
    explore(10_000, waiting);
}

/// A committer driven by hand, a future, a parked thread and one that gives up.
pub(crate) fn waiting() {
    let world = World::quiet();
    for text in ["first", "second"] {
        append(&world.log, text).unwrap();
    }
    let committer = {
        let log = Arc::clone(&world.log);
        thread::spawn(move || {
            while log.commit_once().unwrap() != Committed::Nothing {}
            append(&log, "third").unwrap();
            log.commit_once().unwrap();
        })
    };
    let parked = {
        let log = Arc::clone(&world.log);
        thread::spawn(move || log.wait_blocking(Seq::new(3)))
    };
    let future = {
        let log = Arc::clone(&world.log);
        thread::spawn(move || block_on(log.wait(Seq::new(2))))
    };
    let gave_up = {
        let log = Arc::clone(&world.log);
        thread::spawn(move || poll_twice_and_give_up(&log))
    };
    assert_eq!(future.join().unwrap(), Ok(()));
    assert_eq!(parked.join().unwrap(), Ok(()));
    let (counter, in_time) = gave_up.join().unwrap();
    committer.join().unwrap();
    let wakes_max = usize::from(!in_time);
    assert!(counter.0.load(Ordering::Relaxed) <= wakes_max, "who gave up in time isn't woken");
    assert_eq!(world.log.durable(), Seq::new(3));
}

/// The counter of its wakes, and whether the frame it waited for was still to come when it gave up.
fn poll_twice_and_give_up(log: &Arc<Log<SimStorage>>) -> (Arc<Wakes>, bool) {
    let counter = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&counter));
    let seq = Seq::new(3);
    {
        let mut durable = pin!(log.wait(seq));
        for _ in 0..2 {
            match durable.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(outcome) => {
                    assert_eq!(outcome, Ok(()));
                    assert!(log.durable() >= seq);
                    break;
                }
                Poll::Pending => thread::yield_now(),
            }
        }
    }
    (counter, log.durable() < seq)
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
