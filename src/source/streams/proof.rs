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

#[cfg(test)]
mod tests {
    use super::*;

    const UNKNOWN: &str = "the relay's backlog is new, or was not read before";
    const LATE: &str = "messages that the relay has sent do not arrive";

    fn number(stream: &str, number: u64) -> Number {
        Number {
            stream: stream.to_owned(),
            number,
            newest: Some(1_000),
        }
    }

    fn announcement(sent: u64) -> Announcement {
        Announcement {
            sent: number("a", sent),
            given: sent,
            is_end: false,
        }
    }

    /// A stream that is known, announced and read up to 3.
    fn reading(now: Instant) -> Proof {
        let mut proof = Proof::default();
        proof.connected(now);
        proof.arrived(Some(&number("a", 3)), false, now);
        proof.announced(&announcement(3), false, now);
        proof
    }

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn reasons(missed: impl IntoIterator<Item = Missed>) -> Vec<String> {
        missed.into_iter().map(|missed| missed.reason).collect()
    }

    #[test]
    fn the_first_stream_of_all_is_a_loss_where_something_was_promised_and_each_further_one_is() {
        let now = Instant::now();
        let mut proof = Proof::default();
        assert_eq!(proof.arrived(Some(&number("a", 3)), false, now), None);
        let missed = proof.arrived(Some(&number("b", 3)), false, now);
        assert_eq!(reasons(missed), [UNKNOWN]);
        let mut proof = Proof::default();
        let missed = proof.announced(&announcement(3), true, now);
        assert_eq!(reasons(missed), [UNKNOWN]);
        // A server that starts again goes on with what was noted.
        let mut next = Proof::default();
        next.read(Some(&proof.note()));
        assert_eq!(next.arrived(Some(&number("a", 4)), true, now), None);
        let missed = next.arrived(Some(&number("a", 6)), true, now).unwrap();
        assert_eq!(missed.until, Some(1_000));
    }

    #[test]
    fn a_gap_of_a_queue_without_numbers_is_reported_at_once_and_its_first_stream_is_the_same_gap() {
        for (seconds, expected) in [(29, &[][..]), (30, &[UNKNOWN])] {
            let start = Instant::now();
            let mut proof = Proof {
                gap: Some(Gap::NoQueue),
                ..Proof::default()
            };
            let settled = proof.settle(true, start);
            assert_eq!(reasons(settled.missed), [Gap::NoQueue.to_string()]);
            assert!(!settled.is_in_doubt && settled.disproved.is_none());
            assert!(proof.settle(true, start).missed.is_empty());
            let missed = proof.arrived(Some(&number("a", 3)), true, at(start, seconds));
            assert_eq!(reasons(missed), expected, "{seconds}");
        }
    }

    #[test]
    fn a_stream_that_begins_after_another_has_gone_is_the_same_loss_for_half_a_minute() {
        for (seconds, expected) in [(89, &[][..]), (90, &[UNKNOWN])] {
            let start = Instant::now();
            let mut proof = reading(start);
            let missed = proof.arrived(None, true, at(start, 60));
            assert_eq!(
                reasons(missed),
                ["another relay or publisher has taken over"]
            );
            let missed = proof.arrived(Some(&number("b", 1)), true, at(start, seconds));
            assert_eq!(reasons(missed), expected, "{seconds}");
        }
    }

    #[test]
    fn a_gap_is_a_doubt_until_the_next_announcement_disproves_it() {
        let start = Instant::now();
        let mut proof = reading(start);
        proof.connected(start);
        proof.gap = Some(Gap::NoQueue);
        let settled = proof.settle(true, start);
        assert!(settled.is_in_doubt && settled.missed.is_empty());
        proof.announced(&announcement(3), true, start);
        let settled = proof.settle(true, start);
        assert_eq!(settled.disproved, Some(Gap::NoQueue));
        assert!(!settled.is_in_doubt && settled.missed.is_empty());
    }

    #[test]
    fn what_was_announced_is_waited_for_a_minute_or_where_there_is_a_gap_for_five_seconds() {
        for (gap, seconds) in [(Some(Gap::NoQueue), 5), (None, 60)] {
            let start = Instant::now();
            let mut proof = reading(start);
            proof.gap = gap;
            proof.announced(&announcement(9), true, start);
            let settled = proof.settle(true, at(start, seconds - 1));
            assert!(settled.is_in_doubt && settled.missed.is_empty());
            proof.announced(&announcement(9), true, at(start, seconds));
            let settled = proof.settle(true, at(start, seconds));
            assert_eq!(reasons(settled.missed), [LATE]);
            assert_eq!((settled.is_in_doubt, settled.disproved), (false, gap));
        }
    }

    #[test]
    fn a_message_without_a_number_takes_the_proof_away() {
        let now = Instant::now();
        let mut proof = reading(now);
        assert_eq!(proof.arrived(None, true, now), None);
        proof.gap = Some(Gap::Overflow);
        let settled = proof.settle(true, now);
        assert_eq!(reasons(settled.missed), [Gap::Overflow.to_string()]);
    }
}
