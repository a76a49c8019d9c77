//! How long a destination that has failed is left alone: longer after each failure, and briefly
//! again after a success. Knows no clock.

use std::str::FromStr;
use std::time::Duration;

use crate::duration;

/// The pauses after the first failure, the second, and so on. After those beyond the last, it is
/// the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pauses {
    pauses: Vec<Duration>,
    failures: usize,
}

impl Default for Pauses {
    /// Those of Bugzilla's Push extension, each five times the one before, up to a quarter of an
    /// hour.
    fn default() -> Self {
        Self {
            pauses: [5, 25, 125, 625, 900].map(Duration::from_secs).to_vec(),
            failures: 0,
        }
    }
}

impl Pauses {
    /// To be called at a failure: the pause before the next attempt.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self
            .pauses
            .get(self.failures)
            .or(self.pauses.last())
            .copied()
            .unwrap_or_default();
        self.failures += 1;
        pause
    }

    /// To be called at a success: the next failure is the first.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

impl FromStr for Pauses {
    type Err = String;

    /// Reads durations with commas between them.
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self {
            pauses: text
                .split(',')
                .map(duration::parse)
                .collect::<Result<_, _>>()?,
            failures: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_five_times_up_to_a_quarter_of_an_hour_and_start_over_after_a_success() {
        let mut pauses = Pauses::default();
        let mut seconds = || pauses.next_pause().as_secs();
        assert_eq!(
            [
                seconds(),
                seconds(),
                seconds(),
                seconds(),
                seconds(),
                seconds(),
                seconds()
            ],
            [5, 25, 125, 625, 900, 900, 900]
        );
        pauses.reset();
        assert_eq!(
            [pauses.next_pause().as_secs(), pauses.next_pause().as_secs()],
            [5, 25]
        );
    }

    #[test]
    fn other_pauses_can_be_given() {
        let mut pauses: Pauses = "10ms,1s".parse().unwrap();
        assert_eq!(
            [
                pauses.next_pause().as_millis(),
                pauses.next_pause().as_millis(),
                pauses.next_pause().as_millis()
            ],
            [10, 1_000, 1_000]
        );
        "".parse::<Pauses>().unwrap_err();
        "1s,x".parse::<Pauses>().unwrap_err();
    }
}
