//! Updates that are published one after the other: which, and when each is due. Pure.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::plan::Demand;

/// Updates that are published one after the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// The number of the first one.
    pub first_seq: u32,
    pub count: u32,
    /// Of which bugs.
    pub demand: Demand,
    /// When the first one is due, by the monotonic clock, in nanoseconds.
    pub start: u64,
    /// How much later each burst is due.
    pub interval: u64,
    /// How many are due at the same time.
    pub burst: u32,
}

impl Segment {
    /// The numbers of its updates.
    pub(crate) fn seqs(&self) -> Range<u32> {
        self.first_seq..self.first_seq + self.count
    }

    /// When an update is due. Latency counts from there, not from when the bench got round to it.
    pub(crate) fn due(&self, seq: u32) -> u64 {
        self.start + u64::from((seq - self.first_seq) / self.burst.max(1)) * self.interval
    }

    /// The number behind those that are sent with `seq`: its burst, and what else is due by now.
    /// Whoever is late is not late for ever.
    pub(crate) fn first_after(&self, seq: u32, now: u64) -> u32 {
        let overdue = now.saturating_sub(self.due(seq)) / self.interval.max(1);
        let bursts = u32::try_from(overdue + 1).unwrap_or(u32::MAX);
        seq.saturating_add(self.burst.saturating_mul(bursts))
    }
}
