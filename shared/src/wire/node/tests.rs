//! Batches: lines in any member order, each line with its own errors.

use super::batch::{BATCH_LINES_MAX, Batch, Operation, parse_batch};
use crate::command::Action;
use crate::wire::body::BodyError;

fn parse(body: &str) -> Batch<'_> {
    parse_batch(body.as_bytes()).unwrap()
}

fn line_errors(batch: &Batch<'_>) -> Vec<String> {
    batch.errors().iter().map(|e| format!("{} {}: {}", e.pointer, e.code, e.message)).collect()
}

#[test]
fn members_may_come_in_any_order() {
    let orders = [
        r#"{"op":"sell","sku":"A","quantity":2,"reference":"r"}"#,
        r#"{"op":"sell","reference":"r","quantity":2,"sku":"A"}"#,
        r#"{"sku":"A","quantity":2,"reference":"r","op":"sell"}"#,
    ];
    for line in orders {
        let body = format!(r#"{{"operations":[{line}],"atomic":true}}"#);
        let batch = parse(&body);
        let Ok(Operation::Sell(sell)) = &batch.lines[0] else { panic!("{line}: {batch:?}") };
        assert_eq!((sell.sku.as_ref(), sell.body.quantity), ("A", 2));
        assert_eq!(batch.lines[0].as_ref().unwrap().context().reference.as_deref(), Some("r"));
    }
}

#[test]
fn every_operation_is_read_by_its_name() {
    let lines = [
        (r#"{"op":"create","sku":"A","stock":1}"#, "create"),
        (r#"{"op":"update","sku":"A","name":null}"#, "update"),
        (r#"{"op":"deactivate","sku":"A","expectedVersion":3}"#, "deactivate"),
        (r#"{"op":"receive","sku":"A","quantity":1}"#, "receive"),
        (r#"{"op":"sell","sku":"A","quantity":1}"#, "sell"),
        (r#"{"op":"return","sku":"A","quantity":1,"restock":false}"#, "return"),
        (r#"{"op":"adjust","sku":"A","quantity":-1,"reason":"damage"}"#, "adjust"),
        (r#"{"op":"reserve","sku":"A","orderId":"o","quantity":1}"#, "reserve"),
        (r#"{"op":"extend","sku":"A","orderId":"o"}"#, "extend"),
        (r#"{"op":"release","sku":"A","orderId":"o"}"#, "release"),
        (r#"{"op":"deduct","sku":"A","orderId":"o","quantity":1}"#, "deduct"),
    ];
    let all: Vec<&str> = lines.iter().map(|(line, _)| *line).collect();
    let body = format!(r#"{{"atomic":false,"operations":[{}]}}"#, all.join(","));
    for (line, (_, name)) in parse(&body).lines.iter().zip(lines) {
        let operation = line.as_ref().unwrap();
        assert_eq!(operation.name(), name);
        assert_eq!(operation.command().sku.as_str(), "A");
        assert_eq!(name == "create", matches!(operation.command().action, Action::Create(_)));
    }
}

#[test]
fn each_bad_line_has_its_own_errors() {
    let body = r#"{"atomic":false,"operations":[
        {"op":"sell","sku":"A","quantity":1},
        {"op":"sell","sku":"A","quantity":0,"orderId":null},
        {"op":"count","sku":"A","counted":1},
        {"sku":" A"},
        7,
        {"op":"create","stock":1,"op":"sell"},
        {"op":"reserve","sku":5,"sku":"B","quantity":1.5}
    ]}"#;
    let batch = parse(body);
    assert!(batch.lines[0].is_ok());
    let skus: Vec<Option<&str>> = batch
        .lines
        .iter()
        .filter_map(|line| line.as_ref().err())
        .map(|line| line.sku.as_ref().map(crate::Sku::as_str))
        .collect();
    assert_eq!(skus, [Some("A"), Some("A"), None, None, None, None]);
    let names = "create, update, deactivate, receive, sell, return, adjust, reserve, extend, release, deduct";
    assert_eq!(
        line_errors(&batch),
        [
            "#/operations/1/quantity min: must be at least 1".to_owned(),
            "#/operations/1/orderId unknown_field: is not a field of sell".to_owned(),
            format!("#/operations/2/op one_of: must be one of {names}"),
            "#/operations/3/op required: is required".to_owned(),
            "#/operations/3/sku outer_white_space: must not begin or end with white space"
                .to_owned(),
            "#/operations/4 type: must be an object".to_owned(),
            "#/operations/5/sku required: is required".to_owned(),
            "#/operations/5/op duplicate_field: is given more than once".to_owned(),
            "#/operations/6/sku type: must be a text".to_owned(),
            "#/operations/6/quantity type: must be an integer".to_owned(),
            "#/operations/6/orderId required: is required".to_owned(),
            "#/operations/6/sku duplicate_field: is given more than once".to_owned(),
        ]
    );
}

#[test]
fn the_frame_of_a_batch_has_errors_of_its_own() {
    let too_many = format!(
        r#"{{"atomic":true,"operations":[{}]}}"#,
        vec!["{}"; BATCH_LINES_MAX + 1].join(",")
    );
    let cases = [
        ("{}", vec!["#/atomic required", "#/operations required"]),
        (
            r#"{"atomic":1,"operations":{},"x":0}"#,
            vec!["#/atomic type", "#/operations type", "#/x unknown_field"],
        ),
        (r#"{"atomic":true,"operations":[]}"#, vec!["#/operations min_items"]),
        (&too_many, vec!["#/operations max_items"]),
    ];
    for (body, expected) in cases {
        let Err(BodyError::Invalid(errors)) = parse_batch(body.as_bytes()) else {
            panic!("{body}")
        };
        let found: Vec<String> =
            errors.iter().map(|e| format!("{} {}", e.pointer, e.code)).collect();
        assert_eq!(found, expected);
    }
}
