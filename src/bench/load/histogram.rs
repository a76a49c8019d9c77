//! Durations, counted in buckets whose width grows with them, so that any number of them fits a few
//! kilobytes and many can be merged. Knows nothing of what was measured.

use serde::{Deserialize, Serialize};

/// Each power of two is divided into this many buckets: values are known to within 1.6 %.
const STEPS: u64 = 64;

/// The shares that are shown, by their names.
pub(crate) const QUANTILES: [(&str, f64); 5] = [
    ("median", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

/// Counts of durations in nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    /// Counts `times` durations of this length.
    pub(crate) fn record(&mut self, nanoseconds: u64, times: u64) {
        let bucket = bucket(nanoseconds);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += times;
        self.total += times;
        self.max = self.max.max(nanoseconds);
    }

    /// Adds all that another one has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts
            .iter_mut()
            .zip(&other.counts)
            .for_each(|(count, other)| *count += other);
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many durations were counted.
    pub(crate) fn len(&self) -> u64 {
        self.total
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The duration in nanoseconds that this share of all, from 0 to 1, does not exceed; 0 where
    /// there are none.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let rank = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return upper_end(bucket).min(self.max);
            }
        }
        self.max
    }
    /// The same in milliseconds; `None` where nothing was counted.
    pub(crate) fn milliseconds(&self, share: f64) -> Option<f64> {
        (!self.is_empty()).then(|| self.quantile(share) as f64 / 1e6)
    }
}

/// The bucket of a duration: exact below 64 ns, then 64 buckets for each doubling.
fn bucket(nanoseconds: u64) -> usize {
    let exponent = u64::from(
        (nanoseconds / STEPS)
            .checked_ilog2()
            .map_or(0, |log| log + 1),
    );
    let step = nanoseconds >> exponent.saturating_sub(1);
    if exponent == 0 {
        nanoseconds as usize
    } else {
        (exponent * STEPS + step - STEPS) as usize
    }
}

/// The largest duration of a bucket.
fn upper_end(bucket: usize) -> u64 {
    let (exponent, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    if exponent == 0 {
        step
    } else {
        ((STEPS + step + 1) << (exponent - 1)) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_it_says() {
        for value in (0..10_000).chain([123_456, 1_000_000_007, u64::MAX / 4]) {
            let bucket = bucket(value);
            assert!(value <= upper_end(bucket), "{value}");
            assert!(bucket == 0 || value > upper_end(bucket - 1), "{value}");
            assert!(
                upper_end(bucket) as f64 <= value as f64 * 1.016 + 1.0,
                "{value}"
            );
        }
    }

    #[test]
    fn quantiles_are_of_all_that_was_counted() {
        let mut histogram = Histogram::default();
        (1..=50).for_each(|value| histogram.record(value, 1));
        let mut other = Histogram::default();
        other.record(1_000, 50);
        histogram.merge(&other);
        assert_eq!(
            (
                histogram.len(),
                histogram.quantile(0.0),
                histogram.quantile(0.5),
                histogram.quantile(1.0)
            ),
            (100, 1, 50, 1_000)
        );
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }
}
