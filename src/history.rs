//! What was published lately, so that a client that comes back gets what it missed. Owns the order
//! of arrival, the watermark and the floor. Knows no client, no file, no clock.
//!
//! Times are no order: they come from the database's clock, have a resolution of one second, are
//! taken before the commit and can go backwards. So each entry carries the **watermark**, the
//! largest time seen up to and including it. What a client has seen is never newer than the
//! watermark of the last update it got, so everything that arrived later has a watermark at or
//! above its newest time.
//!
//! The newest update of each bug is kept longest: when the history is full, updates go first that a
//! newer one of the same bug has made redundant. Nobody misses those, so their going raises no
//! floor, and a history of 10,000 entries reaches back 10,000 changed bugs. One that was committed
//! late makes nothing redundant: a client must not have seen a newer time than it is sent.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;

use crate::update::{BugId, Update};

/// The latest updates of one feed, in order of arrival.
#[derive(Debug)]
pub struct History {
    entries: BTreeMap<Place, Update>,
    entries_max: usize,
    /// Where the update of each bug stands that arrived last.
    latest: HashMap<BugId, Place, foldhash::fast::RandomState>,
    /// Where updates stand that a newer one of the same bug has made redundant, in order of
    /// arrival of the newer ones.
    redundant: VecDeque<Place>,
    /// Of the entry that arrived last.
    last: Place,
    /// Unix seconds; updates at or before it may be missing.
    floor: i64,
}

/// An entry's place in the order of arrival. The watermark never sinks, so it can come first, and
/// entries can be found by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Unix seconds.
    watermark: i64,
    /// How many arrived before.
    number: u64,
}

impl History {
    /// A history of at most `entries_max` updates that promises nothing about the time up to
    /// `floor` (Unix seconds).
    pub fn new(entries_max: usize, floor: i64) -> Self {
        Self {
            entries: BTreeMap::new(),
            entries_max,
            latest: HashMap::default(),
            redundant: VecDeque::new(),
            last: Place {
                watermark: i64::MIN,
                number: 0,
            },
            floor,
        }
    }

    /// Remembers an update that has just arrived. `credible_until` (Unix seconds) bounds the times
    /// that raise the watermark: one that lies far ahead would make every later update look old.
    pub fn push(&mut self, update: Update, credible_until: i64) {
        let seconds = update.when.unix_seconds();
        let watermark = if seconds <= credible_until {
            self.last.watermark.max(seconds)
        } else {
            self.last.watermark
        };
        self.restore(watermark, update);
    }

    /// Puts back an update that was kept, behind all others, with the watermark that it had (Unix
    /// seconds).
    pub(crate) fn restore(&mut self, watermark: i64, update: Update) {
        self.last = Place {
            watermark: watermark.max(self.last.watermark),
            number: self.last.number + 1,
        };
        if let Some(older) = self.latest.insert(update.bug, self.last)
            && self.entries[&older].when.unix_seconds() <= update.when.unix_seconds()
        {
            self.redundant.push_back(older);
        }
        self.entries.insert(self.last, update);
        if self.entries.len() > self.entries_max {
            self.evict();
        }
        self.check();
    }

    /// Removes the update that is missed least.
    fn evict(&mut self) {
        if let Some(redundant) = self.redundant.pop_front() {
            self.entries.remove(&redundant);
        } else if let Some((place, update)) = self.entries.pop_first() {
            if self.latest.get(&update.bug) == Some(&place) {
                self.latest.remove(&update.bug);
            }
            self.raise_floor(place.watermark);
        }
    }

    /// Records that updates up to `floor` (Unix seconds) may be missing. A floor never sinks.
    pub(crate) fn raise_floor(&mut self, floor: i64) {
        self.floor = self.floor.max(floor);
    }

    /// The largest credible time of all updates so far, in Unix seconds.
    pub(crate) fn watermark(&self) -> i64 {
        self.last.watermark
    }

    /// How many updates are remembered.
    pub(crate) fn count(&self) -> usize {
        self.entries.len()
    }

    /// The watermark of the first of them, in Unix seconds.
    pub(crate) fn oldest(&self) -> Option<i64> {
        self.entries.keys().next().map(|place| place.watermark)
    }

    /// Updates at or before this time (Unix seconds) may be missing.
    pub(crate) fn floor(&self) -> i64 {
        self.floor
    }

    /// Whether [`History::since`] leaves nothing out for a client whose newest update was at
    /// `since`.
    pub(crate) fn is_complete(&self, since: i64) -> bool {
        since > self.floor
    }

    /// Everything that a client whose newest update was at `since` (Unix seconds) may have missed,
    /// in order of arrival. Inclusive, since several updates share a second.
    pub(crate) fn since(&self, since: i64) -> impl Iterator<Item = &Update> {
        let first = Place {
            watermark: since,
            number: 0,
        };
        self.entries.range(first..).map(|(_, update)| update)
    }

    /// The newest update of each of these bugs that arrived before what [`History::since`] begins
    /// with, and at `from` (Unix seconds) or later, in order of arrival.
    pub(crate) fn before(&self, since: i64, from: i64, bugs: &[BugId]) -> Vec<&Update> {
        self.in_order(
            bugs.iter().filter_map(|bug| self.latest.get(bug)),
            from..since,
        )
    }

    /// Like [`History::before`], of all bugs.
    pub(crate) fn all_before(&self, since: i64, from: i64) -> Vec<&Update> {
        self.in_order(self.latest.values(), from..since)
    }

    /// The updates at those of the `places` that have one of these watermarks (Unix seconds).
    fn in_order<'a>(
        &self,
        places: impl Iterator<Item = &'a Place>,
        watermarks: Range<i64>,
    ) -> Vec<&Update> {
        let mut places: Vec<&Place> = places
            .filter(|place| watermarks.contains(&place.watermark))
            .collect();
        places.sort_unstable();
        places.iter().map(|place| &self.entries[*place]).collect()
    }

    fn check(&self) {
        debug_assert!(self.entries.len() <= self.entries_max);
        debug_assert!(self.entries.len() >= self.latest.len() + self.redundant.len());
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::{BugId, When};

    fn update(bug: u32, seconds: i64) -> Update {
        Update {
            bug: BugId::new(bug).unwrap(),
            when: When::from_unix_seconds(seconds),
        }
    }

    fn history(entries_max: usize, updates: &[(u32, i64)]) -> History {
        let mut history = History::new(entries_max, 0);
        for &(bug, seconds) in updates {
            history.push(update(bug, seconds), 1_000);
        }
        history
    }

    fn replayed(history: &History, since: i64) -> Vec<u32> {
        history
            .since(since)
            .map(|update| update.bug.get())
            .collect()
    }

    #[test]
    fn what_is_as_new_as_since_is_replayed_oldest_first() {
        let history = history(10, &[(1, 100), (2, 101), (3, 101), (4, 102)]);
        assert_eq!(replayed(&history, 101), [2, 3, 4]);
        assert_eq!(replayed(&history, 103), [0; 0]);
    }

    #[test]
    fn an_edit_that_was_committed_late_is_replayed_to_all_who_cannot_have_seen_it() {
        // A client whose newest update is bug 1's at 200 cannot have seen bug 2's, which is older
        // but arrived later.
        let history = history(10, &[(1, 200), (2, 150), (3, 201)]);
        assert_eq!(replayed(&history, 200), [1, 2, 3]);
    }

    #[test]
    fn what_arrived_a_little_before_since_is_found_by_its_bugs_once_each() {
        let history = history(10, &[(2, 100), (1, 101), (1, 102), (3, 103), (4, 110)]);
        let bugs = [1, 2, 3, 4, 5].map(|bug| BugId::new(bug).unwrap());
        let before = |since, from| -> Vec<_> {
            let before = history.before(since, from, &bugs).into_iter();
            before
                .map(|update| (update.bug.get(), update.when.unix_seconds()))
                .collect()
        };
        assert_eq!(before(110, 0), [(2, 100), (1, 102), (3, 103)]);
        assert_eq!(before(110, 101), [(1, 102), (3, 103)]);
        assert_eq!(before(102, 0), [(2, 100)]);
    }

    #[test]
    fn a_history_is_complete_after_its_floor_only() {
        let mut history = history(10, &[(1, 200)]);
        history.raise_floor(100);
        history.raise_floor(50);
        assert!(!history.is_complete(100));
        assert!(history.is_complete(101));
    }

    #[test]
    fn eviction_raises_the_floor_to_the_watermark_that_went() {
        let history = history(2, &[(1, 200), (2, 150), (3, 201), (4, 202)]);
        assert_eq!(replayed(&history, 0), [3, 4]);
        assert!(!history.is_complete(200));
        assert!(history.is_complete(201));
    }

    #[test]
    fn a_restored_history_answers_as_the_one_that_was_kept() {
        let mut restored = History::new(10, 0);
        restored.restore(300, update(2, 150));
        assert_eq!(replayed(&restored, 300), [2]);
    }

    #[test]
    fn the_newest_update_of_each_bug_is_kept_longest() {
        let mut history = history(3, &[(1, 100), (2, 101)]);
        for at in 102..200 {
            history.push(update(7, at), 1_000);
        }
        assert_eq!(replayed(&history, 100), [1, 2, 7]);
        assert!(history.is_complete(1));
        history.push(update(8, 200), 1_000);
        assert_eq!(replayed(&history, 100), [2, 7, 8]);
        assert!(!history.is_complete(100));
        assert!(history.is_complete(101));
    }

    #[test]
    fn what_goes_for_a_newer_update_of_its_bug_leaves_its_watermark_to_those_behind_it() {
        // Bug 2 was committed late: a client that has seen 200 has not seen it.
        let mut history = history(2, &[(1, 200), (2, 150)]);
        history.push(update(1, 201), 1_000);
        assert_eq!(replayed(&history, 200), [2, 1]);
        assert!(history.is_complete(1));
    }

    #[test]
    fn a_time_far_ahead_is_kept_and_raises_no_watermark() {
        let history = history(10, &[(1, 100), (2, 4_000_000), (3, 101)]);
        assert_eq!(history.watermark(), 101);
        assert_eq!(replayed(&history, 100), [1, 2, 3]);
        assert_eq!(replayed(&history, 102), [0; 0]);
    }

    #[test]
    fn a_history_of_no_entries_promises_nothing_that_it_cannot_hold() {
        let history = history(0, &[(1, 200)]);
        assert_eq!(replayed(&history, 0), [0; 0]);
        assert!(!history.is_complete(200));
    }

    #[test]
    fn a_history_says_how_much_it_holds_and_since_when() {
        let mut history = history(2, &[]);
        assert_eq!((history.count(), history.oldest()), (0, None));
        for (bug, seconds) in [(1, 200), (2, 150), (3, 201)] {
            history.push(update(bug, seconds), 1_000);
        }
        assert_eq!((history.count(), history.oldest()), (2, Some(200)));
    }
}
