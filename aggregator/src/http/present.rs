//! Rows of the view into the JSON of the API: sums, whose name counts, how old each part is.

use std::collections::BTreeMap;

use compact_str::CompactString;
use shared::wire::global::{Conflict, GlobalItem, StorePart, Totals};
use shared::{StoreId, Timestamp};

use crate::hub::Hub;
use crate::store_state::StoreStatus;
use crate::view::query::{ItemPart, ItemRow};

/// What is known of the stores at one moment.
pub(super) struct Stores {
    now: Timestamp,
    by_id: BTreeMap<StoreId, StoreStatus>,
}

impl Stores {
    /// What is known now.
    pub(super) fn of(hub: &Hub) -> Self {
        let now = (hub.clock())();
        let status = |store: &std::sync::Arc<crate::hub::StoreHandle>| {
            let status = store.shared.status();
            Some((status.store_id.clone()?, status))
        };
        Self { now, by_id: hub.stores().iter().filter_map(status).collect() }
    }

    /// An item as the API shows it; none if no followed store has it.
    pub(super) fn item(&self, row: &ItemRow) -> Option<GlobalItem> {
        let followed = row.parts.iter().filter(|part| self.by_id.contains_key(&part.store_id));
        let parts: Vec<&ItemPart> = followed.collect();
        if parts.is_empty() {
            return None;
        }
        let (name, mut conflicts) = newest(&parts, "name", |part| &part.name);
        let (unit, unit_conflicts) = newest(&parts, "unit", |part| &part.unit);
        let total = unit_conflicts.is_empty().then(|| totals(&parts));
        conflicts.extend(unit_conflicts);
        conflicts.sort_by(|a, b| a.store_id.cmp(&b.store_id));
        Some(GlobalItem {
            sku: row.sku.clone(),
            name,
            unit,
            conflicts,
            total,
            stores: parts.iter().filter_map(|part| self.part(part)).collect(),
            oversold: parts.iter().map(|part| part.held.cell.quantities.oversold().get()).sum(),
        })
    }

    fn part(&self, part: &ItemPart) -> Option<StorePart> {
        let status = self.by_id.get(&part.store_id)?;
        let quantities = part.held.cell.quantities;
        let as_of = status.as_of.unwrap_or(Timestamp::EPOCH);
        Some(StorePart {
            store_id: part.store_id.clone(),
            stock: quantities.stock.get(),
            reserved: quantities.reserved.get(),
            sold: quantities.sold.get(),
            available_stock: quantities.available().get(),
            version: part.held.cell.version.get(),
            seq: part.held.seq,
            as_of,
            age_ms: self.now.micros_since(as_of) / 1000,
            state: status.state,
            verified: status.verified,
        })
    }
}

fn totals(parts: &[&ItemPart]) -> Totals {
    let mut totals = Totals::default();
    for quantities in parts.iter().map(|part| part.held.cell.quantities) {
        totals.stock += quantities.stock.get();
        totals.reserved += quantities.reserved.get();
        totals.sold += quantities.sold.get();
        totals.available_stock += quantities.available().get();
    }
    totals
}

/// The newest text that any store gives, and the others that differ from it. No text is no opinion.
fn newest(
    parts: &[&ItemPart],
    field: &'static str,
    text: impl Fn(&ItemPart) -> &CompactString,
) -> (Option<CompactString>, Vec<Conflict>) {
    let named = || parts.iter().filter(|part| !text(part).is_empty());
    let by_age =
        |part: &&&ItemPart| (part.held.metadata_at, std::cmp::Reverse(part.store_id.clone()));
    let Some(newest) = named().max_by_key(by_age).map(|part| text(part).clone()) else {
        return (None, Vec::new());
    };
    let conflict = |part: &&ItemPart| Conflict {
        store_id: part.store_id.clone(),
        field,
        value: text(part).clone(),
    };
    let conflicts = named().filter(|part| *text(part) != newest).map(conflict).collect();
    (Some(newest), conflicts)
}

#[cfg(test)]
mod tests {
    use shared::Sku;
    use shared::wire::global_sync::SyncState;

    use super::*;
    use crate::store_state::StoreShared;
    use crate::view::Held;

    fn part(store: &str, name: &str, unit: &str, named_at: i64) -> ItemPart {
        let held = Held { metadata_at: Timestamp::from_micros(named_at), ..Held::default() };
        ItemPart {
            store_id: StoreId::new(store).unwrap(),
            held,
            name: name.into(),
            unit: unit.into(),
        }
    }

    #[test]
    fn the_newest_name_wins_and_units_that_differ_have_no_sum() {
        let ids = ["a", "b", "c", "d"].map(|id| StoreId::new(id).unwrap());
        let known = |id: &StoreId| {
            let shared = StoreShared::new(String::new(), Some(id.clone()));
            (id.clone(), StoreStatus { state: SyncState::Live, ..shared.status() })
        };
        let stores = Stores { now: Timestamp::EPOCH, by_id: ids.iter().map(known).collect() };
        let item = |parts: Vec<ItemPart>| {
            stores.item(&ItemRow { sku: Sku::new("A").unwrap(), parts }).unwrap()
        };
        let same_unit = item(vec![
            part("a", "Mug", "each", 1),
            part("b", "Becher", "each", 2),
            part("c", "", "each", 9),
            part("d", "Becher", "each", 0),
        ]);
        assert_eq!(same_unit.name.as_deref(), Some("Becher"));
        let conflicts: Vec<_> = same_unit
            .conflicts
            .iter()
            .map(|c| (c.store_id.as_str(), c.field, c.value.as_str()))
            .collect();
        assert_eq!(conflicts, [("a", "name", "Mug")]);
        assert!(same_unit.total.is_some());
        let other_unit = item(vec![part("a", "", "g", 2), part("b", "", "each", 1)]);
        assert_eq!((other_unit.name, other_unit.unit.as_deref()), (None, Some("g")));
        assert_eq!(other_unit.total, None);
        assert_eq!(other_unit.conflicts[0].value, "each");
    }
}
