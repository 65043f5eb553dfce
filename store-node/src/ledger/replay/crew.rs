//! The shards of a replay, shared by its workers. It must never let a batch's records into a shard
//! before those of the batch before it, nor keep the others waiting for a worker that is gone.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

// Not the locks of the concurrency tests: the threads of a recovery aren't theirs.
use parking_lot::{Mutex, MutexGuard};

use super::REPLAY_WORKERS_MAX;
use crate::ledger::items::{ITEM_SHARDS, LoadShard};

/// A shard, and what is known of it besides.
#[derive(Default)]
pub(super) struct ShardWork {
    pub(super) shard: LoadShard,
    /// The numbers of the slots that have or had a reservation.
    pub(super) with_reservations: Vec<u32>,
    /// How many turns were taken.
    turns: usize,
}

/// All shards; behind them one for the records of no SKU, which stays empty.
pub(super) struct Crew {
    shards: Vec<Mutex<ShardWork>>,
    pub(super) workers: usize,
    /// Who counts the reservations of which shard, and who sums up which.
    pub(super) counting: Claims,
    pub(super) summing: Claims,
    /// Shards whose live reservations are counted, and how many these are.
    counted: AtomicUsize,
    live: AtomicUsize,
}

impl Crew {
    pub(super) fn new(
        shards: Vec<Mutex<LoadShard>>,
        with_reservations: Vec<(usize, u32)>,
        workers: usize,
    ) -> Self {
        let mut shards: Vec<_> = shards
            .into_iter()
            .chain([Mutex::default()])
            .map(|shard| ShardWork { shard: shard.into_inner(), ..ShardWork::default() })
            .collect();
        for (shard, number) in with_reservations {
            shards[shard].with_reservations.push(number);
        }
        Self {
            shards: shards.into_iter().map(Mutex::new).collect(),
            workers,
            counting: Claims::default(),
            summing: Claims::default(),
            counted: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
        }
    }

    /// Waits for a shard until so many turns were taken at it, each of which was claimed before.
    /// There may be more where a worker failed, got no more batches than that, and nothing counts.
    pub(super) fn turn(&self, shard: usize, turns: usize) -> Turn<'_> {
        loop {
            let work = self.shards[shard].lock();
            if work.turns >= turns {
                return Turn(work);
            }
            // Claimed by another worker that hasn't come to lock it.
            drop(work);
            std::thread::yield_now();
        }
    }

    /// Adds the live reservations of a shard.
    pub(super) fn count_live(&self, live: usize) {
        self.live.fetch_add(live, Ordering::Relaxed);
        self.counted.fetch_add(1, Ordering::Relaxed);
    }

    /// About how many live reservations there are in all.
    pub(super) fn live_guess(&self) -> usize {
        let counted = self.counted.load(Ordering::Relaxed).max(1);
        self.live.load(Ordering::Relaxed) * (ITEM_SHARDS + 1) / counted
    }

    /// The shards, in order.
    pub(super) fn into_shards(self) -> Vec<LoadShard> {
        let shards = self.shards.into_iter().take(ITEM_SHARDS);
        shards.map(|work| work.into_inner().shard).collect()
    }
}

/// A worker's turn at a shard. It ends also where the worker panics.
pub(super) struct Turn<'a>(MutexGuard<'a, ShardWork>);

impl Deref for Turn<'_> {
    type Target = ShardWork;

    fn deref(&self) -> &ShardWork {
        &self.0
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut ShardWork {
        &mut self.0
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.turns += 1;
    }
}

/// Which shards are taken: each worker begins with its own, the same ones every time, and then
/// helps the others with theirs.
#[derive(Default)]
pub(super) struct Claims {
    /// Of each worker's shards, how many were claimed, or more.
    taken: [AtomicUsize; REPLAY_WORKERS_MAX],
}

impl Claims {
    /// The next shard for a worker, each only once; that of no SKU is the last.
    pub(super) fn next(&self, worker: usize, workers: usize) -> Option<usize> {
        (0..workers).find_map(|offset| {
            let home = (worker + offset) % workers;
            let shard = home + self.taken[home].fetch_add(1, Ordering::Relaxed) * workers;
            (shard <= ITEM_SHARDS).then_some(shard)
        })
    }

    /// Makes all shards free again.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_shard_is_claimed_once_and_ones_own_come_first() {
        for workers in 1..=REPLAY_WORKERS_MAX {
            let claims = Claims::default();
            assert_eq!(claims.next(workers - 1, workers), Some(workers - 1));
            let rest = (0..).map_while(|turn| claims.next(turn % workers, workers));
            let mut shards: Vec<_> = rest.chain([workers - 1]).collect();
            shards.sort_unstable();
            assert_eq!(shards, (0..=ITEM_SHARDS).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_shard_waits_for_the_turn_before_even_if_that_panics() {
        let shards = (0..ITEM_SHARDS).map(|_| Mutex::default()).collect();
        let crew = Crew::new(shards, vec![(3, 7)], 2);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| crew.turn(3, 1).with_reservations.clone());
            // Long enough for it to have come back, if it didn't wait.
            std::thread::sleep(Duration::from_millis(50));
            let first = scope.spawn(|| {
                let mut turn = crew.turn(3, 0);
                turn.with_reservations.push(8);
                panic!("while it is its turn");
            });
            assert!(first.join().is_err());
            assert_eq!(second.join().unwrap(), [7, 8]);
        });
        assert_eq!(crew.into_shards().len(), ITEM_SHARDS);
    }
}
