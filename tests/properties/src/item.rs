//! Items of a snapshot's shard. The input is a shard: items one after the other.

use shared::codec::{PackedItem, VarintReader, decode_item, encode_item};

use crate::bound::Bound;

/// A closed reservation takes 14 bytes on disk and up to some hundred in the maps that hold it.
const BOUND: Bound = Bound { fixed_bytes: 4 << 10, per_byte: 64 };

/// Checks every item up to the first that is refused.
pub fn check(bytes: &[u8]) {
    let mut reader = VarintReader::new(bytes);
    while !reader.rest().is_empty() {
        let length = reader.rest().len();
        let mut packed_reader = VarintReader::new(reader.rest());
        let packed =
            BOUND.hold("a packed item", length, || PackedItem::read(&mut packed_reader).ok());
        let Ok(read) = BOUND.hold("an item", length, || decode_item(&mut reader)) else {
            return assert!(packed.is_none(), "{packed:?} is read though it isn't an item");
        };
        assert!(reader.rest().len() < length, "an item of no bytes");
        let packed = packed.expect("whatever is an item is one as it is packed");
        assert_eq!((packed.sku, &packed.cell), (read.sku.as_str(), read.item.cell()));
        assert_eq!(packed.reservations.as_deref(), read.item.reservations());
        assert_eq!(packed_reader.rest(), reader.rest());
        let mut encoded = Vec::new();
        encode_item(&mut encoded, &read.sku, &read.item, read.last_seq);
        let mut again = VarintReader::new(&encoded);
        assert_eq!(decode_item(&mut again).as_ref(), Ok(&read), "it doesn't come back");
        assert!(again.rest().is_empty());
        let item = &read.item;
        let promised = item.reservations().map_or(0, |held| {
            held.iter_live().map(|(_, live)| u128::from(live.remaining.get())).sum()
        });
        assert_eq!(promised, u128::from(item.cell().quantities.reserved.get()));
    }
}
