//! Which trigrams a text has, as a few bits: a Bloom filter of the bytes of its lower case. It must
//! have every bit that any part of the text has.

/// Rows for a name: with 24 letters some 30 % of the bits are set, so that a word of five letters
/// passes one other name in some 2,000.
pub(super) const NAME_ROWS: usize = 128;
/// Rows for a SKU.
pub(super) const SKU_ROWS: usize = 64;
/// The bytes of a trigram.
const TRIGRAM: usize = 3;

/// The bits of a name, UTF-8 in any case.
pub(super) fn name_signature(name: &[u8]) -> u128 {
    let mut signature = 0;
    each_name_row(name, |row| signature |= 1 << row);
    signature
}

/// The bits of a SKU.
pub(super) fn sku_signature(sku: &[u8]) -> u64 {
    let mut signature = 0;
    each_sku_row(sku, |row| signature |= 1 << row);
    signature
}

/// Tells the rows in which a name has its bits, some more than once.
pub(super) fn each_name_row(name: &[u8], mut tell: impl FnMut(usize)) {
    with_lower_case(name, |hash| {
        let (first, second) = name_rows(hash);
        tell(usize::from(first));
        tell(usize::from(second));
    });
}

/// The same for a SKU.
pub(super) fn each_sku_row(sku: &[u8], mut tell: impl FnMut(usize)) {
    with_lower_case(sku, |hash| {
        let (first, second) = sku_rows(hash);
        tell(usize::from(first));
        tell(usize::from(second));
    });
}

/// The rows in which a name with this text, and a SKU with it, has its bits; none of either if the
/// text is shorter than a trigram.
pub(super) fn rows_of(lower_case: &str) -> (Vec<u8>, Vec<u8>) {
    let (mut names, mut skus) = (Vec::new(), Vec::new());
    hashes(lower_case.bytes(), |hash| {
        names.extend(<[u8; 2]>::from(name_rows(hash)));
        skus.extend(<[u8; 2]>::from(sku_rows(hash)));
    });
    for rows in [&mut names, &mut skus] {
        rows.sort_unstable();
        rows.dedup();
    }
    (names, skus)
}

fn name_rows(hash: u32) -> (u8, u8) {
    ((hash >> 25) as u8, (hash >> 18) as u8 & 127)
}

fn sku_rows(hash: u32) -> (u8, u8) {
    ((hash >> 26) as u8, (hash >> 20) as u8 & 63)
}

fn with_lower_case(text: &[u8], visit: impl FnMut(u32)) {
    if text.is_ascii() {
        return hashes(text.iter().map(u8::to_ascii_lowercase), visit);
    }
    hashes(String::from_utf8_lossy(text).to_lowercase().bytes(), visit);
}

/// A hash of every trigram, its best bits the highest.
fn hashes(bytes: impl Iterator<Item = u8>, mut visit: impl FnMut(u32)) {
    let mut last = 0_u32;
    for (place, byte) in bytes.enumerate() {
        last = last << 8 | u32::from(byte);
        if place + 1 >= TRIGRAM {
            visit((last & 0x00ff_ffff).wrapping_mul(0x9e37_79b1));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_has_the_bits_of_whatever_is_in_it(
            text in "[a-cA-C@ äÄßΣσςİK1]{0,20}", from in 0_usize..20, length in 0_usize..8,
        ) {
            let lower_case = text.to_lowercase();
            let part: String = lower_case.chars().skip(from).take(length).collect();
            let (names, skus) = rows_of(&part);
            let (name, sku) = (name_signature(text.as_bytes()), sku_signature(text.as_bytes()));
            prop_assert!(names.iter().all(|row| name >> row & 1 == 1));
            prop_assert!(skus.iter().all(|row| sku >> row & 1 == 1));
            prop_assert_eq!(names.is_empty(), part.len() < TRIGRAM);
        }
    }
}
