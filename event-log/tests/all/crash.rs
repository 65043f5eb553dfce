//! Power cuts at every storage operation of a scripted life, several outcomes each, twice over.

use event_log::storage::sim::{Fault, Lies};

use crate::world::{Op, Outcome, World, ensure};

/// Outcomes tried for each cut in `make test`; `EVENT_LOG_SEEDS` overrides it for a soak.
const SEEDS_DEFAULT: u64 = 6;

fn seeds() -> u64 {
    std::env::var("EVENT_LOG_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(SEEDS_DEFAULT)
}

/// A life with everything in it: single and multi-record appends, commits, a checkpoint, several
/// rotations, snapshots, cursors, compaction with and without archive, a close and a kill.
pub(crate) fn script() -> Vec<Op> {
    let mut ops = until_the_close();
    ops.extend(until_the_end());
    ops
}

#[rustfmt::skip]
fn until_the_close() -> Vec<Op> {
    use Op::{Acknowledge, Append, Checkpoint, Close, Commit, Compact, Preallocate, Snapshot};
    vec![
        Append(vec![30]), Commit, Append(vec![0, 700, 30]), Append(vec![90]), Commit, Checkpoint,
        Acknowledge("slow"), Preallocate,
        Append(vec![3000]), Commit, Append(vec![3000]), Append(vec![600]), Commit,
        Snapshot, Append(vec![2000, 2000]), Commit, Append(vec![3000]), Commit,
        Preallocate, Append(vec![3000]), Commit, Acknowledge("slow"), Acknowledge("fast"), Snapshot,
        Compact { archive: true }, Append(vec![10]), Append(vec![20]), Commit, Close,
    ]
}

#[rustfmt::skip]
fn until_the_end() -> Vec<Op> {
    use Op::{Acknowledge, Append, Checkpoint, Close, Commit, Compact, Kill, Preallocate, Snapshot};
    vec![
        Append(vec![3000, 100]), Commit, Preallocate, Append(vec![5000]), Commit, Append(vec![4000]), Commit,
        Snapshot, Checkpoint, Kill, Append(vec![100]), Commit, Acknowledge("slow"), Acknowledge("fast"),
        Append(vec![3000]), Commit, Snapshot, Acknowledge("slow"), Acknowledge("fast"),
        Compact { archive: true }, Append(vec![64]), Commit, Append(vec![50]), Kill, Append(vec![70]), Commit,
        Compact { archive: false }, Append(vec![70]), Commit, Close,
    ]
}

/// What is done after the first crash, until the second.
#[rustfmt::skip]
fn second_life() -> Vec<Op> {
    use Op::{Acknowledge, Append, Commit, Compact, Preallocate, Snapshot};
    vec![
        Preallocate, Append(vec![333]), Commit, Append(vec![1, 2, 3]), Commit, Snapshot,
        Append(vec![3500]), Commit, Preallocate, Append(vec![3500]), Commit, Append(vec![3500]), Commit,
        Acknowledge("slow"), Acknowledge("fast"), Snapshot, Compact { archive: true }, Append(vec![9]), Commit,
    ]
}

fn fresh(lies: Lies) -> World {
    let world = World::new(1);
    world.storage.set_lies(lies);
    world
}

fn live(world: &mut World, ops: &[Op]) -> Result<(), String> {
    if world.log.is_none() {
        match world.open() {
            Ok(()) => {}
            Err(_) if world.storage.is_off() => return Ok(()),
            Err(what) => return Err(what),
        }
    }
    match world.run(ops)? {
        Outcome::Dead(_) if world.storage.is_off() => Ok(()),
        Outcome::Dead(what) => Err(format!("it died without a power cut: {what}")),
        Outcome::Done | Outcome::Refused(_) => Ok(()),
    }
}

fn operations_of_the_script() -> u64 {
    let mut world = fresh(Lies::default());
    live(&mut world, &script()).expect("nothing goes wrong without faults");
    world.storage.op_count()
}

/// Cuts the power at this operation, and later once more; every outcome must keep the promises.
fn cut_at(index: u64, lies: Lies) -> Result<(), String> {
    let mut world = fresh(lies);
    world.storage.fail_at(index, Fault::Crash);
    live(&mut world, &script())?;
    for seed in 0..seeds() {
        let seed = index * 1000 + seed;
        let mut after = world.crashed(seed);
        let at = || format!("cut at {index} ({:?}), seed {seed}", world.storage.operation(index));
        after
            .verify_crashed()
            .and_then(|()| after.open())
            .map_err(|what| format!("{}: {what}", at()))?;
        // Once more, somewhere in what comes next, the opening's own repairs included.
        let mut again = world.crashed(seed);
        let second = seed.wrapping_mul(0x9e37_79b9) % 90;
        again.storage.fail_at(second, Fault::Crash);
        live(&mut again, &second_life()).map_err(|what| format!("{}, then: {what}", at()))?;
        let mut last = again.crashed(seed + 1);
        last.verify_crashed()
            .and_then(|()| last.open())
            .map_err(|what| format!("{}, again at {second}: {what}", at()))?;
        live(&mut last, &[Op::Append(vec![5]), Op::Commit, Op::Close])?;
    }
    Ok(())
}

impl World {
    /// Before anything repairs it, a crash never looks like damage.
    fn verify_crashed(&self) -> Result<(), String> {
        match event_log::verify(&self.storage, &mut |_, _| {}) {
            Ok(report) => {
                ensure!(report.is_sound(), "verify calls a crash damage: {:?}", report.damages);
                let (last, acknowledged) = (report.last.get() as usize, self.model.acknowledged);
                ensure!(
                    last >= acknowledged,
                    "verify finds {last} records, {acknowledged} were acknowledged"
                );
                Ok(())
            }
            Err(_) if self.model.acknowledged == 0 => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[test]
fn the_script_does_what_it_is_for() {
    let mut world = fresh(Lies::default());
    live(&mut world, &script()).expect("nothing goes wrong without faults");
    let count = operations_of_the_script();
    assert!((150..2000).contains(&count), "{count} operations");
    let names: Vec<String> = world.storage.contents().into_iter().map(|(path, _)| path).collect();
    assert!(names.iter().any(|name| name.starts_with("snapshots/")), "{names:?}");
    assert!(names.iter().any(|name| name == "CONSUMERS"), "{names:?}");
    assert!(world.model.deleted_to > 0, "compaction deleted something");
}

/// One quarter of the cuts each, so that they run side by side.
fn every_cut(quarter: u64) {
    let count = operations_of_the_script();
    for index in (0..count).filter(|index| index % 4 == quarter) {
        if let Err(what) = cut_at(index, Lies::default()) {
            panic!("{what}");
        }
    }
}

#[test]
fn every_cut_keeps_the_promises_1_of_4() {
    every_cut(0);
}

#[test]
fn every_cut_keeps_the_promises_2_of_4() {
    every_cut(1);
}

#[test]
fn every_cut_keeps_the_promises_3_of_4() {
    every_cut(2);
}

#[test]
fn every_cut_keeps_the_promises_4_of_4() {
    every_cut(3);
}

/// The enumeration must be able to fail: a disk that lies breaks the promises, and it sees it.
#[test]
fn planted_lies_are_caught() {
    for lies in
        [Lies { sync_data: true, sync_dir: false }, Lies { sync_data: false, sync_dir: true }]
    {
        let count = operations_of_the_script();
        let caught = (0..count).step_by(7).filter(|index| cut_at(*index, lies).is_err()).count();
        assert!(caught > 5, "{lies:?}: caught {caught} times");
    }
}

/// The checker must be able to fail: each of these is a bug that a log could have.
#[test]
fn planted_differences_are_caught() {
    let run = || {
        let mut world = fresh(Lies::default());
        live(&mut world, &script()[..13]).expect("nothing goes wrong without faults");
        world.check().expect("the log is what the model says");
        world
    };
    let mut lost = run();
    lost.model.acknowledged += 1;
    lost.model.records.push(vec![1]);
    assert!(lost.apply(&Op::Kill).is_err(), "an acknowledged record that is missing");
    let mut altered = run();
    altered.model.records[2][0] ^= 1;
    assert!(altered.check().is_err(), "another record");
    let mut swapped = run();
    swapped.model.records.swap(0, 2);
    assert!(swapped.check().is_err(), "another order");
    let mut halved = run();
    halved.model.ends.remove(&halved.model.records.len());
    assert!(halved.apply(&Op::Kill).is_err(), "part of an append");
    let mut extra = run();
    extra.model.records.pop();
    extra.model.acknowledged = 0;
    assert!(extra.apply(&Op::Kill).is_err(), "a record nobody appended");
}
