//! Runs a scenario under many schedules: at random, and with few preemptions at chosen places (PCT,
//! Burckhardt et al., ASPLOS 2010). A scenario makes all it uses anew, waits for all it starts, and
//! must look at nothing else that changes: no clock, no thread of the system's.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use event_log::planted;
use threading::shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use threading::shuttle::{self, Config, FailurePersistence, MaxSteps, Runner};

/// Where the schedulers begin, unless `SHUTTLE_RANDOM_SEED` says otherwise: the same schedules
/// every time.
const SEED: u64 = 0x0a11_5afe;
/// So many preemptions a PCT schedule has at most, and one.
const PCT_DEPTH: usize = 4;
/// So many schedules are run twice, to see that a printed one can be repeated.
const REPEATS: usize = 10;
/// A scenario that goes on for longer never ends.
const STEPS_MAX: usize = 200_000;
/// Of each thread; the system gives only what is used.
const STACK_BYTES: usize = 1 << 20;

/// Runs the scenario under so many schedules of each kind; panics with the first that fails, and
/// says how to repeat it. With `ONHAND_SCHEDULES=n` it is n of each kind, with
/// `ONHAND_SCHEDULE=text` only the printed one.
pub fn explore(schedules: usize, scenario: fn()) {
    if let Ok(schedule) = env::var("ONHAND_SCHEDULE") {
        return shuttle::replay(scenario, &schedule);
    }
    let asked = env::var("ONHAND_SCHEDULES").ok().and_then(|text| text.parse().ok());
    let schedules = asked.unwrap_or(schedules);
    shuttle::check_uncontrolled_nondeterminism(scenario, REPEATS);
    let random = RandomScheduler::new_from_seed(SEED, schedules);
    Runner::new(random, config(FailurePersistence::Print)).run(scenario);
    let pct = PctScheduler::new_from_seed(SEED, PCT_DEPTH, schedules);
    Runner::new(pct, config(FailurePersistence::Print)).run(scenario);
}

/// Which schedule is the first in which the scenario fails with this bug planted, counted from 1,
/// for each kind of scheduler (random, PCT); none if it never does.
pub fn first_to_see(bug: &'static str, schedules_max: usize, scenario: fn()) -> [Option<usize>; 2] {
    let random = move || RandomScheduler::new_from_seed(SEED, schedules_max);
    let pct = move || PctScheduler::new_from_seed(SEED, PCT_DEPTH, schedules_max);
    [first_failure(bug, random, scenario), first_failure(bug, pct, scenario)]
}

/// Runs in a thread of the system's: a failed run leaves its thread unfit for the next.
fn first_failure<S: Scheduler + 'static>(
    bug: &'static str,
    scheduler: impl FnOnce() -> S + Send + 'static,
    scenario: fn(),
) -> Option<usize> {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = {
        let begun = Arc::clone(&begun);
        move || {
            begun.fetch_add(1, Ordering::Relaxed);
            scenario();
        }
    };
    let run = move || {
        planted::plant(Some(bug));
        Runner::new(scheduler(), config(FailurePersistence::None)).run(counted)
    };
    let passed = thread::spawn(run).join();
    passed.is_err().then(|| begun.load(Ordering::Relaxed))
}

fn config(failure_persistence: FailurePersistence) -> Config {
    let mut config = Config::new();
    config.failure_persistence = failure_persistence;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.stack_size = STACK_BYTES;
    // Orderings weaker than sequential consistency aren't modelled, as docs/testing.md says.
    config.silence_warnings = true;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    config
}
