//! A list's filter, made ready for one shard while that is locked: texts become their ids there, so
//! that a cell passes or fails by numbers. It must never outlive the lock: ids are used again.

use shared::Quantities;

use super::memory::VisibleSlot;
use super::packed::Glance;
use super::query::{ItemFilter, PageRequest, Rank};
use super::shard::Shard;

/// A filter over one locked shard.
pub(super) struct Sieve<'a> {
    shard: &'a Shard,
    filter: &'a ItemFilter,
    rank: Rank,
    slots: &'a [VisibleSlot],
    category: Option<u32>,
    location: Option<u32>,
    seen: Vec<Glance>,
}

impl<'a> Sieve<'a> {
    /// The request's filter over this shard; none if nothing in it can pass.
    pub(super) fn new(
        shard: &'a Shard,
        visible: &'a [VisibleSlot],
        request: &'a PageRequest,
    ) -> Option<Self> {
        let filter = &request.filter;
        let slots = match &filter.store_id {
            None => visible,
            Some(id) => {
                let place = visible.iter().position(|slot| slot.store_id == *id)?;
                &visible[place..=place]
            }
        };
        let category = match &filter.category {
            None => None,
            Some(text) => Some(shard.category_id(text)?),
        };
        let location = match &filter.location {
            None => None,
            Some(text) => Some(shard.location_id(text)?),
        };
        let (rank, seen) = (request.rank, Vec::with_capacity(slots.len()));
        Some(Self { shard, filter, rank, slots, category, location, seen })
    }

    /// The rank of an item that passes; none for one that doesn't.
    pub(super) fn rank(&mut self, id: u32) -> Option<i64> {
        let Self { shard, slots, seen, .. } = self;
        seen.clear();
        seen.extend(slots.iter().filter_map(|slot| shard.glance(slot.slot.number(), id)));
        if self.seen.is_empty() || !self.passes() || !self.has_text(id) {
            return None;
        }
        let rank = match self.rank {
            Rank::Sku => 0,
            Rank::Stock => self.sum(|quantities| quantities.stock.get()),
            Rank::Reserved => self.sum(|quantities| quantities.reserved.get()),
            Rank::Sold => self.sum(|quantities| quantities.sold.get()),
            Rank::Available => self.sum(|quantities| quantities.available().get()),
        };
        Some(i64::try_from(rank).unwrap_or(i64::MAX))
    }

    /// Whether the numbers pass.
    fn passes(&self) -> bool {
        let filter = self.filter;
        let flag = |wanted: Option<bool>, is: &dyn Fn(&Glance) -> bool| {
            wanted.is_none_or(|wanted| wanted == self.seen.iter().any(is))
        };
        let has = |wanted: Option<u32>, id: &dyn Fn(&Glance) -> u32| {
            wanted.is_none_or(|wanted| self.seen.iter().any(|glance| id(glance) == wanted))
        };
        if !has(self.category, &|glance| glance.texts.category)
            || !has(self.location, &|glance| glance.texts.location)
            || !flag(filter.active, &|glance| glance.flags.active)
            || !flag(filter.low_stock, &|glance| glance.quantities.is_low_stock())
        {
            return false;
        }
        let bounds = (filter.min_available, filter.max_available, filter.out_of_stock);
        if bounds == (None, None, None) {
            return true;
        }
        let available = self.sum(|quantities| quantities.available().get());
        filter.min_available.is_none_or(|min| available >= min)
            && filter.max_available.is_none_or(|max| available <= max)
            && filter.out_of_stock.is_none_or(|wanted| wanted == (available == 0))
    }

    /// Whether the SKU or a name does.
    fn has_text(&self, id: u32) -> bool {
        let sku = self.shard.sku(id).as_str();
        if self.filter.prefix.as_ref().is_some_and(|prefix| !sku.starts_with(prefix.as_str())) {
            return false;
        }
        let Some(text) = &self.filter.text else { return true };
        if contains(sku, text) {
            return true;
        }
        // Stores mostly call an item the same: each name is looked at once.
        let mut last = None;
        self.seen.iter().any(|glance| {
            let name = glance.texts.name;
            last.replace(name) != Some(name) && contains(self.shard.name(name), text)
        })
    }

    fn sum(&self, quantity: impl Fn(&Quantities) -> u64) -> u64 {
        self.seen.iter().map(|glance| quantity(&glance.quantities)).sum()
    }
}

/// Whether `text` holds `lower_case`, whichever way its letters are cased.
fn contains(text: &str, lower_case: &str) -> bool {
    if !text.is_ascii() {
        return text.to_lowercase().contains(lower_case);
    }
    let (text, wanted) = (text.as_bytes(), lower_case.as_bytes());
    let Some(first) = wanted.first() else { return true };
    let is_there = |window: &[u8]| {
        window[0].to_ascii_lowercase() == *first && window.eq_ignore_ascii_case(wanted)
    };
    text.windows(wanted.len()).any(is_there)
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
