//! Records of the log: the frozen envelope, the payload in bincode, and the fast reader of
//! movements beside both. The input is one record.
//!
//! The fast reader must never read what the decoder refuses, nor anything else than it does.

use shared::Sku;
use shared::codec::{
    MovementReader, Record, decode_envelope, decode_record, encode_event, encode_receipt,
    record_sku_bytes,
};
use shared::event::{Context, Event};

use crate::bound::Bound;

/// A line of a receipt takes one byte on disk and a few hundred in memory, twice while they are
/// moved; the words of an error.
const BOUND: Bound = Bound { fixed_bytes: 16 << 10, per_byte: 768 };
/// SKU, order id: held inline or once on the heap.
const FAST_BOUND: Bound = Bound { fixed_bytes: 256, per_byte: 2 };

/// Checks one record.
pub fn check(bytes: &[u8]) {
    let decoded = BOUND.hold("a record", bytes.len(), || decode_record(bytes));
    check_fast_reader(bytes, decoded.as_ref().ok());
    let Ok(record) = decoded else { return };
    let mut encoded = Vec::new();
    match &record {
        Record::Event(event) => {
            encode_event(&mut encoded, event);
            check_envelope(bytes, event);
        }
        Record::Receipt(receipt) => encode_receipt(&mut encoded, receipt),
    }
    assert_eq!(decode_record(&encoded).as_ref(), Ok(&record), "it doesn't come back");
    assert!(encoded.len() <= bytes.len(), "the shortest form is longer than another");
}

fn check_envelope(bytes: &[u8], event: &Event) {
    let (envelope, payload) = decode_envelope(bytes).expect("a whole record has an envelope");
    let state = envelope.state.expect("an event has a state");
    assert_eq!(envelope.kind, event.change.kind());
    assert_eq!(envelope.recorded_at, event.recorded_at);
    assert_eq!(
        (&state.sku, state.version, state.quantities, state.flags),
        (&event.sku, event.version, event.after, event.flags)
    );
    assert_eq!(record_sku_bytes(bytes), Some(event.sku.as_str().as_bytes()));
    assert!(payload.len() < bytes.len());
}

fn check_fast_reader(bytes: &[u8], decoded: Option<&Record>) {
    let mut reader = MovementReader::default();
    // Twice, since a reader is used again and again: nothing of the last record may stay.
    let first = FAST_BOUND.hold("a movement", bytes.len(), || reader.read(bytes).is_some());
    let read = reader.read(bytes).cloned();
    assert_eq!(read.is_some(), first, "the second reading is another one");
    let Some(read) = read else { return };
    let sku = record_sku_bytes(bytes).and_then(|sku| std::str::from_utf8(sku).ok());
    if sku.is_none_or(|sku| Sku::new(sku).is_err()) {
        // Callers compare the SKU's bytes with a SKU that they know.
        return;
    }
    let Some(Record::Event(event)) = decoded else {
        panic!("the fast reader takes what the decoder refuses: {read:?}");
    };
    let context = Context { key: event.context.key, ..Context::default() };
    assert_eq!(read, Event { sku: read.sku.clone(), context, ..event.clone() });
}
