//! The connections that ended last, for whoever wants to know what became of one. Kept only where
//! somebody can ask; a client that is connected costs nothing for it.

use std::collections::{HashMap, VecDeque};

use core::net::IpAddr;

use super::Server;
use crate::connection::{CloseReason, Connection, Phase, Stream};
use crate::metrics::{Counts, Ended, FeedCounts};
use crate::subscriptions::ClientId;

/// How many of them are known.
const ENDED_MAX: usize = 1_000;

/// The connections that ended last.
#[derive(Debug, Default)]
pub(super) struct Closed {
    ended: VecDeque<Ended>,
    /// The addresses of those that are being ended. When the end has come, the kernel often knows
    /// them no more.
    ending: HashMap<ClientId, IpAddr>,
}

impl<S: Stream> Server<S> {
    /// Has the connections known that end from now on.
    pub(crate) fn remember_closed(&mut self) {
        self.closed = Some(Box::default());
    }

    /// The connections that ended last, the latest first.
    pub(crate) fn closed(&self) -> impl Iterator<Item = &Ended> {
        self.closed
            .iter()
            .flat_map(|closed| closed.ended.iter().rev())
    }

    /// What has happened to all clients.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What has happened to each feed.
    pub(crate) fn feed_counts(&self) -> &[FeedCounts] {
        &self.feed_counts
    }

    /// To be called before a connection gets the first phase of its end.
    pub(super) fn begin_end(&mut self, client: ClientId) {
        let known = self.address_of(client);
        let connection = &self.connections[client.index()];
        match connection.phase {
            Phase::Lingering(_) | Phase::Leaving(_) | Phase::Ended(_) => return,
            Phase::Proxied
            | Phase::Handshaking
            | Phase::Presenting
            | Phase::Posting
            | Phase::Kept => {}
            Phase::Open => {
                self.open -= 1;
                self.listening -= usize::from(connection.listens());
                if let Some(feed) = connection.feed() {
                    self.feed_counts[usize::from(feed.0)].clients -= 1;
                }
            }
        }
        self.counts.ending += 1;
        if let Some(closed) = &mut self.closed
            && let Some(address) = known.or_else(|| connection.stream.peer())
            && !address.is_unspecified()
        {
            closed.ending.insert(client, address);
        }
    }

    /// To be called with a connection that was removed, while its subscriptions are still known.
    pub(super) fn note_closed(
        &mut self,
        client: ClientId,
        connection: &Connection<S>,
        reason: CloseReason,
    ) {
        self.counts.ending -= 1;
        self.counts.unsent_clients -= u64::from(connection.unfinished.has_unsent());
        *self.counts.closed.entry(reason.word()).or_default() += 1;
        let (traffic, now) = (self.traffic.as_mut(), self.unix_time);
        let passed = traffic.map(|it| it.end(client, now));
        let Some(closed) = &mut self.closed else {
            return;
        };
        if closed.ended.len() == ENDED_MAX {
            closed.ended.pop_front();
        }
        let feed = connection.feed();
        closed.ended.push_back(Ended {
            at: self.unix_time,
            reason: reason.word(),
            feed: feed.map(|feed| feed.0),
            address: closed.ending.remove(&client),
            subscriptions: feed.map_or(0, |feed| {
                self.hubs[usize::from(feed.0)].subscriptions_of(client)
            }),
            passed,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::deadlines::LINGER;
    use super::super::tests::{Actor, SUBSCRIBE, Stage, UPGRADE, frame};
    use super::*;
    use crate::metrics::Passed;
    use crate::update::FeedId;

    const HERE: &str = "192.0.2.7";

    #[test]
    fn the_last_thousand_are_known_the_latest_first() {
        let mut stage = Stage::new();
        stage.server.remember_closed();
        for at in 0..=1_000 {
            stage.server.set_unix_time(at);
            let actor = stage.connect(HERE);
            stage.reset(&actor);
        }
        let times: Vec<i64> = stage.server.closed().map(|it| it.at).collect();
        assert_eq!(times, (1..=1_000).rev().collect::<Vec<_>>());
    }

    #[test]
    fn it_is_known_who_each_was_and_what_became_of_it() {
        let mut stage = Stage::new();
        stage.server.remember_closed();
        stage.server.measure_traffic();
        stage.server.set_unix_time(1_000);
        let (visitor, client) = (stage.connect("0.0.0.0"), stage.open(HERE));
        client.wire.borrow_mut().room = 3;
        stage.say(&client, SUBSCRIBE);
        client.wire.borrow_mut().room = usize::MAX;
        stage.server.writable(client.id, stage.now);
        // What is said by its close is read by nobody, and the kernel knows its address no more.
        stage.server.set_unix_time(1_060);
        let close = frame(0x88, &[3, 232, b'!']);
        stage.hear(&client, &[close.clone(), b"!".to_vec()].concat());
        client.wire.borrow_mut().peer = None;
        assert_eq!(stage.server.counts().ending, 1);
        stage.reset(&client);
        stage.reset(&visitor);
        assert_eq!(stage.server.counts().ending, 0);
        let said = UPGRADE.len() + frame(0x81, SUBSCRIBE.as_bytes()).len() + close.len() + 1;
        let passed = |seconds, received: usize, sent: usize| {
            let (received, sent) = (received as u64, sent as u64);
            Some(Passed {
                seconds,
                received,
                sent,
            })
        };
        let expected = [
            Ended {
                at: 1_060,
                reason: "gone",
                feed: None,
                address: None,
                subscriptions: 0,
                passed: passed(60, 0, 0),
            },
            Ended {
                at: 1_060,
                reason: "closed_by_client",
                feed: Some(0),
                address: HERE.parse().ok(),
                subscriptions: 2,
                passed: passed(60, said, client.wire.borrow().taken),
            },
        ];
        let ended: Vec<Ended> = stage.server.closed().cloned().collect();
        assert_eq!(ended, expected);
    }

    #[test]
    fn why_a_connection_ends_is_what_it_was_told_however_its_client_goes_then() {
        let ways = [
            Stage::leave,
            Stage::reset,
            |stage: &mut Stage, _: &Actor| {
                stage.pass(LINGER + 1_000);
            },
        ];
        for go in ways {
            let mut stage = Stage::new();
            let actor = stage.open(HERE);
            stage.hear(&actor, &frame(0x81, b"\xff"));
            assert!(actor.takes().ends_with("invalid UTF-8") && !actor.is_gone());
            go(&mut stage, &actor);
            assert!(actor.is_gone());
            let closed = &stage.server.counts().closed;
            assert_eq!(*closed, [("invalid_data", 1)].into());
        }
    }

    #[test]
    fn each_end_is_counted_by_its_own_reason() {
        type Way = fn(&mut Stage, &Actor);
        let ways: [(&str, Way); 10] = [
            ("silent", |stage, _| stage.pass(700_000)),
            ("unfinished", |stage, actor| {
                stage.hear(actor, &frame(0x01, b"{"));
                stage.pass(61_000);
            }),
            ("stalled", |stage, actor| {
                actor.wire.borrow_mut().room = 0;
                stage.say(actor, SUBSCRIBE);
                stage.pass(61_000);
            }),
            ("too_many_messages", |stage, actor| {
                let messages = frame(0x8a, b"").repeat(1_001);
                stage.hear(actor, &messages);
                while stage.server.has_left() {
                    stage.server.resume(stage.now);
                    stage.turn();
                }
            }),
            ("too_big", |stage, actor| {
                stage.hear(actor, &[0x81, 0xfe, 0x27, 0x11, 0, 0, 0, 0]);
            }),
            ("protocol_error", |stage, actor| {
                stage.hear(actor, &frame(0x83, b""));
            }),
            ("invalid_data", |stage, actor| {
                stage.hear(actor, &frame(0x81, b"\xff"));
            }),
            ("missed_updates", |stage, actor| {
                stage.say(actor, SUBSCRIBE);
                stage.server.gap(FeedId(0), stage.now);
                stage.pass(100);
            }),
            ("shutting_down", |stage, _| stage.server.drain(0, stage.now)),
            ("gone", Stage::leave),
        ];
        for (reason, end) in ways {
            let mut stage = Stage::new();
            let actor = stage.open(HERE);
            end(&mut stage, &actor);
            stage.pass(2 * LINGER);
            let closed = &stage.server.counts().closed;
            assert_eq!(*closed, [(reason, 1)].into());
        }
    }

    #[test]
    fn nothing_is_kept_of_those_who_have_gone_where_nobody_can_ask() {
        let mut stage = Stage::new();
        let actor = stage.open(HERE);
        stage.reset(&actor);
        assert_eq!(stage.server.closed().count(), 0);
    }
}
