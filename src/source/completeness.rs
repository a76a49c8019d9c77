//! What a feed may promise to those who ask with `since`, by what its source has proven. Pure: the
//! time is passed in, and what comes out is a promise. Knows no source, no file, no loop.
//!
//! A feed is in doubt until its source reads *and* has proven that nothing was lost while nobody
//! read. Where Bugzilla itself can be asked (a catch-up), its answer is the proof, and heals what
//! was lost. Where it cannot, a loss is a gap: the feed is complete after its end. Times are the
//! database's, since clients' are; where the source cannot tell the database's time, the end of
//! the gap is the largest time among the updates of the ten minutes that follow, since what was
//! lost may have been committed later than it says.

use std::time::{Duration, Instant};

use crate::promise::Promise;

/// How long after a gap an update may arrive that is older than what was lost in it.
const LATE_COMMIT_MAX: Duration = Duration::from_secs(600);

/// How long after the loop has told its clients of a gap they are not told of another one, with a
/// minute to spare: `server::drain` tells them every ten minutes at most.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(660);

/// What is known about a feed's updates.
#[derive(Debug)]
pub(super) struct Completeness {
    /// Whether Bugzilla can be asked about all bugs.
    can_ask: bool,
    /// Whether the source reads, and has reported all losses that it knows.
    is_reading: bool,
    /// Whether Bugzilla has answered since the source began to read.
    has_answer: bool,
    /// Counts losses and beginnings: a question from before proves nothing about what came after.
    epoch: u64,
    gap: Gap,
    /// Updates up to this time, in Unix seconds, may be missing.
    floor: i64,
    /// Whether there was a gap that [`Completeness::take_gap`] has not returned yet.
    has_new_gap: bool,
    /// Until when those who are connected are told of another gap later than it is found. They get
    /// newer times meanwhile than its end, and must not be promised anything by these.
    is_told_late_until: Option<Instant>,
}

/// Updates that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    None,
    /// What there was before this process started is not known.
    Unknown,
    /// Up to this time (Unix seconds) of the database; without one, up to an unknown time.
    Found {
        until: Option<i64>,
        /// The largest time of the updates that have arrived since: those who are connected have
        /// seen it, and are told of the gap when the source reads.
        largest: Option<i64>,
    },
    /// It is over, and its end is the largest time of the updates in the window.
    Ending {
        since: Instant,
        /// Unix seconds.
        largest: Option<i64>,
    },
}

/// A question to Bugzilla, to be handed back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question(u64);

impl Completeness {
    /// A feed that starts with updates missing up to `floor` (Unix seconds), or, without one, up
    /// to an unknown time. `can_ask` says whether Bugzilla can be asked about all bugs.
    pub(super) fn new(floor: Option<i64>, can_ask: bool) -> Self {
        Self {
            can_ask,
            is_reading: false,
            has_answer: false,
            epoch: 0,
            gap: match floor {
                Some(_) => Gap::None,
                None => Gap::Unknown,
            },
            floor: floor.unwrap_or(i64::MIN),
            has_new_gap: false,
            is_told_late_until: None,
        }
    }

    /// The source does not read: updates may get lost from now on.
    pub(super) fn stopped_reading(&mut self) {
        self.is_reading = false;
        self.lose();
    }

    /// The source reads: it gets all updates from now on, and has reported what it has missed.
    /// Returns whether it did not before.
    pub(super) fn reads(&mut self, now: Instant) -> bool {
        let begins = !self.is_reading;
        self.is_reading = true;
        self.epoch += u64::from(begins);
        self.settle(now);
        begins
    }

    /// Updates were lost, none after `until` (Unix seconds, by the database's clock), if that is
    /// known.
    pub(super) fn missed(&mut self, until: Option<i64>, now: Instant) {
        self.gap = match (self.gap, until) {
            // Nobody has been promised anything yet.
            (Gap::Unknown, None) => Gap::Unknown,
            (Gap::Found { largest, .. }, _) => Gap::Found { until, largest },
            _ => Gap::Found {
                until,
                largest: None,
            },
        };
        self.lose();
        self.settle(now);
    }

    /// The feed begins at `floor` (Unix seconds, by the database's clock): nothing is known from
    /// before, and nothing that came later was lost.
    pub(super) fn begins(&mut self, floor: i64) {
        self.gap = Gap::None;
        self.floor = self.floor.max(floor);
    }

    /// A question to Bugzilla. While the source does not read, the answer proves nothing.
    pub(super) fn question(&self) -> Question {
        Question(self.epoch)
    }

    /// Bugzilla has answered, and what was missing has been handed on. `floor` is the time up to
    /// which even Bugzilla's answer leaves something out, in Unix seconds: it will not come again,
    /// whatever the answer proves.
    pub(super) fn answered(&mut self, question: Question, floor: Option<i64>, now: Instant) {
        if let Some(floor) = floor {
            let late = match self.tell(now) {
                true => TOLD_AGAIN_AFTER.as_secs().cast_signed(),
                false => 0,
            };
            self.floor = self.floor.max(floor + late);
        }
        if !self.can_ask || !self.is_reading || question.0 != self.epoch {
            return;
        }
        self.has_answer = true;
        self.gap = Gap::None;
    }

    /// Bugzilla has answered for the first time, with all that changed after `floor` (Unix seconds).
    pub(super) fn filled(&mut self, question: Question, floor: i64, now: Instant) {
        self.floor = match self.gap {
            Gap::None => self.floor.min(floor),
            Gap::Unknown | Gap::Found { .. } | Gap::Ending { .. } => floor,
        };
        self.answered(question, None, now);
    }

    /// It turns out that nobody can be asked.
    pub(super) fn cannot_ask(&mut self, now: Instant) {
        self.can_ask = false;
        self.settle(now);
    }

    /// It turns out that somebody can be asked after all, about all bugs or some.
    pub(super) fn can_ask(&mut self, about_all: bool) {
        self.can_ask = about_all;
    }

    /// An update has arrived, with a credible time in Unix seconds.
    pub(super) fn delivered(&mut self, seconds: i64, now: Instant) {
        if let Gap::Found { largest, .. } = &mut self.gap {
            *largest = (*largest).max(Some(seconds));
        }
        if let Gap::Ending { since, largest } = &mut self.gap {
            let end = largest.map_or(seconds, |largest| largest.max(seconds));
            *largest = Some(end);
            if now.duration_since(*since) >= LATE_COMMIT_MAX {
                self.floor = self.floor.max(end);
                self.gap = Gap::None;
            }
        }
    }

    /// What the feed can promise.
    pub(super) fn promise(&self) -> Promise {
        if !self.is_reading || self.can_ask && !self.has_answer {
            Promise::InDoubt
        } else if self.gap == Gap::None {
            Promise::After(self.floor)
        } else {
            Promise::Nothing
        }
    }

    /// The time up to which updates may be missing, in Unix seconds; none where that is not known
    /// yet. It holds for whoever goes on after this process, too.
    pub(super) fn floor(&self) -> Option<i64> {
        (self.gap == Gap::None).then_some(self.floor)
    }

    /// Whether there was a gap that could not be made good since the last call. While the source
    /// does not read, clients that came back would learn nothing.
    pub(super) fn take_gap(&mut self) -> bool {
        self.is_reading && std::mem::take(&mut self.has_new_gap)
    }

    /// Has those who are connected be told of a gap; returns whether that happens later.
    fn tell(&mut self, now: Instant) -> bool {
        self.has_new_gap = true;
        let is_late = self.is_told_late_until.is_some_and(|until| now < until);
        // One that is told late is told up to ten minutes later, and the next one after that.
        let later = TOLD_AGAIN_AFTER * if is_late { 2 } else { 1 };
        self.is_told_late_until = Some(now + later);
        is_late
    }

    fn lose(&mut self) {
        self.has_answer = false;
        self.epoch += 1;
    }

    /// A gap of a feed that can ask nobody ends when its source reads.
    fn settle(&mut self, now: Instant) {
        if !self.is_reading || self.can_ask {
            return;
        }
        match self.gap {
            Gap::Found { until, largest } => {
                let is_told_late = self.tell(now);
                let end = until.max(largest);
                if let Some(end) = end.filter(|_| until.is_some() && !is_told_late) {
                    self.floor = self.floor.max(end);
                    self.gap = Gap::None;
                } else {
                    self.gap = Gap::Ending {
                        since: now,
                        largest: end,
                    };
                }
            }
            // Nobody was connected before this process started.
            Gap::Unknown => {
                self.gap = Gap::Ending {
                    since: now,
                    largest: None,
                };
            }
            Gap::None | Gap::Ending { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_feed_is_in_doubt_from_its_birth_until_its_source_reads() {
        let now = Instant::now();
        let mut feed = Completeness::new(Some(100), false);
        assert_eq!(feed.promise(), Promise::InDoubt);
        feed.reads(now);
        assert_eq!(feed.promise(), Promise::After(100));
        feed.stopped_reading();
        assert_eq!(feed.promise(), Promise::InDoubt);
        feed.reads(now);
        assert_eq!(feed.promise(), Promise::After(100));
        assert!(!feed.take_gap());
    }

    #[test]
    fn a_gap_whose_end_is_known_in_the_databases_time_raises_the_floor() {
        let mut feed = Completeness::new(Some(100), false);
        feed.missed(Some(500), Instant::now());
        assert_eq!(feed.promise(), Promise::InDoubt);
        feed.reads(Instant::now());
        assert_eq!(feed.promise(), Promise::After(500));
        assert!(feed.take_gap());
        assert!(!feed.take_gap());
    }

    #[test]
    fn what_arrives_before_those_who_are_connected_are_told_of_a_gap_counts_for_its_end() {
        let now = Instant::now();
        let mut feed = Completeness::new(Some(100), false);
        feed.stopped_reading();
        feed.missed(Some(500), now);
        feed.delivered(501, now);
        assert!(!feed.take_gap());
        feed.reads(now);
        assert!(feed.take_gap());
        assert_eq!(feed.promise(), Promise::After(501));
    }

    #[test]
    fn a_gap_that_is_told_late_has_no_known_end_for_ten_minutes() {
        let start = Instant::now();
        let mut feed = Completeness::new(Some(100), false);
        feed.reads(start);
        feed.missed(Some(500), start);
        feed.missed(Some(510), at(start, 300));
        assert_eq!((feed.promise(), feed.floor()), (Promise::Nothing, None));
        // Somebody who is told later may have seen it.
        feed.delivered(900, at(start, 600));
        feed.delivered(950, at(start, 900));
        assert_eq!(feed.promise(), Promise::After(950));
        feed.missed(Some(400), at(start, 2_000));
        assert_eq!(feed.promise(), Promise::After(950));
    }

    #[test]
    fn what_an_answer_leaves_out_and_is_told_late_counts_up_to_when_it_is_told() {
        let start = Instant::now();
        let mut feed = Completeness::new(Some(0), true);
        feed.reads(start);
        feed.answered(feed.question(), Some(900), start);
        assert_eq!(feed.promise(), Promise::After(900));
        feed.answered(feed.question(), Some(950), at(start, 50));
        assert_eq!(feed.promise(), Promise::After(950 + 660));
    }

    #[test]
    fn a_feed_that_begins_with_its_source_has_no_gap() {
        let mut feed = Completeness::new(None, false);
        feed.begins(500);
        feed.reads(Instant::now());
        assert_eq!(feed.promise(), Promise::After(500));
        assert!(!feed.take_gap());
    }

    #[test]
    fn a_gap_without_a_known_end_ends_with_the_largest_time_of_the_ten_minutes_after_it() {
        let start = Instant::now();
        let mut feed = Completeness::new(None, false);
        feed.reads(start);
        assert_eq!(feed.promise(), Promise::Nothing);
        assert!(!feed.take_gap());
        feed.missed(None, start);
        assert!(feed.take_gap());
        feed.delivered(700, at(start, 599));
        assert_eq!((feed.promise(), feed.floor()), (Promise::Nothing, None));
        feed.delivered(650, at(start, 600));
        assert_eq!(feed.promise(), Promise::After(700));
        feed.delivered(800, at(start, 601));
        assert_eq!(feed.promise(), Promise::After(700));
    }

    #[test]
    fn a_feed_that_can_ask_is_in_doubt_until_it_has_been_answered_and_has_no_gap_then() {
        let now = Instant::now();
        let mut feed = Completeness::new(None, true);
        feed.answered(feed.question(), None, Instant::now());
        assert_eq!(feed.promise(), Promise::InDoubt);
        assert!(feed.reads(now));
        assert!(!feed.reads(now));
        assert_eq!(feed.promise(), Promise::InDoubt);
        feed.answered(feed.question(), None, Instant::now());
        assert_eq!(feed.promise(), Promise::After(i64::MIN));
        feed.missed(None, now);
        assert_eq!(feed.promise(), Promise::InDoubt);
        feed.answered(feed.question(), None, Instant::now());
        assert_eq!(feed.promise(), Promise::After(i64::MIN));
        assert!(!feed.take_gap());
    }

    #[test]
    fn an_answer_to_a_question_from_before_a_loss_proves_nothing() {
        let now = Instant::now();
        let mut feed = Completeness::new(Some(0), true);
        feed.reads(now);
        let early = feed.question();
        feed.stopped_reading();
        let in_between = feed.question();
        feed.reads(now);
        feed.answered(early, None, Instant::now());
        feed.answered(in_between, None, Instant::now());
        assert_eq!(feed.promise(), Promise::InDoubt);
    }

    #[test]
    fn what_an_answer_leaves_out_while_the_source_does_not_read_is_a_gap_when_it_does() {
        let mut feed = Completeness::new(Some(0), true);
        feed.answered(feed.question(), Some(900), Instant::now());
        assert!(!feed.take_gap());
        feed.reads(Instant::now());
        assert!(feed.take_gap());
        feed.answered(feed.question(), None, Instant::now());
        assert_eq!(feed.promise(), Promise::After(900));
    }

    #[test]
    fn what_even_an_answer_leaves_out_is_a_gap() {
        let mut feed = Completeness::new(Some(0), true);
        feed.reads(Instant::now());
        feed.answered(feed.question(), Some(900), Instant::now());
        assert_eq!(feed.promise(), Promise::After(900));
        assert!(feed.take_gap());
    }
}
