//! When a queue is warned of, and when it is deleted. The time is passed in. Knows no broker and
//! nobody who is told.
//!
//! The rule of deletion: a queue that has held more than the limit for the whole of a grace period
//! is deleted, unless its consumers have taken so much meanwhile that at this pace it would be
//! empty within twenty such periods. A burst to a live consumer is drained; a queue that nobody
//! reads, or somebody who will never catch up, is not.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// In how many grace periods a queue must become empty at its consumers' pace.
const PERIODS_TO_EMPTY: u64 = 20;

/// From how many messages on something happens to a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Above it, the owner is told.
    pub(crate) warn: u64,
    /// Above it, the queue is deleted.
    pub(crate) delete: u64,
    /// How long a queue may hold more than that.
    pub(crate) grace: Duration,
}

/// What is seen of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) messages: u64,
    /// How many messages its consumers have taken, ever; `None` where nobody counts.
    pub(super) taken: Option<u64>,
}

/// What is to be done about a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    /// It holds too much.
    Warn,
    /// It was warned of, and holds no more than it may.
    Well,
    Delete,
}

/// What is known of the queues that hold too much, or have held too much.
#[derive(Debug, Default)]
pub(super) struct Judge {
    queues: HashMap<String, Track>,
}

#[derive(Debug, Default)]
struct Track {
    /// Since when it holds more than it may at the most, and what was seen then.
    above: Option<(Instant, Sight)>,
    /// Since when a queue that was warned of holds no more than it may.
    below: Option<Instant>,
}

impl Judge {
    /// Judges a queue by what is seen of it now.
    pub(super) fn judge(
        &mut self,
        queue: &str,
        sight: Sight,
        is_warned: bool,
        limits: &Limits,
        now: Instant,
    ) -> Verdict {
        if sight.messages <= limits.warn && !is_warned {
            self.queues.remove(queue);
            return Verdict::Nothing;
        }
        if !self.queues.contains_key(queue) {
            self.queues.insert(queue.to_owned(), Track::default());
        }
        let track = self.queues.get_mut(queue).expect("inserted above");
        if track.is_to_go(sight, limits, now) {
            return Verdict::Delete;
        }
        if sight.messages > limits.warn {
            track.below = None;
            return if is_warned {
                Verdict::Nothing
            } else {
                Verdict::Warn
            };
        }
        // One that goes up and down around the limit is not talked about each time.
        let below = *track.below.get_or_insert(now);
        if now.duration_since(below) >= limits.grace {
            self.queues.remove(queue);
            return Verdict::Well;
        }
        Verdict::Nothing
    }

    /// Forgets all queues but these.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.queues.retain(|queue, _| is_there(queue));
    }
}

impl Track {
    fn is_to_go(&mut self, sight: Sight, limits: &Limits, now: Instant) -> bool {
        if sight.messages <= limits.delete {
            self.above = None;
            return false;
        }
        let (since, first) = *self.above.get_or_insert((now, sight));
        if now.duration_since(since) < limits.grace {
            return false;
        }
        let counted = match (first.taken, sight.taken) {
            (Some(before), Some(taken)) if taken >= before => taken - before,
            // A broker that was restarted counts anew.
            (Some(_), Some(taken)) => taken,
            (_, _) => 0,
        };
        // What the broker has counted is some seconds old; how many messages there are is not.
        let taken = counted.max(first.messages.saturating_sub(sight.messages));
        // The next period begins.
        self.above = Some((now, sight));
        taken.saturating_mul(PERIODS_TO_EMPTY) < sight.messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        warn: 2_000,
        delete: 8_000,
        grace: Duration::from_secs(30),
    };

    /// Looks each five seconds at a queue that has these many messages, of which so many were taken
    /// in all, and returns what happens when.
    #[track_caller]
    fn check(looks: &[(u64, Option<u64>)], expected: &[(usize, Verdict)]) {
        let (mut judge, start) = (Judge::default(), Instant::now());
        let (mut is_warned, mut happened) = (false, Vec::new());
        for (at, &(messages, taken)) in looks.iter().enumerate() {
            let now = start + Duration::from_secs(5) * at as u32;
            let verdict = judge.judge("q", Sight { messages, taken }, is_warned, &LIMITS, now);
            if verdict != Verdict::Nothing {
                happened.push((at, verdict));
            }
            is_warned = match verdict {
                Verdict::Nothing => is_warned,
                Verdict::Warn => true,
                Verdict::Well | Verdict::Delete => false,
            };
        }
        assert_eq!(happened, expected);
    }

    #[test]
    fn at_the_limit_nothing_happens_above_it_there_is_one_warning_and_one_word_when_it_is_over() {
        let mut looks = vec![(2_000, Some(0)), (2_001, Some(0)), (8_000, Some(0))];
        looks.extend([(2_000, Some(0)); 10]);
        check(&looks, &[(1, Verdict::Warn), (9, Verdict::Well)]);
    }

    #[test]
    fn one_that_goes_up_and_down_is_not_talked_about_each_time() {
        let looks: Vec<_> = (0..40).map(|at| (1_999 + at % 2 * 2, Some(0))).collect();
        check(&looks, &[(1, Verdict::Warn)]);
    }

    #[test]
    fn one_that_nobody_reads_is_deleted_when_the_grace_is_over() {
        check(
            &[(8_001, Some(7)); 7],
            &[(0, Verdict::Warn), (6, Verdict::Delete)],
        );
        check(
            &[(8_001, None); 7],
            &[(0, Verdict::Warn), (6, Verdict::Delete)],
        );
    }

    #[test]
    fn a_burst_of_20_000_in_a_minute_to_a_live_consumer_deletes_nothing() {
        // 333 come per second for a minute, 100 are taken per second until all are.
        let looks: Vec<_> = (0..60_u64)
            .map(|at| {
                let seconds = at * 5;
                let taken = (seconds * 100).min(20_000);
                ((seconds * 333).min(20_000) - taken, Some(taken))
            })
            .collect();
        check(&looks, &[(2, Verdict::Warn), (42, Verdict::Well)]);
    }

    #[test]
    fn a_consumer_that_will_never_catch_up_does_not_save_its_queue() {
        let slow: Vec<_> = (0..7).map(|at| (20_000, Some(at * 5 * 33))).collect();
        check(&slow, &[(0, Verdict::Warn), (6, Verdict::Delete)]);
        let fast: Vec<_> = (0..70).map(|at| (20_000, Some(at * 5 * 34))).collect();
        check(&fast, &[(0, Verdict::Warn)]);
    }

    #[test]
    fn a_broker_that_counts_anew_or_not_at_all_does_not_hide_a_consumer() {
        let mut looks: Vec<_> = (0..6).map(|at| (9_000, Some(5_000 + at))).collect();
        looks.push((9_000, Some(1_000)));
        check(&looks, &[(0, Verdict::Warn)]);
        let uncounted: Vec<_> = (0..7).map(|at| (20_000 - at * 200, None)).collect();
        check(&uncounted, &[(0, Verdict::Warn)]);
    }
}
