//! Quantiles of measured values. They must never be of values that somebody left out.

/// Values in order.
#[derive(Debug, Clone, Default)]
pub struct Ordered(Vec<f64>);

impl Ordered {
    /// Puts them in order.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that at least `share` (0 to 1) of all values don't exceed (the nearest
    /// rank); 0 of nothing.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil().max(1.0) as usize;
        self.0.get(rank - 1).or(self.0.last()).copied().unwrap_or(0.0)
    }

    /// The largest; 0 of nothing.
    pub fn max(&self) -> f64 {
        self.quantile(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Ordered;

    #[test]
    fn the_nearest_rank_is_told() {
        let hundred = Ordered::new((1..=100).rev().map(f64::from).collect());
        for (share, expected) in
            [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.995, 100.0), (1.0, 100.0)]
        {
            let found = hundred.quantile(share);
            assert!((found - expected).abs() < f64::EPSILON, "{share}: {found}");
        }
        let one = Ordered::new(vec![7.0]);
        assert!((one.quantile(0.99) - 7.0).abs() < f64::EPSILON);
        assert!(Ordered::default().max().abs() < f64::EPSILON);
    }
}
