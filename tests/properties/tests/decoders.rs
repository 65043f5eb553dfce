//! The bounded run: every file of every corpus, then some hundred mutations for each decoder, the
//! same ones every time. `FUZZ_SEED` chooses others; `make fuzz` goes on for as long as one likes.

use properties::corpus::{self, REGRESSION, seeds};
use properties::mutate::{check, search};
use properties::{TARGETS, Target};

const CASES: u32 = 400;
const SEED: u64 = 20_261_121;

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).expect("a target of that name")
}

/// The corpus as it lies there, then damaged.
fn run(name: &str) {
    let target = target(name);
    let files = corpus::read(name).expect("every target has a corpus");
    for (file, bytes) in &files {
        if let Err(reason) = check(target, bytes) {
            panic!("fixtures/fuzz/{name}/{file}: {reason}");
        }
    }
    let files: Vec<Vec<u8>> = files.into_iter().map(|(_, bytes)| bytes).collect();
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(SEED);
    if let Err(found) = search(target, &files, seed, CASES) {
        panic!("{}\nseed {seed}", found.story(target));
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_target_is_run_here_and_by_cargo_fuzz() {
            let here = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|target| target.name)[..], here[..]);
            let manifest = corpus::fixtures().join("../fuzz/Cargo.toml");
            let manifest = std::fs::read_to_string(manifest).expect("fuzz/Cargo.toml is there");
            for name in here {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} isn't in fuzz");
            }
        }
    };
}

targets! { archive batch compact consumers cursor frame import item record segment snapshot stream text time view }

/// When this fails, a format or a generator has changed: `cargo run -p properties --bin corpus`,
/// and look at what is different.
#[test]
fn corpora_are_what_the_generator_makes() {
    for target in TARGETS {
        let files = corpus::read(target.name).expect("every target has a corpus");
        let made: Vec<_> =
            files.into_iter().filter(|(name, _)| !name.starts_with(REGRESSION)).collect();
        let mut expected = seeds::of(target.name);
        expected.sort();
        let names = |files: &[(String, Vec<u8>)]| {
            files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&made), names(&expected), "{}", target.name);
        for ((name, made), (_, expected)) in made.iter().zip(&expected) {
            assert!(made == expected, "{}/{name} is another one", target.name);
        }
    }
}

/// A search that finds nothing proves nothing: these promises can't be kept.
#[test]
fn broken_promises_are_found() {
    let corpus = [b"a b c d".to_vec(), vec![7; 40]];
    let panics = Target { name: "panics", check: |bytes| assert!(bytes.len() < 45, "too long") };
    let found = search(panics, &corpus, SEED, CASES).expect_err("one of them is too long");
    assert!(found.bytes.len() >= 45 && found.reason.contains("too long"));
    assert!(found.story(panics).contains("regression-"));

    let bound = properties::bound::Bound { fixed_bytes: 100, per_byte: 1 };
    let claimed = |bytes: &[u8]| Vec::<u8>::with_capacity(bytes.len() * 2 + 50);
    assert_eq!(bound.hold("less", 50, || claimed(&[0; 50])).len(), 0);
    let taken = std::panic::catch_unwind(|| bound.hold("more", 51, || claimed(&[0; 51])));
    let words = taken.expect_err("more than the bound");
    assert!(words.downcast_ref::<String>().is_some_and(|text| text.contains("took 152 bytes")));
}
