//! What a broker's queue proves, by the relay's numbers and by what was found out about the queue
//! itself. Pure: the time is passed in, and what comes out is what is missing, or a doubt.

use std::time::{Duration, Instant};

use super::{Loss, Reason, Streams};
use crate::amqp::topology::Gap;
use crate::amqp::{Announcement, Number};

/// How long messages may be on their way that were announced, without any of them arriving; and how
/// long where the queue is one that may lack them.
const ON_THE_WAY_MAX: Duration = Duration::from_secs(60);
const GAP_PATIENCE: Duration = Duration::from_secs(5);

/// How soon after a gap the first stream that is known is no further gap.
const SAME_GAP: Duration = Duration::from_secs(30);

/// What is known of a queue's messages.
#[derive(Debug, Default)]
pub(in crate::source) struct Proof {
    streams: Streams,
    /// Why updates may be missing, until it is reported, or the relay's numbers have proven that
    /// none are.
    pub gap: Option<Gap>,
    /// When a gap was reported last.
    gap_reported: Option<Instant>,
}

/// Updates are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Missed {
    /// Why that is known, for the log.
    pub reason: String,
    /// The database's time (Unix seconds) after which nothing is missing, where it is known.
    pub until: Option<i64>,
}

/// What is known at a moment.
#[derive(Debug)]
pub(in crate::source) struct Settled {
    pub missed: Vec<Missed>,
    /// What has turned out to be no gap.
    pub disproved: Option<Gap>,
    /// Whether something may be missing that will be known soon.
    pub is_in_doubt: bool,
}

impl Proof {
    /// Reads what was noted.
    pub(in crate::source) fn read(&mut self, note: Option<&str>) {
        self.streams = Streams::read(note);
    }

    /// What is to be noted together with the updates of the messages.
    pub(in crate::source) fn note(&self) -> String {
        self.streams.note()
    }

    /// A connection begins to read.
    pub(in crate::source) fn connected(&mut self, now: Instant) {
        self.streams.connected(now);
    }

    /// A message has arrived. `has_history` says whether anything was promised that a gap would
    /// break.
    pub(in crate::source) fn arrived(
        &mut self,
        number: Option<&Number>,
        has_history: bool,
        now: Instant,
    ) -> Option<Missed> {
        let loss = match number {
            Some(number) => self.streams.arrived(number, now),
            None => self.streams.arrived_without_number(now),
        };
        self.judge(loss, has_history, now)
    }

    /// A relay has announced how far it is.
    pub(in crate::source) fn announced(
        &mut self,
        said: &Announcement,
        has_history: bool,
        now: Instant,
    ) -> Option<Missed> {
        let loss = self.streams.announced(said, now);
        self.judge(loss, has_history, now)
    }

    /// Says what is known by now: that updates are missing, that they may be, or that none are.
    pub(in crate::source) fn settle(&mut self, has_history: bool, now: Instant) -> Settled {
        let patience = if self.gap.is_some() {
            GAP_PATIENCE
        } else {
            ON_THE_WAY_MAX
        };
        let loss = self.streams.tick(now, patience);
        let mut missed: Vec<Missed> = self.judge(loss, has_history, now).into_iter().collect();
        let mut disproved = None;
        if self.streams.have_proven(now) {
            disproved = self.gap.take();
        } else if !self.streams.can_prove()
            && let Some(gap) = self.gap.take()
        {
            self.gap_reported = Some(now);
            missed.push(Missed {
                reason: gap.to_string(),
                until: None,
            });
        }
        Settled {
            missed,
            disproved,
            is_in_doubt: self.gap.is_some() || self.streams.is_in_doubt(now),
        }
    }

    /// What is to be reported of a loss that the numbers show: not the first stream of all, where
    /// nothing has been promised that it could have broken, or where a queue that was made anew was
    /// reported a moment ago.
    fn judge(&mut self, loss: Option<Loss>, has_history: bool, now: Instant) -> Option<Missed> {
        let loss = loss?;
        let is_reported = self
            .gap_reported
            .is_some_and(|reported| now.duration_since(reported) < SAME_GAP);
        let is_first = loss.reason == Reason::Unknown && self.streams.known.len() == 1;
        if is_first && (is_reported || !has_history) {
            return None;
        }
        self.gap_reported = Some(now);
        Some(Missed {
            reason: loss.reason.to_string(),
            until: loss.until,
        })
    }
}
