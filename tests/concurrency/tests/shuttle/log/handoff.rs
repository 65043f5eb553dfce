//! Appenders hand batches to the committer, which hands the watermark to whoever waits.

use std::sync::Arc;

use concurrency::explore;
use event_log::storage::sim::Fault;
use event_log::{AppendError, Seq, WaitError};
use threading::shuttle::rand::{Rng, thread_rng};
use threading::thread;

use super::world::{World, after_a_power_cut, append, records};

#[test]
fn every_append_ends_and_what_is_acknowledged_is_there_after_a_power_cut() {
    explore(3000, appends);
}

/// Three writers, one who watches the watermark; rotation and preallocation in between.
pub(crate) fn appends() {
    let world = World::started();
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (log, disk) = (Arc::clone(&world.log), world.disk.clone());
            thread::spawn(move || {
                let mut acknowledged = Vec::new();
                for number in 0..2 {
                    let text = format!("{writer}-{number}");
                    let seq = append(&log, &text).unwrap();
                    assert_eq!(log.wait_blocking(seq), Ok(()));
                    assert!(log.durable() >= seq);
                    acknowledged.push((seq, text));
                }
                (acknowledged, disk.crashed(writer))
            })
        })
        .collect();
    let watcher = {
        let log = Arc::clone(&world.log);
        thread::spawn(move || {
            let mut before = Seq::ZERO;
            for _ in 0..4 {
                let durable = log.durable();
                assert!(durable >= before, "the watermark never goes back");
                assert!(log.tip().seq >= durable, "what is published can be read");
                before = durable;
                thread::yield_now();
            }
        })
    };
    let ended: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    watcher.join().unwrap();
    world.log.close().unwrap();
    let written = records(&world.log);
    assert_eq!(written.len(), 6);
    for (acknowledged, image) in &ended {
        let left = records(&after_a_power_cut(image));
        assert_eq!(left[..], written[..left.len()], "a prefix");
        for (seq, text) in acknowledged {
            assert_eq!(left.get(seq.get() as usize - 1), Some(text));
        }
    }
}

#[test]
fn closing_beside_appends_commits_what_was_accepted_and_tells_the_rest() {
    explore(6000, closing);
}

/// Two writers who find the log closed at some point, one who waits for what never comes.
pub(crate) fn closing() {
    let world = World::started();
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let log = Arc::clone(&world.log);
            thread::spawn(move || {
                let mut accepted = 0;
                for number in 0..2 {
                    match append(&log, &format!("{writer}-{number}")) {
                        Ok(seq) => assert_eq!(log.wait_blocking(seq), Ok(())),
                        Err(error) => {
                            assert_eq!(error, AppendError::Closed);
                            break;
                        }
                    }
                    accepted += 1;
                }
                accepted
            })
        })
        .collect();
    let tailer = {
        let log = Arc::clone(&world.log);
        thread::spawn(move || log.wait_blocking(Seq::new(100)))
    };
    world.log.close().unwrap();
    assert_eq!(tailer.join().unwrap(), Err(WaitError::Closed));
    let accepted: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
    assert_eq!(world.log.durable(), world.log.last());
    assert_eq!(records(&world.log).len(), accepted);
}

#[test]
fn a_failed_disk_tells_everyone_that_nobody_knows() {
    explore(6000, poisoning);
}

/// The disk fails at one of its next operations while three wait.
pub(crate) fn poisoning() {
    let world = World::started();
    let fails_in = thread_rng().gen_range(0..12);
    world.disk.fail_at(world.disk.op_count() + fails_in, Fault::Eio);
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let log = Arc::clone(&world.log);
            thread::spawn(move || {
                for number in 0..2 {
                    let Ok(seq) = append(&log, &format!("{writer}-{number}")) else { break };
                    match log.wait_blocking(seq) {
                        Ok(()) => assert!(log.durable() >= seq),
                        Err(error) => {
                            assert!(matches!(error, WaitError::OutcomeUnknown(_)));
                            let later = append(&log, "late");
                            assert!(matches!(later, Err(AppendError::Poisoned { .. })));
                        }
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    // What it says depends on whether the committer met the fault; that it ends doesn't.
    let _ = world.log.close();
}
