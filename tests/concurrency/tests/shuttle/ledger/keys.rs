//! Idempotency keys in flight: one effect, everybody the same answer, nobody waits for ever.

use std::sync::Arc;

use concurrency::explore;
use event_log::{AppendError, Seq};
use store_node::idempotency::{Claimed, KeyTable};
use store_node::ledger::{Answer, Executed, LedgerError};
use threading::atomic::{AtomicU64, Ordering};
use threading::thread;

use super::world::{World, key, now, sell};

#[test]
fn one_key_from_several_threads_has_one_effect_and_one_answer() {
    explore(1500, same_key);
}

/// The same request twice, and another one, a batch, with the same key.
pub(crate) fn same_key() {
    let world = World::started(&[("A", 5)]);
    let same = two_senders(&world);
    let other = {
        let world = world.clone();
        thread::spawn(move || world.batch(true, &[("A", sell(2))], Some(key(2))))
    };
    let same: Vec<_> = same.into_iter().map(|thread| thread.join().unwrap()).collect();
    let other = other.join().unwrap();
    world.ledger.log().close().unwrap();
    world.audit();
    if other.is_ok() {
        assert!(same.iter().all(|answer| matches!(answer, Err(LedgerError::KeyReused))));
        assert_eq!(world.stock_and_sold("A"), (3, 2));
        return;
    }
    assert!(matches!(other, Err(LedgerError::KeyReused)));
    let same: Vec<Executed> = same.into_iter().map(Result::unwrap).collect();
    assert_eq!(same.iter().filter(|answer| answer.replayed).count(), 1, "one does, one is told");
    assert_eq!(seq_of(&same[0]), seq_of(&same[1]), "the same answer");
    assert_eq!(world.stock_and_sold("A"), (4, 1));
}

/// Two threads that send the same request until they are told.
fn two_senders(world: &World) -> Vec<thread::JoinHandle<Result<Executed, LedgerError>>> {
    let send = |_| {
        let world = world.clone();
        thread::spawn(move || world.insist("A", &sell(1), key(1)))
    };
    (0..2).map(send).collect()
}

fn seq_of(executed: &Executed) -> Seq {
    match &executed.outcome {
        Ok(Answer::Changed { seq, .. }) => *seq,
        other => panic!("not sold: {other:?}"),
    }
}

#[test]
fn a_key_whose_request_failed_is_free_for_who_waits() {
    explore(1500, given_up);
}

/// The log is closed beside two senders of one key: each has the answer, or the error, in the end.
pub(crate) fn given_up() {
    let world = World::started(&[("A", 5)]);
    let same = two_senders(&world);
    world.ledger.log().close().unwrap();
    let mut sold = 0;
    for answer in same {
        match answer.join().unwrap() {
            Ok(executed) => sold += u64::from(!executed.replayed),
            Err(LedgerError::Append(AppendError::Closed)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    world.audit();
    assert_eq!(world.stock_and_sold("A"), (5 - sold, sold));
}

#[test]
fn claims_end_one_after_another() {
    explore(10_000, claims);
}

/// Three claim one key; the first gives it up, the second completes it, the third is told.
pub(crate) fn claims() {
    let table = Arc::new(KeyTable::new(1000, 1_000_000));
    let turns = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (table, turns) = (Arc::clone(&table), Arc::clone(&turns));
            thread::spawn(move || match table.claim(key(1), now()) {
                Claimed::Fresh(claim) => {
                    let turn = turns.fetch_add(1, Ordering::SeqCst);
                    if turn > 0 {
                        claim.complete(Seq::new(9), 1, now());
                    }
                    assert!(turn < 2, "the completed claim is the last");
                }
                Claimed::Answered(entry) => assert_eq!(entry.first_seq, 9),
                Claimed::Reused => panic!("it is the same request"),
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!((turns.load(Ordering::SeqCst), table.len()), (2, 1));
}

#[test]
fn a_copy_of_keys_has_every_key_whose_record_was_durable_before() {
    explore(10_000, copying);
}

/// A key's record becomes durable while its claim is still in flight, beside a snapshot.
pub(crate) fn copying() {
    let table = Arc::new(KeyTable::new(1000, 1_000_000));
    let durable = Arc::new(AtomicU64::new(0));
    let writer = {
        let (table, durable) = (Arc::clone(&table), Arc::clone(&durable));
        thread::spawn(move || {
            let Claimed::Fresh(claim) = table.claim(key(1), now()) else { panic!("it is new") };
            durable.store(1, Ordering::SeqCst);
            claim.complete(Seq::new(1), 1, now());
        })
    };
    let expected = durable.load(Ordering::SeqCst);
    // The key's upper half is zero: it lies in the first part.
    assert!(table.copy_shard(0).len() as u64 >= expected);
    writer.join().unwrap();
    assert_eq!(table.copy_shard(0).len(), 1);
}
