//! Generated samples: what the demonstration's stores hold and sell, and small receipt files with
//! the columns and oddities of the real ones. The same every time: it must never ask a clock or
//! the system for randomness.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The sample items, as `store-node import` reads them too.
const ITEMS: &str = include_str!("../../fixtures/sample-items.csv");
const GROCERY_STORES: u64 = 14;
const GROCERY_BASKETS: u64 = 700;
const GROCERY_PRODUCTS: u64 = 60;
const INVOICES: u64 = 260;

/// One item of the sample.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleItem {
    /// The code.
    pub sku: String,
    /// The name.
    pub name: String,
    /// The category.
    pub category: String,
    /// Aisle and shelf.
    pub location: String,
    /// The base unit.
    pub unit: String,
    /// Opening stock in units, the same in every store that has the item.
    pub stock: u64,
    /// When to order more, in units.
    pub reorder_point: u64,
}

/// A small repeatable source of numbers (splitmix64, by S. Vigna, public domain).
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `bound` (at least 1).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// The next number below `bound`, small ones much likelier: as products sell.
    pub fn skewed(&mut self, bound: u64) -> u64 {
        let first = self.below(bound);
        self.below(first + 1)
    }
}

/// All sample items.
pub fn items() -> Result<Vec<SampleItem>> {
    csv::Reader::from_reader(ITEMS.as_bytes())
        .deserialize()
        .map(|item| item.context("reading fixtures/sample-items.csv"))
        .collect()
}

/// What is sent to one store of the demonstration on its first run: its items, then a day's
/// movements, each value the operations of one batch. `number` is the store's, from 0.
pub fn demonstration(number: u64, items: &[SampleItem]) -> Vec<Vec<Value>> {
    let mut numbers = Numbers::new(41 + number);
    // A store doesn't carry everything.
    let carried: Vec<&SampleItem> = items.iter().filter(|_| numbers.below(10) < 9).collect();
    let creates = carried
        .iter()
        .map(|item| {
            json!({"op": "create", "sku": item.sku, "name": item.name, "category": item.category,
                "location": item.location, "unit": item.unit, "stock": item.stock,
                "reorderPoint": item.reorder_point})
        })
        .collect();
    let mut movements = Vec::new();
    for basket in 0..400 {
        let item = carried[numbers.skewed(carried.len() as u64) as usize];
        let quantity = 1 + numbers.below(3);
        let sku = &item.sku;
        movements.push(match numbers.below(20) {
            0 => json!({"op": "receive", "sku": sku, "quantity": 24, "reference": "delivery-17"}),
            1 => json!({"op": "adjust", "sku": sku, "quantity": -1, "reason": "damage"}),
            2 => json!({"op": "return", "sku": sku, "quantity": 1, "reference": "return-3"}),
            3 | 4 => json!({"op": "reserve", "sku": sku, "quantity": quantity,
                "orderId": format!("web-{number}-{basket}")}),
            _ => json!({"op": "sell", "sku": sku, "quantity": quantity,
                "reference": format!("basket-{basket}")}),
        });
    }
    vec![creates, movements]
}

/// Name and content of the generated receipt files in `fixtures/`.
pub fn receipt_files() -> Vec<(&'static str, String)> {
    vec![
        ("sample-complete-journey.csv", complete_journey()),
        ("sample-online-retail.csv", online_retail()),
    ]
}

/// Receipts of a grocery chain: some stores busier than others, popular products, the same product
/// twice in a basket, rows of quantity 0, fuel in thousandths of a gallon.
fn complete_journey() -> String {
    let mut numbers = Numbers::new(2017);
    let mut text = "store_id,basket_id,product_id,quantity,sales_value,timestamp\n".to_owned();
    for basket in 0..GROCERY_BASKETS {
        let store = 300 + 7 * numbers.skewed(GROCERY_STORES * 2).min(GROCERY_STORES - 1);
        let minute = basket * 2;
        let at = format!(
            "2017-01-{:02}T{:02}:{:02}:{:02}Z",
            2 + minute / 720,
            9 + minute % 720 / 60,
            minute % 60,
            numbers.below(60)
        );
        for _ in 0..=numbers.skewed(14) {
            let product = numbers.skewed(GROCERY_PRODUCTS);
            let quantity = match numbers.below(60) {
                0 => 0,
                _ if product == 7 => 4_000 + numbers.below(20_000),
                _ => 1 + numbers.skewed(4),
            };
            let cents = quantity.min(40) * (50 + product * 3);
            let _ = writeln!(
                text,
                "{store},{},{},{quantity},{}.{:02},{at}",
                31_198_570_000 + basket,
                820_000 + product * 97,
                cents / 100,
                cents % 100
            );
        }
    }
    text
}

/// Invoices of one merchant: cancellations, damages, found goods, odd codes, codes that differ only
/// by case, quoted descriptions, a code with white space around it.
fn online_retail() -> String {
    const ODD_CODES: [&str; 7] = ["POST", "M", "m", "BANK CHARGES", "gift_0001_20", "D", "15056bl"];
    let mut numbers = Numbers::new(2010);
    let mut text =
        "invoice,stock_code,description,quantity,invoice_date,unit_price,customer_id,country\n"
            .to_owned();
    for invoice in 0..INVOICES {
        let (kind, lines) = (numbers.below(20), 1 + numbers.skewed(12));
        let (prefix, sign) = match kind {
            0 | 1 => ("C", -1),
            2 => ("", -1),
            _ => ("", 1),
        };
        let adjusts = kind == 2 || kind == 3;
        let customer =
            if adjusts { String::new() } else { (12_346 + numbers.below(400)).to_string() };
        let price = if adjusts { "0.0" } else { "2.55" };
        let at = format!(
            "2010-12-{:02}T{:02}:{:02}:00",
            1 + invoice / 40,
            8 + invoice % 40 / 5,
            invoice % 5 * 12
        );
        for line in 0..lines {
            let code = match numbers.below(40) {
                0 => ODD_CODES[numbers.below(ODD_CODES.len() as u64) as usize].to_owned(),
                1 if invoice == 100 || line == 11 => "85123A ".to_owned(),
                2 => "15056BL".to_owned(),
                _ => format!("{}", 21_000 + numbers.skewed(70) * 13),
            };
            let quantity = sign * (1 + numbers.skewed(24) as i64);
            let _ = writeln!(
                text,
                "{prefix}{},{code},\"SAMPLE \"\"{code}\"\", BOXED\",{quantity},{at},{price},{customer},United Kingdom",
                536_365 + invoice
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_in_fixtures_are_what_is_generated() {
        let folder = crate::world::binaries::repository().join("fixtures");
        for (name, text) in receipt_files() {
            let stored = std::fs::read_to_string(folder.join(name)).unwrap();
            assert!(stored == text, "{name} is stale: run `retail --write-samples fixtures`");
        }
    }

    #[test]
    fn the_demonstration_has_about_two_hundred_items_and_is_repeatable() {
        let items = items().unwrap();
        assert!((150..=250).contains(&items.len()), "{}", items.len());
        assert_eq!(demonstration(0, &items), demonstration(0, &items));
        assert_ne!(demonstration(0, &items), demonstration(1, &items));
    }
}
