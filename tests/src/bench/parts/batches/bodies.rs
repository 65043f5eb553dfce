//! The bodies that P3 posts: the same movements in each form. The compact one is written from
//! `docs/batches.md`, not by the product's own code.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::http::Client;

/// Lines of a body.
pub(super) const LINES: usize = 8_000;
/// SKUs the movements are spread over.
pub(super) const SKUS: usize = 10_000;
/// Different bodies, posted in turn.
const BODIES: usize = 4;
const SEED: u64 = 20_261_121;

/// One way to send a batch.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) name: &'static str,
    pub(super) media_type: &'static str,
    write: fn(&[Movement]) -> Vec<u8>,
    /// How many lines an answer says were applied.
    applied: fn(&[u8]) -> Option<u64>,
}

/// The forms, JSON first.
pub(super) const FORMS: &[Form] = &[
    Form { name: "json", media_type: "application/json", write: json, applied: json_applied },
    Form {
        name: "ndjson",
        media_type: "application/x-ndjson",
        write: lines,
        applied: lines_applied,
    },
    Form {
        name: "compact",
        media_type: "application/vnd.onhand.batch.v1",
        write: compact,
        applied: compact_applied,
    },
];

/// A delivery or a sale of a few units.
#[derive(Debug, Clone)]
pub(in crate::bench::parts) struct Movement {
    pub(in crate::bench::parts) is_sale: bool,
    pub(in crate::bench::parts) sku: String,
    pub(in crate::bench::parts) quantity: u8,
}

/// Bodies on disk, for wrk to read.
pub(super) struct Bodies {
    directory: PathBuf,
}

impl Bodies {
    /// Writes every form of every body.
    pub(super) fn write(directory: &Path) -> Result<Self> {
        let mut dice = fastrand::Rng::with_seed(SEED);
        for number in 0..BODIES {
            let mut movement = || Movement {
                is_sale: dice.bool(),
                sku: format!("SKU-{:05}", dice.usize(..SKUS)),
                quantity: dice.u8(1..10),
            };
            let movements: Vec<Movement> = (0..LINES).map(|_| movement()).collect();
            for form in FORMS {
                let path = file(directory, form, number);
                std::fs::write(&path, (form.write)(&movements))
                    .with_context(|| format!("writing {}", path.display()))?;
            }
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// The files of a form.
    pub(super) fn files(&self, form: &Form) -> Vec<String> {
        let path = |number| file(&self.directory, form, number).display().to_string();
        (0..BODIES).map(path).collect()
    }

    /// Posts the first body once; how many of its lines were applied.
    pub(super) async fn post_once(&self, form: &Form, client: &Client) -> Result<u64> {
        let body = std::fs::read(file(&self.directory, form, 0))?;
        let reply = client.post_bytes("/api/batch", form.media_type, body).await?.ok()?;
        (form.applied)(&reply.body).context("the answer says how many lines were applied")
    }
}

fn file(directory: &Path, form: &Form, number: usize) -> PathBuf {
    directory.join(format!("{}-body-{number}", form.name))
}

fn json_line(movement: &Movement) -> String {
    let op = if movement.is_sale { "sell" } else { "receive" };
    let Movement { sku, quantity, .. } = movement;
    format!(r#"{{"op":"{op}","sku":"{sku}","quantity":{quantity}}}"#)
}

fn json(movements: &[Movement]) -> Vec<u8> {
    let lines: Vec<String> = movements.iter().map(json_line).collect();
    format!(r#"{{"atomic":false,"operations":[{}]}}"#, lines.join(",")).into_bytes()
}

fn lines(movements: &[Movement]) -> Vec<u8> {
    let lines = movements.iter().map(|movement| json_line(movement) + "\n");
    lines.collect::<String>().into_bytes()
}

/// The form in bytes.
pub(in crate::bench::parts) fn compact(movements: &[Movement]) -> Vec<u8> {
    let mut bytes = b"OHBATCH1\0\0\0\0".to_vec();
    bytes.extend_from_slice(&(movements.len() as u32).to_le_bytes());
    for movement in movements {
        let sku = &movement.sku;
        bytes.extend_from_slice(&[if movement.is_sale { 5 } else { 4 }, sku.len() as u8]);
        bytes.extend_from_slice(sku.as_bytes());
        bytes.extend_from_slice(&[1, 0, movement.quantity << 1]);
    }
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn json_applied(answer: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(answer).ok()?["applied"].as_u64()
}

fn lines_applied(answer: &[u8]) -> Option<u64> {
    let last = answer.strip_suffix(b"\n")?.rsplit(|byte| *byte == b'\n').next()?;
    serde_json::from_slice::<Value>(last).ok()?["summary"]["applied"].as_u64()
}

fn compact_applied(answer: &[u8]) -> Option<u64> {
    let count = answer.starts_with(b"OHBATCA1").then(|| answer.get(16..20)).flatten()?;
    Some(u64::from(u32::from_le_bytes(count.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_says_the_same_and_answers_are_counted() {
        let movements = [
            Movement { is_sale: true, sku: "SKU-00007".to_owned(), quantity: 9 },
            Movement { is_sale: false, sku: "SKU-09999".to_owned(), quantity: 1 },
        ];
        let text = String::from_utf8(lines(&movements)).unwrap();
        assert_eq!(
            text,
            "{\"op\":\"sell\",\"sku\":\"SKU-00007\",\"quantity\":9}\n\
             {\"op\":\"receive\",\"sku\":\"SKU-09999\",\"quantity\":1}\n"
        );
        let batch: Value = serde_json::from_slice(&json(&movements)).unwrap();
        assert_eq!(batch["operations"][1]["sku"], "SKU-09999");
        let bytes = compact(&movements);
        assert_eq!(bytes[16..30], *b"\x05\x09SKU-00007\x01\x00\x12");
        assert_eq!(bytes.len(), 16 + 2 * 14 + 4);
        assert_eq!(json_applied(br#"{"applied":3}"#), Some(3));
        assert_eq!(lines_applied(b"{}\n{\"summary\":{\"applied\":4}}\n"), Some(4));
        assert_eq!(lines_applied(b"{}\n{}"), None);
        let answer = [&b"OHBATCA1"[..], &[0; 8], &[5, 0, 0, 0]].concat();
        assert_eq!(compact_applied(&answer), Some(5));
        assert_eq!(compact_applied(&answer[..18]), None);
    }
}
