//! Tests of parsing import files. They must never need a node.

use std::io::Write;

use super::*;
use shared::Action;

fn read(name: &str, content: &str) -> Vec<Result<ImportLine, Vec<LineError>>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::File::create(&path).unwrap().write_all(content.as_bytes()).unwrap();
    let mut reader = LineReader::open(&path, None, None).unwrap();
    std::iter::from_fn(|| reader.next_line().unwrap()).collect()
}

fn messages(lines: &[Result<ImportLine, Vec<LineError>>]) -> Vec<String> {
    lines.iter().filter_map(|line| line.as_ref().err()).flatten().map(ToString::to_string).collect()
}

#[test]
fn items_of_a_csv_become_creations() {
    let lines = read(
        "items.csv",
        "sku,name,category,location,unit,stock,reorderPoint,safetyStock\n\
         A 1,\"Mug, blue\",kitchen,W-1,each,100,5,\n\
         B/2,,,,,0,,3\n",
    );
    let [Ok(first), Ok(second)] = &lines[..] else { panic!("{:?}", messages(&lines)) };
    assert_eq!((first.number, second.number), (2, 3));
    let expected = serde_json::json!({
        "op": "create", "sku": "A 1", "stock": 100, "name": "Mug, blue", "category": "kitchen",
        "location": "W-1", "unit": "each", "reorderPoint": 5
    });
    assert_eq!(first.operation, expected);
    let Action::Create(new) = &second.command.action else { panic!("a creation") };
    assert_eq!((new.stock.get(), new.safety_stock.get(), new.reorder_point), (0, 3, None));
}

#[test]
fn movements_of_both_formats_become_the_same_commands() {
    let csv = read(
        "m.csv",
        "sku,op,quantity,reason,reference,occurredAt\n\
         A,sell,2,,basket-7,2026-11-20T10:00:00Z\n\
         A,adjust,-3,damage,,\n",
    );
    let ndjson = read(
        "m.ndjson",
        "{\"sku\":\"A\",\"op\":\"sell\",\"quantity\":2,\"reference\":\"basket-7\",\"occurredAt\":\"2026-11-20T10:00:00Z\"}\n\
         \n\
         {\"sku\":\"A\",\"op\":\"adjust\",\"quantity\":-3,\"reason\":\"damage\"}\n",
    );
    let shape = |lines: &[Result<ImportLine, Vec<LineError>>]| -> Vec<_> {
        let line = |line: &ImportLine| {
            (line.command.clone(), line.context.clone(), line.operation.clone())
        };
        lines.iter().map(|read| line(read.as_ref().unwrap())).collect()
    };
    assert_eq!(shape(&csv), shape(&ndjson));
    assert_eq!(ndjson[1].as_ref().unwrap().number, 3);
}

#[test]
fn everything_wrong_is_told_at_once() {
    let lines = read(
        "m.ndjson",
        "{\"sku\":\" A\",\"op\":\"sell\",\"quantity\":0,\"bogus\":1}\n\
         not json\n\
         {\"sku\":\"A\",\"op\":\"steal\",\"quantity\":1}\n\
         {\"sku\":\"A\",\"op\":\"adjust\",\"quantity\":0,\"reason\":\"mice\"}\n\
         {\"op\":\"sell\",\"quantity\":1.5,\"occurredAt\":\"noon\"}\n\
         {\"sku\":\"A\",\"sku\":\"B\",\"op\":\"sell\",\"quantity\":9007199254740993}\n",
    );
    let expected = [
        "line 1: bogus is not a field; known are sku, op, quantity, reason, reference, occurredAt",
        "line 1: sku must not begin or end with white space",
        "line 1: quantity must be 1 to 9007199254740992, is 0",
        "line 2 is not a JSON object: expected ident at line 1 column 2",
        "line 3: op must be receive, sell, return or adjust, is \"steal\"",
        "line 4: quantity must not be 0",
        "line 4: reason must be damage, theft, found, correction, expired or other, is \"mice\"",
        "line 5: sku is missing",
        "line 5: occurredAt must be an RFC 3339 time such as 2026-11-21T10:00:00.000000Z",
        "line 5: quantity must be a whole number, is 1.5",
        "line 6: sku is there twice",
        "line 6: quantity must be 1 to 9007199254740992, is 9007199254740993",
    ];
    assert_eq!(messages(&lines), expected);
}

#[test]
fn texts_follow_the_rules_of_the_api() {
    let unit = "x".repeat(33);
    let text = format!("sku,name,location,unit,stock\nA,Mug,\u{a0} ,{unit},1\nB,a\u{1}b,,,1\n");
    let expected = [
        "line 2: location must not be blank: leave it out, or send null, for none",
        "line 2: unit must be at most 32 bytes, is 33",
        "line 3: name must not contain control characters, has U+0001",
    ];
    assert_eq!(messages(&read("items.csv", &text)), expected);
}

#[test]
fn a_ragged_csv_names_its_lines() {
    let lines = read("items.csv", "sku,stock\nA,1\nB\nC,1,2\nD,x\n");
    let expected = [
        "line 3 has 1 fields, the header 2",
        "line 4 has 3 fields, the header 2",
        "line 5: stock must be a whole number, is \"x\"",
    ];
    assert_eq!(messages(&lines), expected);
}

#[test]
fn a_line_has_a_longest_length_in_both_formats() {
    const BYTES_MAX: usize = 64 << 10;
    let long = "x".repeat(BYTES_MAX);
    let csv = format!("sku,stock\nA,1\n{long},1\nB,2\n\"C{long}\n{long}\n");
    let too_long = "is longer than 65536 bytes";
    let reads_on = "(a quote that isn't closed reads on)";
    let lines = read("items.csv", &csv);
    let expected =
        [format!("line 3 {too_long} {reads_on}"), format!("line 5 {too_long} {reads_on}")];
    assert_eq!(messages(&lines), expected);
    let taken: Vec<u64> = lines.iter().flatten().map(|line| line.number).collect();
    assert_eq!(taken, [2, 4], "the lines beside them are read");

    let ndjson = format!("{{\"sku\":\"{long}\"}}\n{{\"sku\":\"A\"}}\n");
    assert_eq!(messages(&read("items.ndjson", &ndjson)), [format!("line 1 {too_long}")]);

    // The longest that fits is told what is wrong with it, and only that.
    let fits = format!("sku,stock\n{},1\n", &long[1..]);
    assert_eq!(
        messages(&read("items.csv", &fits)),
        ["line 2: sku must be at most 64 bytes of UTF-8, is 65535"]
    );
}

#[test]
fn a_csv_of_too_many_fields_or_a_header_without_end_is_refused() {
    let wide = format!("sku,stock\nA{}\nB,1\n", ",".repeat(3000));
    assert_eq!(messages(&read("items.csv", &wide)), ["line 2 has more than 1024 fields"]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("items.csv");
    std::fs::write(&path, format!("\"sku{}", "x".repeat(70_000))).unwrap();
    let Err(error) = LineReader::open(&path, None, None) else { panic!("a header of 70 kB") };
    assert!(error.to_string().contains("line 1 is longer than 65536 bytes"), "{error}");
}
