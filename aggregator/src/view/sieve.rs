//! A list's filter, made ready for one shard while that is locked: texts become their ids there, so
//! that a cell passes or fails by numbers. It must never outlive the lock: ids are used again.

use memchr::memchr2_iter;

use super::column::Column;
use super::grams::Grams;
use super::memory::VisibleSlot;
use super::query::{ItemFilter, PageRequest, Rank};
use super::shard::Shard;
use super::totals::Total;

/// A filter over one locked shard.
pub(super) struct Sieve<'a> {
    shard: &'a Shard,
    filter: &'a ItemFilter,
    rank: Rank,
    slots: &'a [VisibleSlot],
    /// Whether the shard's totals are those of the looked-at stores.
    has_totals: bool,
    category: Option<u32>,
    location: Option<u32>,
    grams: Option<Grams>,
}

impl<'a> Sieve<'a> {
    /// The request's filter over this shard; none if nothing in it can pass.
    pub(super) fn new(
        shard: &'a Shard,
        visible: &'a [VisibleSlot],
        request: &'a PageRequest,
    ) -> Option<Self> {
        let filter = &request.filter;
        let slots = looked_at(visible, filter)?;
        let has_totals = filter.store_id.is_none() && shard.has_totals_of(visible);
        let category = match &filter.category {
            None => None,
            Some(text) => Some(shard.category_id(text)?),
        };
        let location = match &filter.location {
            None => None,
            Some(text) => Some(shard.location_id(text)?),
        };
        let grams = filter.text.as_deref().map(Grams::of);
        let rank = request.rank;
        Some(Self { shard, filter, rank, slots, has_totals, category, location, grams })
    }

    /// The rank of an item whose numbers pass; none for any other. Whether its texts do is
    /// [`Self::has_texts`]'s to say.
    pub(super) fn rank(&self, id: u32) -> Option<i64> {
        if !self.may_have_text(id) {
            return None;
        }
        let total = if self.has_totals { self.shard.total(id)? } else { self.total_of_cells(id)? };
        let passes = self.passes(&total) && self.has_category(id);
        passes.then(|| self.rank_of(&total))
    }

    /// The same of one cell of a slot that is looked at alone, and whose it is.
    pub(super) fn rank_at(&self, column: &Column, place: u32) -> Option<(u32, i64)> {
        let glance = column.glance(place);
        let mut total = Total::default();
        total.add(&glance.quantities, glance.flags.active);
        let id = column.sku(place);
        let passes = self.passes(&total)
            && self.category.is_none_or(|wanted| glance.category == wanted)
            && self.location.is_none_or(|wanted| column.location(place) == wanted)
            && self.may_have_text(id);
        passes.then(|| (id, self.rank_of(&total)))
    }

    /// Whether the SKU has the prefix, a cell the location, and the SKU or a name the text.
    pub(super) fn has_texts(&self, id: u32) -> bool {
        let sku = self.shard.sku(id).as_str();
        let has_prefix = |prefix: &String| sku.starts_with(prefix.as_str());
        if !self.filter.prefix.as_ref().is_none_or(has_prefix) || !self.has_location(id) {
            return false;
        }
        let Some(text) = &self.filter.text else { return true };
        if contains(sku, text) {
            return true;
        }
        if let Some(name) = self.shard.common(id).name() {
            return contains(self.shard.name(name), text);
        }
        self.cells(id).any(|(column, place)| contains(self.shard.name(column.name(place)), text))
    }

    /// Whether the SKU, or one of those that lie with it, may have the text.
    pub(super) fn may_be_near(&self, id: u32) -> bool {
        self.filter.text.as_ref().is_none_or(|text| self.shard.may_be_near(id, text))
    }

    fn may_have_text(&self, id: u32) -> bool {
        self.grams.is_none_or(|wanted| self.shard.grams(id).may_hold(wanted))
    }

    fn rank_of(&self, total: &Total) -> i64 {
        let rank = match self.rank {
            Rank::Sku => 0,
            Rank::Stock => total.stock,
            Rank::Reserved => total.reserved,
            Rank::Sold => total.sold,
            Rank::Available => total.available,
        };
        i64::try_from(rank).unwrap_or(i64::MAX)
    }

    fn passes(&self, total: &Total) -> bool {
        let filter = self.filter;
        let flag = |wanted: Option<bool>, in_slots: u16| {
            wanted.is_none_or(|wanted| wanted == (in_slots > 0))
        };
        flag(filter.active, total.active)
            && flag(filter.low_stock, total.low)
            && filter.min_available.is_none_or(|min| total.available >= min)
            && filter.max_available.is_none_or(|max| total.available <= max)
            && filter.out_of_stock.is_none_or(|wanted| wanted == (total.available == 0))
    }

    fn has_category(&self, id: u32) -> bool {
        let Some(wanted) = self.category else { return true };
        if let Some(category) = self.shard.common(id).category() {
            return category == wanted;
        }
        self.cells(id).any(|(column, place)| column.glance(place).category == wanted)
    }

    fn has_location(&self, id: u32) -> bool {
        self.location.is_none_or(|wanted| {
            self.cells(id).any(|(column, place)| column.location(place) == wanted)
        })
    }

    fn total_of_cells(&self, id: u32) -> Option<Total> {
        let mut total = Total::default();
        for (column, place) in self.cells(id) {
            let glance = column.glance(place);
            total.add(&glance.quantities, glance.flags.active);
        }
        (total.holding > 0).then_some(total)
    }

    /// The looked-at cells of a SKU.
    fn cells(&self, id: u32) -> impl Iterator<Item = (&'a Column, u32)> {
        let shard = self.shard;
        self.slots.iter().filter_map(move |slot| shard.cell(slot.slot().number(), id))
    }
}

/// The slots that a filter looks at; none if it names a store that nobody can see.
pub(super) fn looked_at<'a>(
    visible: &'a [VisibleSlot],
    filter: &ItemFilter,
) -> Option<&'a [VisibleSlot]> {
    let Some(id) = &filter.store_id else { return Some(visible) };
    let place = visible.iter().position(|slot| slot.store_id == *id)?;
    Some(&visible[place..=place])
}

/// Whether `text` holds `lower_case`, whichever way its letters are cased.
fn contains(text: &str, lower_case: &str) -> bool {
    if !text.is_ascii() {
        return text.to_lowercase().contains(lower_case);
    }
    let (text, wanted) = (text.as_bytes(), lower_case.as_bytes());
    let Some(first) = wanted.first() else { return true };
    let mut begins = memchr2_iter(*first, first.to_ascii_uppercase(), text);
    begins.any(|at| {
        let found = text.get(at..at + wanted.len());
        found.is_some_and(|found| found.eq_ignore_ascii_case(wanted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_whichever_way_they_are_cased() {
        for (text, lower_case, expected) in [
            ("Stoneware Mug", "mug", true),
            ("Stoneware Mug", "ware m", true),
            ("Stoneware Mug", "mugs", false),
            ("MUG", "mug", true),
            ("", "mug", false),
            ("mug", "", true),
            ("ÄPFEL", "äpfel", true),
            ("Apfel", "äpfel", false),
            ("Kaffee", "ä", false),
        ] {
            assert_eq!(contains(text, lower_case), expected, "{lower_case} in {text}");
        }
    }
}
