//! What two slots of one store differ in, SKU by SKU. They may stand at different seqs, so a cell
//! counts only if neither side can have changed it since the lower one. Pure.

use std::collections::BTreeMap;

use shared::wire::global_sync::{CellDifference, CellView, ResyncReport};
use shared::{Metadata, Sku, StoreId};

use crate::view::{Held, MetadataTexts, ViewStore};

/// Differences that are listed; all are counted.
pub const DIFFERENCES_MAX: usize = 1000;

/// Compares what was held (up to seq `held_seq`) with what the node has (up to `node_seq`).
pub fn compare<V: ViewStore>(
    view: &V,
    store_id: &StoreId,
    (held_slot, held_seq): (&V::Slot, u64),
    (node_slot, node_seq): (&V::Slot, u64),
) -> ResyncReport {
    let up_to = held_seq.min(node_seq);
    let mut report = ResyncReport {
        store_id: store_id.clone(),
        compared_up_to_seq: up_to,
        compared: 0,
        different: 0,
        differences: Vec::new(),
    };
    let mut found: BTreeMap<Sku, Held> = BTreeMap::new();
    view.for_each(node_slot, &mut |sku, node, _| {
        let held = view.held(held_slot, sku);
        if node.seq > up_to || held.seq > up_to {
            return;
        }
        report.compared += 1;
        if held.cell != node.cell {
            note(&mut report, &mut found, sku, held);
        }
    });
    view.for_each(held_slot, &mut |sku, held, _| {
        if held.seq <= up_to && !view.held(node_slot, sku).is_held() {
            report.compared += 1;
            note(&mut report, &mut found, sku, *held);
        }
    });
    report.differences = describe(view, &found, held_slot, node_slot);
    report
}

fn note(report: &mut ResyncReport, found: &mut BTreeMap<Sku, Held>, sku: &Sku, held: Held) {
    report.different += 1;
    if found.len() < DIFFERENCES_MAX {
        found.insert(sku.clone(), held);
    }
}

fn describe<V: ViewStore>(
    view: &V,
    found: &BTreeMap<Sku, Held>,
    held_slot: &V::Slot,
    node_slot: &V::Slot,
) -> Vec<CellDifference> {
    if found.is_empty() {
        return Vec::new();
    }
    let names = |slot: &V::Slot| {
        let mut names: BTreeMap<Sku, Metadata> = BTreeMap::new();
        view.for_each(slot, &mut |sku, _, texts: MetadataTexts<'_>| {
            if found.contains_key(sku) {
                names.insert(sku.clone(), texts.to_metadata());
            }
        });
        names
    };
    let (held_names, node_names) = (names(held_slot), names(node_slot));
    let describe = |(sku, held): (&Sku, &Held)| {
        let node = view.held(node_slot, sku);
        CellDifference {
            sku: sku.clone(),
            held: cell_view(held, held_names.get(sku)),
            node: cell_view(&node, node_names.get(sku)),
        }
    };
    found.iter().map(describe).collect()
}

fn cell_view(held: &Held, metadata: Option<&Metadata>) -> Option<CellView> {
    let quantities = held.cell.quantities;
    held.is_held().then(|| CellView {
        version: held.cell.version.get(),
        seq: held.seq,
        stock: quantities.stock.get(),
        reserved: quantities.reserved.get(),
        sold: quantities.sold.get(),
        incoming: quantities.incoming.get(),
        in_transit_out: quantities.in_transit_out.get(),
        reorder_point: quantities.reorder_point.get(),
        safety_stock: quantities.safety_stock.get(),
        active: held.cell.flags.active,
        name: metadata.map(|metadata| metadata.name.clone()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use shared::cell::{Cell, Version};
    use shared::{Quantities, Quantity, Timestamp};

    use super::*;
    use crate::view::MemoryView;

    fn held(seq: u64, stock: u64) -> Held {
        let quantities =
            Quantities { stock: Quantity::new(stock).unwrap(), ..Quantities::default() };
        let cell = Cell { version: Version::new(1), quantities, ..Cell::default() };
        Held { cell, seq, metadata_at: Timestamp::EPOCH }
    }

    #[test]
    fn only_what_neither_side_can_have_changed_since_counts() {
        let view = MemoryView::default();
        let (old, new) = (view.open_slot(), view.open_slot());
        let cells = [
            ("SAME", Some(held(1, 5)), Some(held(1, 5))),
            ("WRONG", Some(held(2, 5)), Some(held(2, 6))),
            ("GHOST", Some(held(3, 5)), None),
            ("MISSING", None, Some(held(4, 5))),
            ("SOLD-SINCE", Some(held(5, 5)), Some(held(11, 4))),
            ("NEW-SINCE", None, Some(held(12, 1))),
        ];
        for (sku, before, after) in cells {
            let sku = Sku::new(sku).unwrap();
            for (slot, held) in [(&old, before), (&new, after)] {
                if let Some(held) = held {
                    view.put(slot, &sku, &held, None);
                }
            }
        }
        let store = StoreId::new("store-a").unwrap();
        let report = compare(&view, &store, (&old, 10), (&new, 12));
        assert_eq!((report.compared_up_to_seq, report.compared, report.different), (10, 4, 3));
        let shown: Vec<_> = report
            .differences
            .iter()
            .map(|d| (d.sku.as_str(), d.held.is_some(), d.node.is_some()))
            .collect();
        assert_eq!(
            shown,
            [("GHOST", true, false), ("MISSING", false, true), ("WRONG", true, true)]
        );
        // The other way round, the view being ahead of the new state.
        let report = compare(&view, &store, (&new, 12), (&old, 10));
        assert_eq!((report.compared_up_to_seq, report.different), (10, 3));
    }
}
