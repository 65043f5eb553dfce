//! What people and other programs send: batches, cursors, times, texts of URLs, files to import.

use serde_json::json;
use shared::wire::text::{NAME_BYTES_MAX, REFERENCE_BYTES_MAX, UNIT_BYTES_MAX};

use super::{fixture, named};
use crate::seal;

const GOOD: &[u8] = br#"{"atomic":true,"operations":[
{"op":"create","sku":"A 1","stock":100,"name":"Mug","category":"kitchen","location":"W-1","unit":"each","reorderPoint":5,"safetyStock":1},
{"op":"update","sku":"A 1","name":"Becher","category":null,"expectedVersion":1},
{"op":"receive","sku":"A 1","quantity":3,"reference":"delivery-1"},
{"op":"sell","sku":"A 1","quantity":2,"occurredAt":"2026-11-20T10:00:00Z"},
{"op":"return","sku":"A 1","quantity":1,"restock":false},
{"op":"adjust","sku":"A 1","delta":-3,"reason":"damage","note":"fell down"},
{"op":"reserve","sku":"B/2","orderId":"order-1","quantity":2,"expiresInSeconds":60},
{"op":"extend","sku":"B/2","orderId":"order-1","expiresInSeconds":600},
{"op":"release","sku":"B/2","orderId":"order-1","quantity":1},
{"op":"deduct","sku":"B/2","orderId":"order-1"},
{"op":"deactivate","sku":"B/2"}]}"#;

/// One body with every operation, and bodies that must be refused with words.
pub(super) fn batches() -> Vec<(String, Vec<u8>)> {
    let empty_lines = format!(r#"{{"atomic":false,"operations":[{}{{}}]}}"#, "{},".repeat(500));
    let deep =
        format!(r#"{{"atomic":false,"operations":[{}{}]}}"#, "[".repeat(200), "]".repeat(200));
    let mut files = named([
        ("every-operation", GOOD),
        (
            "op-comes-last",
            br#"{"operations":[{"quantity":1,"sku":"\u0041","op":"sell"}],"atomic":false}"#,
        ),
        (
            "nasty-members-twice",
            br#"{"atomic":true,"atomic":false,"operations":[{"op":"sell","sku":"A","sku":"B","quantity":1,"op":"receive"}]}"#,
        ),
        (
            "nasty-numbers",
            br#"{"atomic":true,"operations":[{"op":"sell","sku":"A","quantity":1e0},{"op":"sell","sku":"A","quantity":9007199254740993},{"op":"sell","sku":"A","quantity":-0},{"op":"adjust","sku":"A","delta":-9223372036854775808}]}"#,
        ),
        (
            "nasty-texts",
            b"{\"atomic\":true,\"operations\":[{\"op\":\"sell\",\"sku\":\"\\ud800\",\"quantity\":1},{\"op\":\"sell\",\"sku\":\"a\\u0000b\",\"quantity\":1},{\"op\":\"s\\u0065ll\",\"sku\":\"A\",\"quantity\":1},{\"op\":\"sell\",\"sku\":\"\xff\",\"quantity\":1}]}",
        ),
        (
            "nasty-breaks-rules",
            br#"{"atomic":true,"operations":[{"op":"sell","sku":"A","quantity":0},{"op":"sell","sku":" A","quantity":1}]}"#,
        ),
        ("nasty-no-lines", br#"{"atomic":true,"operations":[]}"#),
        ("nasty-not-closed", br#"{"atomic":true,"operations":[{"op":"sell","sku":"A"#),
    ]);
    files.push(("nasty-empty-lines".to_owned(), empty_lines.into_bytes()));
    files.push(("nasty-nested-deeply".to_owned(), deep.into_bytes()));
    files
}

pub(super) fn compact_batches() -> Vec<(String, Vec<u8>)> {
    let body = |flags: u8, lines: &[&[u8]]| {
        let mut bytes = [&b"OHBATCH1"[..], &[flags, 0, 0, 0]].concat();
        bytes.extend_from_slice(&(lines.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&lines.concat());
        bytes.extend_from_slice(&[0; 4]);
        seal::crc_at_end(&mut bytes);
        bytes
    };
    let sell: &[u8] = b"\x05\x01A\x01\x00\x02";
    let every_movement_field: &[u8] = b"\x06\x03A/b\xf5\x01\x08\x02\x01r\x01e\x01n\xc0\x84\x3d\x01";
    let adjust: &[u8] = b"\x07\x01A\x11\x00\x09\x06damage";
    let reserve: &[u8] = b"\x09\x01A\x0b\x00\xd8\x04\x03o-1\x88\x0e";
    let create: &[u8] = b"\x01\x01B\x01\x7e\x06\x03Mug\x01c\x01l\x01g\x04\x02";
    let update: &[u8] = b"\x02\x01B\x04\x82\x02\x00\x01";
    let lines = [sell, every_movement_field, adjust, reserve, create, update];
    vec![
        ("every-layout".to_owned(), body(1, &lines)),
        ("nasty-no-lines".to_owned(), body(0, &[])),
        ("nasty-flags".to_owned(), body(2, &[sell])),
        ("nasty-unknown-op".to_owned(), body(0, &[b"\x08\x01A\x01\x00\x02"])),
        ("nasty-not-utf8".to_owned(), body(0, &[b"\x05\x01\xff\x01\x00\x02"])),
        ("nasty-all-fields".to_owned(), body(0, &[b"\x05\x01A\xff\xff"])),
        ("nasty-text-length".to_owned(), body(0, &[b"\x05\x01A\x20\x00\xff\xff\xff\xff\x7f"])),
        (
            "nasty-number".to_owned(),
            body(0, &[b"\x05\x01A\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]),
        ),
        ("nasty-empty-lines".to_owned(), body(0, &[&[0; 4][..]; 500])),
    ]
}

pub(super) fn stream_lines() -> Vec<(String, Vec<u8>)> {
    named([
        ("sell", br#"{"op":"sell","sku":"A","quantity":1}"#),
        ("keyed", br#"{"op":"sell","sku":"A","quantity":1,"idempotencyKey":"till-3-77"}"#),
        ("key-first", br#"{"idempotencyKey":"k","orderId":"o","quantity":2,"sku":"\u0041","op":"reserve"}"#),
        ("create", br#"{"op":"create","sku":"B","stock":0,"name":"Mug","idempotencyKey":null}"#),
        ("nasty-keys", br#"{"op":"sell","sku":"A","quantity":1,"idempotencyKey":"","idempotencyKey":7}"#),
        ("nasty-rules", br#"{"op":"sell","sku":" ","quantity":-1,"note":"\u0000","x":{},"idempotencyKey":"\u00e9"}"#),
        ("nasty-not-an-object", b"[[],{}]"),
        ("nasty-not-closed", br#"{"op":"sell","sku":"A"#),
        ("nasty-not-utf8", b"{\"op\":\"sell\",\"sku\":\"\xff\",\"quantity\":1}"),
    ])
}

pub(super) fn cursors() -> Vec<(String, Vec<u8>)> {
    named([
        ("page", b"UFJPRC0wMDE"),
        // -7, 0x1f, PROD-001
        ("ranked", b"LTcfUFJPRC0wMDE"),
        // a/b c, 0x1f, order 1/e
        ("reservation", b"YS9iIGMfb3JkZXIgMS_DqQ"),
        ("nasty-padded", b"UFJPRC0wMDE="),
        ("nasty-bits-left-over", b"QR"),
        // +7, 0x1f, PROD-001
        ("nasty-plus", b"KzcfUFJPRC0wMDE"),
        ("nasty-empty", b""),
    ])
}

pub(super) fn times() -> Vec<(String, Vec<u8>)> {
    named([
        ("plain", b"2026-11-21T10:00:00Z"),
        ("fraction", b"2026-11-21T10:00:00.1234567899Z"),
        ("offset-behind", b"2026-11-21T10:00:00-05:30"),
        ("offset", b"1969-12-31T23:30:00.25-00:45"),
        ("lower-case", b"2026-11-21t10:00:00z"),
        ("blank", b"2026-11-21 10:00:00+23:59"),
        ("last", b"9999-12-31T00:00:00Z"),
        ("leap-day", b"2024-02-29T00:00:00-00:00"),
        ("nasty-leap-second", b"2016-12-31T23:59:60Z"),
        ("nasty-no-such-day", b"2026-02-29T00:00:00Z"),
        ("nasty-year-zero", b"0000-01-01T00:00:00+23:59"),
        ("nasty-wide-digits", "２026-11-21T10:00:00Z".as_bytes()),
    ])
}

pub(super) fn texts() -> Vec<(String, Vec<u8>)> {
    let long = "x".repeat(65);
    let mut files = named([
        ("plain", b"PROD-001"),
        ("encoded", b"a%2Fb%20%F0%9F%8D%8E+c"),
        ("store", b"store-1.north_2"),
        ("nasty-stray-percents", b"100%%4%zz%"),
        ("nasty-overlong", b"%C0%AF%ff"),
        ("nasty-separator", b"a%1Fb%00%7f%C2%85"),
        ("nasty-blanks", b"%C2%A0a+%E2%80%A8"),
        ("nasty-cut-in-a-character", "%é%F0%9F%8D".as_bytes()),
        ("nasty-dots", b"..%2f..%5c.hidden"),
    ]);
    files.push(("nasty-long".to_owned(), long.into_bytes()));
    files
}

pub(super) fn imports() -> Vec<(String, Vec<u8>)> {
    let sample = fixture("sample-items.csv");
    let lines = sample.split_inclusive(|byte| *byte == b'\n').take(8);
    let sample: Vec<u8> = lines.flatten().copied().collect();
    let mut files = named([
        ("sample-items.csv", &sample),
        (
            "movements.csv",
            b"sku,op,quantity,reason,reference,occurredAt\nA,sell,2,,basket-7,2026-11-20T10:00:00Z\nA,adjust,-3,damage,,\nA,adjust,1,,,\nB,return,1,too big,,\n",
        ),
        (
            "movements.ndjson",
            b"{\"sku\":\"A\",\"op\":\"sell\",\"quantity\":2,\"reference\":\"basket-7\",\"occurredAt\":\"2026-11-20T10:00:00Z\"}\n\n{\"sku\":\"A\",\"op\":\"adjust\",\"quantity\":-3,\"reason\":\"damage\"}\n",
        ),
        (
            "items.ndjson",
            b"{\"sku\":\"A\",\"stock\":1,\"name\":\"Mug\",\"unit\":null,\"reorderPoint\":0,\"safetyStock\":\"7\"}\r\n",
        ),
        (
            "nasty-csv",
            b"\xef\xbb\xbfsku, stock ,stock\n\"A\"\"\n,1,2\n,,\n\xff,1,1\n\"never closed,1\n",
        ),
        (
            "nasty.ndjson",
            b"{\"sku\":\"A\",\"sku\":\"B\",\"op\":\"sell\",\"quantity\":9007199254740993}\nnull\n[1]\n{\"op\":\"sell\",\"quantity\":1.5,\"occurredAt\":\"noon\"}\n{\"sku\":\"\\ud800\"}\n{}",
        ),
        (
            "nasty-control-characters.ndjson",
            br#"{"sku":"A","op":"sell","quantity":1,"reference":"a\u0001b"}"#,
        ),
        ("nasty-empty", b""),
    ]);
    files.extend(broken_rules());
    files
}

/// Lines that are right but for one rule of one text: a reader that forgets the rule takes the line,
/// and the batch endpoint doesn't.
fn broken_rules() -> Vec<(String, Vec<u8>)> {
    let item_texts = [
        ("name", NAME_BYTES_MAX),
        ("category", NAME_BYTES_MAX),
        ("location", NAME_BYTES_MAX),
        ("unit", UNIT_BYTES_MAX),
    ];
    let (mut items, mut movements) = (Vec::new(), Vec::new());
    for (name, most) in item_texts {
        for text in ["\u{1}a".to_owned(), "\u{a0}".to_owned(), "x".repeat(most + 1)] {
            items.push(json!({ "sku": "A", "stock": 1, name: text }));
        }
    }
    for name in ["reason", "reference"] {
        for text in ["a\u{7f}".to_owned(), " ".to_owned(), "x".repeat(REFERENCE_BYTES_MAX + 1)] {
            movements.push(json!({ "sku": "A", "op": "sell", "quantity": 1, name: text }));
        }
    }
    let lines = |rows: &[serde_json::Value]| {
        rows.iter().flat_map(|row| format!("{row}\n").into_bytes()).collect::<Vec<u8>>()
    };
    vec![
        ("nasty-item-texts.ndjson".to_owned(), lines(&items)),
        ("nasty-movement-texts.ndjson".to_owned(), lines(&movements)),
        (
            "nasty-texts.csv".to_owned(),
            b"sku,stock,name,unit\nA,1,a\x01b,\nA,1,,\x85\nA,1, ,\nA,1,,\xc2\x85\n".to_vec(),
        ),
    ]
}
