//! What has been shown, and how a new connection goes on from there: the `since` to ask for, and
//! which of the updates that come again are repeats. Does no I/O and knows no clock.

use std::collections::{HashMap, VecDeque};

use crate::update::{Update, When};

/// How many shown updates are remembered. A server remembers 10,000 updates of all bugs together
/// and cannot repeat more.
const SHOWN_MAX: usize = 10_000;

/// How far this machine's clock may be ahead of Bugzilla's database, in seconds, before an update
/// can be lost: one that came after the very first connection was lost, before any update had
/// shown the database's time.
const CLOCK_AHEAD_SECONDS_MAX: i64 = 60;

/// How far an update's time may lie ahead of this machine's clock, in seconds, to be a time to
/// resume from: a server would not believe it.
const AHEAD_SECONDS_MAX: i64 = 86_400;

/// An update as it is remembered: number of the bug, and seconds since 1970.
type Shown = (u32, i64);

/// The memory of a watch, over all its connections.
#[derive(Clone, Debug)]
pub(super) struct Resume {
    /// The `since` of connections before the first update.
    first_since: Option<i64>,
    /// The newest time of all updates shown.
    newest: Option<i64>,
    /// In the order in which they were shown.
    shown: VecDeque<Shown>,
    /// How often each update may still come again on this connection without being new.
    repeats: HashMap<Shown, usize>,
}

impl Resume {
    /// A watch that starts with what happened at `since` or later, or with what happens from now
    /// on.
    pub(super) fn new(since: Option<&When>) -> Self {
        Self {
            first_since: since.map(When::unix_seconds),
            newest: None,
            shown: VecDeque::new(),
            repeats: HashMap::new(),
        }
    }

    /// A new connection begins. Returns the `since` to ask for; all that was shown may come again
    /// until [`Resume::caught_up`].
    pub(super) fn connected(&mut self) -> Option<When> {
        self.repeats.clear();
        for shown in &self.shown {
            *self.repeats.entry(*shown).or_default() += 1;
        }
        self.since()
    }

    /// The time from which on nothing must be missed.
    pub(super) fn since(&self) -> Option<When> {
        self.newest
            .or(self.first_since)
            .map(When::from_unix_seconds)
    }

    /// The server agreed to the subscription at `now`, in seconds since 1970: nothing that happens
    /// later may be missed.
    pub(super) fn subscribed(&mut self, now: i64) {
        self.first_since
            .get_or_insert(now - CLOCK_AHEAD_SECONDS_MAX);
    }

    /// Whether an update has not been shown yet. Each that was shown is taken for a repeat once,
    /// since an update that comes twice on one connection is two edits within a second.
    pub(super) fn is_new(&mut self, update: &Update) -> bool {
        match self.repeats.get_mut(&key(update)) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            Some(_) | None => true,
        }
    }

    /// An update has been shown at `now`, in seconds since 1970.
    pub(super) fn shown(&mut self, update: &Update, now: i64) {
        let seconds = update.when.unix_seconds();
        if seconds <= now + AHEAD_SECONDS_MAX {
            self.newest = self.newest.max(Some(seconds));
        }
        if self.shown.len() == SHOWN_MAX {
            self.shown.pop_front();
        }
        self.shown.push_back(key(update));
    }

    /// All that was missed has come: what follows is live, and new even if it looks like what was
    /// shown before.
    pub(super) fn caught_up(&mut self) {
        self.repeats = HashMap::new();
    }
}

fn key(update: &Update) -> Shown {
    (update.bug.get(), update.when.unix_seconds())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::BugId;

    fn update(bug: u32, seconds: i64) -> Update {
        Update {
            bug: BugId::new(bug).unwrap(),
            when: When::from_unix_seconds(seconds),
        }
    }

    /// Receives updates as a watch does, and returns those that it shows.
    fn receive(resume: &mut Resume, updates: &[(u32, i64)]) -> Vec<(u32, i64)> {
        let mut shown = Vec::new();
        for (bug, seconds) in updates {
            let update = update(*bug, *seconds);
            if resume.is_new(&update) {
                resume.shown(&update, 20_000);
                shown.push((*bug, *seconds));
            }
        }
        shown
    }

    fn since(resume: &mut Resume) -> Option<i64> {
        resume.connected().map(|when| when.unix_seconds())
    }

    #[test]
    fn a_resume_asks_for_the_newest_time_seen_even_if_older_ones_came_after_it() {
        let mut resume = Resume::new(None);
        assert_eq!(since(&mut resume), None);
        receive(&mut resume, &[(1, 100), (2, 105), (1, 103)]);
        assert_eq!(since(&mut resume), Some(105));
    }

    #[test]
    fn as_many_repeats_as_were_shown_are_left_out_of_what_was_missed() {
        let mut resume = Resume::new(None);
        since(&mut resume);
        receive(&mut resume, &[(1, 100), (2, 105), (2, 105), (1, 103)]);
        since(&mut resume);
        let replayed = [(2, 105), (2, 105), (1, 103), (2, 105), (1, 103), (3, 105)];
        assert_eq!(
            receive(&mut resume, &replayed),
            [(2, 105), (1, 103), (3, 105)]
        );
    }

    #[test]
    fn a_second_loss_before_the_end_of_the_replay_repeats_nothing() {
        let mut resume = Resume::new(None);
        since(&mut resume);
        receive(&mut resume, &[(1, 100), (1, 101)]);
        since(&mut resume);
        assert_eq!(receive(&mut resume, &[(1, 101), (1, 102)]), [(1, 102)]);
        assert_eq!(since(&mut resume), Some(102));
        assert_eq!(receive(&mut resume, &[(1, 102), (1, 103)]), [(1, 103)]);
    }

    #[test]
    fn two_edits_within_a_second_are_both_shown_when_live() {
        let mut resume = Resume::new(None);
        since(&mut resume);
        assert_eq!(
            receive(&mut resume, &[(1, 100), (1, 100)]),
            [(1, 100), (1, 100)]
        );
        since(&mut resume);
        resume.caught_up();
        assert_eq!(receive(&mut resume, &[(1, 100)]), [(1, 100)]);
    }

    #[test]
    fn a_connection_lost_before_the_first_update_resumes_from_when_it_was_made() {
        let mut resume = Resume::new(None);
        assert_eq!(since(&mut resume), None);
        assert_eq!(since(&mut resume), None);
        resume.subscribed(1000);
        assert_eq!(since(&mut resume), Some(1000 - CLOCK_AHEAD_SECONDS_MAX));
        resume.subscribed(2000);
        assert_eq!(since(&mut resume), Some(1000 - CLOCK_AHEAD_SECONDS_MAX));
    }

    #[test]
    fn the_users_since_is_asked_for_until_there_is_an_update() {
        let mut resume = Resume::new(Some(&When::from_unix_seconds(9000)));
        assert_eq!(since(&mut resume), Some(9000));
        resume.subscribed(1000);
        assert_eq!(since(&mut resume), Some(9000));
        receive(&mut resume, &[(1, 500)]);
        assert_eq!(since(&mut resume), Some(500));
    }

    #[test]
    fn a_time_far_ahead_is_shown_and_not_resumed_from() {
        let mut resume = Resume::new(None);
        since(&mut resume);
        let shown = receive(&mut resume, &[(1, 100), (2, 4_000_000_000)]);
        assert_eq!(shown, [(1, 100), (2, 4_000_000_000)]);
        assert_eq!(since(&mut resume), Some(100));
    }

    #[test]
    fn memory_is_bounded_and_forgets_the_oldest_first() {
        let mut resume = Resume::new(None);
        since(&mut resume);
        for seconds in 0..=SHOWN_MAX as i64 {
            receive(&mut resume, &[(1, seconds)]);
        }
        assert_eq!(resume.shown.len(), SHOWN_MAX);
        since(&mut resume);
        assert_eq!(
            receive(&mut resume, &[(1, 0), (1, 1), (1, SHOWN_MAX as i64)]),
            [(1, 0)]
        );
    }
}
