//! What callers asked and what they were told, in plain values. It must never be edited after the
//! fact: an operation is closed once.

use std::sync::Arc;

use parking_lot::Mutex;

/// One thing that a caller did, all of its tries together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The store.
    pub store: String,
    /// The `x-request-id`; tries add `.1`, `.2` …
    pub id: String,
    /// The idempotency key, if it had one.
    pub key: Option<String>,
    /// What was asked.
    pub lines: Vec<Line>,
    /// Whether the lines were one atomic batch (a single line is).
    pub atomic: bool,
    /// The place of its beginning among all beginnings and ends.
    pub begun: u64,
    /// The place of its end; none = it never ended, or nobody knows how.
    pub ended: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// How many tries were made.
    pub tries: u32,
}

/// One line of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The item.
    pub sku: String,
    /// What to do with it.
    pub verb: Verb,
}

/// What can be asked of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Opening stock.
    Create(u64),
    /// Goods in.
    Receive(u64),
    /// Goods sold.
    Sell(u64),
    /// Goods back.
    Return(u64),
    /// Signed correction.
    Adjust(i64),
    /// A promise to an order: units, and seconds until it ends.
    Reserve(String, u64, Option<u64>),
    /// The whole promise is free again.
    Release(String),
    /// The whole promise leaves the shelf.
    Deduct(String),
    /// A look.
    Read,
    /// Time ended the promise: nobody asks for it, the log tells of it.
    Expire(String),
}

impl Verb {
    /// Whether it leaves an event whenever it isn't refused.
    pub fn always_changes(&self) -> bool {
        match self {
            Self::Create(_)
            | Self::Receive(_)
            | Self::Sell(_)
            | Self::Return(_)
            | Self::Adjust(_)
            | Self::Expire(_) => true,
            Self::Reserve(..) | Self::Release(_) | Self::Deduct(_) | Self::Read => false,
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered: one answer for each line, and the answer's bytes.
    Answered(Answer),
    /// It was refused as a whole and must have no effect.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The error's name.
        error: String,
    },
    /// Nobody knows: no answer, or one that says so.
    Unknown,
}

impl Outcome {
    /// Whether something was done and told: an answer that names an event.
    pub fn is_acknowledged(&self) -> bool {
        self.last_seq().is_some()
    }

    /// The highest seq that was told.
    pub fn last_seq(&self) -> Option<u64> {
        match self {
            Self::Answered(answer) => answer.lines.iter().filter_map(LineAnswer::seq).max(),
            Self::Refused { .. } | Self::Unknown => None,
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What each line was told.
    pub lines: Vec<LineAnswer>,
    /// Whether it was told before.
    pub replayed: bool,
    /// The body, for comparing repeated answers byte by byte.
    pub body: String,
}

/// What a line was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineAnswer {
    /// The state after it.
    State(State),
    /// A rule refused it: the error's name.
    Rejected(String),
    /// Fine, but another line of its atomic batch was refused.
    NotApplied,
    /// There is no such item.
    Absent,
}

impl LineAnswer {
    /// The seq of the event that it tells of.
    fn seq(&self) -> Option<u64> {
        match self {
            Self::State(state) => state.seq,
            Self::Rejected(_) | Self::NotApplied | Self::Absent => None,
        }
    }
}

/// An item as an answer shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct State {
    /// Units on hand.
    pub stock: u64,
    /// Units promised.
    pub reserved: u64,
    /// Units sold ever.
    pub sold: u64,
    /// The version.
    pub version: u64,
    /// The seq of the event that the answer is about; none for a look or a no-op.
    pub seq: Option<u64>,
}

/// Everything that callers did, shared by all of them.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    place: u64,
    operations: Vec<Operation>,
}

impl History {
    /// An operation begins; returns its number.
    pub fn begin(&self, store: &str, key: Option<String>, lines: Vec<Line>, atomic: bool) -> usize {
        let mut book = self.0.lock();
        book.place += 1;
        let number = book.operations.len();
        let begun = book.place;
        book.operations.push(Operation {
            store: store.to_owned(),
            id: format!("op-{number}"),
            key,
            lines,
            atomic,
            begun,
            ended: None,
            outcome: Outcome::Unknown,
            tries: 0,
        });
        number
    }

    /// Another try; returns its request id.
    pub fn try_again(&self, number: usize) -> String {
        let operation = &mut self.0.lock().operations[number];
        operation.tries += 1;
        format!("{}.{}", operation.id, operation.tries)
    }

    /// An operation ends.
    pub fn end(&self, number: usize, outcome: Outcome) {
        let mut book = self.0.lock();
        book.place += 1;
        let place = book.place;
        let operation = &mut book.operations[number];
        operation.ended = (outcome != Outcome::Unknown).then_some(place);
        operation.outcome = outcome;
    }

    /// What was done so far.
    pub fn operations(&self) -> Vec<Operation> {
        self.0.lock().operations.clone()
    }

    /// How many operations are of this sort so far.
    pub fn count(&self, is_of_sort: impl Fn(&Operation) -> bool) -> usize {
        let book = self.0.lock();
        book.operations.iter().filter(|operation| is_of_sort(operation)).count()
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.0.lock().operations.len()
    }

    /// Whether nothing was done.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The operation that a request id belongs to.
pub fn operation_of(request_id: &str) -> &str {
    request_id.rsplit_once('.').map_or(request_id, |(operation, _)| operation)
}
