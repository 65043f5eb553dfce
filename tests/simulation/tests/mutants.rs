//! Bugs on purpose, each of which must be seen within so many seeds. One that isn't is a hole in the
//! checker. `cargo test -p simulation --features planted-bugs --test mutants`

use simulation::{Plan, run};
use tests::audit::Promise;

/// A bug, what must see it, and within how many seeds.
const MUTANTS: [(&str, u64); 19] = [
    ("acknowledge before sync", 20),
    ("acknowledge before the state is saved", 50),
    ("apply twice", 5),
    ("believe a damaged frame", 100),
    ("believe a damaged snapshot", 100),
    ("compact nothing", 50),
    ("compact past a consumer", 100),
    ("drop the last frame of a batch", 20),
    ("expire early", 5),
    ("expire late", 20),
    ("forget the keys at a restart", 50),
    ("forget to move the digest", 5),
    ("read what isn't durable", 200),
    ("remember keys for ever", 5),
    ("serve without rewriting the tail", 100),
    ("skip the directory sync", 100),
    ("snapshot what isn't durable", 50),
    ("snapshot without keys", 50),
    ("swallow an I/O error", 100),
];

/// The first seed that sees the bug, and which promises it says are broken.
fn first_sight(bug: &'static str, seeds: u64) -> Option<(u64, Vec<Promise>)> {
    (0..seeds).find_map(|seed| {
        let report = run(Plan { bug: Some(bug), ..Plan::of(seed) });
        let mut promises: Vec<Promise> = report.faults.iter().map(|fault| fault.promise).collect();
        promises.sort();
        promises.dedup();
        (!promises.is_empty()).then_some((seed, promises))
    })
}

fn check(part: usize) {
    let mut survivors = Vec::new();
    for (bug, seeds) in MUTANTS.iter().skip(part).step_by(2) {
        match first_sight(bug, *seeds) {
            Some((seed, promises)) => println!("{bug}: seed {seed} sees {promises:?}"),
            None => survivors.push(format!("{bug}: not seen in {seeds} seeds")),
        }
    }
    assert!(survivors.is_empty(), "{survivors:#?}");
}

#[test]
fn every_other_planted_bug_is_seen() {
    check(0);
}

#[test]
fn the_rest_of_the_planted_bugs_are_seen() {
    check(1);
}
