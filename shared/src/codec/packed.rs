//! An item of a snapshot as it is packed, for opening: every field is checked as
//! [`decode_item`](super::decode_item) checks it, and no text is copied. It must never accept what
//! that refuses, nor read anything else of it; a property test holds one against the other.

use super::DecodeError;
use super::glance::{numbers, text};
use super::item::read_reservations;
use super::numbers::VarintReader;
use crate::cell::Cell;
use crate::item::metadata_hash;
use crate::quantity::Quantity;
use crate::reservations::Reservations;
use crate::sku::Sku;

/// Bytes of the two times.
const TIMES_BYTES: usize = 16;
/// The reservations of an item that never had any: none live, none closed.
const NO_RESERVATIONS: [u8; 2] = [0, 0];

/// An item of a snapshot, its texts where they lie.
#[derive(Debug, PartialEq)]
pub struct PackedItem<'a> {
    /// A text that is a SKU.
    pub sku: &'a str,
    /// Its counted part.
    pub cell: Cell,
    /// What it is, UTF-8.
    pub category: &'a [u8],
    /// Where it lies, UTF-8.
    pub location: &'a [u8],
    /// What [`encode_state`](super::encode_state) wrote.
    pub state: &'a [u8],
    /// Those that it has or had; their live ones add up to what is reserved.
    pub reservations: Option<Box<Reservations>>,
}

impl<'a> PackedItem<'a> {
    /// Reads the next item of a snapshot's shard; call until nothing is left.
    pub fn read(reader: &mut VarintReader<'a>) -> Result<Self, DecodeError> {
        let sku = reader.text("sku")?;
        Sku::check(sku).map_err(|_| DecodeError::Invalid("sku"))?;
        let from = reader.rest();
        let (flags, version, quantities) = numbers(reader)?;
        let texts = read_texts(reader)?;
        reader.slice(TIMES_BYTES, "time")?;
        reader.varint("last seq")?;
        let state = &from[..from.len() - reader.rest().len()];
        let reservations = if reader.rest().starts_with(&NO_RESERVATIONS) {
            reader.slice(NO_RESERVATIONS.len(), "reservations")?;
            None
        } else {
            Some(read_reservations(reader)?).filter(|all| !all.is_empty()).map(Box::new)
        };
        let total = reservations.as_ref().map_or(Quantity::ZERO, |all| all.total());
        if total != quantities.reserved {
            return Err(DecodeError::Invalid("sum of the reservations"));
        }
        let [_name, category, location, _unit] = texts;
        let cell = Cell { version, quantities, flags, metadata_hash: metadata_hash(texts) };
        Ok(Self { sku, cell, category, location, state, reservations })
    }
}

/// Name, category, location and unit, each UTF-8.
fn read_texts<'a>(reader: &mut VarintReader<'a>) -> Result<[&'a [u8]; 4], DecodeError> {
    let from = reader.rest();
    let texts = [text(reader)?, text(reader)?, text(reader)?, text(reader)?];
    let packed = &from[..from.len() - reader.rest().len()];
    // All at once, where that is enough.
    if packed.is_ascii() || texts.iter().all(|text| std::str::from_utf8(text).is_ok()) {
        return Ok(texts);
    }
    Err(DecodeError::Invalid("text"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cell::{Flags, Quantities, Version};
    use crate::codec::{decode_item, encode_item, encode_state};
    use crate::ids::OrderId;
    use crate::reservations::{ClosedReservation, Reservation};
    use crate::{Item, ItemState, Metadata, Timestamp};

    fn quantity(units: u64) -> Quantity {
        Quantity::new(units).unwrap()
    }

    fn reservations(live: u64, closed: u64) -> Option<Box<Reservations>> {
        let mut all = Reservations::default();
        for number in 0..live {
            let expires_at = (number % 2 == 0).then_some(Timestamp::from_micros(9));
            let live = Reservation::new(quantity(number + 1), expires_at);
            all.restore_live(OrderId::new(&format!("live {number}")).unwrap(), live).unwrap();
        }
        for number in 0..closed {
            let closed = ClosedReservation {
                released: quantity(number),
                deducted: quantity(1),
                expired: number % 2 == 1,
                closed_at: Timestamp::from_micros(3),
            };
            all.restore_closed(OrderId::new(&format!("closed {number}")).unwrap(), closed);
        }
        (!all.is_empty()).then(|| Box::new(all))
    }

    prop_compose! {
        fn items()(
            sku in "[ -~äß]{0,3}[!-~é🍎]{1,12}", texts in prop::array::uniform4("[a-zA-Zß€ ]{0,80}"),
            numbers in prop::array::uniform6(0_u64..1 << 40), shift in 0_u32..40,
            version in 0_u64..400, active: bool, live in 0_u64..3, closed in 0_u64..3,
        ) -> Vec<u8> {
            let [name, category, location, unit] = texts.map(|text| text.as_str().into());
            let metadata = Metadata { name, category, location, unit };
            let reservations = reservations(live, closed);
            let [stock, sold, incoming, in_transit_out, reorder_point, safety_stock] =
                numbers.map(|units| quantity(units >> shift));
            let reserved = reservations.as_ref().map_or(Quantity::ZERO, |all| all.total());
            let quantities = Quantities {
                stock, reserved, sold, incoming, in_transit_out, reorder_point, safety_stock,
            };
            let flags = Flags { active, ..Flags::default() };
            let hash = metadata.hash();
            let cell = Cell { version: Version::new(version), quantities, flags, metadata_hash: hash };
            let (created_at, updated_at) = (Timestamp::from_micros(5), Timestamp::from_micros(-6));
            let state = ItemState { cell, metadata, created_at, updated_at };
            let item = Item::restore(state, reservations).unwrap();
            let sku = Sku::new(sku.trim()).unwrap();
            let mut bytes = Vec::new();
            encode_item(&mut bytes, &sku, &item, 1 << shift);
            bytes
        }
    }

    /// Reads both ways: the same, or refused both times; returns whether it was read.
    fn agree(bytes: &[u8]) -> bool {
        let (mut packed_reader, mut reader) = (VarintReader::new(bytes), VarintReader::new(bytes));
        let packed = PackedItem::read(&mut packed_reader);
        let Ok(read) = decode_item(&mut reader) else {
            assert!(packed.is_err(), "{packed:?} of {bytes:?}, which isn't an item");
            return false;
        };
        let packed = packed.unwrap();
        let item = &read.item;
        assert_eq!(packed_reader.rest(), reader.rest());
        assert_eq!((packed.sku, &packed.cell), (read.sku.as_str(), item.cell()));
        assert_eq!(packed.category, item.metadata().category.as_bytes());
        assert_eq!(packed.location, item.metadata().location.as_bytes());
        assert_eq!(packed.reservations.as_deref(), item.reservations());
        let mut decoded = VarintReader::new(packed.state);
        let (state, last_seq) = super::super::decode_state(&mut decoded).unwrap();
        assert_eq!((decoded.rest().len(), last_seq), (0, read.last_seq));
        let mut states = [Vec::new(), Vec::new()];
        encode_state(&mut states[0], item, last_seq);
        let reservations = item.reservations().cloned().map(Box::new);
        encode_state(&mut states[1], &Item::restore(state, reservations).unwrap(), last_seq);
        assert_eq!(states[0], states[1]);
        true
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn a_packed_item_is_the_decoded_one(
            bytes in items(), tail in prop::collection::vec(any::<u8>(), 0..3),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in any::<prop::sample::Index>(),
        ) {
            prop_assert!(agree(&bytes));
            let mut other = [&bytes[..], &tail].concat();
            prop_assert!(agree(&other));
            for (at, byte) in changes {
                let at = at.index(other.len());
                other[at] = byte;
                agree(&other);
            }
            agree(&other[..cut.index(other.len())]);
        }

        #[test]
        fn of_any_bytes_the_same_is_read_or_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            agree(&bytes);
        }
    }
}
