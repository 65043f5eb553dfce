//! Whether what a service holds agrees with what its callers were told. It must never be lenient:
//! an acknowledged sale that is missing, one that counts twice, a version given out twice are each
//! an error of their own.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::http::Client;

/// One sale of one unit and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The item.
    pub sku: String,
    /// The idempotency key, if it had one.
    pub key: Option<String>,
    /// What the caller was told.
    pub outcome: Outcome,
}

/// What a caller was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done and durable.
    Acknowledged {
        /// The item's version after it.
        version: u64,
        /// Its event's seq.
        seq: u64,
        /// The whole answer.
        body: String,
    },
    /// No answer, or one that says so.
    Unknown,
    /// It was refused and must have no effect.
    Refused {
        /// The status.
        status: u16,
        /// The error's name.
        error: String,
    },
}

/// One item at the end, as the service shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Units on hand.
    pub stock: u64,
    /// Units sold.
    pub sold: u64,
    /// Its version.
    pub version: u64,
}

/// All items of a node.
pub async fn found(client: &Client) -> Result<BTreeMap<String, Found>> {
    let rows = client.list_all("/api/inventory").await?;
    rows.iter().map(found_row).collect()
}

fn found_row(row: &Value) -> Result<(String, Found)> {
    let number = |field: &str| row[field].as_u64().with_context(|| format!("no {field} in {row}"));
    let sku = row["sku"].as_str().with_context(|| format!("no sku in {row}"))?;
    let found =
        Found { stock: number("stock")?, sold: number("sold")?, version: number("version")? };
    Ok((sku.to_owned(), found))
}

/// Fails with everything that doesn't agree. The items were created with `opening` units each and
/// only sold one by one since.
pub fn check(attempts: &[Attempt], opening: u64, found: &BTreeMap<String, Found>) -> Result<()> {
    let faults = faults(attempts, opening, found);
    if faults.is_empty() {
        return Ok(());
    }
    bail!("{} faults:\n  {}", faults.len(), faults.join("\n  "));
}

fn faults(attempts: &[Attempt], opening: u64, found: &BTreeMap<String, Found>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seqs: HashMap<u64, &Attempt> = HashMap::new();
    let mut versions: HashMap<(&str, u64), &Attempt> = HashMap::new();
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for attempt in attempts {
        let (acknowledged, unknown) = counts.entry(&attempt.sku).or_default();
        match &attempt.outcome {
            Outcome::Refused { .. } => {}
            Outcome::Unknown => *unknown += 1,
            Outcome::Acknowledged { version, seq, .. } => {
                *acknowledged += 1;
                if let Some(other) = seqs.insert(*seq, attempt) {
                    faults.push(format!("seq {seq} was given to {other:?} and {attempt:?}"));
                }
                if let Some(other) = versions.insert((&attempt.sku, *version), attempt) {
                    faults
                        .push(format!("version {version} was given to {other:?} and {attempt:?}"));
                }
                let last = found.get(&attempt.sku).map_or(0, |item| item.version);
                if *version > last {
                    faults.push(format!("{attempt:?} is beyond the last version {last}"));
                }
            }
        }
    }
    for (sku, (acknowledged, unknown)) in counts {
        let Some(item) = found.get(sku) else {
            faults.push(format!("{sku} is gone"));
            continue;
        };
        let most = acknowledged + unknown;
        if !(acknowledged..=most).contains(&item.sold) {
            faults.push(format!(
                "{sku}: {} sold, but {acknowledged} were acknowledged and {unknown} are unknown",
                item.sold
            ));
        }
        if item.stock + item.sold != opening {
            faults.push(format!("{sku}: {item:?} doesn't add up to {opening}"));
        }
        // One event created it, each sale is one more.
        if item.version != item.sold + 1 {
            faults.push(format!("{sku}: {item:?} has a gap in its versions"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sale(seq: u64, version: u64) -> Attempt {
        Attempt {
            sku: "x".into(),
            key: None,
            outcome: Outcome::Acknowledged { version, seq, body: String::new() },
        }
    }

    fn holding(stock: u64, sold: u64, version: u64) -> BTreeMap<String, Found> {
        let item = Found { stock, sold, version };
        BTreeMap::from([("x".to_owned(), item)])
    }

    #[test]
    fn agreement_passes_and_every_planted_fault_is_caught() {
        let unknown = Attempt { outcome: Outcome::Unknown, ..sale(0, 0) };
        let told = [sale(2, 2), sale(3, 3), unknown];
        assert!(check(&told, 10, &holding(8, 2, 3)).is_ok());
        assert!(check(&told, 10, &holding(7, 3, 4)).is_ok(), "the unknown one happened");
        let planted = [
            ("a lost sale", told.to_vec(), holding(9, 1, 2)),
            ("a doubled sale", told.to_vec(), holding(6, 4, 5)),
            ("stock from nowhere", told.to_vec(), holding(9, 2, 3)),
            ("a version gap", told.to_vec(), holding(8, 2, 5)),
            ("the item is gone", told.to_vec(), BTreeMap::new()),
            ("a seq twice", vec![sale(2, 2), sale(2, 3)], holding(8, 2, 3)),
            ("a version twice", vec![sale(2, 2), sale(3, 2)], holding(8, 2, 3)),
        ];
        for (what, told, found) in planted {
            assert!(check(&told, 10, &found).is_err(), "{what}");
        }
    }
}
