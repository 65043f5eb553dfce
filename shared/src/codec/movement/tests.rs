//! The two readers against each other, over whole records and damaged ones.

use proptest::prelude::*;

use super::*;
use crate::codec::{Record, decode_record, encode_event};

fn event() -> impl Strategy<Value = Event> {
    let quantity =
        || (0_u64..=crate::QUANTITY_MAX).prop_map(|n| Quantity::new(n >> (n % 50)).unwrap());
    let time = || (0_i64..4_000_000_000_000_000).prop_map(Timestamp::from_micros);
    let order = "[a-z0-9é /-]{1,40}".prop_map(|text| OrderId::new(&text).unwrap());
    let change = (order, quantity(), proptest::option::of(time()), 0..9, any::<bool>()).prop_map(
        |(order_id, quantity, expires_at, kind, restocked)| match kind {
            0 => Change::Received { quantity },
            1 => Change::Sold { quantity },
            2 => Change::Reserved { order_id, quantity, expires_at },
            3 => Change::Released { order_id, quantity },
            4 => Change::Deducted { order_id, quantity },
            5 => Change::Expired { order_id, quantity },
            6 => Change::Returned { quantity, restocked },
            7 => Change::Extended { order_id, expires_at },
            _ => Change::Created { metadata: Box::default() },
        },
    );
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
        .prop_map(|(actor, reference, reason, note, occurred_at, fencing_token, key)| Context {
            request_id: None,
            actor,
            reference,
            reason,
            note,
            occurred_at,
            fencing_token,
            key,
        });
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

/// Whatever is read is what `decode_record` decodes, but for the SKU and the context's texts.
fn check(reader: &mut MovementReader, record: &[u8]) -> bool {
    let Some(read) = reader.read(record) else {
        return false;
    };
    let Ok(Record::Event(mut event)) = decode_record(record) else {
        panic!("the codec refuses {record:?}")
    };
    event.context = Context { key: event.context.key, ..Context::default() };
    event.sku = read.sku.clone();
    assert_eq!(*read, event);
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn a_movement_is_what_the_codec_decodes(
        event in event(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3),
        cut in proptest::option::weighted(0.2, any::<proptest::sample::Index>()),
    ) {
        let (mut reader, mut record) = (MovementReader::default(), Vec::new());
        encode_event(&mut record, &event);
        let short_key = event.context.key.is_some_and(|key| {
            key.key_hash <= u128::from(u64::MAX) || key.fingerprint <= u128::from(u64::MAX)
        });
        let common = matches!(event.change.kind(), 4 | 5 | 9 | 11..=13);
        let wide = event.version.get() >= 1 << 63;
        prop_assert_eq!(check(&mut reader, &record), common && !short_key && !wide);
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
        check(&mut reader, &record);
    }
}
