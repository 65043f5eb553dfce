//! A batch in the making: what its lines come to, on copies of the items where copies are needed.
//! It must never touch an item itself.

use compact_str::CompactString;
use shared::{Cell, Command, Context, Event, Item, Sku, Timestamp, rules};

use crate::ledger::decide::{decide, note, promised_order};
use crate::ledger::items::{Slot, SlotGuard};
use crate::ledger::request::{BatchLine, BatchOutcome, Refused, Unchanged};
use crate::ledger::{SCRATCH_RESERVATIONS_MAX, is_overdue, live_count};

/// A SKU of the batch with its locked slot, if it has one.
pub(super) struct Place<'a> {
    sku: &'a Sku,
    guard: Option<SlotGuard<'a>>,
}

impl<'a> Place<'a> {
    pub(super) fn new(sku: &'a Sku, guard: Option<SlotGuard<'a>>) -> Self {
        Self { sku, guard }
    }

    pub(super) fn sku(&self) -> &'a Sku {
        self.sku
    }

    pub(super) fn slot_mut(&mut self) -> Option<&mut Slot> {
        self.guard.as_deref_mut()
    }

    pub(super) fn parts_mut(&mut self) -> (&'a Sku, Option<&mut Slot>) {
        (self.sku, self.guard.as_deref_mut())
    }

    pub(super) fn is_gone(&self) -> bool {
        self.guard.as_ref().is_some_and(|slot| slot.is_gone())
    }

    /// Whether too many reservations live here to copy them.
    pub(super) fn is_crowded(&self) -> bool {
        self.guard.as_ref().is_some_and(|slot| live_count(&slot.item) > SCRATCH_RESERVATIONS_MAX)
    }

    pub(super) fn cell(&self) -> Cell {
        self.guard.as_ref().map_or_else(Cell::default, |slot| *slot.item.cell())
    }
}

/// An event of the batch.
pub(super) struct Placed {
    /// The index of its place.
    pub(super) place: usize,
    /// The event.
    pub(super) event: Event,
    /// What it was made by.
    pub(super) made_by: MadeBy,
}

/// What made an event of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MadeBy {
    /// Time, not a line.
    Time,
    /// A line with a context of its own, which the event has.
    Line,
    /// A line that leaves who, why and when to its batch: the batch's context belongs into its
    /// record, and is lent to the event for that.
    PlainLine,
}

/// What a line comes to. What is rarer than a change is in a box: there are thousands of them.
pub(super) enum Verdict {
    Changed { placed: usize },
    Unchanged(Box<Unchanged>),
    Refused(Box<Refused>),
    NotApplied { sku: Sku },
    Invalid,
}

impl Verdict {
    pub(super) fn is_failure(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Invalid => true,
            Self::Changed { .. } | Self::Unchanged(_) | Self::NotApplied { .. } => false,
        }
    }

    /// The verdict where another line of an atomic batch failed.
    pub(super) fn not_applied(self, placed: &[Placed]) -> Self {
        match self {
            Self::Changed { placed: index } => {
                Self::NotApplied { sku: placed[index].event.sku.clone() }
            }
            Self::Unchanged(unchanged) => Self::NotApplied { sku: unchanged.sku },
            Self::NotApplied { .. } | Self::Refused(_) | Self::Invalid => self,
        }
    }
}

/// The state a line sees, made only where it differs from the slot's.
#[derive(Default)]
struct View {
    touched: bool,
    /// The one event not yet in a copy; a copy is made when another line wants to see it.
    pending: Option<usize>,
    scratch: Option<Box<Item>>,
}

/// Decides lines in order.
pub(super) struct Draft<'b, 'a> {
    places: &'b [Place<'a>],
    views: Vec<View>,
    placed: Vec<Placed>,
    verdicts: Vec<Verdict>,
    none: Item,
    now: Timestamp,
}

impl<'b, 'a> Draft<'b, 'a> {
    pub(super) fn new(places: &'b [Place<'a>], lines: usize, now: Timestamp) -> Self {
        Self {
            places,
            views: places.iter().map(|_| View::default()).collect(),
            placed: Vec::with_capacity(lines),
            verdicts: Vec::with_capacity(lines),
            none: Item::default(),
            now,
        }
    }

    pub(super) fn invalid_line(&mut self) {
        self.verdicts.push(Verdict::Invalid);
    }

    pub(super) fn decide_line(
        &mut self,
        place: usize,
        command: &Command,
        own: Option<&Context>,
        common: &Context,
    ) {
        self.prepare(place);
        let item = self.view(place);
        let verdict = match decide(item, command, self.now) {
            Err(rejection) => {
                Verdict::Refused(Box::new(Refused { sku: command.sku.clone(), rejection }))
            }
            Ok(None) => {
                let note = promised_order(&command.action).and_then(|order| note(item, order));
                let unchanged = Unchanged::new(command.sku.clone(), item.cell(), note);
                Verdict::Unchanged(Box::new(unchanged))
            }
            Ok(Some(mut event)) => {
                let made_by = own.map_or(MadeBy::PlainLine, |own| {
                    complete(&mut event.context, own, common);
                    MadeBy::Line
                });
                Verdict::Changed { placed: self.place_event(place, event, made_by) }
            }
        };
        self.verdicts.push(verdict);
    }

    /// All events in the order of their append, and a verdict for each line.
    pub(super) fn finish(self) -> (Vec<Placed>, Vec<Verdict>) {
        (self.placed, self.verdicts)
    }

    /// Expires what is overdue when a SKU is met first, and brings its copy up to date otherwise.
    fn prepare(&mut self, place: usize) {
        if !self.views[place].touched {
            self.views[place].touched = true;
            let item = self.view(place);
            if is_overdue(item, self.now) {
                let expired = rules::expirations(item, self.places[place].sku, self.now);
                for event in expired {
                    self.place_event(place, event, MadeBy::Time);
                    self.materialise(place);
                }
            }
        }
        self.materialise(place);
    }

    fn place_event(&mut self, place: usize, event: Event, made_by: MadeBy) -> usize {
        let index = self.placed.len();
        self.placed.push(Placed { place, event, made_by });
        self.views[place].pending = Some(index);
        index
    }

    fn materialise(&mut self, place: usize) {
        let Some(pending) = self.views[place].pending.take() else {
            return;
        };
        let mut scratch = self.views[place].scratch.take();
        let item = scratch.get_or_insert_with(|| Box::new(self.slot_item(place).clone()));
        item.apply(&self.placed[pending].event);
        self.views[place].scratch = scratch;
    }

    fn view(&self, place: usize) -> &Item {
        self.views[place].scratch.as_deref().unwrap_or_else(|| self.slot_item(place))
    }

    fn slot_item(&self, place: usize) -> &Item {
        self.places[place].guard.as_ref().map_or(&self.none, |slot| &slot.item)
    }
}

/// Fills an event's empty context: a line's own, completed from the batch's.
fn complete(context: &mut Context, own: &Context, common: &Context) {
    type Text = fn(&mut Context) -> &mut Option<CompactString>;
    for (own, common, text) in [
        (&own.request_id, &common.request_id, (|context| &mut context.request_id) as Text),
        (&own.actor, &common.actor, |context| &mut context.actor),
        (&own.reference, &common.reference, |context| &mut context.reference),
        (&own.reason, &common.reason, |context| &mut context.reason),
        (&own.note, &common.note, |context| &mut context.note),
    ] {
        if let Some(said) = own.as_ref().or(common.as_ref()) {
            *text(context) = Some(said.clone());
        }
    }
    context.occurred_at = own.occurred_at.or(common.occurred_at);
    context.fencing_token = own.fencing_token.or(common.fencing_token);
}

// There is one of each for thousands of lines, and all of them are copied.
const _: () = assert!(size_of::<Verdict>() <= 24 && size_of::<Placed>() <= 400);
const _: () = assert!(size_of::<BatchLine>() <= 96 && size_of::<BatchOutcome>() <= 104);
