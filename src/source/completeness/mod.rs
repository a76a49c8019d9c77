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
mod tests;
