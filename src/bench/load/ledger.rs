//! The reconciliation: what each client should have got, against what it got. Each client has, for
//! each of its bugs, the number of that bug's updates that it has got so far; so what is missing,
//! what came twice and what came in the wrong order is all one comparison. Knows no socket.

use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::plan::Plan;
use super::segment::Segment;

/// Whoever reads together what comes as one looks more often than this, in nanoseconds, unless it is
/// late for all.
const LOOK: u64 = 1_000_000_000;

/// What the clients got.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Deliveries that were expected.
    pub received: u64,
    /// Deliveries that were passed over by a later one of the same bug.
    pub skipped: u64,
    /// The same where that is as it should be: to clients that had stopped reading, and of updates
    /// that may come as one.
    pub coalesced: u64,
    /// Deliveries that came again, or after a later one, to a client that had not asked for a
    /// repetition.
    pub repeated: u64,
    /// Deliveries of what the client had not subscribed to or what was never published.
    pub foreign: u64,
}

impl Counts {
    /// Adds those of other clients.
    pub(crate) fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.skipped += other.skipped;
        self.coalesced += other.coalesced;
        self.repeated += other.repeated;
        self.foreign += other.foreign;
    }
}

/// What a client must put up with at a delivery.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Grace {
    /// It connected with `since`, the time of the last update that it had got, so that it may get
    /// the newest update of each of its bugs again, before all others.
    pub may_repeat: bool,
    /// It did not read for a time, so that newer updates may stand for older ones.
    pub was_stopped: bool,
    /// Updates of one bug that are read together come as one.
    pub may_combine: bool,
    /// For how long it has been subscribed, in nanoseconds: what was due earlier is not late.
    pub open_for: u64,
}

/// What a range of clients should get, and did.
#[derive(Debug)]
pub(crate) struct Ledger {
    plan: Plan,
    segments: Vec<Segment>,
    /// The numbers of each bug's updates.
    published: HashMap<u32, Vec<u32>, RandomState>,
    /// How many clients want a bug.
    subscribers: HashMap<u32, u32, RandomState>,
    /// The bugs of each client, ascending, and beside each how many of its updates the client has
    /// got or passed over.
    bugs: Vec<u32>,
    cursors: Vec<u32>,
    /// What the clients got.
    pub counts: Counts,
    /// Deliveries that are still to come.
    pub outstanding: u64,
    /// From when an update was due until a client had it.
    pub latency: Histogram,
}

/// A delivery as far as it is the same for all clients: which update of which bug.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    bug: u32,
    /// The update's number, if it is one of the plan.
    pub seq: u32,
    /// Which one of the bug's updates, if it is one that was published.
    position: Option<u32>,
    due: u64,
}

impl Ledger {
    /// A ledger for these clients of the plan.
    pub(crate) fn new(plan: Plan, clients: Range<u32>) -> Self {
        let mut subscribers: HashMap<u32, u32, RandomState> = HashMap::default();
        let bugs: Vec<u32> = clients.flat_map(|client| plan.bugs_of(client)).collect();
        bugs.iter()
            .for_each(|&bug| *subscribers.entry(bug).or_default() += 1);
        let cursors = vec![0; bugs.len()];
        Self {
            plan,
            segments: Vec::new(),
            published: HashMap::default(),
            subscribers,
            bugs,
            cursors,
            counts: Counts::default(),
            outstanding: 0,
            latency: Histogram::default(),
        }
    }

    fn slots(&self, client: usize) -> Range<usize> {
        let count = self.plan.bugs_per_client as usize;
        client * count..(client + 1) * count
    }

    /// The bugs of a client, by its place in the range.
    pub(crate) fn bugs_of(&self, client: usize) -> &[u32] {
        &self.bugs[self.slots(client)]
    }

    /// Notes that updates are about to be published.
    pub(crate) fn expect(&mut self, segment: Segment) {
        for seq in segment.seqs() {
            let bug = self.plan.bug(seq, segment.demand);
            if let Some(&subscribers) = self.subscribers.get(&bug) {
                self.published.entry(bug).or_default().push(seq);
                self.outstanding += u64::from(subscribers);
            }
        }
        self.segments.push(segment);
    }

    /// From now on, updates are expected of those clients only for whom `is_there` holds; what
    /// somebody should have got and did not is missing for good.
    pub(crate) fn enroll(&mut self, is_there: impl Fn(usize) -> bool) {
        self.counts.skipped += std::mem::take(&mut self.outstanding);
        self.subscribers.clear();
        let count = self.plan.bugs_per_client as usize;
        for (slot, &bug) in self.bugs.iter().enumerate() {
            self.cursors[slot] = self
                .published
                .get(&bug)
                .map_or(0, |published| published.len() as u32);
            if is_there(slot / count) {
                *self.subscribers.entry(bug).or_default() += 1;
            }
        }
    }

    /// Finds out which update a push is.
    pub(crate) fn identify(&self, bug: u32, when: i64) -> Delivery {
        let seq = self.plan.seq(when);
        let position = seq
            .zip(self.published.get(&bug))
            .and_then(|(seq, published)| published.binary_search(&seq).ok());
        Delivery {
            bug,
            seq: seq.unwrap_or_default(),
            position: position.map(|position| position as u32),
            due: seq.map_or(0, |seq| self.due(seq)),
        }
    }

    /// When an update was due; 0 if it never was.
    fn due(&self, seq: u32) -> u64 {
        let of_it = |segment: &&Segment| segment.seqs().contains(&seq);
        self.segments
            .iter()
            .rev()
            .find(of_it)
            .map_or(0, |segment| segment.due(seq))
    }

    /// How many of a bug's updates, which a delivery that has come `now` has passed over, may have
    /// been read together with it.
    fn combined(&self, delivery: &Delivery, passed: Range<u32>, now: u64) -> u64 {
        let late = now.saturating_sub(delivery.due);
        let passed = &self.published[&delivery.bug][passed.start as usize..passed.end as usize];
        let may_be_one = |&&seq: &&u32| delivery.due <= self.due(seq) + LOOK + late;
        passed.iter().filter(may_be_one).count() as u64
    }

    /// Enters a delivery that has come `now`; returns whether it is a repetition that the client
    /// must put up with.
    pub(crate) fn enter(
        &mut self,
        client: usize,
        delivery: &Delivery,
        grace: Grace,
        now: u64,
    ) -> bool {
        let slots = self.slots(client);
        let (Ok(at), Some(position)) = (
            self.bugs[slots.clone()].binary_search(&delivery.bug),
            delivery.position,
        ) else {
            self.counts.foreign += 1;
            return false;
        };
        let cursor = self.cursors[slots.start + at];
        if position < cursor {
            let is_asked_for = grace.may_repeat && position + 1 == cursor;
            self.counts.repeated += u64::from(!is_asked_for);
            return is_asked_for;
        }
        let passed = cursor..position;
        let coalesced = if grace.was_stopped {
            passed.len() as u64
        } else if grace.may_combine {
            self.combined(delivery, passed.clone(), now)
        } else {
            0
        };
        self.cursors[slots.start + at] = position + 1;
        self.counts.received += 1;
        self.counts.coalesced += coalesced;
        self.counts.skipped += passed.len() as u64 - coalesced;
        self.outstanding -= 1 + passed.len() as u64;
        let latency = now.saturating_sub(delivery.due);
        if !grace.was_stopped && latency <= grace.open_for {
            self.latency.record(latency, 1);
        }
        false
    }

    /// The time that a client names when it comes back: that of the latest update it got, or of the
    /// first one.
    pub(crate) fn since(&self, client: usize) -> String {
        let last = |slot: usize| {
            Some(self.published.get(&self.bugs[slot])?[self.cursors[slot].checked_sub(1)? as usize])
        };
        self.plan.when(
            self.slots(client)
                .filter_map(last)
                .max()
                .unwrap_or_default(),
        )
    }

    /// Whether a client has the newest update of each of its bugs.
    pub(crate) fn is_up_to_date(&self, client: usize) -> bool {
        self.slots(client).all(|slot| {
            self.published.get(&self.bugs[slot]).map_or(0, Vec::len) == self.cursors[slot] as usize
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::plan::{Demand, Pattern};

    fn ledger() -> Ledger {
        let plan = Plan {
            pattern: Pattern::Shared,
            clients: 2,
            bugs_per_client: 2,
            bugs_before: 0,
            first_when: 1_000,
        };
        let mut ledger = Ledger::new(plan, 0..2);
        // The bugs 1, 2, 1, 2.
        ledger.expect(Segment {
            first_seq: 0,
            count: 4,
            demand: Demand::Wanted,
            start: 10,
            interval: 5,
            burst: 2,
        });
        ledger
    }

    fn get(ledger: &mut Ledger, client: usize, bug: u32, seq: i64, may_repeat: bool) {
        let delivery = ledger.identify(bug, 1_000 + seq);
        ledger.enter(
            client,
            &delivery,
            Grace {
                may_repeat,
                open_for: 1_000,
                ..Grace::default()
            },
            20,
        );
    }

    #[test]
    fn all_that_was_published_is_expected_of_each_subscriber() {
        let mut ledger = ledger();
        assert_eq!(ledger.outstanding, 8);
        for client in 0..2 {
            for (bug, seq) in [(1, 0), (2, 1), (1, 2), (2, 3)] {
                get(&mut ledger, client, bug, seq, false);
            }
            assert!(ledger.is_up_to_date(client));
        }
        assert_eq!((ledger.outstanding, ledger.counts.received), (0, 8));
        assert_eq!(
            (ledger.latency.quantile(0.5), ledger.latency.quantile(1.0)),
            (5, 10)
        );
    }

    #[test]
    fn what_is_wrong_is_counted_by_its_kind() {
        let mut ledger = ledger();
        get(&mut ledger, 0, 1, 2, false);
        assert_eq!((ledger.counts.skipped, ledger.outstanding), (1, 6));
        get(&mut ledger, 0, 1, 0, false);
        // Who comes back may get the newest update of a bug again, and nothing older.
        get(&mut ledger, 0, 1, 2, true);
        get(&mut ledger, 0, 1, 0, true);
        assert_eq!(ledger.counts.repeated, 2);
        for (bug, seq) in [(3, 0), (2, 0), (1, 99), (1, -5)] {
            get(&mut ledger, 0, bug, seq, false);
        }
        assert_eq!(ledger.counts.foreign, 4);
        assert!(!ledger.is_up_to_date(0));
    }

    #[test]
    fn a_client_that_did_not_read_may_miss_all_but_the_newest() {
        let mut ledger = ledger();
        let grace = Grace {
            was_stopped: true,
            open_for: 1_000,
            ..Grace::default()
        };
        for (bug, seq) in [(1, 2), (2, 3)] {
            let delivery = ledger.identify(bug, 1_000 + seq);
            ledger.enter(0, &delivery, grace, 20);
        }
        assert!(ledger.is_up_to_date(0) && ledger.latency.is_empty());
        assert_eq!(
            (
                ledger.counts.coalesced,
                ledger.counts.skipped,
                ledger.outstanding
            ),
            (2, 0, 4)
        );
    }

    #[test]
    fn where_updates_come_as_one_the_newest_stands_for_those_shortly_before_it() {
        let mut ledger = ledger();
        // Bugs 1 and 2 again, two seconds later.
        ledger.expect(Segment {
            first_seq: 4,
            count: 2,
            demand: Demand::Wanted,
            start: 10 + 2 * LOOK,
            interval: 5,
            burst: 2,
        });
        let grace = Grace {
            may_combine: true,
            open_for: u64::MAX,
            ..Grace::default()
        };
        let mut get = |client, bug, seq: i64, now| {
            let delivery = ledger.identify(bug, 1_000 + seq);
            ledger.enter(client, &delivery, grace, now);
            (ledger.counts.coalesced, ledger.counts.skipped)
        };
        assert_eq!(get(0, 1, 2, 20), (1, 0));
        // What was due long before was lost, unless all is late.
        assert_eq!(get(0, 1, 4, 20 + 2 * LOOK), (1, 0));
        assert_eq!(get(0, 2, 5, 20 + 2 * LOOK), (1, 2));
        assert_eq!(get(1, 2, 5, 20 + 4 * LOOK), (3, 2));
        assert_eq!(ledger.outstanding, 3);
        assert!(!ledger.latency.is_empty());
    }

    #[test]
    fn of_those_who_are_not_there_nothing_is_expected() {
        let mut ledger = ledger();
        ledger.enroll(|client| client == 1);
        assert_eq!((ledger.counts.skipped, ledger.outstanding), (8, 0));
        ledger.expect(Segment {
            first_seq: 4,
            count: 2,
            demand: Demand::Wanted,
            start: 10,
            interval: 5,
            burst: 2,
        });
        assert_eq!(ledger.outstanding, 2);
        get(&mut ledger, 1, 1, 4, false);
        get(&mut ledger, 1, 2, 5, false);
        assert_eq!(
            (
                ledger.counts.received,
                ledger.counts.skipped,
                ledger.outstanding
            ),
            (2, 8, 0)
        );
    }

    #[test]
    fn what_was_due_before_a_client_came_is_not_late() {
        let mut ledger = ledger();
        let delivery = ledger.identify(1, 1_000);
        ledger.enter(
            0,
            &delivery,
            Grace {
                open_for: 5,
                ..Grace::default()
            },
            20,
        );
        assert!(ledger.latency.is_empty());
    }

    #[test]
    fn a_client_comes_back_with_the_time_of_its_latest_update() {
        let mut ledger = ledger();
        assert_eq!(ledger.since(0), "1970-01-01T00:16:40");
        get(&mut ledger, 0, 1, 0, false);
        get(&mut ledger, 0, 2, 1, false);
        assert_eq!(ledger.since(0), "1970-01-01T00:16:41");
    }
}
