//! The whole state of one SKU at one store. It must only change through [`Item::apply`].

use bincode::{Decode, Encode};
use compact_str::CompactString;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::cell::{Cell, CheckError};
use crate::event::{Change, Event};
use crate::ids::OrderId;
use crate::quantity::Quantity;
use crate::reservations::{Ending, Reservation, Reservations};
use crate::time::Timestamp;

/// The base unit of an item that doesn't say otherwise.
pub const DEFAULT_UNIT: &str = "each";
/// Metadata of up to so many bytes, lengths included, is hashed in one piece.
const HASHED_AT_ONCE_BYTES: usize = 240;

/// What an item is called and where it lies; an empty text is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// What it is called.
    pub name: CompactString,
    /// What it is.
    pub category: CompactString,
    /// Where it lies: bin, shelf.
    pub location: CompactString,
    /// Its base unit: each, g, ml.
    pub unit: CompactString,
}

impl Metadata {
    /// xxh3-64 over the four texts, each after its length as u32 little-endian: part of the state
    /// digest.
    pub fn hash(&self) -> u64 {
        let texts = [&self.name, &self.category, &self.location, &self.unit];
        metadata_hash(texts.map(CompactString::as_bytes))
    }
}

/// [`Metadata::hash`] of these four texts.
pub(crate) fn metadata_hash(texts: [&[u8]; 4]) -> u64 {
    const LENGTH_BYTES: usize = size_of::<u32>();
    let length_of = |text: &[u8]| (text.len() as u32).to_le_bytes();
    let length = texts.iter().map(|text| LENGTH_BYTES + text.len()).sum();
    // In one piece where it fits, which most do: several times faster.
    let mut input = [0_u8; HASHED_AT_ONCE_BYTES];
    let Some(input) = input.get_mut(..length) else {
        let mut hasher = Xxh3::new();
        for text in texts {
            hasher.update(&length_of(text));
            hasher.update(text);
        }
        return hasher.digest();
    };
    let mut rest = &mut *input;
    for text in texts {
        let (place, after) = rest.split_at_mut(LENGTH_BYTES);
        place.copy_from_slice(&length_of(text));
        let (place, after) = after.split_at_mut(text.len());
        place.copy_from_slice(text);
        rest = after;
    }
    xxh3_64(input)
}

/// An item but for its SKU and its reservations: what every item has.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemState {
    /// Its counted part.
    pub cell: Cell,
    /// Its names and places; the cell holds their hash.
    pub metadata: Metadata,
    /// When it came to be.
    pub created_at: Timestamp,
    /// Logged time of its last event.
    pub updated_at: Timestamp,
}

/// The state of one SKU.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Item {
    cell: Cell,
    metadata: Metadata,
    reservations: Option<Box<Reservations>>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Item {
    /// Puts an item together. `None` if `reserved` isn't the sum of the live reservations.
    pub fn restore(state: ItemState, reservations: Option<Box<Reservations>>) -> Option<Self> {
        let ItemState { cell, metadata, created_at, updated_at } = state;
        let total = reservations.as_ref().map_or(Quantity::ZERO, |all| all.total());
        (total == cell.quantities.reserved).then_some(Self {
            cell,
            metadata,
            reservations,
            created_at,
            updated_at,
        })
    }

    /// Takes the promises out. What is left is an item's state without them: only to be dropped.
    pub fn take_reservations(&mut self) -> Option<Box<Reservations>> {
        self.reservations.take()
    }

    /// The counted part.
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// Names and places.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The promises; none where there never was one.
    pub fn reservations(&self) -> Option<&Reservations> {
        self.reservations.as_deref()
    }

    /// The promises, to forget closed ones.
    pub fn reservations_mut(&mut self) -> Option<&mut Reservations> {
        self.reservations.as_deref_mut()
    }

    /// When the item came to be.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Logged time of the last event.
    pub fn updated_at(&self) -> Timestamp {
        self.updated_at
    }

    /// Whether `event` may follow this state, its reservations included.
    pub fn check(&self, event: &Event) -> Result<(), CheckError> {
        self.cell.check(event)?;
        let live = |order_id| self.reservations().and_then(|all| all.live(order_id));
        let fits = match &event.change {
            Change::Reserved { order_id, quantity, .. } => {
                live(order_id).is_none() && !quantity.is_zero()
            }
            Change::Extended { order_id, .. } => live(order_id).is_some(),
            Change::Released { order_id, quantity } | Change::Deducted { order_id, quantity } => {
                !quantity.is_zero() && live(order_id).is_some_and(|r| r.remaining >= *quantity)
            }
            Change::Expired { order_id, quantity } => {
                live(order_id).is_some_and(|r| r.remaining == *quantity)
            }
            Change::Created { .. }
            | Change::Updated { .. }
            | Change::Deactivated { .. }
            | Change::Received { .. }
            | Change::Sold { .. }
            | Change::Returned { .. }
            | Change::Adjusted { .. } => true,
        };
        if fits { Ok(()) } else { Err(CheckError::Reservation { change: event.change.name() }) }
    }

    /// Takes over what `event` says. Total over events that [`Item::check`] accepts; asserts that
    /// `reserved` stays the sum of the live reservations.
    pub fn apply(&mut self, event: &Event) {
        self.cell.apply(event);
        self.updated_at = event.recorded_at;
        let at = event.recorded_at;
        let done = match &event.change {
            Change::Created { metadata } => {
                self.metadata.clone_from(metadata);
                self.created_at = at;
                Some(())
            }
            Change::Updated { metadata, .. } => {
                self.metadata.clone_from(metadata);
                Some(())
            }
            Change::Reserved { order_id, quantity, expires_at } => {
                self.open_reservation(order_id, *quantity, *expires_at)
            }
            Change::Extended { order_id, expires_at } => {
                self.reservations.get_or_insert_default().extend(order_id, *expires_at)
            }
            Change::Released { order_id, quantity } => self
                .reservations
                .get_or_insert_default()
                .take(order_id, *quantity, Ending::Released, at),
            Change::Deducted { order_id, quantity } => self
                .reservations
                .get_or_insert_default()
                .take(order_id, *quantity, Ending::Deducted, at),
            Change::Expired { order_id, quantity } => self
                .reservations
                .get_or_insert_default()
                .take(order_id, *quantity, Ending::Expired, at),
            Change::Deactivated { .. }
            | Change::Received { .. }
            | Change::Sold { .. }
            | Change::Returned { .. }
            | Change::Adjusted { .. } => Some(()),
        };
        assert!(done.is_some(), "{} was applied without a check", event.change.name());
        self.assert_total();
    }

    /// [`Item::check`] and then [`Item::apply`], with fewer look-ups: what replaying does millions
    /// of times a second. Nothing has changed after an error.
    pub fn accept(&mut self, event: &Event) -> Result<(), CheckError> {
        let (order_id, quantity, expires_at) = match &event.change {
            Change::Reserved { order_id, quantity, expires_at } => (order_id, quantity, expires_at),
            Change::Received { .. } | Change::Sold { .. } => {
                // `reserved` is as it was, which the check says, and so are the reservations.
                self.cell.check(event)?;
                self.cell.apply(event);
                self.updated_at = event.recorded_at;
                return Ok(());
            }
            _ => {
                self.check(event)?;
                self.apply(event);
                return Ok(());
            }
        };
        self.cell.check(event)?;
        let opened = (!quantity.is_zero())
            .then(|| self.open_reservation(order_id, *quantity, *expires_at))
            .flatten();
        opened.ok_or(CheckError::Reservation { change: event.change.name() })?;
        self.cell.apply(event);
        self.updated_at = event.recorded_at;
        self.assert_total();
        Ok(())
    }

    /// `None`, and nothing has changed, if the order has a live reservation.
    fn open_reservation(
        &mut self,
        order_id: &OrderId,
        quantity: Quantity,
        expires_at: Option<Timestamp>,
    ) -> Option<()> {
        let reservation = Reservation::new(quantity, expires_at);
        self.reservations.get_or_insert_default().open(order_id.clone(), reservation)
    }

    fn assert_total(&self) {
        let total = self.reservations().map_or(Quantity::ZERO, Reservations::total);
        assert_eq!(total, self.cell.quantities.reserved, "reserved is the sum of the reservations");
    }
}

impl<Context> Decode<Context> for Metadata {
    fn decode<D: bincode::de::Decoder<Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        use crate::codec::text::decode_text;
        Ok(Self {
            name: decode_text(decoder)?,
            category: decode_text(decoder)?,
            location: decode_text(decoder)?,
            unit: decode_text(decoder)?,
        })
    }
}

impl Encode for Metadata {
    fn encode<E: bincode::enc::Encoder>(
        &self,
        encoder: &mut E,
    ) -> Result<(), bincode::error::EncodeError> {
        for text in [&self.name, &self.category, &self.location, &self.unit] {
            Encode::encode(text.as_str(), encoder)?;
        }
        Ok(())
    }
}

bincode::impl_borrow_decode!(Metadata);
