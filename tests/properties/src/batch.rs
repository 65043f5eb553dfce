//! Bodies of `POST /api/batch`. The input is the body.
//!
//! There are two paths, a fast one for good bodies whose lines begin with `op` and one that
//! explains; whatever one of them takes the other must take too, and as the same commands.

use serde_json::{Map, Value};
use shared::wire::node::batch::{Batch, Operation, parse_batch};
use shared::{Command, Context};

use crate::bound::Bound;

/// Words for each of two errors that a line of three bytes (`{},`) can have.
const BOUND: Bound = Bound { fixed_bytes: 16 << 10, per_byte: 768 };

/// Checks one body.
pub fn check(bytes: &[u8]) {
    let parse = || parse_batch(bytes);
    let Ok(batch) = BOUND.hold("a batch", bytes.len(), parse) else { return };
    for invalid in batch.lines.iter().filter_map(|line| line.as_ref().err()) {
        assert!(!invalid.errors.is_empty(), "a line is refused without a word");
        assert!(invalid.errors.iter().all(|error| error.pointer.starts_with("#/operations/")));
    }
    let Some(commands) = commands(&batch) else { return };
    for op_comes_first in [true, false] {
        let other = rewritten(bytes, op_comes_first);
        let again = parse_batch(&other).expect("a good body, its members in another order");
        assert_eq!(again.atomic, batch.atomic);
        assert_eq!(self::commands(&again).as_ref(), Some(&commands), "the other path reads other");
    }
}

/// What the lines ask; none if one of them is invalid.
fn commands(batch: &Batch<'_>) -> Option<Vec<(Command, Context)>> {
    let command = |line: &Operation<'_>| (line.command(), line.context());
    batch.lines.iter().map(|line| line.as_ref().ok().map(command)).collect()
}

/// The same body with `op` as the first or the last member of every line.
fn rewritten(bytes: &[u8], op_comes_first: bool) -> Vec<u8> {
    let mut body: Value = serde_json::from_slice(bytes).expect("an accepted body is JSON");
    let lines = body["operations"].as_array_mut().expect("an accepted body has lines");
    for line in lines {
        let Value::Object(members) = line else { panic!("an accepted line is an object") };
        let (op, mut rest): (Map<_, _>, Map<_, _>) =
            std::mem::take(members).into_iter().partition(|(name, _)| name == "op");
        if op_comes_first {
            *members = op;
            members.append(&mut rest);
        } else {
            *members = rest;
            members.extend(op);
        }
    }
    serde_json::to_vec(&body).expect("JSON is written")
}
