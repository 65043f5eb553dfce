//! The compact batch against JSON: the same lines must be the same operations, and bad lines must
//! have the same errors. The layout is written down here a second time, from the module's page.

use serde_json::{Value, json};

use super::{ANSWER_MAGIC, CompactAnswer, parse_compact};
use crate::cell::{Quantities, Version};
use crate::quantity::Quantity;
use crate::wire::node::batch::{Batch, parse_batch};

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push(value as u8 & 127 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The fields in the order of their numbers.
const FIELDS: [&str; 16] = [
    "quantity",
    "orderId",
    "expectedVersion",
    "expiresInSeconds",
    "reason",
    "reference",
    "note",
    "occurredAt",
    "restock",
    "name",
    "category",
    "location",
    "unit",
    "reorderPoint",
    "safetyStock",
    "active",
];

fn op(name: &str) -> u8 {
    match name {
        "create" => 1,
        "update" => 2,
        "deactivate" => 3,
        "receive" => 4,
        "sell" => 5,
        "return" => 6,
        "adjust" => 7,
        "reserve" => 9,
        "extend" => 10,
        "release" => 11,
        "deduct" => 12,
        other => other.parse().unwrap(),
    }
}

/// A line of JSON in bytes; `occurredAt` as microseconds.
fn line(out: &mut Vec<u8>, line: &Value) {
    out.push(op(line["op"].as_str().unwrap()));
    let sku = line["sku"].as_str().unwrap();
    out.push(sku.len() as u8);
    out.extend_from_slice(sku.as_bytes());
    let mut fields = 0_u16;
    let mut bytes = Vec::new();
    for (number, name) in FIELDS.iter().enumerate() {
        let name = if *name == "quantity" && line["op"] == "create" { "stock" } else { name };
        let Some(value) = line.get(name) else { continue };
        fields |= 1 << number;
        match value {
            Value::Null => varint(&mut bytes, 0),
            Value::Bool(yes) => bytes.push(u8::from(*yes)),
            Value::String(text) => {
                varint(&mut bytes, text.len() as u64);
                bytes.extend_from_slice(text.as_bytes());
            }
            number => {
                let number = number.as_i64().unwrap();
                varint(&mut bytes, ((number << 1) ^ (number >> 63)).cast_unsigned());
            }
        }
    }
    out.extend_from_slice(&fields.to_le_bytes());
    out.extend_from_slice(&bytes);
}

fn body(atomic: bool, lines: &[Value]) -> Vec<u8> {
    let mut out = b"OHBATCH1".to_vec();
    out.extend_from_slice(&[u8::from(atomic), 0, 0, 0]);
    out.extend_from_slice(&(lines.len() as u32).to_le_bytes());
    for one in lines {
        line(&mut out, one);
    }
    sealed(out)
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The same lines in both forms come to the same; `times` are of the lines' `occurredAt` as JSON.
fn assert_same(lines: &[Value], times: &[(i64, &str)]) {
    let mut in_json = lines.to_vec();
    for line in &mut in_json {
        let micros = line.get("occurredAt").and_then(Value::as_i64);
        if let Some((_, text)) = times.iter().find(|(at, _)| Some(*at) == micros) {
            line["occurredAt"] = json!(text);
        }
    }
    let json = json!({"atomic": false, "operations": in_json}).to_string();
    let (bytes, json) = (body(false, lines), parse_batch(json.as_bytes()).unwrap());
    let compact = parse_compact(&bytes).unwrap();
    assert_eq!(asked(&compact), asked(&json));
    assert_eq!(compact.errors(), json.errors());
}

fn asked(batch: &Batch<'_>) -> Vec<Option<String>> {
    let ask = |line: &Result<super::Operation<'_>, _>| {
        line.as_ref().ok().map(|line| format!("{:?} {:?}", line.command(), line.context()))
    };
    batch.lines.iter().map(ask).collect()
}

#[test]
fn every_operation_with_every_field_is_what_json_says() {
    let at = 1_700_000_000_000_001_i64;
    let about = json!({"expectedVersion": 7, "reference": "r", "note": "n\nm", "occurredAt": at});
    let with = |own: Value| {
        let mut line = own.as_object().unwrap().clone();
        line.extend(about.as_object().unwrap().clone());
        Value::Object(line)
    };
    let lines = [
        json!({"op": "create", "sku": "A", "stock": 0, "name": "Mug", "category": "c",
               "location": "l", "unit": "g", "reorderPoint": 3, "safetyStock": 1}),
        json!({"op": "create", "sku": "Ä", "stock": 1_u64 << 53}),
        json!({"op": "update", "sku": "A", "name": "", "unit": "ml", "reorderPoint": 0,
               "safetyStock": 5, "active": true, "expectedVersion": 2}),
        json!({"op": "deactivate", "sku": "A", "expectedVersion": 3}),
        with(json!({"op": "receive", "sku": "A", "quantity": 1, "reason": "late"})),
        with(json!({"op": "sell", "sku": "A", "quantity": 300, "reason": "x"})),
        with(json!({"op": "return", "sku": "A", "quantity": 1, "restock": false})),
        with(json!({"op": "adjust", "sku": "A", "quantity": -5, "reason": "damage"})),
        with(json!({"op": "reserve", "sku": "A", "quantity": 1, "orderId": "o",
                    "expiresInSeconds": 900, "reason": "x"})),
        with(json!({"op": "extend", "sku": "A", "orderId": "o", "expiresInSeconds": 1})),
        with(json!({"op": "release", "sku": "A", "orderId": "o"})),
        with(json!({"op": "deduct", "sku": "A", "orderId": "o", "quantity": 2})),
    ];
    let times = [(at, "2023-11-14T22:13:20.000001Z")];
    let compact = body(true, &lines);
    let compact = parse_compact(&compact).unwrap();
    assert!(compact.atomic && compact.lines.iter().all(Result::is_ok), "{:?}", compact.errors());
    // What JSON says with null is an empty text here.
    let mut in_json = lines.clone();
    in_json[2]["name"] = Value::Null;
    let json_only = json!({"atomic": true, "operations": [in_json[2]]}).to_string();
    let update = parse_batch(json_only.as_bytes()).unwrap();
    assert_eq!(asked(&compact)[2], asked(&update)[0]);
    let others: Vec<Value> = lines.iter().filter(|line| line["op"] != "update").cloned().collect();
    assert_same(&others, &times);
}

#[test]
fn bad_lines_have_the_errors_of_json() {
    assert_same(
        &[
            json!({"op": "sell", "sku": "A", "quantity": 0}),
            json!({"op": "sell", "sku": "A"}),
            json!({"op": "sell", "sku": " A", "quantity": -7, "reference": "", "note": "\u{1}"}),
            json!({"op": "sell", "sku": "A", "quantity": 1, "orderId": "o"}),
            json!({"op": "adjust", "sku": "A", "quantity": 0, "reason": "whim"}),
            json!({"op": "adjust", "sku": "A", "quantity": 1}),
            json!({"op": "reserve", "sku": "", "quantity": 1, "orderId": ""}),
            json!({"op": "extend", "sku": "A", "orderId": "o", "quantity": 1}),
            json!({"op": "create", "sku": "A", "stock": -1, "name": ""}),
            json!({"op": "update", "sku": "A", "active": false}),
            json!({"op": "8", "sku": "A"}),
            json!({"op": "200", "sku": "A", "quantity": 1}),
            json!({"op": "receive", "sku": "A", "quantity": i64::MAX}),
            json!({"op": "sell", "sku": "A", "quantity": 1, "occurredAt": -1}),
        ],
        &[(-1, "-1 microseconds")],
    );
}

/// What is done to a body before it is sealed again.
type Change = fn(&mut Vec<u8>);

#[test]
fn a_damaged_frame_is_refused_whole() {
    let good = body(true, &[json!({"op": "sell", "sku": "A", "quantity": 1})]);
    assert!(parse_compact(&good).is_ok());
    for cut in 0..good.len() {
        assert!(parse_compact(&good[..cut]).is_err(), "cut at {cut}");
    }
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(parse_compact(&flipped).is_err(), "bit {bit}");
    }
    let changed = |change: Change| {
        let mut bytes = good[..good.len() - 4].to_vec();
        change(&mut bytes);
        parse_compact(&sealed(bytes)).unwrap_err().to_string()
    };
    let cases: [(&str, Change); 8] = [
        ("does not begin with OHBATCH1", |bytes| bytes[7] = b'2'),
        ("flags that this version doesn't know", |bytes| bytes[8] = 2),
        ("flags that this version doesn't know", |bytes| bytes[11] = 1),
        ("it has 0 lines", |bytes| bytes[12] = 0),
        ("it has 10001 lines", |bytes| bytes[12..14].copy_from_slice(&10_001_u16.to_le_bytes())),
        ("line 1 of 2", |bytes| bytes[12] = 2),
        ("after line 1", |bytes| bytes.push(0)),
        ("line 0 of 1", |bytes| bytes[18] = 0xff),
    ];
    for (expected, change) in cases {
        let error = changed(change);
        assert!(error.contains(expected), "{error}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[test]
fn the_bytes_of_a_request_and_an_answer_never_change() {
    let request = body(
        false,
        &[
            json!({"op": "sell", "sku": "MUG-1", "quantity": 2}),
            json!({"op": "reserve", "sku": "MUG-1", "quantity": 300, "orderId": "o-1"}),
        ],
    );
    assert_eq!(
        hex(&request),
        "4f48424154434831000000000200000005054d55472d31010004\
         09054d55472d310300d804036f2d31d558cd4b"
    );
    let quantity = |units| Quantity::new(units).unwrap();
    let after = Quantities { stock: quantity(300), reserved: quantity(1), ..Quantities::default() };
    let mut answer = CompactAnswer::new(true, 2, 9);
    answer.applied(200, Version::new(4), &after, Some(10));
    answer.applied(200, Version::new(4), &after, None);
    answer.failed(409, b"{}");
    let bytes = answer.finish();
    assert_eq!(bytes[..8], ANSWER_MAGIC);
    assert_eq!(
        hex(&bytes[8..bytes.len() - 4]),
        "020000000300000002000000010000000900000000000000\
         c80004ac02010001c80004ac020100009901027b7d"
    );
    let crc = crc32fast::hash(&bytes[..bytes.len() - 4]);
    assert_eq!(bytes[bytes.len() - 4..], crc.to_le_bytes());
}
