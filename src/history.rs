//! What was published lately, so that a client that comes back gets what it missed. Owns the order
//! of arrival, the watermark and the floor. Knows no client, no file, no clock.
//!
//! Times are no order: they come from the database's clock, have a resolution of one second, are
//! taken before the commit and can go backwards. So each entry carries the **watermark**, the
//! largest time seen up to and including it. What a client has seen is never newer than the
//! watermark of the last update it got, so everything that arrived later has a watermark at or
//! above its newest time.

use std::collections::VecDeque;

use crate::update::Update;

/// The latest updates of one feed, in order of arrival.
#[derive(Debug)]
pub struct History {
    entries: VecDeque<Entry>,
    entries_max: usize,
    /// Of everything that was ever pushed, in Unix seconds.
    watermark: i64,
    /// Unix seconds; updates at or before it may be missing.
    floor: i64,
}

#[derive(Debug)]
struct Entry {
    watermark: i64,
    update: Update,
}

impl History {
    /// A history of at most `entries_max` updates that promises nothing about the time up to
    /// `floor` (Unix seconds).
    pub fn new(entries_max: usize, floor: i64) -> Self {
        Self {
            entries: VecDeque::new(),
            entries_max,
            watermark: i64::MIN,
            floor,
        }
    }

    /// Puts back what was kept: `updates` in order of arrival, and the watermark of the first of
    /// them, in Unix seconds.
    pub(crate) fn restore(&mut self, watermark: i64, updates: impl IntoIterator<Item = Update>) {
        self.watermark = self.watermark.max(watermark);
        for update in updates {
            self.push(update);
        }
    }

    /// Remembers an update that has just arrived; the oldest goes when there are too many.
    pub fn push(&mut self, update: Update) {
        self.watermark = self.watermark.max(update.when.unix_seconds());
        self.entries.push_back(Entry {
            watermark: self.watermark,
            update,
        });
        if self.entries.len() > self.entries_max
            && let Some(evicted) = self.entries.pop_front()
        {
            self.raise_floor(evicted.watermark);
        }
        self.check();
    }

    /// Records that updates up to `floor` (Unix seconds) may be missing. A floor never sinks.
    pub(crate) fn raise_floor(&mut self, floor: i64) {
        self.floor = self.floor.max(floor);
    }

    /// Whether [`History::since`] leaves nothing out for a client whose newest update was at
    /// `since`.
    pub(crate) fn is_complete(&self, since: i64) -> bool {
        since > self.floor
    }

    /// Everything that a client whose newest update was at `since` (Unix seconds) may have missed,
    /// in order of arrival. Inclusive, since several updates share a second.
    pub(crate) fn since(&self, since: i64) -> impl Iterator<Item = &Update> {
        let first = self
            .entries
            .partition_point(|entry| entry.watermark < since);
        self.entries.range(first..).map(|entry| &entry.update)
    }

    fn check(&self) {
        debug_assert!(self.entries.len() <= self.entries_max);
        debug_assert!(
            self.entries
                .back()
                .is_none_or(|last| last.watermark == self.watermark)
        );
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
        history.restore(
            i64::MIN,
            updates.iter().map(|&(bug, seconds)| update(bug, seconds)),
        );
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
        restored.restore(300, [update(2, 150)]);
        assert_eq!(replayed(&restored, 300), [2]);
    }

    #[test]
    fn a_history_of_no_entries_promises_nothing_that_it_cannot_hold() {
        let history = history(0, &[(1, 200)]);
        assert_eq!(replayed(&history, 0), [0; 0]);
        assert!(!history.is_complete(200));
    }
}
