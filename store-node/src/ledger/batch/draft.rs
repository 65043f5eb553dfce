//! A batch in the making: what its lines come to, on copies of the items where copies are needed.
//! It must never touch an item itself.

use compact_str::CompactString;
use shared::receipt::ReservationNote;
use shared::{Cell, Command, Context, Event, Item, Rejection, Sku, Timestamp, rules};

use crate::ledger::decide::{decide, note, promised_order};
use crate::ledger::items::{Slot, SlotGuard};
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
    /// Made by time, not by a line.
    pub(super) is_expiration: bool,
}

/// What a line comes to.
pub(super) enum Verdict {
    Changed { placed: usize },
    Unchanged { sku: Sku, cell: Cell, note: Option<ReservationNote> },
    Refused { sku: Sku, rejection: Rejection },
    NotApplied { sku: Sku },
    Invalid,
}

impl Verdict {
    pub(super) fn is_failure(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Invalid => true,
            Self::Changed { .. } | Self::Unchanged { .. } | Self::NotApplied { .. } => false,
        }
    }

    /// The verdict where another line of an atomic batch failed.
    pub(super) fn not_applied(self, placed: &[Placed]) -> Self {
        match self {
            Self::Changed { placed: index } => {
                Self::NotApplied { sku: placed[index].event.sku.clone() }
            }
            Self::Unchanged { sku, .. } | Self::NotApplied { sku } => Self::NotApplied { sku },
            Self::Refused { .. } | Self::Invalid => self,
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
        own: &Context,
        common: &Context,
    ) {
        self.prepare(place);
        let item = self.view(place);
        let verdict = match decide(item, command, self.now) {
            Err(rejection) => Verdict::Refused { sku: command.sku.clone(), rejection },
            Ok(None) => Verdict::Unchanged {
                sku: command.sku.clone(),
                cell: *item.cell(),
                note: promised_order(&command.action).and_then(|order| note(item, order)),
            },
            Ok(Some(mut event)) => {
                complete(&mut event.context, own, common);
                Verdict::Changed { placed: self.place_event(place, event, false) }
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
                    self.place_event(place, event, true);
                    self.materialise(place);
                }
            }
        }
        self.materialise(place);
    }

    fn place_event(&mut self, place: usize, event: Event, is_expiration: bool) -> usize {
        let index = self.placed.len();
        self.placed.push(Placed { place, event, is_expiration });
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
