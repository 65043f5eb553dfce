//! From rows to what is sent: each store's opening stock and the baskets in time order. It must
//! never lose a row: each is in a basket or in the list of skipped ones.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use super::input::{Movement, Row, SkipReason};
use super::{MISSING_RANK, OPENING_MARGIN};

/// Everything that is sent to the nodes.
#[derive(Debug)]
pub struct Plan {
    /// The stores, in the order of their ids.
    pub stores: Vec<StorePlan>,
    /// All baskets with at least one line, in time order.
    pub baskets: Vec<Basket>,
    /// The rows that aren't sent.
    pub skipped: Vec<Skipped>,
}

/// One store before it opens.
#[derive(Debug)]
pub struct StorePlan {
    /// The store's id.
    pub store: String,
    /// Each SKU's opening stock, in the order of the codes.
    pub opening: BTreeMap<String, Opening>,
    /// The SKU that was never delivered, if the store sells enough different ones.
    pub missing: Option<String>,
}

/// One SKU before its store opens.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Units received.
    pub quantity: u64,
    /// The item's name, where the data set has one.
    pub name: Option<String>,
}

/// One receipt: one atomic batch.
#[derive(Debug)]
pub struct Basket {
    /// Index of its store in [`Plan::stores`].
    pub store: usize,
    /// The receipt's or invoice's number.
    pub id: String,
    /// Its idempotency key.
    pub key: String,
    /// How many lines it has.
    pub lines: usize,
    /// The request.
    pub body: String,
}

/// A row that isn't sent, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Skipped {
    /// The row's number in the file.
    pub row: u64,
    /// Its store.
    pub store: String,
    /// Its basket.
    pub basket: String,
    /// Its SKU.
    pub sku: String,
    /// Why.
    pub reason: SkipReason,
}

impl Plan {
    /// Plans the first `basket_limit` baskets (all without one) of the `stores_max` stores with
    /// the most rows.
    pub fn new(rows: &[Row], stores_max: usize, basket_limit: Option<usize>) -> Self {
        let busiest = busiest_stores(rows, stores_max);
        let groups = baskets_in_time_order(rows, &busiest, basket_limit);
        let played: Vec<&Row> = groups.iter().flatten().copied().collect();
        let stores: Vec<StorePlan> =
            busiest.iter().map(|store| plan_store(store, &played)).collect();
        let index: HashMap<&str, usize> = busiest.iter().copied().zip(0..).collect();
        let baskets = groups
            .iter()
            .filter_map(|group| plan_basket(index[group[0].store.as_str()], group))
            .collect();
        let skipped = played.iter().filter_map(|row| skipped(row)).collect();
        Self { stores, baskets, skipped }
    }

    /// How many lines all baskets have.
    pub fn line_count(&self) -> usize {
        self.baskets.iter().map(|basket| basket.lines).sum()
    }
}

/// The ids of the stores with the most rows; of equally busy ones the first by id; sorted by id.
fn busiest_stores(rows: &[Row], stores_max: usize) -> BTreeSet<&str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(&row.store).or_default() += 1;
    }
    let mut ranked: Vec<(&str, usize)> = counts.into_iter().collect();
    ranked.sort_by_key(|(store, count)| (std::cmp::Reverse(*count), *store));
    ranked.into_iter().take(stores_max).map(|(store, _)| store).collect()
}

/// The rows of each basket, the baskets by the time of their first row (then by where that stands
/// in the file).
fn baskets_in_time_order<'a>(
    rows: &'a [Row],
    stores: &BTreeSet<&str>,
    limit: Option<usize>,
) -> Vec<Vec<&'a Row>> {
    let mut place: HashMap<(&str, &str), usize> = HashMap::new();
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    for row in rows.iter().filter(|row| stores.contains(row.store.as_str())) {
        let index = *place.entry((&row.store, &row.basket)).or_insert(groups.len());
        if index == groups.len() {
            groups.push(Vec::new());
        }
        groups[index].push(row);
    }
    groups.sort_by_key(|group| (&group[0].at, group[0].number));
    groups.truncate(limit.unwrap_or(usize::MAX));
    groups
}

fn plan_store(store: &str, played: &[&Row]) -> StorePlan {
    let mut opening: BTreeMap<String, Opening> = BTreeMap::new();
    let mut lines_sold: BTreeMap<&str, usize> = BTreeMap::new();
    let mut comes_back: HashSet<&str> = HashSet::new();
    for row in played.iter().filter(|row| row.store == store) {
        let Ok(movement) = row.movement else { continue };
        let margin = OPENING_MARGIN + row.sku.chars().count() as u64;
        let item = opening
            .entry(row.sku.clone())
            .or_insert_with(|| Opening { quantity: margin, name: None });
        item.name = item.name.take().or_else(|| row.name.clone());
        match movement {
            Movement::Sell(quantity) => {
                item.quantity += quantity;
                *lines_sold.entry(&row.sku).or_default() += 1;
            }
            Movement::Adjust(quantity) if quantity < 0 => item.quantity += quantity.unsigned_abs(),
            Movement::Return(_) | Movement::Adjust(_) => {
                comes_back.insert(&row.sku);
            }
        }
    }
    let mut ranked: Vec<(&str, usize)> =
        lines_sold.into_iter().filter(|(sku, _)| !comes_back.contains(sku)).collect();
    ranked.sort_by_key(|(sku, lines)| (std::cmp::Reverse(*lines), *sku));
    let missing = ranked.get(MISSING_RANK - 1).map(|(sku, _)| (*sku).to_owned());
    if let Some(item) = missing.as_ref().and_then(|sku| opening.get_mut(sku)) {
        item.quantity = 0;
    }
    StorePlan { store: store.to_owned(), opening, missing }
}

fn plan_basket(store: usize, group: &[&Row]) -> Option<Basket> {
    let operations: Vec<Value> = group.iter().filter_map(|row| operation(row)).collect();
    let first = group.first()?;
    (!operations.is_empty()).then(|| Basket {
        store,
        id: first.basket.clone(),
        key: format!("basket-{}-{}", first.store, first.basket),
        lines: operations.len(),
        body: json!({"atomic": true, "operations": operations}).to_string(),
    })
}

fn operation(row: &Row) -> Option<Value> {
    let mut operation = match row.movement.ok()? {
        Movement::Sell(quantity) => json!({"op": "sell", "quantity": quantity}),
        Movement::Return(quantity) => json!({"op": "return", "quantity": quantity}),
        Movement::Adjust(quantity) => {
            let reason = if quantity < 0 { "damage" } else { "found" };
            json!({"op": "adjust", "quantity": quantity, "reason": reason})
        }
    };
    operation["sku"] = json!(row.sku);
    operation["reference"] = json!(row.basket);
    operation["occurredAt"] = json!(row.at);
    Some(operation)
}

fn skipped(row: &Row) -> Option<Skipped> {
    Some(Skipped {
        row: row.number,
        store: row.store.clone(),
        basket: row.basket.clone(),
        sku: row.sku.clone(),
        reason: row.movement.err()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u64, store: &str, basket: &str, sku: &str, movement: Movement) -> Row {
        Row {
            number,
            store: store.into(),
            basket: basket.into(),
            sku: sku.into(),
            name: None,
            at: format!("2017-01-01T00:00:{number:02}Z"),
            movement: Ok(movement),
        }
    }

    #[test]
    fn plans_the_busiest_stores_baskets_and_opening_stock() {
        let mut rows = vec![
            row(1, "a", "1", "x", Movement::Sell(2)),
            row(2, "b", "2", "x", Movement::Sell(1)),
            row(3, "a", "1", "x", Movement::Sell(3)),
            row(4, "a", "3", "yy", Movement::Adjust(-4)),
            row(5, "a", "3", "yy", Movement::Return(9)),
            row(6, "a", "4", "z", Movement::Sell(1)),
        ];
        rows[5].movement = Err(SkipReason::ZeroQuantity);
        let plan = Plan::new(&rows, 1, None);
        assert_eq!(plan.stores.len(), 1);
        let opening = &plan.stores[0].opening;
        assert_eq!(opening["x"].quantity, 5 + 10 + 1);
        assert_eq!(opening["yy"].quantity, 4 + 10 + 2);
        assert_eq!(opening.len(), 2);
        assert_eq!(plan.baskets.len(), 2);
        assert_eq!(plan.line_count(), 4);
        assert_eq!(plan.skipped.len(), 1);
        assert_eq!(plan.skipped[0].row, 6);
        assert_eq!(Plan::new(&rows, 1, Some(1)).line_count(), 2);
    }

    #[test]
    fn one_sku_is_never_delivered() {
        let rows: Vec<Row> = (0..60)
            .map(|n| {
                let sku = format!("s{:02}", n % 30);
                row(n + 1, "a", &n.to_string(), &sku, Movement::Sell(1))
            })
            .collect();
        let store = &Plan::new(&rows, 1, None).stores[0];
        assert_eq!(store.missing.as_deref(), Some("s19"));
        assert_eq!(store.opening["s19"].quantity, 0);
        assert_eq!(store.opening["s18"].quantity, 2 + 10 + 3);
    }
}
