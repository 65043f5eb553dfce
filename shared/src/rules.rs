//! The rules of stock: what a command may do ([`decide`]), what time does ([`expirations`]), and
//! whether an event may follow a state ([`check`]) before it is taken over ([`apply`]). Pure; a
//! decided event always passes the check of the state it was decided on.

mod reservation_rules;
#[cfg(test)]
mod tests;

use crate::cell::{Cell, CheckError, Flags, Quantities};
use crate::command::{Action, Command, ItemPatch, NewItem};
use crate::event::{Change, Context, Event};
use crate::item::{DEFAULT_UNIT, Item, Metadata};
use crate::quantity::Quantity;
use crate::rejection::Rejection;
use crate::sku::Sku;
use crate::time::Timestamp;

/// Low stock is at or below this many available units, unless the item says otherwise (reference:
/// reservation-and-order-flow, "Low stock alerts").
pub const REORDER_POINT_DEFAULT: u64 = 10;
/// A fired low-stock alert is armed again above this percentage of the reorder point.
pub const REARM_PERCENT: u64 = 120;

/// What a command comes to: no event means that it had happened already and changes nothing.
pub type Decision = Result<Option<Event>, Rejection>;

/// Decides a command on the state of its item (`Item::default()` for one that doesn't exist).
/// Overdue reservations must have been expired first: see [`expirations`].
pub fn decide(item: &Item, command: &Command, now: Timestamp) -> Decision {
    let cell = item.cell();
    let exists = cell.version.get() > 0;
    if let Action::Create(new) = &command.action {
        return if exists {
            Err(Rejection::AlreadyExists { current: cell.version })
        } else {
            Ok(Some(create(&command.sku, new, now)))
        };
    }
    if !exists {
        return Err(Rejection::UnknownSku);
    }
    if let Some(expected) = command.expected_version
        && expected != cell.version
    {
        return Err(Rejection::VersionConflict {
            current: cell.version,
            expected,
            stock: cell.quantities.stock,
            reserved: cell.quantities.reserved,
            available: cell.quantities.available(),
        });
    }
    let moved = decide_existing(item, &command.action, now)?;
    Ok(moved.map(|moved| moved.into_event(item, &command.sku, now)))
}

/// The events that time itself makes: one for each reservation that is overdue at `now`, oldest
/// first, each following the one before. They belong in the append of whatever touches the item
/// next.
pub fn expirations(item: &Item, sku: &Sku, now: Timestamp) -> Vec<Event> {
    let Some(reservations) = item.reservations() else {
        return Vec::new();
    };
    let mut events = Vec::new();
    let mut cell = *item.cell();
    for order_id in reservations.overdue(now) {
        let Some(quantity) = reservations.live(order_id).map(|live| live.remaining) else {
            continue;
        };
        let mut after = cell.quantities;
        after.reserved = after.reserved.saturating_sub(quantity);
        let moved =
            Moved { after, change: Change::Expired { order_id: order_id.clone(), quantity } };
        let event = moved.into_event_at(&cell, item.updated_at(), sku, now);
        cell.apply(&event);
        events.push(event);
    }
    events
}

/// Whether `event` may follow the item's state; every durable event was accepted by this.
pub fn check(item: &Item, event: &Event) -> Result<(), CheckError> {
    item.check(event)
}

/// Takes over an event that [`check`] accepts.
pub fn apply(item: &mut Item, event: &Event) {
    item.apply(event);
}

/// A decided change of an existing item.
struct Moved {
    after: Quantities,
    change: Change,
}

impl Moved {
    fn into_event(self, item: &Item, sku: &Sku, now: Timestamp) -> Event {
        self.into_event_at(item.cell(), item.updated_at(), sku, now)
    }

    fn into_event_at(self, cell: &Cell, updated_at: Timestamp, sku: &Sku, now: Timestamp) -> Event {
        let mut flags = cell.flags;
        match &self.change {
            Change::Deactivated { .. } => flags.active = false,
            Change::Updated { .. } => {
                flags.active = true;
                flags.provisional = false;
            }
            _ => {}
        }
        flags.low_stock_armed = is_armed_after(flags, &self.after);
        Event {
            sku: sku.clone(),
            version: cell.version.next(),
            recorded_at: now.max(updated_at),
            after: self.after,
            flags,
            change: self.change,
            context: Context::default(),
        }
    }
}

/// The alert is spent at or below the reorder point and armed again above 120 % of it.
fn is_armed_after(flags: Flags, after: &Quantities) -> bool {
    if after.is_low_stock() {
        return false;
    }
    let available = u128::from(after.available().get()) * 100;
    flags.low_stock_armed
        || available > u128::from(after.reorder_point.get()) * u128::from(REARM_PERCENT)
}

fn create(sku: &Sku, new: &NewItem, now: Timestamp) -> Event {
    let default_point = Quantity::new(REORDER_POINT_DEFAULT).unwrap_or_default();
    let after = Quantities {
        stock: new.stock,
        reorder_point: new.reorder_point.unwrap_or(default_point),
        safety_stock: new.safety_stock,
        ..Quantities::default()
    };
    let unit = if new.unit.is_empty() { DEFAULT_UNIT.into() } else { new.unit.clone() };
    let metadata = Metadata {
        name: new.name.clone(),
        category: new.category.clone(),
        location: new.location.clone(),
        unit,
    };
    let flags = Flags { low_stock_armed: !after.is_low_stock(), ..Flags::default() };
    Event {
        sku: sku.clone(),
        version: Cell::default().version.next(),
        recorded_at: now,
        after,
        flags,
        change: Change::Created { metadata: Box::new(metadata) },
        context: Context::default(),
    }
}

fn decide_existing(
    item: &Item,
    action: &Action,
    now: Timestamp,
) -> Result<Option<Moved>, Rejection> {
    let needs_active = matches!(
        action,
        Action::Receive { .. }
            | Action::Sell { .. }
            | Action::Reserve { .. }
            | Action::Extend { .. }
    );
    if needs_active && !item.cell().flags.active {
        return Err(Rejection::ItemInactive);
    }
    match action {
        Action::Create(_) => Err(Rejection::AlreadyExists { current: item.cell().version }),
        Action::Update(patch) => update(item, patch),
        Action::Deactivate => deactivate(item),
        Action::Receive { quantity } => {
            move_stock(item, quantity.get() as i64, Change::Received { quantity: *quantity })
        }
        Action::Sell { quantity } => sell(item, *quantity),
        Action::Return { quantity, restock } => {
            let change = Change::Returned { quantity: *quantity, restocked: *restock };
            move_stock(item, if *restock { quantity.get() as i64 } else { 0 }, change)
        }
        Action::Adjust { delta, reason } => adjust(item, *delta, *reason),
        Action::Reserve { order_id, quantity, expires_in_seconds } => {
            let expires_at = expires_in_seconds.map(|seconds| now.plus_seconds(seconds));
            reservation_rules::reserve(item, order_id, *quantity, expires_at)
        }
        Action::Extend { order_id, expires_in_seconds } => {
            let expires_at = expires_in_seconds.map(|seconds| now.plus_seconds(seconds));
            reservation_rules::extend(item, order_id, expires_at)
        }
        Action::Release { order_id, quantity } => {
            reservation_rules::release(item, order_id, *quantity)
        }
        Action::Deduct { order_id, quantity } => {
            reservation_rules::deduct(item, order_id, *quantity)
        }
    }
}

fn update(item: &Item, patch: &ItemPatch) -> Result<Option<Moved>, Rejection> {
    let mut metadata = item.metadata().clone();
    let mut after = item.cell().quantities;
    for (text, new) in [
        (&mut metadata.name, &patch.name),
        (&mut metadata.category, &patch.category),
        (&mut metadata.location, &patch.location),
        (&mut metadata.unit, &patch.unit),
    ] {
        if let Some(new) = new {
            new.clone_into(text);
        }
    }
    if metadata.unit.is_empty() {
        metadata.unit = DEFAULT_UNIT.into();
    }
    after.reorder_point = patch.reorder_point.unwrap_or(after.reorder_point);
    after.safety_stock = patch.safety_stock.unwrap_or(after.safety_stock);
    let active = item.cell().flags.active;
    if !active && !patch.reactivate {
        return Err(Rejection::ItemInactive);
    }
    if active && metadata == *item.metadata() && after == item.cell().quantities {
        return Ok(None);
    }
    let change = Change::Updated { metadata: Box::new(metadata), created_at: item.created_at() };
    Ok(Some(Moved { after, change }))
}

fn deactivate(item: &Item) -> Result<Option<Moved>, Rejection> {
    let after = item.cell().quantities;
    if !item.cell().flags.active {
        return Ok(None);
    }
    if !after.stock.is_zero() || !after.reserved.is_zero() {
        return Err(Rejection::ItemNotEmpty { stock: after.stock, reserved: after.reserved });
    }
    let change = Change::Deactivated {
        metadata: Box::new(item.metadata().clone()),
        created_at: item.created_at(),
    };
    Ok(Some(Moved { after, change }))
}

fn move_stock(item: &Item, delta: i64, change: Change) -> Result<Option<Moved>, Rejection> {
    let mut after = item.cell().quantities;
    after.stock = after.stock.checked_add_signed(delta).ok_or(Rejection::QuantityOverflow)?;
    Ok(Some(Moved { after, change }))
}

fn sell(item: &Item, quantity: Quantity) -> Result<Option<Moved>, Rejection> {
    let mut after = item.cell().quantities;
    require_available(item, quantity)?;
    after.stock = after.stock.saturating_sub(quantity);
    after.sold = after.sold.checked_add(quantity).ok_or(Rejection::QuantityOverflow)?;
    Ok(Some(Moved { after, change: Change::Sold { quantity } }))
}

fn adjust(
    item: &Item,
    delta: i64,
    reason: crate::command::AdjustReason,
) -> Result<Option<Moved>, Rejection> {
    let before = item.cell().quantities;
    let taken = Quantity::new(delta.unsigned_abs()).ok_or(Rejection::QuantityOverflow)?;
    if delta < 0 {
        require_available(item, taken)?;
    }
    let mut after = before;
    after.stock = before.stock.checked_add_signed(delta).ok_or(Rejection::QuantityOverflow)?;
    Ok(Some(Moved { after, change: Change::Adjusted { delta, reason } }))
}

/// What is promised is not available: neither a sale nor a correction may take it.
fn require_available(item: &Item, required: Quantity) -> Result<(), Rejection> {
    let available = item.cell().quantities.available();
    if available < required {
        let current = item.cell().version;
        return Err(Rejection::InsufficientStock { available, required, current });
    }
    Ok(())
}
