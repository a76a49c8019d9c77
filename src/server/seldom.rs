//! How often something is logged that anybody can cause by the thousand. Knows no log.

/// Counts, and tells the first, the tenth, the hundredth ….
#[derive(Debug)]
pub(super) struct Seldom {
    count: u64,
    next_told: u64,
}

impl Default for Seldom {
    fn default() -> Self {
        Self {
            count: 0,
            next_told: 1,
        }
    }
}

impl Seldom {
    /// Counts one more; returns its number if it is to be told.
    pub(super) fn note(&mut self) -> Option<u64> {
        self.count += 1;
        if self.count < self.next_told {
            return None;
        }
        self.next_told = self.next_told.saturating_mul(10);
        Some(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_each_tenfold_is_told() {
        let mut seldom = Seldom::default();
        let told: Vec<_> = (0..1_500).filter_map(|_| seldom.note()).collect();
        assert_eq!(told, [1, 10, 100, 1_000]);
    }
}
