//! Random lives: any sequence of operations, power cuts, restarts and disk errors, against the
//! model. What shrinks out of it is kept as a regression.

use event_log::storage::sim::Fault;
use proptest::prelude::*;

use crate::world::{Op, Outcome, World};

/// Random lives tried in `make test`; `EVENT_LOG_CASES` overrides it for a soak.
const CASES_DEFAULT: u32 = 2000;
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
    ]
}

fn live(steps: &[Step]) -> Result<(), String> {
    let mut world = World::new(7);
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
            Step::FailSoon(later) => world.storage.fail_at(world.storage.op_count() + later, Fault::Eio),
            Step::Room(kib) => {
                let used: u64 = world.storage.contents().iter().map(|(_, bytes)| bytes.len() as u64).sum();
                world.storage.set_capacity(kib.map(|kib| used + kib * 1024));
            }
        }
    }
    let mut last = world.crashed(cut_seed);
    last.storage.set_capacity(None);
    last.open().map_err(|what| format!("at the end: {what}"))
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
    std::env::var("EVENT_LOG_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES_DEFAULT)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_lives_keep_the_promises(steps in prop::collection::vec(step(), 1..STEPS_MAX)) {
        if let Err(what) = live(&steps) {
            return Err(TestCaseError::fail(what));
        }
    }
}
