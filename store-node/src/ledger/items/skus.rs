//! The SKUs of slots by their numbers, sixteen in a row: a byte above their own length each, and
//! few enough that going through a row is a matter of two cache lines.

use shared::Sku;

use super::order::Chunk;

/// How many SKUs lie in one row.
const ROW_SKUS: usize = 16;

/// SKUs by number.
#[derive(Default)]
pub(super) struct Skus(Vec<Chunk>);

impl Skus {
    /// The SKU of a number that has one.
    pub(super) fn get(&self, number: u32) -> &str {
        let number = number as usize;
        let mut row = self.0[number / ROW_SKUS].iter();
        row.nth(number % ROW_SKUS).expect("only numbers that were given out are asked for")
    }

    /// Whether a number that has a SKU has this one.
    pub(super) fn is(&self, number: u32, sku: &[u8]) -> bool {
        let number = number as usize;
        self.0[number / ROW_SKUS].has_at(number % ROW_SKUS, sku)
    }

    /// The SKUs of the numbers from the first of a row on.
    pub(super) fn rows_from(&self, first: u32) -> impl Iterator<Item = &str> {
        self.0.iter().skip(first as usize / ROW_SKUS).flat_map(Chunk::iter)
    }

    /// Looks at the memory of a number's SKU; what is there means nothing.
    pub(super) fn touch(&self, number: u32) -> usize {
        self.0[number as usize / ROW_SKUS].first_byte()
    }

    /// Gives the next number, or one that was given back, a SKU.
    pub(super) fn set(&mut self, number: u32, sku: &Sku) {
        let (row, index) = (number as usize / ROW_SKUS, number as usize % ROW_SKUS);
        if row == self.0.len() {
            return self.0.push(Chunk::beginning_with(sku, ROW_SKUS));
        }
        let row = &mut self.0[row];
        if index < row.len() {
            return row.replace(index, sku);
        }
        row.push(sku);
        if row.len() == ROW_SKUS {
            row.shrink();
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
        let mut model: Vec<Sku> = (0..100).map(sku).collect();
        for (number, sku) in model.iter().enumerate() {
            skus.set(number as u32, sku);
        }
        for number in [0, 15, 16, 50, 99] {
            model[number] = Sku::new(&format!("other-{number}")).unwrap();
            skus.set(number as u32, &model[number]);
        }
        for (number, sku) in model.iter().enumerate() {
            assert_eq!(skus.get(number as u32), sku.as_str());
            let others =
                model.iter().filter(|other| skus.is(number as u32, other.as_str().as_bytes()));
            assert!(others.clone().count() > 0 && others.into_iter().all(|other| other == sku));
        }
        assert!(skus.rows_from(32).eq(model[32..].iter().map(Sku::as_str)));
    }
}
