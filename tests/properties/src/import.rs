//! Files of `store-node import`, CSV and NDJSON, items and movements. The input is the file.
//!
//! A line that the reader takes must be one that the batch endpoint takes, as the same command:
//! import into a running node and offline would otherwise differ.

use std::fs;

use shared::wire::node::batch::parse_batch;
use store_node::ops::import::{FileFormat, ImportLine, Kind, LineReader};

use crate::bound::Bound;

/// Buffers of the readers, and a line's fields and errors: the shortest field is five bytes
/// (`"":0,`) and its error some hundred.
const BOUND: Bound = Bound { fixed_bytes: 256 << 10, per_byte: 256 };
/// The lines that are sent through the batch endpoint's parser, of each reading.
const LINES_MAX: usize = 50;

/// Reads the file in every way that it can be read.
pub fn check(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("there is room for a scratch file");
    fs::write(file.path(), bytes).expect("there is room for a scratch file");
    for format in [FileFormat::Csv, FileFormat::Ndjson] {
        for kind in [None, Some(Kind::Items), Some(Kind::Movements)] {
            let read = || LineReader::open(file.path(), Some(format), kind).ok().map(read_lines);
            if let Some(lines) = BOUND.hold("an import", bytes.len(), read) {
                check_lines(&lines);
            }
        }
    }
}

fn read_lines(mut reader: LineReader) -> Vec<ImportLine> {
    let (mut lines, mut last) = (Vec::new(), 0);
    while let Some(line) = reader.next_line().expect("the disk works") {
        match line {
            Ok(line) => {
                assert!(line.number >= last, "lines are counted upwards");
                last = line.number;
                if lines.len() < LINES_MAX {
                    lines.push(line);
                }
            }
            Err(errors) => assert!(!errors.is_empty(), "a line is refused without a word"),
        }
    }
    assert!(reader.bytes_read() <= reader.bytes_total());
    lines
}

fn check_lines(lines: &[ImportLine]) {
    if lines.is_empty() {
        return;
    }
    let operations: Vec<_> = lines.iter().map(|line| &line.operation).collect();
    let body = serde_json::json!({ "atomic": false, "operations": operations }).to_string();
    let batch = parse_batch(body.as_bytes()).expect("a batch of good lines");
    for (line, parsed) in lines.iter().zip(&batch.lines) {
        match parsed {
            Err(invalid) => panic!("the batch refuses {}: {:?}", line.operation, invalid.errors),
            Ok(operation) => assert_eq!(
                (operation.command(), operation.context()),
                (line.command.clone(), line.context.clone()),
                "{}",
                line.operation
            ),
        }
    }
}
