//! Refused bodies: each with all of its errors, in order; and both paths agreeing.

use garde::Validate as _;
use proptest::prelude::*;

use super::*;
use crate::wire::node::items::{CreateBody, UpdateBody};
use crate::wire::node::movements::{AdjustBody, SellBody};
use crate::wire::node::reservations::ReserveBody;

fn errors_of<'a, T>(body: &'a str) -> Vec<String>
where
    T: Deserialize<'a> + garde::Validate<Context = ()> + std::fmt::Debug,
{
    match parse::<T>(body.as_bytes()) {
        Err(BodyError::Invalid(errors)) => errors
            .into_iter()
            .map(|error| format!("{} {}: {}", error.pointer, error.code, error.message))
            .collect(),
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn lists_all_errors_values_first() {
    assert_eq!(
        errors_of::<SellBody<'_>>(r#"{"bogus":1,"quantity":0,"note":5,"fact":true,"bogus":2}"#),
        [
            "#/quantity min: must be at least 1",
            "#/note type: must be a text",
            "#/bogus unknown_field: is not a field of sell",
            "#/fact unknown_field: is not a field of sell",
            "#/bogus unknown_field: is not a field of sell",
        ]
    );
}

#[test]
fn names_the_rule_of_each_bad_quantity() {
    let cases = [
        ("0", "min: must be at least 1"),
        ("-1", "min: must be at least 1"),
        ("-0", "min: must be at least 1"),
        ("9007199254740993", "max: must be at most 9007199254740992"),
        ("99999999999999999999999", "max: must be at most 9007199254740992"),
        ("-99999999999999999999999", "min: must be at least 1"),
        ("1.0", "type: must be an integer"),
        ("1.5", "type: must be an integer"),
        ("1e3", "type: must be an integer"),
        ("1E400", "type: must be an integer"),
        ("\"5\"", "type: must be an integer"),
        ("null", "type: must be an integer"),
        ("true", "type: must be an integer"),
        ("[1]", "type: must be an integer"),
        ("{}", "type: must be an integer"),
    ];
    for (quantity, expected) in cases {
        let body = format!("{{\"quantity\":{quantity}}}");
        assert_eq!(errors_of::<SellBody<'_>>(&body), [format!("#/quantity {expected}")], "{body}");
    }
    let huge = format!("{{\"quantity\":1{}}}", "0".repeat(400));
    let expected = "#/quantity max: must be at most 9007199254740992";
    assert_eq!(errors_of::<SellBody<'_>>(&huge), [expected]);
    let good = parse::<SellBody<'_>>(br#"{"quantity":9007199254740992}"#).unwrap();
    assert_eq!(good.quantity, 1 << 53);
}

#[test]
fn tells_missing_repeated_and_wrong_fields_apart() {
    assert_eq!(
        errors_of::<ReserveBody<'_>>(r#"{"quantity":1,"quantity":2}"#),
        ["#/orderId required: is required", "#/quantity duplicate_field: is given more than once",]
    );
    assert_eq!(
        errors_of::<ReserveBody<'_>>(
            r#"{"orderId":"","quantity":1,"expiresInSeconds":0,"a/b~c":1}"#
        ),
        [
            "#/orderId min_length: must not be empty",
            "#/expiresInSeconds min: must be at least 1",
            "#/a~1b~0c unknown_field: is not a field of reserve",
        ]
    );
    assert_eq!(
        errors_of::<AdjustBody<'_>>(r#"{"quantity":0,"reason":"lost","occurredAt":"noon"}"#),
        [
            "#/quantity non_zero: must not be 0",
            "#/reason one_of: must be one of damage, theft, found, correction, expired, other",
            "#/occurredAt time: must be an RFC 3339 time such as 2026-11-21T10:00:00.000000Z",
        ]
    );
    assert_eq!(
        errors_of::<UpdateBody<'_>>(r#"{"active":false,"name":7,"expectedVersion":0}"#),
        [
            "#/active unsupported: can only be true here: DELETE the item to deactivate it",
            "#/name type: must be a text",
            "#/expectedVersion min: must be at least 1",
        ]
    );
    for body in ["[]", "5", "null", "\"x\""] {
        assert_eq!(errors_of::<SellBody<'_>>(body), ["# type: must be an object"]);
    }
}

#[test]
fn long_texts_name_their_bound_in_bytes() {
    let body = format!(
        r#"{{"sku":"A","stock":-1,"name":"{}","unit":"{}"}}"#,
        "x".repeat(257),
        "é".repeat(17)
    );
    assert_eq!(
        errors_of::<CreateBody<'_>>(&body),
        [
            "#/stock min: must be at least 0",
            "#/name max_length: must be at most 256 bytes",
            "#/unit max_length: must be at most 32 bytes",
        ]
    );
}

#[test]
fn patches_keep_null_and_absence_apart() {
    let patch = parse::<UpdateBody<'_>>(br#"{"name":null,"category":"x"}"#).unwrap();
    assert_eq!(patch.name, Patch::Clear);
    assert_eq!(patch.category, Patch::Set("x".into()));
    assert_eq!(patch.location, Patch::Keep);
}

#[test]
fn broken_json_is_malformed_whatever_else_is_wrong() {
    let deep = format!("{{\"bogus\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: Vec<(&[u8], &str)> = vec![
        (b"", "the body is empty"),
        (b"{", "EOF while parsing an object at line 1 column 1"),
        (b"{\"quantity\":1}}", "trailing characters at line 1 column 15"),
        (b"{\"quantity\":01}", "invalid number at line 1 column 14"),
        (b"{\"bogus\":\"\xff\"}", "invalid unicode code point at line 1 column 11"),
        (b"\xff\xfe", "expected value at line 1 column 1"),
        (deep.as_bytes(), "nested deeper than 32 levels"),
    ];
    for (body, expected) in cases {
        let error = parse::<SellBody<'_>>(body).unwrap_err();
        let BodyError::Malformed(detail) = error else { panic!("{expected}: {error:?}") };
        assert_eq!(detail, expected);
    }
    let lone_surrogate = br#"{"quantity":1,"note":"\ud800"}"#;
    assert!(matches!(parse::<SellBody<'_>>(lone_surrogate), Err(BodyError::Malformed(_))));
}

#[test]
fn both_looks_accept_the_same_bodies() {
    let bodies = [
        r#"{"orderId":"o","quantity":1}"#,
        r#" { "expiresInSeconds" : null , "quantity" : 3 , "orderId" : "\u00e9" , "note" : "a\nb" } "#,
        r#"{"orderId":"o","quantity":9007199254740992,"expiresInSeconds":315576000,"reference":"r","reason":null,"occurredAt":"2026-11-21T10:00:00+01:00","expectedVersion":1}"#,
    ];
    for body in bodies {
        let fast = serde_json::from_str::<ReserveBody<'_>>(body).unwrap();
        let collector = Collector::default();
        let node = Node::present(body.trim(), "#".to_owned(), &collector);
        let slow = collect_value::<ReserveBody<'_>>(node).unwrap();
        assert_eq!(collector.finish(), Ok(Vec::new()));
        assert_eq!(fast, slow);
    }
}

/// JSON that is nearly a reserve body.
fn near_miss() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "orderId",
        "quantity",
        "expiresInSeconds",
        "reason",
        "note",
        "occurredAt",
        "expectedVersion",
        "bogus",
    ]);
    let value = prop::sample::select(vec![
        "1",
        "0",
        "-1",
        "9007199254740993",
        "1e3",
        "\"o\"",
        "\"\"",
        "null",
        "true",
        "[]",
        "{}",
        "\"2026-11-21T10:00:00Z\"",
        "\"\\u00e9\"",
        "1.5",
        "\"\\ud800\"",
        "[[1]]",
        "01",
    ]);
    let member = (key, value).prop_map(|(key, value)| format!("\"{key}\":{value}"));
    prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",")))
}

proptest! {
    #[test]
    fn both_looks_agree_on_anything_near_a_body(body in near_miss()) {
        let fast = serde_json::from_str::<ReserveBody<'_>>(&body).ok();
        let fast = fast.filter(|value| value.validate().is_ok());
        match parse::<ReserveBody<'_>>(body.as_bytes()) {
            Ok(value) => prop_assert_eq!(Some(value), fast),
            Err(BodyError::Invalid(errors)) => {
                prop_assert!(fast.is_none());
                prop_assert!(!errors.is_empty());
                prop_assert!(errors.iter().all(|error| error.code != "invalid"), "{:?}", errors);
            }
            Err(BodyError::Malformed(_)) => prop_assert!(fast.is_none()),
        }
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse::<ReserveBody<'_>>(&bytes).is_err());
    }
}
