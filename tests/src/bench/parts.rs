//! The list of all parts, in the order of the contract. It must never hold two of one name.
//!
//! To add a part: a file in this folder with a `pub const PART: Part` (reservations.rs is one with
//! servers, log.rs one around an example of another crate), and its line in [`ALL`].

pub mod batches;
pub mod growth;
pub mod hot;
pub mod latency;
pub mod latency_table;
pub mod log;
pub mod memory;
pub mod peers;
pub mod replay;
pub mod reservations;
pub mod snapshot;
pub mod stores;
pub mod view;
pub mod visible;

use anyhow::{Result, bail};

use super::part::Part;

/// Every part, in the order in which they run and are reported.
pub const ALL: &[Part] = &[
    reservations::PART,
    peers::PART,
    batches::PART,
    log::PART,
    replay::PART,
    memory::PART,
    view::PART,
    visible::PART,
    latency::PART,
    snapshot::PART,
    hot::PART,
    growth::PART,
    stores::PART,
];

/// The word for [`ALL`].
pub const EVERY: &str = "all";

/// The parts that `names` ask for, in the order of [`ALL`]: `all`, `P1`, `p1`; `P11` also means
/// `P11-skus`. An error lists the names if one isn't there.
pub fn named(names: &[String]) -> Result<Vec<Part>> {
    let asks = |name: &str, part: &Part| {
        let (bar, _) = part.name.split_once('-').unwrap_or((part.name, ""));
        [EVERY, part.name, bar].iter().any(|word| word.eq_ignore_ascii_case(name))
    };
    for name in names {
        if !ALL.iter().any(|part| asks(name, part)) {
            let all: Vec<&str> = ALL.iter().map(|part| part.name).collect();
            bail!("{name} has no program here: choose among {EVERY}, {}", all.join(", "));
        }
    }
    let wanted = ALL.iter().filter(|part| names.iter().any(|name| asks(name, part)));
    Ok(wanted.copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(asked: &[&str]) -> Vec<&'static str> {
        let asked: Vec<String> = asked.iter().map(|&name| name.to_owned()).collect();
        named(&asked).unwrap().iter().map(|part| part.name).collect()
    }

    #[test]
    fn parts_are_found_by_name_and_come_in_order() {
        assert_eq!(names(&["all"]).len(), ALL.len());
        assert_eq!(names(&["P5", "p1"]), ["P1", "P5"]);
        let error = named(&["P1".to_owned(), "P99".to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("P99 has no program here") && error.contains("P4"), "{error}");
    }

    #[test]
    fn names_are_bars_in_order_and_none_is_there_twice() {
        let number = |part: &Part| {
            let (bar, word) = part.name.split_once('-').unwrap_or((part.name, ""));
            (bar.strip_prefix('P').unwrap().parse::<u32>().unwrap(), word)
        };
        let numbers: Vec<_> = ALL.iter().map(number).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    }
}
