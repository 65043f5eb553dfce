//! Damage to files of a corpus, and the search for one that breaks a promise: proptest chooses,
//! and shrinks what it finds. The same seed makes the same cases.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::Target;

/// How much of an input is shown when it breaks a promise, in bytes.
const SHOWN_BYTES_MAX: usize = 4096;
/// No input grows beyond this by insertions, in bytes.
const INPUT_BYTES_MAX: usize = 128 << 10;
/// How often a found input may be made simpler.
const SHRINKS_MAX: u32 = 400;

/// One thing that happens to bytes.
#[derive(Debug, Clone)]
pub enum Mutation {
    /// A bit flips.
    Flip(Index),
    /// A byte becomes another.
    Set(Index, u8),
    /// The end is gone.
    Truncate(Index),
    /// A range is gone.
    Remove(Index, Index),
    /// A range comes twice.
    Repeat(Index, Index),
    /// Bytes come in between.
    Insert(Index, Vec<u8>),
    /// A number of 1, 2, 4 or 8 bytes, little-endian, becomes an extreme one.
    Number(Index, usize, u64),
    /// The rest is that of another file of the corpus.
    Splice(Index, Index, Index),
    /// A decimal number in a text becomes an extreme one.
    Decimal(Index, &'static str),
}

/// What lengths, counts and seqs are compared with.
const EXTREMES: [u64; 15] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    1 << 20,
    (32 << 20) - 128,
    64 << 20,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 53,
    i64::MAX as u64,
    u64::MAX,
];
const DECIMALS: [&str; 8] = [
    "0",
    "-1",
    "9007199254740992",
    "9007199254740993",
    "9223372036854775808",
    "1e400",
    "1.5",
    "00000000000000000001",
];

/// Bytes that break a promise.
#[derive(Debug)]
pub struct Found {
    /// The simplest that was found.
    pub bytes: Vec<u8>,
    /// The broken promise, in the words of the assertion.
    pub reason: String,
}

/// Tries `cases` inputs made from the corpus.
///
/// # Errors
/// The first input that breaks a promise, made as simple as it goes.
pub fn search(target: Target, corpus: &[Vec<u8>], seed: u64, cases: u32) -> Result<(), Found> {
    assert!(!corpus.is_empty(), "{} has no corpus", target.name);
    let config = Config {
        cases,
        max_shrink_iters: SHRINKS_MAX,
        failure_persistence: None,
        ..Config::default()
    };
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &key));
    let strategy = (any::<Index>(), prop::collection::vec(mutation(), 0..6));
    let outcome = runner.run(&strategy, |(file, mutations)| {
        check(target, &mutated(corpus, file, &mutations)).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Fail(reason, (file, mutations))) => {
            let bytes = mutated(corpus, file, &mutations);
            Err(Found { bytes, reason: reason.message().to_owned() })
        }
        Err(TestError::Abort(reason)) => panic!("no search: {reason}"),
    }
}

/// Checks one input.
///
/// # Errors
/// The broken promise, in the words of the assertion.
pub fn check(target: Target, bytes: &[u8]) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| (target.check)(bytes))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without words".to_owned())
    })
}

impl Found {
    /// What to do about it, with the input in hexadecimal.
    #[must_use]
    pub fn story(&self, target: Target) -> String {
        let mut hex = String::new();
        for byte in self.bytes.iter().take(SHOWN_BYTES_MAX) {
            let _ = write!(hex, "{byte:02x}");
        }
        let (name, length, reason) = (target.name, self.bytes.len(), &self.reason);
        format!(
            "{name}: {reason}\nby these {length} bytes (the first {SHOWN_BYTES_MAX} at most):\n{hex}\n\
             keep them as fixtures/fuzz/{name}/regression-<what it was>, fix, run again"
        )
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<Index>;
    let width = prop::sample::select(vec![1_usize, 2, 4, 8]);
    let extreme = prop::sample::select(EXTREMES.to_vec());
    prop_oneof![
        4 => index().prop_map(Mutation::Flip),
        3 => (index(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        1 => index().prop_map(Mutation::Truncate),
        2 => (index(), index()).prop_map(|(at, length)| Mutation::Remove(at, length)),
        1 => (index(), index()).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        2 => (index(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        4 => (index(), width, extreme)
            .prop_map(|(at, width, number)| Mutation::Number(at, width, number)),
        2 => (index(), index(), index())
            .prop_map(|(at, file, from)| Mutation::Splice(at, file, from)),
        1 => (index(), prop::sample::select(DECIMALS.to_vec()))
            .prop_map(|(at, number)| Mutation::Decimal(at, number)),
    ]
}

fn mutated(corpus: &[Vec<u8>], file: Index, mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = file.get(corpus).clone();
    for mutation in mutations {
        apply(&mut bytes, mutation, corpus);
        bytes.truncate(INPUT_BYTES_MAX);
    }
    bytes
}

fn apply(bytes: &mut Vec<u8>, mutation: &Mutation, corpus: &[Vec<u8>]) {
    // One more place than there are bytes: the end.
    let place = |index: &Index| index.index(bytes.len() + 1);
    let range = |at: &Index, length: &Index| {
        let begin = place(at);
        begin..begin + length.index(bytes.len() - begin + 1)
    };
    match mutation {
        Mutation::Flip(at) => {
            let at = at.index(bytes.len() * 8 + 8);
            if let Some(byte) = bytes.get_mut(at / 8) {
                *byte ^= 1 << (at % 8);
            }
        }
        Mutation::Set(at, new) => {
            let at = place(at);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = *new;
            }
        }
        Mutation::Truncate(at) => bytes.truncate(place(at)),
        Mutation::Remove(at, length) => {
            let range = range(at, length);
            bytes.drain(range);
        }
        Mutation::Repeat(at, length) => {
            let range = range(at, length);
            let again = bytes[range.clone()].to_vec();
            bytes.splice(range.end..range.end, again);
        }
        Mutation::Insert(at, new) => {
            let at = place(at);
            bytes.splice(at..at, new.iter().copied());
        }
        Mutation::Number(at, width, number) => {
            let at = place(at);
            let there = bytes.iter_mut().skip(at).take(*width);
            there.zip(number.to_le_bytes()).for_each(|(byte, new)| *byte = new);
        }
        Mutation::Splice(at, file, from) => {
            let at = place(at);
            let other = file.get(corpus);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from.index(other.len() + 1)..]);
        }
        Mutation::Decimal(at, number) => {
            let begin = place(at);
            let digit = |byte: &u8| byte.is_ascii_digit();
            let Some(skipped) = bytes[begin..].iter().position(digit) else { return };
            let begin = begin + skipped;
            let length = bytes[begin..].iter().take_while(|byte| digit(byte)).count();
            bytes.splice(begin..begin + length, number.bytes());
        }
    }
}
