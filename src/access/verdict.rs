//! What has been said about who sees a bug, and for how long it counts. Knows nobody in particular.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::moment::Moment;
use crate::update::BugId;

/// How old a yes may be when an update is shown, in milliseconds: so long a right that was lost still
/// counts.
const SHOWN_AGE_MAX: u32 = 60_000;

/// How old an answer may be at a `subscribe`, in milliseconds; nothing is remembered for longer.
pub(super) const REMEMBERED: u32 = 3_600_000;

/// What a verdict is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The reply to a `subscribe`.
    Subscribe,
    /// The same, which updates of the bug follow at once.
    Replay,
    /// An update of the bug, which has changed just now.
    Update,
}

/// Whether somebody sees a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// When it was asked, so that whatever happened while the answer was made counts as later.
    pub asked: Moment,
    pub is_yes: bool,
}

/// The verdicts on all bugs for somebody.
#[derive(Debug, Default)]
pub(super) struct Verdicts(HashMap<BugId, Verdict, RandomState>);

impl Verdicts {
    pub(super) fn insert(&mut self, bug: BugId, verdict: Verdict) {
        self.0.insert(bug, verdict);
    }

    /// Whether the bug is seen, by a verdict that still counts. A no counts for an update only if the bug
    /// has not changed since. In a reply it does until it is too old: if a change counted, who may not
    /// see the bug could tell that it has changed, by the time that the reply takes.
    pub(super) fn on(
        &self,
        bug: BugId,
        purpose: Purpose,
        changes: &Changes,
        now: Moment,
    ) -> Option<bool> {
        let verdict = self.0.get(&bug)?;
        let age = now.since(verdict.asked);
        let counts = match (purpose, verdict.is_yes) {
            (Purpose::Subscribe, _) | (Purpose::Replay, false) => age <= REMEMBERED,
            (Purpose::Replay | Purpose::Update, true) => age <= SHOWN_AGE_MAX,
            (Purpose::Update, false) => age <= REMEMBERED && !changes.is_since(bug, verdict.asked),
        };
        counts.then_some(verdict.is_yes)
    }

    /// What was said last, however long ago.
    pub(super) fn last(&self, bug: BugId) -> Option<bool> {
        self.0.get(&bug).map(|verdict| verdict.is_yes)
    }

    /// Forgets what is too old to count.
    pub(super) fn forget_old(&mut self, now: Moment) {
        self.0
            .retain(|_, verdict| now.since(verdict.asked) <= REMEMBERED);
        self.0.shrink_to_fit();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// When bugs changed last, for as long as verdicts are remembered: a change may have shown a bug to
/// those who had not seen it.
#[derive(Debug, Default)]
pub(super) struct Changes(HashMap<BugId, Moment, RandomState>);

impl Changes {
    pub(super) fn note(&mut self, bug: BugId, now: Moment) {
        self.0.insert(bug, now);
    }

    /// Whether a bug has changed at this moment or later.
    fn is_since(&self, bug: BugId, moment: Moment) -> bool {
        self.0
            .get(&bug)
            .is_some_and(|changed| moment.since(*changed) == 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn forget_old(&mut self, now: Moment) {
        self.0
            .retain(|_, changed| now.since(*changed) <= REMEMBERED);
        self.0.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bug() -> BugId {
        BugId::new(7).unwrap()
    }

    #[test]
    fn a_yes_counts_for_a_minute_or_an_hour_and_a_no_for_an_update_until_the_bug_changes() {
        let mut changes = Changes::default();
        let verdicts = |is_yes| {
            let mut verdicts = Verdicts::default();
            let asked = Moment(1_000);
            verdicts.insert(bug(), Verdict { asked, is_yes });
            verdicts
        };
        let (yes, no) = (verdicts(true), verdicts(false));
        let at = |age| Moment(1_000).plus(age);
        let by = |purpose, verdicts: &Verdicts, changes: &Changes, age| {
            verdicts.on(bug(), purpose, changes, at(age))
        };
        let on = |verdicts: &Verdicts, changes: &Changes, age| {
            by(Purpose::Update, verdicts, changes, age)
        };
        for purpose in [Purpose::Update, Purpose::Replay, Purpose::Subscribe] {
            let age_max = match purpose {
                Purpose::Subscribe => REMEMBERED,
                Purpose::Replay | Purpose::Update => SHOWN_AGE_MAX,
            };
            assert_eq!(by(purpose, &yes, &changes, age_max), Some(true));
            assert_eq!(by(purpose, &yes, &changes, age_max + 1), None);
            assert_eq!(by(purpose, &no, &changes, REMEMBERED), Some(false));
            assert_eq!(by(purpose, &no, &changes, REMEMBERED + 1), None);
        }
        changes.note(bug(), Moment(999));
        assert_eq!(on(&no, &changes, 10), Some(false), "a change from before");
        for changed in [1_000, 1_001] {
            changes.note(bug(), Moment(changed));
            assert_eq!(on(&no, &changes, 10), None, "{changed}");
            assert_eq!(on(&yes, &changes, 10), Some(true), "{changed}");
            for purpose in [Purpose::Subscribe, Purpose::Replay] {
                assert_eq!(by(purpose, &no, &changes, 10), Some(false), "{changed}");
            }
        }
    }

    #[test]
    fn what_is_too_old_to_count_is_forgotten() {
        let mut verdicts = Verdicts::default();
        let asked = Moment(0);
        let is_yes = true;
        verdicts.insert(bug(), Verdict { asked, is_yes });
        verdicts.forget_old(asked.plus(REMEMBERED));
        assert!(!verdicts.is_empty());
        verdicts.forget_old(asked.plus(REMEMBERED + 1));
        assert!(verdicts.is_empty());
        assert_eq!(verdicts.0.capacity(), 0);

        let mut changes = Changes::default();
        changes.note(bug(), asked);
        changes.forget_old(asked.plus(REMEMBERED));
        assert!(!changes.is_empty());
        changes.forget_old(asked.plus(REMEMBERED + 1));
        assert!(changes.is_empty());
        assert_eq!(changes.0.capacity(), 0);
    }
}
