//! Nodes, global view and the independent sums side by side. A number that is missing on one side
//! is a difference like any other; nothing may be compared "about".

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::expected::Expected;
use super::plan::{Plan, Skipped};
use super::play::Refused;
use crate::http::{Client, percent_encode};

/// The most differences that are spelled out.
const LISTED_MAX: usize = 20;

/// What a service says of one SKU at one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Units on hand.
    pub stock: u64,
    /// Units sold in all.
    pub sold: u64,
    /// Units promised.
    pub reserved: u64,
}

/// By store and SKU.
pub type Holdings = BTreeMap<(String, String), Held>;

/// The verdict.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// SKU × store cells that were compared.
    pub cells: usize,
    /// Units left in all of them, by the independent computation.
    pub stock: u64,
    /// Units sold in all of them, by the independent computation.
    pub sold: u64,
    /// How many differences there are.
    pub differences: usize,
    /// The first of them, in words.
    pub listed: Vec<String>,
}

impl Comparison {
    fn differs(&mut self, text: String) {
        self.differences += 1;
        if self.listed.len() < LISTED_MAX {
            self.listed.push(text);
        }
    }
}

/// Everything a node holds, page by page.
pub async fn node_holdings(client: &Client, store: &str) -> Result<Holdings> {
    let mut holdings = Holdings::new();
    for row in client.list_all("/api/inventory").await? {
        let sku = text(&row, "sku")?;
        holdings.insert((store.to_owned(), sku), held(&row)?);
    }
    Ok(holdings)
}

/// Everything the global view holds of one store, page by page.
pub async fn view_holdings(client: &Client, store: &str) -> Result<Holdings> {
    let path = format!("/api/inventory?storeId={}", percent_encode(store));
    let mut holdings = Holdings::new();
    for row in client.list_all(&path).await? {
        let sku = text(&row, "sku")?;
        let parts = row["stores"]
            .as_array()
            .with_context(|| format!("a global item has no stores: {row}"))?;
        for part in parts.iter().filter(|part| part["storeId"] == store) {
            holdings.insert((store.to_owned(), sku.clone()), held(part)?);
        }
    }
    Ok(holdings)
}

/// Compares all of it.
pub fn compare(
    plan: &Plan,
    expected: &Expected,
    nodes: &Holdings,
    view: &Holdings,
    refused: &[Refused],
) -> Comparison {
    let mut comparison = Comparison {
        cells: expected.items.len(),
        stock: expected.items.values().map(|item| item.stock).sum(),
        sold: expected.items.values().map(|item| item.sold).sum(),
        ..Comparison::default()
    };
    compare_plan(&mut comparison, plan, expected);
    compare_holdings(&mut comparison, "node", expected, nodes);
    compare_holdings(&mut comparison, "global view", expected, view);
    let observed: BTreeSet<(String, String)> =
        refused.iter().map(|refused| (refused.store.clone(), refused.basket.clone())).collect();
    for (store, basket) in observed.symmetric_difference(&expected.refused) {
        let was = observed.contains(&(store.clone(), basket.clone()));
        let (did, must) = if was { ("was", "shouldn't be") } else { ("wasn't", "must be") };
        comparison.differs(format!("basket {basket} of store {store} {did} refused, but {must}"));
    }
    comparison
}

fn compare_plan(comparison: &mut Comparison, plan: &Plan, expected: &Expected) {
    if (plan.baskets.len(), plan.line_count()) != (expected.baskets, expected.lines) {
        comparison.differs(format!(
            "{} baskets with {} lines were sent, the independent count is {} with {}",
            plan.baskets.len(),
            plan.line_count(),
            expected.baskets,
            expected.lines
        ));
    }
    for store in &plan.stores {
        for (sku, opening) in &store.opening {
            let key = (store.store.clone(), sku.clone());
            let must = expected.items.get(&key).map(|item| item.opening);
            if must != Some(opening.quantity) {
                let sent = opening.quantity;
                comparison.differs(format!("opening stock of {key:?}: {sent}, must be {must:?}"));
            }
        }
    }
    let skipped: BTreeSet<Skipped> = plan.skipped.iter().cloned().collect();
    for row in skipped.symmetric_difference(&expected.skipped) {
        comparison.differs(format!("only one side skips {row:?}"));
    }
}

fn compare_holdings(
    comparison: &mut Comparison,
    who: &str,
    expected: &Expected,
    holdings: &Holdings,
) {
    for (key, item) in &expected.items {
        let must = Held { stock: item.stock, sold: item.sold, reserved: 0 };
        match holdings.get(key) {
            Some(held) if *held == must => {}
            other => comparison.differs(format!("{key:?}: {who} has {other:?}, must be {must:?}")),
        }
    }
    for key in holdings.keys().filter(|key| !expected.items.contains_key(*key)) {
        comparison.differs(format!("{key:?}: only {who} knows it"));
    }
}

fn held(row: &Value) -> Result<Held> {
    Ok(Held {
        stock: number(row, "stock")?,
        sold: number(row, "sold")?,
        reserved: number(row, "reserved")?,
    })
}

fn number(row: &Value, field: &str) -> Result<u64> {
    row[field].as_u64().with_context(|| format!("no number {field} in {row}"))
}

fn text(row: &Value, field: &str) -> Result<String> {
    let text = row[field].as_str().with_context(|| format!("no text {field} in {row}"))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::expected::ExpectedItem;
    use super::super::input::{Movement, Row};
    use super::*;

    fn world() -> (Plan, Expected, Holdings) {
        let row = Row {
            number: 1,
            store: "a".into(),
            basket: "1".into(),
            sku: "x".into(),
            name: None,
            at: "2017-01-01T00:00:00Z".into(),
            movement: Ok(Movement::Sell(2)),
        };
        let plan = Plan::new(&[row], 1, None);
        let key = ("a".to_owned(), "x".to_owned());
        let item = ExpectedItem { opening: 13, sold: 2, stock: 11 };
        let expected = Expected {
            items: BTreeMap::from([(key.clone(), item)]),
            baskets: 1,
            lines: 1,
            ..Expected::default()
        };
        let held = Held { stock: 11, sold: 2, reserved: 0 };
        (plan, expected, Holdings::from([(key, held)]))
    }

    #[test]
    fn equal_is_no_difference_and_each_planted_fault_is_one() {
        let (plan, expected, good) = world();
        let same = compare(&plan, &expected, &good, &good, &[]);
        assert_eq!(same.differences, 0, "{:?}", same.listed);

        let mut doubled = good.clone();
        for held in doubled.values_mut() {
            held.sold += 1;
        }
        let mut lost = good.clone();
        lost.clear();
        let mut strange = good.clone();
        strange.insert(("a".into(), "y".into()), Held { stock: 0, sold: 0, reserved: 0 });
        for broken in [&doubled, &lost, &strange] {
            assert_eq!(compare(&plan, &expected, broken, &good, &[]).differences, 1);
            assert_eq!(compare(&plan, &expected, &good, broken, &[]).differences, 1);
        }
        let refused = Refused {
            store: "a".into(),
            basket: "1".into(),
            lines: 1,
            skus: vec![],
            errors: vec![],
        };
        let unexpected = compare(&plan, &expected, &good, &good, &[refused]);
        assert_eq!(unexpected.differences, 1);
    }
}
