//! Whether the answers about one SKU have an order that explains them: each operation takes effect
//! at one instant between its beginning and its end, on the plain [`Shelf`]. The search is the one
//! of Wing and Gong (1993) with Lowe's memory of dead ends (2017); a test compares its verdicts
//! with stateright's tester, which was written by others.
//!
//! What nobody was told about is looked up in the log first: an unknown operation that left an
//! event happened, at any instant after its beginning; one that left none did not.

use std::collections::{BTreeMap, HashSet};

use super::evidence::StoreLog;
use super::history::{LineAnswer, Operation, Outcome, State, Verb};
use super::shelf::Shelf;
use super::{Faults, Promise};

/// Operations on one SKU that are searched at most; longer histories are refused, not skipped.
pub const CALLS_MAX: usize = 2_000;
/// Dead ends that are remembered at most.
const DEAD_ENDS_MAX: usize = 2_000_000;

/// What one operation did with one SKU: its lines about it, as one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Whose it is, for the report.
    pub id: String,
    /// The place of its beginning.
    pub begun: u64,
    /// The place of its end; `u64::MAX` if it never ended.
    pub ended: u64,
    /// What was asked and answered, in order; an atomic batch that was refused changes nothing.
    pub lines: Vec<(Verb, LineAnswer)>,
    /// Whether the effect of the lines is dropped after they were compared.
    pub undone: bool,
}

impl Call {
    /// The shelf after this call, if its answers are what it had to be told there.
    pub fn step(&self, before: &Shelf) -> Option<Shelf> {
        let mut after = before.clone();
        for (verb, answer) in &self.lines {
            after = match answer {
                LineAnswer::NotApplied => after.done(verb)?,
                LineAnswer::State(_) | LineAnswer::Rejected(_) | LineAnswer::Absent => {
                    after.step(verb, answer)?
                }
            };
        }
        Some(if self.undone { before.clone() } else { after })
    }
}

/// Whether some order of the calls explains all answers.
pub fn is_linearizable(calls: &[Call]) -> bool {
    let taken = vec![0_u64; calls.len().div_ceil(64)];
    Search { calls, taken, dead_ends: HashSet::new() }.finds_an_order()
}

struct Search<'a> {
    calls: &'a [Call],
    /// A bit for each call that has taken effect.
    taken: Vec<u64>,
    dead_ends: HashSet<(Vec<u64>, Shelf)>,
}

impl Search<'_> {
    /// Depth first, on a stack of its own: each entry is a call and the shelf before it.
    fn finds_an_order(&mut self) -> bool {
        let mut path: Vec<(usize, Shelf)> = Vec::new();
        let mut current = Shelf::default();
        let mut next = 0;
        while path.len() < self.calls.len() {
            if let Some((index, after)) = self.first_possible(&current, next) {
                self.flip(index);
                if self.is_new(&after) {
                    path.push((index, std::mem::replace(&mut current, after)));
                    next = 0;
                } else {
                    self.flip(index);
                    next = index + 1;
                }
            } else {
                let Some((index, before)) = path.pop() else {
                    return false;
                };
                self.flip(index);
                current = before;
                next = index + 1;
            }
        }
        true
    }

    fn flip(&mut self, index: usize) {
        self.taken[index / 64] ^= 1 << (index % 64);
    }

    /// Whether these calls haven't led to this shelf before. A full memory forgets nothing and only
    /// makes the search longer.
    fn is_new(&mut self, after: &Shelf) -> bool {
        let place = (self.taken.clone(), after.clone());
        if self.dead_ends.len() < DEAD_ENDS_MAX {
            self.dead_ends.insert(place)
        } else {
            !self.dead_ends.contains(&place)
        }
    }

    /// The first call from `next` on that may take effect now, and the shelf after it.
    fn first_possible(&self, current: &Shelf, next: usize) -> Option<(usize, Shelf)> {
        let is_open = |index: &usize| self.taken[index / 64] & (1 << (index % 64)) == 0;
        // Nothing may take effect after the end of a call that hasn't.
        let first_end =
            (0..self.calls.len()).filter(is_open).map(|index| self.calls[index].ended).min()?;
        (next..self.calls.len())
            .take_while(|index| self.calls[*index].begun < first_end)
            .filter(is_open)
            .find_map(|index| self.calls[index].step(current).map(|after| (index, after)))
    }
}

/// The calls on each SKU of a store, by beginning.
pub fn calls_by_sku(operations: &[Operation], log: &StoreLog) -> BTreeMap<String, Vec<Call>> {
    let mut by_sku: BTreeMap<String, Vec<Call>> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| operation.store == log.store) {
        for (sku, call) in calls_of(operation, log) {
            by_sku.entry(sku).or_default().push(call);
        }
    }
    for event in log.events.iter().filter(|event| event.is_expiry()) {
        let call = Call {
            id: format!("expiry at seq {}", event.seq),
            begun: 0,
            ended: u64::MAX,
            lines: vec![(Verb::Expire(event.order.clone()), event.answer())],
            undone: false,
        };
        by_sku.entry(event.sku.clone()).or_default().push(call);
    }
    for calls in by_sku.values_mut() {
        calls.sort_by_key(|call| call.begun);
    }
    by_sku
}

/// An operation's lines by SKU, with what the log says where the caller wasn't told.
fn calls_of(operation: &Operation, log: &StoreLog) -> BTreeMap<String, Call> {
    let mut calls: BTreeMap<String, Call> = BTreeMap::new();
    let ended = operation.ended.unwrap_or(u64::MAX);
    let is_unknown = operation.outcome == Outcome::Unknown;
    let mut witnessed = if is_unknown { log.events_of(&operation.id) } else { Vec::new() };
    for (index, line) in operation.lines.iter().enumerate() {
        let answer = match &operation.outcome {
            Outcome::Answered(answer) => answer.lines[index].clone(),
            Outcome::Refused { .. } => continue,
            Outcome::Unknown => {
                // Its lines left their events in order; those that left none changed nothing.
                match witnessed.iter().position(|event| event.sku == line.sku) {
                    Some(place) => witnessed.remove(place).answer(),
                    None => continue,
                }
            }
        };
        let call = calls.entry(line.sku.clone()).or_insert_with(|| Call {
            id: operation.id.clone(),
            begun: operation.begun,
            ended,
            lines: Vec::new(),
            undone: is_refused_batch(operation),
        });
        call.lines.push((line.verb.clone(), answer));
    }
    calls
}

fn is_refused_batch(operation: &Operation) -> bool {
    let Outcome::Answered(answer) = &operation.outcome else {
        return false;
    };
    let is_refused = |line: &LineAnswer| matches!(line, LineAnswer::Rejected(_));
    operation.atomic && operation.lines.len() > 1 && answer.lines.iter().any(is_refused)
}

/// Notes each SKU whose answers no order explains.
pub fn linearizability(operations: &[Operation], log: &StoreLog, faults: &mut Faults) {
    for (sku, calls) in calls_by_sku(operations, log) {
        if calls.len() > CALLS_MAX {
            let what =
                format!("{} of {}: {} calls are too many to search", sku, log.store, calls.len());
            faults.note(Promise::Linearizable, what);
        } else if !is_linearizable(&calls) {
            let told: Vec<String> = calls.iter().map(|call| format!("{call:?}")).collect();
            let what =
                format!("{sku} of {}: no order explains\n    {}", log.store, told.join("\n    "));
            faults.note(Promise::Linearizable, what);
        }
    }
}

/// What a look shows, for tests.
pub fn seen(stock: u64, reserved: u64, sold: u64, version: u64) -> LineAnswer {
    LineAnswer::State(State { stock, reserved, sold, version, seq: None })
}
