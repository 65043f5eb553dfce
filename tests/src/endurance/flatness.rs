//! When a series counts as flat. The line through it is Theil and Sen's: the median of the slopes
//! between all pairs of samples, which a third of wild samples can't move. Its rise over the judged
//! time, as a part of the series' median, is the growth; falling is flat too. The warm-up isn't
//! judged. Too few samples must never count as flat.

use serde::Serialize;

/// This part of the run, from its beginning, is warm-up.
pub const WARM_UP_SHARE: f64 = 0.25;
/// Fewer samples than this say nothing.
pub const SAMPLES_MIN: usize = 12;

/// A series and what was made of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// What it is of.
    pub what: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Samples after the warm-up.
    pub samples: usize,
    /// Their median.
    pub median: f64,
    /// The least and the most of them.
    pub extremes: (f64, f64),
    /// The rise of the line over the judged time, as a part of the median.
    pub growth: f64,
    /// What it may be.
    pub growth_max: f64,
    /// Whether it is flat.
    pub is_flat: bool,
}

/// Judges (seconds, value) in order of time; the run lasted `seconds`.
pub fn judge(
    what: &'static str,
    unit: &'static str,
    series: &[(f64, f64)],
    seconds: f64,
    growth_max: f64,
) -> Judged {
    let from = seconds * WARM_UP_SHARE;
    let judged: Vec<(f64, f64)> = series.iter().copied().filter(|(at, _)| *at >= from).collect();
    let values: Vec<f64> = judged.iter().map(|(_, value)| *value).collect();
    let median = middle(values.clone());
    let growth = slope(&judged) * (seconds - from) / median.max(f64::MIN_POSITIVE);
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let is_flat = judged.len() >= SAMPLES_MIN && growth <= growth_max;
    let samples = judged.len();
    Judged { what, unit, samples, median, extremes: (least, most), growth, growth_max, is_flat }
}

/// For every sample of a sawtooth the least that was seen while the last `work` was done: what is left
/// where something that comes and goes was taken away last. A sample is its time, the work done by
/// then, and its value; `work` must be longer than a tooth.
pub fn lows(samples: &[(f64, u64, f64)], work: u64) -> Vec<(f64, f64)> {
    let mut lows = Vec::new();
    let mut first = 0;
    for (number, (at, done, _)) in samples.iter().enumerate() {
        let Some(from) = done.checked_sub(work) else { continue };
        while samples[first].1 < from {
            first += 1;
        }
        let values = samples[first..=number].iter().map(|(_, _, value)| *value);
        lows.push((*at, values.fold(f64::INFINITY, f64::min)));
    }
    lows
}

/// Theil and Sen's slope; 0 of fewer than two points.
fn slope(points: &[(f64, f64)]) -> f64 {
    let pairs = points.iter().enumerate().flat_map(|(place, one)| {
        points[place + 1..].iter().map(move |other| (other.1 - one.1) / (other.0 - one.0))
    });
    middle(pairs.filter(|slope| slope.is_finite()).collect())
}

/// The middle value; of an even count the mean of the two in the middle. 0 of nothing.
fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(value: impl Fn(usize) -> f64) -> Judged {
        let series: Vec<(f64, f64)> = (0..100).map(|at| (at as f64, value(at))).collect();
        judge("memory", "bytes", &series, 100.0, 0.05)
    }

    #[test]
    fn noise_and_single_peaks_are_flat_and_a_leak_is_not() {
        let noisy = |at: usize| 1000.0 + (at * 7919 % 101) as f64;
        assert!(judged(noisy).is_flat, "{:?}", judged(noisy));
        let peaks = |at: usize| noisy(at) + if at.is_multiple_of(5) { 9e6 } else { 0.0 };
        assert!(judged(peaks).is_flat, "{:?}", judged(peaks));
        assert!(judged(|at| 2000.0 - at as f64).is_flat, "what falls is flat");
        let leak = judged(|at| noisy(at) + at as f64);
        assert!(!leak.is_flat && (leak.growth - 0.066).abs() < 0.01, "{leak:?}");
    }

    #[test]
    fn the_warm_up_is_not_judged() {
        let rises_at_first = judged(|at| (at.min(25) * 100) as f64);
        assert!(rises_at_first.is_flat, "{rises_at_first:?}");
        let rises_a_little_longer = judged(|at| (at.min(90) * 100) as f64);
        assert!(!rises_a_little_longer.is_flat, "{rises_a_little_longer:?}");
    }

    #[test]
    fn too_few_samples_are_not_flat() {
        let series = |count: usize| (0..count).map(|at| (at as f64, 1.0)).collect::<Vec<_>>();
        let judge = |count: usize| judge("x", "y", &series(count), count as f64, 0.05).is_flat;
        assert!(!judge(0) && !judge(SAMPLES_MIN) && judge(2 * SAMPLES_MIN));
    }

    #[test]
    fn a_sawtooth_is_looked_at_where_it_is_lowest() {
        let teeth = [3.0, 1.0, 2.0, 3.0, 1.5, 2.5];
        let at = |number: usize, value| (number as f64, number as u64 * 10, value);
        let teeth: Vec<_> = teeth.iter().enumerate().map(|(number, &v)| at(number, v)).collect();
        assert_eq!(lows(&teeth, 20), [(2.0, 1.0), (3.0, 1.0), (4.0, 1.5), (5.0, 1.5)]);
        assert_eq!(lows(&teeth, 60), []);
    }

    #[test]
    fn a_sawtooth_that_rises_is_not_flat_and_one_that_does_not_is_whatever_its_height() {
        let growth = |rise: f64| {
            let tooth = |at: u32| 60.0 + f64::from(at % 5) * 15.0 + f64::from(at) * rise;
            let sample = |at: u32| (f64::from(at), u64::from(at), tooth(at));
            let samples: Vec<_> = (0..100).map(sample).collect();
            judge("x", "y", &lows(&samples, 5), 100.0, 0.05)
        };
        assert!(growth(0.0).is_flat && growth(0.0).growth == 0.0);
        assert!(!growth(0.1).is_flat);
    }
}
