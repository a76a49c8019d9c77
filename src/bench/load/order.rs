//! What the bench and a worker write to each other, a line of JSON each: orders one way, answers
//! the other. Knows no process and no client.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clients::Tally;
use super::histogram::Histogram;
use super::ledger::Counts;
use super::segment::Segment;

/// What the bench wants done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// All that are absent connect and subscribe.
    Connect {
        with_since: bool,
        /// Whether handshakes of TLS may resume earlier ones.
        resumes: bool,
        /// How many at the same time.
        in_flight: u32,
        /// How many per second; 0 for all at once.
        rate: u32,
    },
    /// Clients connect, subscribe and leave, `cycles` times in all.
    Churn {
        cycles: u64,
        in_flight: u32,
        /// Whether handshakes of TLS may resume earlier ones.
        resumes: bool,
    },
    /// All connections end without a close frame.
    Cut,
    /// These updates will be published.
    Expect(Segment),
    /// Wait until all have what they should get.
    Await { patience: Duration },
    /// Wait until all that are open have the newest update of each of their bugs.
    AwaitNewest { patience: Duration },
    /// From now on, updates are expected by those who are subscribed, and by nobody else.
    Enroll,
    /// Each `every`-th client reads no more.
    StopReading { every: u32 },
    /// All read again.
    ResumeReading,
    /// So many clients per second lose their connection and come back with `since`, until another
    /// order of this kind; 0 ends it, and waits until all are back.
    Roam { per_second: u32, in_flight: u32 },
    /// What was measured so far was a warm-up: latencies count from here.
    Forget,
    /// Answer with the outcome.
    Report,
}

/// What a worker answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The order takes time, and so much is done.
    Pending(Status),
    Done(Status),
    Outcome(Box<Outcome>),
}

/// How far an order is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Clients that are subscribed.
    pub open: u32,
    /// Times that a client has left.
    pub closed: u64,
    /// Deliveries that are still to come.
    pub outstanding: u64,
    /// Nanoseconds that the order took.
    pub took: u64,
}

impl Status {
    /// That of all workers: the slowest one says how long it took.
    pub(crate) fn of_all(workers: &[Self]) -> Self {
        workers.iter().fold(Self::default(), |sum, one| Self {
            open: sum.open + one.open,
            closed: sum.closed + one.closed,
            outstanding: sum.outstanding + one.outstanding,
            took: sum.took.max(one.took),
        })
    }
}

/// Everything that a worker has counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// What happened to its clients.
    pub tally: Tally,
    /// What they got.
    pub counts: Counts,
    /// Deliveries that never came.
    pub outstanding: u64,
    /// How late the others were.
    pub latency: Histogram,
}

impl Outcome {
    /// Adds that of another worker.
    pub(crate) fn add(&mut self, other: &Self) {
        self.add_faults(other);
        self.latency.merge(&other.latency);
        self.tally.open += other.tally.open;
        self.tally.closed += other.tally.closed;
        self.tally.refused += other.tally.refused;
        self.tally.incomplete += other.tally.incomplete;
        self.tally.connect.merge(&other.tally.connect);
        self.tally.full += other.tally.full;
        self.tally.resumed += other.tally.resumed;
    }

    /// Adds what others got and did not get, and no times.
    pub(crate) fn add_faults(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.outstanding += other.outstanding;
        add_reasons(&mut self.tally.failed, &other.tally.failed);
        add_reasons(&mut self.tally.dropped, &other.tally.dropped);
    }
}

fn add_reasons(sum: &mut BTreeMap<String, u64>, other: &BTreeMap<String, u64>) {
    for (reason, times) in other {
        *sum.entry(reason.clone()).or_default() += times;
    }
}
