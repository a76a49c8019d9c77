//! How long to wait before the next attempt: exponential, with full jitter. Knows no clock and
//! draws no random numbers.

use std::time::Duration;

/// The pauses between attempts, each drawn at random between nothing and a bound that doubles.
/// Without the randomness, clients that lost the same server would all come back at the same
/// moment.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    bound: Duration,
}

impl Backoff {
    /// Pauses of `first` at most, then twice that, and so on up to `max`.
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            bound: first,
        }
    }

    /// The next pause; `random` is from 0 to 1.
    pub(crate) fn next_pause(&mut self, random: f64) -> Duration {
        let pause = self.bound.mul_f64(random);
        self.bound = (self.bound * 2).min(self.max);
        pause
    }

    /// Starts over: to be called when an attempt has proved useful.
    pub(crate) fn reset(&mut self) {
        self.bound = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_a_random_part_of_a_bound_that_doubles_up_to_a_limit_and_starts_over_after_a_success()
     {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(3));
        let mut millis = |random| backoff.next_pause(random).as_millis();
        assert_eq!(
            [
                millis(1.0),
                millis(0.5),
                millis(1.0),
                millis(1.0),
                millis(1.0)
            ],
            [500, 500, 2000, 3000, 3000]
        );
        assert_eq!([millis(0.0), millis(0.5)], [0, 1500]);
        backoff.reset();
        assert_eq!(backoff.next_pause(1.0).as_millis(), 500);
    }
}
