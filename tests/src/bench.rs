//! Measurements beside a peer, in turn, in the same call: on a shared machine only such ratios
//! count. Nothing here may run inside `make test`.

pub mod machine;
pub mod parts;
pub mod report;
pub mod reservations;
pub mod wrk;

/// The middle value; of an even count the lower of the two in the middle. 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0]) - 1.0).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }
}
