//! A histogram: how often which time was taken.

/// How often a time was at most so long.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    /// In seconds, ascending.
    bounds: &'static [f64],
    /// How many times lie below each bound and not below the one before; the last one has none.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty histogram with these bounds, in seconds, ascending.
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    /// Adds a time.
    pub(crate) fn observe(&mut self, seconds: f64) {
        let at = self.bounds.iter().position(|bound| seconds <= *bound);
        self.counts[at.unwrap_or(self.bounds.len())] += 1;
        self.sum += seconds;
    }

    /// Each bound, `None` for none, with how many times lie between it and the one before.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (Option<f64>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().copied())
    }

    /// All times together, in seconds.
    pub(crate) fn sum(&self) -> f64 {
        self.sum
    }
}
