//! Bugzilla and its database: edits, each with the time at which it began, by a clock that may be
//! wrong. Knows nobody who reads them.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::bugzilla::{Found, Since};
use crate::update::{BugId, Update, When};

/// The true time when a run begins, in Unix seconds.
pub(super) const FIRST_SECOND: i64 = 1_900_000_000;

/// Bugs are few, so that clients have them in common.
pub(super) const BUGS: std::ops::RangeInclusive<u32> = 1..=8;

/// What an edit leaves behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commit {
    pub bug: u32,
    /// `delta_ts`, in Unix seconds.
    pub when: i64,
}

impl Commit {
    pub(super) fn update(self) -> Update {
        Update {
            bug: BugId::new(self.bug).unwrap(),
            when: When::from_unix_seconds(self.when),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Bugzilla {
    /// In the order in which they were committed.
    pub commits: Vec<Commit>,
    /// How far the database's clock is ahead, in seconds.
    pub ahead: i64,
    /// Edits that are not committed yet, with the time of their commit.
    open: Vec<(i64, Commit)>,
    /// Whether it answers questions.
    pub answers: bool,
}

impl Bugzilla {
    pub(super) fn new(ahead: i64) -> Self {
        Self {
            ahead,
            answers: true,
            ..Self::default()
        }
    }

    /// Somebody edits a bug; now and then it takes minutes until that is committed.
    pub(super) fn edit(&mut self, now: i64, random: &mut Rng) {
        let commit = Commit {
            bug: random.u32(BUGS),
            when: now + self.ahead,
        };
        let takes = match random.u8(0..20) {
            0 => random.i64(1..590),
            _ => 0,
        };
        self.open.push((now + takes, commit));
    }

    /// Somebody edits this bug; returns the number of the commit.
    pub(super) fn edit_at_once(&mut self, bug: u32, now: i64) -> usize {
        let when = now + self.ahead;
        self.commits.push(Commit { bug, when });
        self.commits.len() - 1
    }

    /// The power fails, and the clock goes on from another time. What was not committed is gone.
    pub(super) fn lose_power(&mut self, seconds: i64) {
        self.ahead += seconds;
        self.open.clear();
    }

    /// Commits what is due; returns what that is, by number.
    pub(super) fn commit(&mut self, now: i64) -> std::ops::Range<usize> {
        let from = self.commits.len();
        let (due, open) = self.open.iter().partition(|(at, _)| *at <= now);
        self.open = open;
        let due: Vec<(i64, Commit)> = due;
        self.commits
            .extend(due.into_iter().map(|(_, commit)| commit));
        from..self.commits.len()
    }

    /// The answer to a catch-up.
    pub(super) fn answer(&self, since: Since, now: i64) -> Found {
        let mut found: Vec<Commit> = self.last_changes().into_values().collect();
        found.sort_by_key(|commit| (commit.when, commit.bug));
        let count = found.len();
        match since {
            Since::Newest(max) => drop(found.drain(..count.saturating_sub(max))),
            Since::Time(time) => found.retain(|commit| commit.when >= time),
        }
        Found {
            is_whole: !matches!(since, Since::Newest(max) if count > max),
            updates: found.into_iter().map(Commit::update).collect(),
            now: now + self.ahead,
        }
    }

    /// The newest `last_change_time` of these bugs.
    pub(super) fn newest<'a>(&self, bugs: impl IntoIterator<Item = &'a u32>) -> Option<i64> {
        let last = self.last_changes();
        bugs.into_iter()
            .filter_map(|bug| last.get(bug).map(|commit| commit.when))
            .max()
    }

    fn last_changes(&self) -> BTreeMap<u32, Commit> {
        let commits = self.commits.iter();
        commits.map(|commit| (commit.bug, *commit)).collect()
    }
}
