//! Random lives: any sequence of operations, power cuts, restarts, disk errors and rot, against the
//! model. What shrinks out of it is kept as a regression.

use event_log::storage::sim::{Fault, Lies};
use proptest::prelude::*;

use crate::world::{Op, Outcome, World, ensure, read_all};

/// Random lives tried in `make test`; `EVENT_LOG_CASES` overrides it for a soak.
const CASES_DEFAULT: u32 = 6000;
const STEPS_MAX: usize = 40;

#[derive(Clone, Debug)]
enum Step {
    Do(Op),
    /// The power goes now.
    Cut(u64),
    /// The power goes at the operation that many later.
    CutSoon(u64, u64),
    /// The operation that many later fails.
    FailSoon(u64),
    /// There is no more room than this, in KiB above what is used.
    Room(Option<u64>),
    /// A bit flips, on a copy: which file, where, which bit.
    Rot(u64, u64, u8),
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    let length = prop_oneof![8 => 0_usize..200, 3 => 200_usize..3000, 1 => 3000_usize..14000];
    prop::collection::vec(length, 1..5)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => lengths().prop_map(|lengths| Step::Do(Op::Append(lengths))),
        10 => Just(Step::Do(Op::Commit)),
        3 => Just(Step::Do(Op::Checkpoint)),
        5 => Just(Step::Do(Op::Preallocate)),
        4 => Just(Step::Do(Op::Snapshot)),
        2 => Just(Step::Do(Op::Acknowledge("slow"))),
        2 => Just(Step::Do(Op::Acknowledge("fast"))),
        3 => any::<bool>().prop_map(|archive| Step::Do(Op::Compact { archive })),
        2 => Just(Step::Do(Op::Close)),
        2 => Just(Step::Do(Op::Kill)),
        2 => any::<u64>().prop_map(Step::Cut),
        2 => (0_u64..40, any::<u64>()).prop_map(|(later, seed)| Step::CutSoon(later, seed)),
        1 => (0_u64..40).prop_map(Step::FailSoon),
        1 => prop::option::of(0_u64..64).prop_map(Step::Room),
        2 => (any::<u64>(), any::<u64>(), 0_u8..8).prop_map(|(file, at, bit)| Step::Rot(file, at, bit)),
    ]
}

/// Devices that write 512 or 4096 bytes at once, small and larger segments.
const SHAPES: [(u32, u64); 3] = [(512, 16 * 1024), (4096, 32 * 1024), (512, 128 * 1024)];

fn live(steps: &[Step], shape: (u32, u64), lies: Lies) -> Result<(), String> {
    let mut world = World::new(7);
    world.storage.set_block_bytes(shape.0);
    world.segment_bytes = shape.1;
    world.storage.set_lies(lies);
    world.open()?;
    let mut cut_seed = 0;
    for (index, step) in steps.iter().enumerate() {
        let at = |what: String| format!("step {index} {step:?}: {what}");
        match step {
            Step::Do(op) => {
                if let Outcome::Dead(_) = world.apply(op).map_err(at)? {
                    world = revive(world, cut_seed).map_err(at)?;
                }
            }
            Step::Cut(seed) => {
                world = world.crashed(*seed);
                world.storage.set_capacity(None);
                world.open().map_err(at)?;
            }
            Step::CutSoon(later, seed) => {
                cut_seed = *seed;
                world.storage.fail_at(world.storage.op_count() + later, Fault::Crash);
            }
            Step::FailSoon(later) => {
                world.storage.fail_at(world.storage.op_count() + later, Fault::Eio);
            }
            Step::Rot(file, at_byte, bit) => rot(&world, (*file, *at_byte, *bit)).map_err(at)?,
            Step::Room(kib) => {
                let used: u64 =
                    world.storage.contents().iter().map(|(_, bytes)| bytes.len() as u64).sum();
                world.storage.set_capacity(kib.map(|kib| used + kib * 1024));
            }
        }
    }
    let mut last = world.crashed(cut_seed);
    last.storage.set_capacity(None);
    last.open().map_err(|what| format!("at the end: {what}"))
}

/// Flips a bit of some file of a copy: what comes out is an error that names a file, or the truth.
fn rot(world: &World, (file, at, bit): (u64, u64, u8)) -> Result<(), String> {
    if world.storage.is_off() {
        return Ok(());
    }
    let mut copy = world.crashed(at);
    copy.storage.set_capacity(None);
    copy.open()?;
    copy.log = None;
    let files: Vec<(String, Vec<u8>)> = copy
        .storage
        .contents()
        .into_iter()
        .filter(|(path, bytes)| !path.ends_with(".tmp") && !bytes.is_empty())
        .collect();
    let (path, bytes) = &files[(file % files.len() as u64) as usize];
    copy.storage.flip_bit(path, at % bytes.len() as u64, bit).map_err(|error| error.to_string())?;
    let before = copy.storage.contents();
    let log = match copy.try_open() {
        Err(error) => {
            ensure!(copy.storage.contents() == before, "a refused opening changed something");
            ensure!(
                error.to_string().contains(path.as_str()),
                "{path} rotted, and it says: {error}"
            );
            return Ok(());
        }
        Ok(()) => copy.log(),
    };
    let last = log.last().get() as usize;
    let last_segment = files.iter().map(|(path, _)| path).rfind(|path| path.len() == 24);
    let is_last_segment = Some(path) == last_segment;
    ensure!(
        last >= copy.model.acknowledged || is_last_segment,
        "{path} rotted and {last} records are left"
    );
    match read_all(log) {
        Ok((first, records, _)) => {
            let range = first as usize - 1..last;
            ensure!(
                copy.model.records.get(range) == Some(&records[..]),
                "{path} rotted and other records are read"
            );
        }
        Err(what) => {
            ensure!(what.contains(path.as_str()), "{path} rotted, and reading says: {what}");
        }
    }
    Ok(())
}

/// Opens again after a power cut, an I/O error or a full disk.
fn revive(world: World, cut_seed: u64) -> Result<World, String> {
    let mut next = if world.storage.is_off() { world.crashed(cut_seed) } else { world };
    for _ in 0..3 {
        next.storage.set_capacity(None);
        match next.open() {
            Ok(()) => return Ok(next),
            // Another planned fault came in its way.
            Err(_) if next.storage.is_off() => next = next.crashed(cut_seed + 1),
            Err(what) if what.contains("opening") && what.contains("os error 5") => {}
            Err(what) => return Err(what),
        }
    }
    next.open().map(|()| next)
}

fn cases() -> u32 {
    std::env::var("EVENT_LOG_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(CASES_DEFAULT)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_lives_keep_the_promises(
        steps in prop::collection::vec(step(), 1..STEPS_MAX),
        shape in prop::sample::select(&SHAPES),
    ) {
        if let Err(what) = live(&steps, shape, Lies::default()) {
            return Err(TestCaseError::fail(what));
        }
    }
}

/// The lives must be able to fail: on a disk that lies, they do.
#[test]
fn planted_lies_are_caught() {
    let steps = |seed| {
        let mut steps = Vec::new();
        for _ in 0..6 {
            steps.extend([
                Step::Do(Op::Append(vec![3000])),
                Step::Do(Op::Commit),
                Step::Do(Op::Preallocate),
            ]);
        }
        steps.push(Step::Cut(seed));
        steps
    };
    for lies in
        [Lies { sync_data: true, sync_dir: false }, Lies { sync_data: false, sync_dir: true }]
    {
        let caught = (0..50).filter(|seed| live(&steps(*seed), SHAPES[0], lies).is_err()).count();
        assert!(caught > 10, "{lies:?}: caught {caught} of 50");
    }
    assert!((0..50).all(|seed| live(&steps(seed), SHAPES[0], Lies::default()).is_ok()));
}

/// Regression: a consumer that stood before the checkpoint that ended a segment lost its place when
/// the segment was deleted at its own cursor.
#[test]
fn a_cursor_before_a_segments_last_checkpoint_keeps_its_place() {
    let ops = [
        Op::Append(vec![100, 9000]),
        Op::Commit,
        Op::Acknowledge("slow"),
        Op::Checkpoint,
        Op::Append(vec![9000]),
        Op::Commit,
        Op::Snapshot,
        Op::Append(vec![9000]),
        Op::Commit,
        Op::Snapshot,
        Op::Compact { archive: false },
        Op::Kill,
    ];
    let mut world = World::new(1);
    world.open().unwrap();
    assert_eq!(world.run(&ops).unwrap(), Outcome::Done);
}
