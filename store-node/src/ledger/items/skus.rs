//! The SKUs of slots by their numbers, sixteen in a row: a byte above their own length each, and
//! few enough that going through a row is a matter of two cache lines. Of some hundred numbers that
//! follow each other it is known between which SKUs theirs lie: a snapshot gives numbers in the
//! order of SKUs, so whoever wants the first ones finds them without looking at the others. It must
//! never leave a SKU out of the range of its number.

use shared::Sku;

use super::order::{Chunk, whole};

/// How many SKUs lie in one row.
pub(super) const ROW_SKUS: usize = 16;
/// How many numbers share a range.
pub(super) const RANGE_SKUS: usize = 512;

/// SKUs by number.
#[derive(Default)]
pub(super) struct Skus {
    rows: Vec<Chunk>,
    ranges: Vec<SkuRange>,
}

/// Between which SKUs some lie. SKUs that lost their numbers may have made it wider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SkuRange {
    /// The first in byte order.
    pub(crate) least: Sku,
    /// The last in byte order.
    pub(crate) greatest: Sku,
}

impl SkuRange {
    fn include(&mut self, sku: &Sku) {
        if *sku > self.greatest {
            self.greatest = sku.clone();
        } else if *sku < self.least {
            self.least = sku.clone();
        }
    }
}

impl Skus {
    /// The SKU of a number that has one.
    pub(super) fn get(&self, number: u32) -> &str {
        let number = number as usize;
        let mut row = self.rows[number / ROW_SKUS].iter();
        row.nth(number % ROW_SKUS).expect("only numbers that were given out are asked for")
    }

    /// Whether a number that has a SKU has this one.
    pub(super) fn is(&self, number: u32, sku: &[u8]) -> bool {
        let number = number as usize;
        self.rows[number / ROW_SKUS].has_at(number % ROW_SKUS, sku)
    }

    /// The SKUs of the numbers from the first of a row on.
    pub(super) fn rows_from(&self, first: u32) -> impl Iterator<Item = &str> {
        self.rows.iter().skip(first as usize / ROW_SKUS).flat_map(Chunk::iter)
    }

    /// Between which the SKUs of the numbers from `range` times [`RANGE_SKUS`] on lie; there is one.
    pub(super) fn range(&self, range: usize) -> &SkuRange {
        &self.ranges[range]
    }

    /// Looks at the memory of a number's SKU; what is there means nothing.
    pub(super) fn touch(&self, number: u32) -> usize {
        self.rows[number as usize / ROW_SKUS].first_byte()
    }

    /// Gives the next number, or one that was given back, a SKU.
    pub(super) fn set(&mut self, number: u32, sku: &Sku) {
        self.include(number, sku);
        let (row, index) = (number as usize / ROW_SKUS, number as usize % ROW_SKUS);
        if row == self.rows.len() {
            return self.rows.push(Chunk::beginning_with(sku, ROW_SKUS));
        }
        let row = &mut self.rows[row];
        if index < row.len() {
            return row.replace(index, sku);
        }
        row.push(sku.as_str());
        if row.len() == ROW_SKUS {
            row.shrink();
        }
    }

    /// Gives the next numbers, from `number` on, to whole rows of SKUs.
    pub(super) fn extend(&mut self, number: u32, rows: impl Iterator<Item = Chunk>) {
        debug_assert!((number as usize).is_multiple_of(ROW_SKUS), "in whole rows");
        for (number, row) in (number..).step_by(ROW_SKUS).zip(rows) {
            let (mut least, mut greatest) = ("", "");
            for sku in row.iter() {
                if least.is_empty() {
                    (least, greatest) = (sku, sku);
                } else if sku > greatest {
                    greatest = sku;
                } else if sku < least {
                    least = sku;
                }
            }
            self.include(number, &whole(least));
            self.include(number, &whole(greatest));
            self.rows.push(row);
        }
    }

    /// Lets the range of a number have a SKU.
    fn include(&mut self, number: u32, sku: &Sku) {
        match self.ranges.get_mut(number as usize / RANGE_SKUS) {
            Some(range) => range.include(sku),
            None => self.ranges.push(SkuRange { least: sku.clone(), greatest: sku.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_given_back_gets_another_sku() {
        let sku = |number: usize| Sku::new(&"x".repeat(1 + number % 60)).unwrap();
        let mut skus = Skus::default();
        let mut model: Vec<Sku> = (0..2 * RANGE_SKUS + 100).map(sku).collect();
        for (number, sku) in model.iter().enumerate() {
            skus.set(number as u32, sku);
        }
        for number in [0, 15, 16, 50, 99, RANGE_SKUS - 1, RANGE_SKUS, 2 * RANGE_SKUS] {
            model[number] = Sku::new(&format!("other-{number}")).unwrap();
            skus.set(number as u32, &model[number]);
        }
        for (number, sku) in model.iter().enumerate() {
            assert_eq!(skus.get(number as u32), sku.as_str());
            let others =
                model.iter().filter(|other| skus.is(number as u32, other.as_str().as_bytes()));
            assert!(others.clone().count() > 0 && others.into_iter().all(|other| other == sku));
            let SkuRange { least, greatest } = skus.range(number / RANGE_SKUS);
            assert!((least..=greatest).contains(&sku), "{least} {sku} {greatest}");
        }
        assert_eq!(skus.ranges.len(), 3);
        assert!(skus.rows_from(32).eq(model[32..].iter().map(Sku::as_str)));
    }
}
