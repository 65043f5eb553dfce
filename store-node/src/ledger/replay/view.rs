//! The few fields of the commonest records that replaying needs, read in place: what comes out is
//! what `codec::decode_record` gives, without the texts of the context, at a fraction of its cost.
//!
//! It must never accept a record that the codec refuses (a property test compares them); whatever
//! isn't plain and common is left to the codec by answering `None`.

use shared::cell::{Flags, Quantities, Version};
use shared::{Change, Context, Event, KeyClaim, OrderId, Quantity, Sku, Timestamp};

/// Bits of the context's first byte, in the order of its fields.
const TEXTS: u8 = 0b0001_1111;
const OCCURRED_AT: u8 = 1 << 5;
const FENCING_TOKEN: u8 = 1 << 6;
const KEY: u8 = 1 << 7;
/// The longest text of a context, in bytes.
const TEXT_BYTES_MAX: u64 = 4096;

/// Reads a record of a kind that only moves quantities into `event`, all but its SKU, whose bytes
/// the caller compared with a SKU that it knows; of the context only the key. False, and `event`
/// in any state, for every other record.
pub(super) fn view_event(record: &[u8], event: &mut Event) -> bool {
    read(record, event).is_some()
}

fn read(record: &[u8], event: &mut Event) -> Option<()> {
    let (&[kind, schema, flags, sku_length], rest) = record.split_first_chunk::<4>()?;
    if schema != 1 || flags & 0b1111_1000 != 0 {
        return None;
    }
    let mut cursor = Cursor { rest: rest.get(usize::from(sku_length)..)? };
    event.recorded_at = timestamp(i64::from_le_bytes(cursor.array()?))?;
    event.version = Version::new(cursor.leb128()?);
    let mut quantities = [Quantity::ZERO; 7];
    for quantity in &mut quantities {
        *quantity = Quantity::new(cursor.leb128()?)?;
    }
    event.after = Quantities::from_array(quantities);
    event.flags = Flags::from_bits(flags);
    if cursor.number()? != u64::from(kind) {
        return None;
    }
    event.change = cursor.change(kind)?;
    event.context.key = cursor.context()?;
    cursor.rest.is_empty().then_some(())
}

/// Reads bincode's numbers (standard configuration: variable length, little-endian).
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*array)
    }

    /// The envelope's numbers: 7 bits a byte, lowest first.
    #[inline]
    fn leb128(&mut self) -> Option<u64> {
        let first = self.byte()?;
        let mut value = u64::from(first & 0x7f);
        let mut more = first & 0x80 != 0;
        let mut shift = 7;
        while more {
            let byte = self.byte()?;
            // A quantity or version of ten bytes is left to the codec.
            if shift > 56 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            more = byte & 0x80 != 0;
            shift += 7;
        }
        Some(value)
    }

    /// A bincode number of up to 64 bits, in its shortest form only.
    #[inline]
    fn number(&mut self) -> Option<u64> {
        let first = self.byte()?;
        let (value, shortest_above) = match first {
            0..=250 => return Some(u64::from(first)),
            251 => (u64::from(u16::from_le_bytes(self.array()?)), 250),
            252 => (u64::from(u32::from_le_bytes(self.array()?)), u64::from(u16::MAX)),
            253 => (u64::from_le_bytes(self.array()?), u64::from(u32::MAX)),
            254 | 255 => return None,
        };
        (value > shortest_above).then_some(value)
    }

    /// A bincode number of 128 bits; short ones are left to the codec.
    #[inline]
    fn hash(&mut self) -> Option<u128> {
        if self.byte()? == 254 { Some(u128::from_le_bytes(self.array()?)) } else { None }
    }

    /// A signed bincode number (zigzag).
    #[inline]
    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    #[inline]
    fn quantity(&mut self) -> Option<Quantity> {
        Quantity::new(self.number()?)
    }

    #[inline]
    fn text(&mut self) -> Option<&'a str> {
        let length = self.number()?;
        if length > TEXT_BYTES_MAX {
            return None;
        }
        let (text, rest) = self.rest.split_at_checked(length as usize)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }

    fn order_id(&mut self) -> Option<OrderId> {
        OrderId::new(self.text()?).ok()
    }

    fn change(&mut self, kind: u8) -> Option<Change> {
        Some(match kind {
            4 => Change::Received { quantity: self.quantity()? },
            5 => Change::Sold { quantity: self.quantity()? },
            9 => {
                let order_id = self.order_id()?;
                let quantity = self.quantity()?;
                let expires_at = match self.byte()? {
                    0 => None,
                    1 => Some(timestamp(self.signed()?)?),
                    _ => return None,
                };
                Change::Reserved { order_id, quantity, expires_at }
            }
            11 => Change::Released { order_id: self.order_id()?, quantity: self.quantity()? },
            12 => Change::Deducted { order_id: self.order_id()?, quantity: self.quantity()? },
            13 => Change::Expired { order_id: self.order_id()?, quantity: self.quantity()? },
            _ => return None,
        })
    }

    /// The key; the other fields are checked and passed over.
    #[expect(clippy::option_option, reason = "outer: readable at all; inner: has a key")]
    fn context(&mut self) -> Option<Option<KeyClaim>> {
        let present = self.byte()?;
        for _ in 0..(present & TEXTS).count_ones() {
            self.text()?;
        }
        if present & OCCURRED_AT != 0 {
            timestamp(self.signed()?)?;
        }
        if present & FENCING_TOKEN != 0 {
            self.number()?;
        }
        if present & KEY == 0 {
            return Some(None);
        }
        let (key_hash, fingerprint) = (self.hash()?, self.hash()?);
        let records = u32::try_from(self.number()?).ok()?;
        Some(Some(KeyClaim { key_hash, fingerprint, records }))
    }
}

/// An event to read into again and again.
pub(super) fn scratch_event() -> Event {
    Event {
        sku: Sku::new("scratch").expect("a good SKU"),
        version: Version::ZERO,
        recorded_at: Timestamp::EPOCH,
        after: Quantities::default(),
        flags: Flags::default(),
        change: Change::Received { quantity: Quantity::ZERO },
        context: Context::default(),
    }
}

fn timestamp(micros: i64) -> Option<Timestamp> {
    let timestamp = Timestamp::from_micros(micros);
    (timestamp.as_micros() == micros).then_some(timestamp)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::codec::{Record, decode_record, encode_event};

    use super::*;

    fn event() -> impl Strategy<Value = Event> {
        let quantity =
            || (0_u64..=shared::QUANTITY_MAX).prop_map(|n| Quantity::new(n >> (n % 50)).unwrap());
        let time = || (0_i64..4_000_000_000_000_000).prop_map(Timestamp::from_micros);
        let order = "[a-z0-9é /-]{1,40}".prop_map(|text| OrderId::new(&text).unwrap());
        let change = (order, quantity(), proptest::option::of(time()), 0..9, any::<bool>())
            .prop_map(|(order_id, quantity, expires_at, kind, restocked)| match kind {
                0 => Change::Received { quantity },
                1 => Change::Sold { quantity },
                2 => Change::Reserved { order_id, quantity, expires_at },
                3 => Change::Released { order_id, quantity },
                4 => Change::Deducted { order_id, quantity },
                5 => Change::Expired { order_id, quantity },
                6 => Change::Returned { quantity, restocked },
                7 => Change::Extended { order_id, expires_at },
                _ => Change::Created { metadata: shared::Metadata::default() },
            });
        let text = || proptest::option::of("[a-zé]{0,70}").prop_map(|t| t.map(Into::into));
        let key = (any::<u128>(), any::<u128>(), any::<u32>(), 0..120_u32).prop_map(
            |(key_hash, fingerprint, records, shift)| KeyClaim {
                key_hash: key_hash >> shift,
                fingerprint,
                records,
            },
        );
        let context = (
            text(),
            text(),
            text(),
            text(),
            proptest::option::of(time()),
            any::<Option<u64>>(),
            proptest::option::of(key),
        )
            .prop_map(
                |(actor, reference, reason, note, occurred_at, fencing_token, key)| Context {
                    request_id: None,
                    actor,
                    reference,
                    reason,
                    note,
                    occurred_at,
                    fencing_token,
                    key,
                },
            );
        let after = proptest::collection::vec(quantity(), 7);
        ("[A-Z][a-z0-9é/]{0,20}", any::<u64>(), time(), after, 0_u8..8, change, context).prop_map(
            |(sku, version, recorded_at, after, flags, change, context)| Event {
                sku: Sku::new(&sku).unwrap(),
                version: Version::new(version >> (version % 60)),
                recorded_at,
                after: Quantities::from_array(after.try_into().unwrap()),
                flags: Flags::from_bits(flags),
                change,
                context,
            },
        )
    }

    /// Whatever is viewed is what the codec decodes, but for the context's texts.
    fn check(record: &[u8]) -> bool {
        let mut view = scratch_event();
        if !view_event(record, &mut view) {
            return false;
        }
        let Ok(Record::Event(mut event)) = decode_record(record) else {
            panic!("the codec refuses {record:?}")
        };
        event.context = Context { key: event.context.key, ..Context::default() };
        event.sku = view.sku.clone();
        assert_eq!(view, event);
        true
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn a_view_is_what_the_codec_decodes(
            event in event(),
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3),
            cut in proptest::option::weighted(0.2, any::<proptest::sample::Index>()),
        ) {
            let mut record = Vec::new();
            encode_event(&mut record, &event);
            let short_key = event.context.key.is_some_and(|key| {
                key.key_hash <= u128::from(u64::MAX) || key.fingerprint <= u128::from(u64::MAX)
            });
            let common = matches!(event.change.kind(), 4 | 5 | 9 | 11..=13);
            let wide = event.version.get() >= 1 << 63;
            prop_assert_eq!(check(&record), common && !short_key && !wide);
            // The bytes of the SKU are the caller's to compare.
            let sku = 4..4 + event.sku.as_str().len();
            for (index, byte) in damage {
                let at = index.index(record.len());
                if at != 3 && !sku.contains(&at) {
                    record[at] = byte;
                }
            }
            if let Some(cut) = cut {
                record.truncate(cut.index(record.len()));
            }
            check(&record);
        }
    }
}
