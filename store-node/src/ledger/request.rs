//! What the ledger is asked and what it answers. Plain values; nothing here may decide or wait.

use event_log::{AppendError, ReadError, Seq};
use shared::receipt::ReservationNote;
use shared::{
    Cell, Change, Command, Context, Event, Flags, Item, Quantities, Rejection, Sku, Version,
};
use thiserror::Error;

pub use crate::idempotency::RequestKey;

/// How many lines one batch may have.
pub const BATCH_LINES_MAX: usize = 10_000;

/// One verb on one SKU.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is asked.
    pub command: Command,
    /// Who asks and why; its `key` is ignored.
    pub context: Context,
    /// The idempotency key, if one was sent.
    pub key: Option<RequestKey>,
}

/// What became of a [`Request`].
#[derive(Debug, Clone, PartialEq)]
pub struct Executed {
    /// The answer, or the refusal (an answer too).
    pub outcome: Result<Answer, Refused>,
    /// The reply may be sent once the log is durable up to here.
    pub settle: Seq,
    /// Whether the request had been answered before, and this is that answer.
    pub replayed: bool,
}

/// A request was fine.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the common one, and it is moved twice"
)]
pub enum Answer {
    /// It changed the item.
    Changed {
        /// The seq of the event.
        seq: Seq,
        /// What happened, with the state after it.
        event: Event,
    },
    /// It had happened already.
    Unchanged {
        /// The item.
        sku: Sku,
        /// Its version.
        version: Version,
        /// Its quantities.
        quantities: Quantities,
        /// Its flags.
        flags: Flags,
        /// The order's live reservation, where the verb was about one.
        reservation: Option<ReservationNote>,
        /// The whole item, for updates and deactivations (none when replayed and changed since).
        item: Option<Box<Item>>,
    },
}

/// A request was refused by a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The item.
    pub sku: Sku,
    /// Why.
    pub rejection: Rejection,
}

/// Several verbs as one append.
#[derive(Debug, Clone)]
pub struct BatchRequest {
    /// All lines or none.
    pub atomic: bool,
    /// The lines in request order, at most [`BATCH_LINES_MAX`].
    pub lines: Vec<BatchLine>,
    /// The idempotency key, if one was sent.
    pub key: Option<RequestKey>,
    /// What holds for every line whose own context doesn't say.
    pub context: Context,
}

/// One line of a batch.
#[derive(Debug, Clone)]
pub enum BatchLine {
    /// A verb, with a context of its own if it says anything.
    Command(Command, Option<Box<Context>>),
    /// A line that isn't a valid request (best-effort batches only).
    Invalid,
}

impl BatchLine {
    /// A verb with what its line says of who, why and when.
    pub fn command(command: Command, own: Context) -> Self {
        let own = (own != Context::default()).then(|| Box::new(own));
        Self::Command(command, own)
    }
}

/// What became of a [`BatchRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutedBatch {
    /// As asked.
    pub atomic: bool,
    /// What became of each line, in request order.
    pub lines: Vec<BatchOutcome>,
    /// The reply may be sent once the log is durable up to here.
    pub settle: Seq,
    /// Whether the request had been answered before, and this is that answer.
    pub replayed: bool,
}

impl BatchOutcome {
    /// The outcome of a line that made this event.
    pub(super) fn changed(seq: Seq, event: &Event) -> Self {
        Self::Changed {
            seq,
            sku: event.sku.clone(),
            version: event.version,
            quantities: event.after,
            is_created: matches!(event.change, Change::Created { .. }),
        }
    }
}

impl ExecutedBatch {
    /// Whether every line was done (or had been done already).
    pub fn is_success(&self) -> bool {
        self.lines.iter().all(|line| match line {
            BatchOutcome::Changed { .. } | BatchOutcome::Unchanged(_) => true,
            BatchOutcome::Refused(_) | BatchOutcome::NotApplied { .. } | BatchOutcome::Invalid => {
                false
            }
        })
    }
}

/// A line of a batch had happened already.
#[derive(Debug, Clone, PartialEq)]
pub struct Unchanged {
    /// The item.
    pub sku: Sku,
    /// Its version.
    pub version: Version,
    /// Its quantities.
    pub quantities: Quantities,
    /// Its flags.
    pub flags: Flags,
    /// The order's live reservation, where the verb was about one.
    pub reservation: Option<ReservationNote>,
}

impl Unchanged {
    /// An item as a line found it.
    pub(super) fn new(sku: Sku, cell: &Cell, reservation: Option<ReservationNote>) -> Self {
        let Cell { version, quantities, flags, .. } = *cell;
        Self { sku, version, quantities, flags, reservation }
    }
}

/// What became of one line. What is rarer than a change is in a box: there is one of these for each
/// of thousands of lines.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchOutcome {
    /// It changed its item.
    Changed {
        /// The seq of its event.
        seq: Seq,
        /// The item.
        sku: Sku,
        /// Its version after the event.
        version: Version,
        /// Its quantities after the event.
        quantities: Quantities,
        /// Whether the event created it.
        is_created: bool,
    },
    /// It had happened already.
    Unchanged(Box<Unchanged>),
    /// A rule refused it.
    Refused(Box<Refused>),
    /// It was fine, but another line of its atomic batch wasn't.
    NotApplied {
        /// The item.
        sku: Sku,
    },
    /// It wasn't a valid request.
    Invalid,
}

/// Why there is no answer. Nothing has happened, unless the variant says otherwise.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The idempotency key belongs to another request: send a new key (422).
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The log takes no records now (503).
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The stored answer can't be read back (500 or 503).
    #[error("the stored answer can't be read: {0}")]
    Read(#[from] ReadError),
    /// The stored answer isn't what its key says: damage or a defect (500).
    #[error("the stored answer at seq {seq} can't be understood: {what}")]
    Answer {
        /// The first seq of the answer.
        seq: Seq,
        /// What is wrong with it.
        what: String,
    },
    /// The request was answered a moment ago, but that isn't durable yet: wait for this seq, then
    /// ask again.
    #[error("the answer isn't durable yet: wait for seq {settle}")]
    Unsettled {
        /// What to wait for.
        settle: Seq,
    },
}

/// One item as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemRead {
    /// The item.
    pub item: Item,
    /// The seq of its last event; the reply may be sent once the log is durable up to here.
    pub settle: Seq,
}

/// The availability of some SKUs.
#[derive(Debug, Clone, PartialEq)]
pub struct AvailabilityRead {
    /// One for each SKU asked, in order; none where the SKU is unknown.
    pub rows: Vec<Option<AvailabilityRow>>,
    /// The reply may be sent once the log is durable up to here.
    pub settle: Seq,
}

/// What there is of one SKU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AvailabilityRow {
    /// Its version.
    pub version: Version,
    /// Its quantities.
    pub quantities: Quantities,
    /// Its flags.
    pub flags: Flags,
}

/// Figures about the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LedgerStats {
    /// Items, deactivated ones included.
    pub items: usize,
    /// Idempotency keys remembered.
    pub keys: usize,
    /// Bytes that the key table takes.
    pub key_bytes: usize,
    /// Keys forgotten too early because the table was full: an alarm if not zero.
    pub keys_evicted: u64,
    /// Live reservations.
    pub reservations_live: u64,
    /// Closed reservations remembered.
    pub reservations_closed: usize,
    /// SKUs with a reservation that will end.
    pub skus_expiring: usize,
}
