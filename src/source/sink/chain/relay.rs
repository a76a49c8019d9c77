//! The relay with its backlog: numbers what it takes, sends it in order, and announces how far it
//! is. Knows no server.

use fastrand::Rng;

use super::broker::{Broker, Message, Messages, Queue};
use super::bugzilla::Bugzilla;
use crate::amqp::{Announcement, Number};

/// How often it announces how far it is, in seconds.
const ANNOUNCE_EVERY: i64 = 2;

#[derive(Debug)]
pub(super) struct Relay {
    pub is_up: bool,
    /// Rows of the table that are not in the backlog, as commits.
    pub rows: Vec<usize>,
    pub backlog: Messages,
    /// The last number that was given; none for a relay of a version without numbers.
    given: Option<Number>,
    streams: usize,
    announces_at: i64,
}

impl Relay {
    pub(super) fn new(has_numbers: bool) -> Self {
        let mut relay = Self {
            is_up: true,
            rows: Vec::new(),
            backlog: Messages::new(),
            given: None,
            streams: 0,
            announces_at: 0,
        };
        if has_numbers {
            relay.given = Some(relay.begin_stream());
        }
        relay
    }

    fn begin_stream(&mut self) -> Number {
        self.streams += 1;
        Number {
            stream: format!("s{}", self.streams),
            number: 0,
            newest: None,
        }
    }

    /// What is in it is lost, and a new stream begins.
    pub(super) fn lose_backlog(&mut self) {
        self.backlog.clear();
        if self.given.is_some() {
            self.given = Some(self.begin_stream());
        }
    }

    /// It has found that rows of the table may be gone: it leaves out a number.
    pub(super) fn skip_number(&mut self) {
        if let Some(given) = self.given.as_mut().filter(|given| given.number > 0) {
            given.number += 1;
        }
    }

    pub(super) fn contains(&self, commit: usize) -> bool {
        let mut backlog = self.backlog.iter();
        self.rows.contains(&commit) || backlog.any(|message| message.commit == commit)
    }

    /// It ends as it should, and says so.
    pub(super) fn stop(&mut self, broker: &mut Broker) {
        self.is_up = false;
        if broker.is_up {
            self.announce(broker, true);
        }
    }

    /// Takes what is in the table, and publishes what it can. What would go to no queue waits.
    pub(super) fn work(
        &mut self,
        now: i64,
        broker: &mut Broker,
        bugzilla: &Bugzilla,
        random: &mut Rng,
    ) {
        if !self.is_up {
            return;
        }
        for commit in std::mem::take(&mut self.rows) {
            if let Some(given) = &mut self.given {
                given.number += 1;
                given.newest = given.newest.max(Some(bugzilla.commits[commit].when));
            }
            let number = self.given.clone();
            self.backlog.push_back(Message { commit, number });
        }
        if !broker.is_up {
            return;
        }
        broker.has_exchange = true;
        self.publish(broker, random);
        if now >= self.announces_at {
            self.announces_at = now + ANNOUNCE_EVERY;
            self.announce(broker, false);
        }
    }

    fn publish(&mut self, broker: &mut Broker, random: &mut Rng) {
        let queues = broker.queues.iter_mut();
        let mut bound: Vec<&mut Queue> = queues.filter(|queue| queue.is_bound).collect();
        while !bound.is_empty()
            && let Some(message) = self.backlog.pop_front()
        {
            // It may have been killed before it knew of the last confirm.
            let copies = 1 + usize::from(random.u8(0..50) == 0);
            for queue in &mut bound {
                queue
                    .messages
                    .extend(std::iter::repeat_n(message.clone(), copies));
            }
        }
    }

    fn announce(&self, broker: &mut Broker, is_end: bool) {
        let Some(given) = &self.given else { return };
        let waiting = self.backlog.front().and_then(|first| first.number.as_ref());
        let sent = waiting.map_or(given.number, |first| first.number - 1);
        for queue in &mut broker.queues {
            queue.announced = Some(Announcement {
                sent: Number {
                    number: sent,
                    ..given.clone()
                },
                given: given.number,
                is_end,
            });
        }
    }
}
