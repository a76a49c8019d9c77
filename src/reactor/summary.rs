//! What the log says of the whole: a line an hour, and one with the totals in the end. Knows no
//! client and no log.

use std::fmt;
use std::time::Duration;

use crate::moment::Moment;

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that have ended.
    pub ended: u64,
    /// Updates that have come.
    pub updates: u64,
    /// Updates that were handed over to a client.
    pub deliveries: u64,
}

impl Totals {
    fn since(self, before: Self) -> Self {
        Self {
            accepted: self.accepted - before.accepted,
            ended: self.ended - before.ended,
            updates: self.updates - before.updates,
            deliveries: self.deliveries - before.deliveries,
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            accepted,
            ended,
            updates,
            deliveries,
        } = self;
        write!(
            f,
            "{accepted} connections accepted, {ended} ended, {updates} updates, {deliveries} deliveries"
        )
    }
}

/// A time as people say it.
pub(super) fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// When the next line is due, and what was known at the last one.
#[derive(Debug)]
pub(super) struct Summary {
    /// Milliseconds.
    interval: u32,
    next: Moment,
    before: Totals,
}

impl Summary {
    /// A line each `interval` milliseconds.
    pub(super) fn each(interval: u32) -> Self {
        Self {
            interval,
            next: Moment(interval),
            before: Totals::default(),
        }
    }

    /// The milliseconds until a line is due.
    pub(super) fn until_due(&self, now: Moment) -> u32 {
        self.next.since(now)
    }

    /// What has happened since the last line; the next one is due after the interval.
    pub(super) fn take(&mut self, totals: Totals, now: Moment) -> Totals {
        self.next = now.plus(self.interval);
        totals.since(std::mem::replace(&mut self.before, totals))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_counts_from_the_one_before() {
        let mut summary = Summary::each(1_000);
        let totals = |accepted| Totals {
            accepted,
            ..Totals::default()
        };
        assert_eq!(summary.until_due(Moment(999)), 1);
        assert_eq!(summary.take(totals(5), Moment(1_000)), totals(5));
        assert_eq!(summary.until_due(Moment(1_999)), 1);
        assert_eq!(summary.take(totals(7), Moment(2_500)), totals(2));
        assert_eq!(summary.until_due(Moment(2_500)), 1_000);
    }

    #[test]
    fn a_time_is_said_in_units_that_fit() {
        for (seconds, said) in [(0, "0 s"), (75, "1 min 15 s"), (273_185, "75 h 53 min")] {
            assert_eq!(spoken(Duration::from_secs(seconds)), said);
        }
    }
}
