//! The JSON of the global view: items over all stores and the summary. Field names and their order
//! are the contract (the API examples); nothing here adds, compares or decides.

use compact_str::CompactString;
use serde::Serialize;

use crate::ids::StoreId;
use crate::sku::Sku;
use crate::time::Timestamp;
use crate::wire::global_sync::SyncState;

/// One SKU over all stores.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GlobalItem {
    /// The item.
    pub sku: Sku,
    /// The newest name that any store gives it; null where none does.
    pub name: Option<CompactString>,
    /// The newest base unit that any store gives it.
    pub unit: Option<CompactString>,
    /// Names and units of other stores that differ.
    pub conflicts: Vec<Conflict>,
    /// The sum over the stores; null where their units differ.
    pub total: Option<Totals>,
    /// Each store's part, by store id.
    pub stores: Vec<StorePart>,
    /// Units promised that are no longer there, summed over the stores.
    pub oversold: u64,
}

/// A store's own word for an item that differs from the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Conflict {
    /// The store.
    pub store_id: StoreId,
    /// `name` or `unit`.
    pub field: &'static str,
    /// What the store says.
    pub value: CompactString,
}

/// Quantities summed over stores, in the item's base unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Physically on hand.
    pub stock: u64,
    /// Promised to live reservations.
    pub reserved: u64,
    /// Sold ever.
    pub sold: u64,
    /// The sum of what is available at each store.
    pub available_stock: u64,
}

/// What one store holds of an item, and how old that knowledge is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorePart {
    /// The store.
    pub store_id: StoreId,
    /// Physically on hand.
    pub stock: u64,
    /// Promised to live reservations.
    pub reserved: u64,
    /// Sold ever.
    pub sold: u64,
    /// max(0, stock − reserved).
    pub available_stock: u64,
    /// The item's version at the store.
    pub version: u64,
    /// The seq of the item's last event in the store's log.
    pub seq: u64,
    /// Up to when the view knows everything that happened at the store.
    pub as_of: Timestamp,
    /// Milliseconds since then.
    pub age_ms: i64,
    /// How the store's sync is doing.
    pub state: SyncState,
    /// Whether the digest of what is held equals the one the store sealed.
    pub verified: bool,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// The answer of `GET /api/summary`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// When it was made.
    pub as_of: Timestamp,
    /// All stores together; an item counts once however many stores have it.
    pub total: SummaryRow,
    /// Each store, by store id.
    pub stores: Vec<StoreSummary>,
}

/// One store's line of the summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreSummary {
    /// The store.
    pub store_id: StoreId,
    /// Its figures.
    #[serde(flatten)]
    pub row: SummaryRow,
}

/// The figures of a summary.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SummaryRow {
    /// Distinct SKUs.
    pub items: u64,
    /// Units on hand.
    pub stock: u64,
    /// Units promised.
    pub reserved: u64,
    /// Units sold ever.
    pub sold: u64,
    /// Units available.
    pub available_stock: u64,
    /// SKUs at or below their reorder point (in all: in any store).
    pub low_stock: u64,
    /// SKUs with nothing available (in all: in no store).
    pub out_of_stock: u64,
    /// 100 × available / stock with two decimals; 0 without stock.
    pub availability_percent: f64,
}

impl SummaryRow {
    /// The row with its percentage worked out.
    #[must_use]
    pub fn with_percent(mut self) -> Self {
        self.availability_percent = match self.stock {
            0 => 0.0,
            stock => {
                let hundredths = u128::from(self.available_stock) * 100_000 / u128::from(stock);
                (hundredths as f64 / 10.0).round() / 100.0
            }
        };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_two_decimals() {
        for (available, stock, percent) in [
            (123, 129, "95.35"),
            (93, 99, "93.94"),
            (30, 30, "100.0"),
            (0, 0, "0.0"),
            (1, 3, "33.33"),
        ] {
            let row = SummaryRow { stock, available_stock: available, ..SummaryRow::default() };
            let json = serde_json::to_string(&row.with_percent()).unwrap();
            let tail = format!("\"availabilityPercent\":{percent}}}");
            assert!(json.ends_with(&tail), "{json} should end with {tail}");
        }
    }
}
