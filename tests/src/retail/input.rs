//! The two data sets as rows with one meaning. It must never drop a row: one that can't be applied
//! says why.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use shared::sku::Sku;

/// Which data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataSet {
    /// Grocery receipts of many stores.
    CompleteJourney,
    /// One merchant's invoices, with cancellations and stock adjustments.
    OnlineRetail,
}

/// Where a data set is read from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file: `.csv` or `.csv.zst`.
    pub path: PathBuf,
    /// Whether it is the repository's own generated sample.
    pub is_sample: bool,
}

/// One row of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The data row's number in the file, from 1, the header not counted.
    pub number: u64,
    /// The store.
    pub store: String,
    /// The receipt or invoice.
    pub basket: String,
    /// The SKU, exactly as it stands in the file.
    pub sku: String,
    /// The item's name, where the data set has one.
    pub name: Option<String>,
    /// When it happened, RFC 3339.
    pub at: String,
    /// What it does to the stock, or why it can't.
    pub movement: Result<Movement, SkipReason>,
}

/// What a row does to the stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Movement {
    /// So many sold.
    Sell(u64),
    /// So many brought back.
    Return(u64),
    /// So many found (positive) or damaged and lost (negative).
    Adjust(i64),
}

/// Why a row can't be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// Nothing was moved.
    ZeroQuantity,
    /// The code is no SKU: empty, too long, or with white space around it.
    InvalidSku,
}

impl SkipReason {
    /// The reason as the reports and the SQL scripts name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroQuantity => "zero-quantity",
            Self::InvalidSku => "invalid-sku",
        }
    }
}

impl DataSet {
    /// The name used in tables and file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::CompleteJourney => "complete-journey",
            Self::OnlineRetail => "online-retail",
        }
    }

    /// The file in the data folder, or the repository's sample with the same columns if that file
    /// isn't there.
    pub fn source(self, data_folder: &Path, samples: &Path) -> Source {
        let file = match self {
            Self::CompleteJourney => "complete_journey_tx.csv.zst",
            Self::OnlineRetail => "online_retail_2010_2011.csv.zst",
        };
        let path = data_folder.join(file);
        if path.exists() {
            return Source { path, is_sample: false };
        }
        Source { path: samples.join(format!("sample-{}.csv", self.name())), is_sample: true }
    }

    /// All rows, in the file's order.
    pub fn read(self, path: &Path) -> Result<Vec<Row>> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let reader: Box<dyn Read> = if is_compressed(path) {
            Box::new(zstd::Decoder::new(file).context("reading zstd")?)
        } else {
            Box::new(BufReader::new(file))
        };
        let rows = match self {
            Self::CompleteJourney => read_rows(reader, complete_journey_row),
            Self::OnlineRetail => read_rows(reader, online_retail_row),
        }
        .with_context(|| format!("reading {}", path.display()))?;
        ensure!(!rows.is_empty(), "{} has no rows", path.display());
        Ok(rows)
    }
}

/// Whether a file's name says that it is packed with zstd.
pub fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|suffix| suffix == "zst")
}

/// A line of `store_id,basket_id,product_id,quantity,sales_value,timestamp`.
#[derive(Debug, Deserialize)]
struct CompleteJourneyLine {
    store_id: String,
    basket_id: String,
    product_id: String,
    quantity: u64,
    timestamp: String,
}

/// A line of `invoice,stock_code,description,quantity,invoice_date,unit_price,customer_id,country`.
#[derive(Debug, Deserialize)]
struct OnlineRetailLine {
    invoice: String,
    stock_code: String,
    description: String,
    quantity: i64,
    invoice_date: String,
    unit_price: f64,
    customer_id: String,
}

fn read_rows<L: for<'a> Deserialize<'a>>(
    reader: impl Read,
    row: impl Fn(u64, L) -> Row,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (line, number) in csv::Reader::from_reader(reader).deserialize().zip(1..) {
        rows.push(row(number, line?));
    }
    Ok(rows)
}

fn complete_journey_row(number: u64, line: CompleteJourneyLine) -> Row {
    let movement = match line.quantity {
        0 => Err(SkipReason::ZeroQuantity),
        quantity => checked(&line.product_id, Movement::Sell(quantity)),
    };
    Row {
        number,
        store: line.store_id,
        basket: line.basket_id,
        sku: line.product_id,
        name: None,
        at: line.timestamp,
        movement,
    }
}

/// A cancelled invoice (`C…`) is a return. What else is negative is a stock adjustment (all such
/// rows have price 0 and no customer: damages, "missing", "thrown away"). What is positive at price
/// 0 *without* a customer is one too ("found", "check"); *with* a customer it was given away and
/// left the shelf like a sale. Everything else, whatever its code, is a sale.
fn online_retail_row(number: u64, line: OnlineRetailLine) -> Row {
    let quantity = line.quantity;
    let movement = if quantity == 0 {
        Err(SkipReason::ZeroQuantity)
    } else if line.invoice.starts_with('C') && quantity < 0 {
        checked(&line.stock_code, Movement::Return(quantity.unsigned_abs()))
    } else if quantity < 0 || (line.unit_price == 0.0 && line.customer_id.is_empty()) {
        checked(&line.stock_code, Movement::Adjust(quantity))
    } else {
        checked(&line.stock_code, Movement::Sell(quantity.unsigned_abs()))
    };
    let name = line.description.trim();
    Row {
        number,
        store: "online".to_owned(),
        basket: line.invoice,
        sku: line.stock_code,
        name: (!name.is_empty()).then(|| name.to_owned()),
        at: format!("{}Z", line.invoice_date),
        movement,
    }
}

fn checked(sku: &str, movement: Movement) -> Result<Movement, SkipReason> {
    Sku::new(sku).map(|_| movement).map_err(|_| SkipReason::InvalidSku)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn online(invoice: &str, code: &str, quantity: i64, price: f64, customer: &str) -> Row {
        online_retail_row(
            1,
            OnlineRetailLine {
                invoice: invoice.into(),
                stock_code: code.into(),
                description: " MUG ".into(),
                quantity,
                invoice_date: "2010-12-01T08:26:00".into(),
                unit_price: price,
                customer_id: customer.into(),
            },
        )
    }

    #[test]
    fn every_kind_of_row_has_one_meaning() {
        let cases = [
            (online("536365", "85123A", 6, 2.55, "17850"), Ok(Movement::Sell(6))),
            (online("536365", "m", 6, 0.0, "17850"), Ok(Movement::Sell(6))),
            (online("536414", "22139", 56, 0.0, ""), Ok(Movement::Adjust(56))),
            (online("536589", "21777", -10, 0.0, ""), Ok(Movement::Adjust(-10))),
            (online("C536379", "D", -1, 27.5, "14527"), Ok(Movement::Return(1))),
            (online("536365", "POST", 0, 1.0, ""), Err(SkipReason::ZeroQuantity)),
            (online("536365", "a ", 1, 1.0, ""), Err(SkipReason::InvalidSku)),
        ];
        for (row, movement) in cases {
            assert_eq!(row.movement, movement, "{row:?}");
            assert_eq!(row.at, "2010-12-01T08:26:00Z");
            assert_eq!(row.name.as_deref(), Some("MUG"));
        }
    }
}
