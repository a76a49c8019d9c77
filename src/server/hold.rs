//! Messages that are held: whoever asks with `since` while it is about to be known whether updates
//! are missing is answered a little later. Owns who waits, and how many are answered in one turn.

use std::collections::VecDeque;

use tungstenite::Bytes;

use super::Server;
use crate::connection::{Phase, Stream};
use crate::moment::Moment;
use crate::subscriptions::ClientId;

/// How long a message is held, in milliseconds.
pub(super) const HOLD: u32 = 5_000;

/// How long after the beginning of a doubt messages are held, in milliseconds. A doubt that lasts
/// longer is likely to last on.
pub(super) const SHORT_DOUBT: u32 = 60_000;

/// Who waits for the end of a feed's doubt.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// When the doubt began; unknown until somebody asks in it for the first time.
    doubt_since: Option<Moment>,
    /// In order of arrival, with the moment until which each waits. Some may have left.
    waiting: VecDeque<(ClientId, Moment)>,
}

impl Holds {
    pub(super) fn begin_doubt(&mut self) {
        self.doubt_since = None;
    }

    /// Whether who asks now is to wait, if the feed is in doubt.
    pub(super) fn may_wait(&mut self, now: Moment) -> bool {
        now.since(*self.doubt_since.get_or_insert(now)) < SHORT_DOUBT
    }
}

impl<S: Stream> Server<S> {
    pub(super) fn hold(&mut self, client: ClientId, message: Bytes, now: Moment) {
        let connection = &mut self.connections[client.index()];
        let Some(feed) = connection.feed() else {
            return;
        };
        let until = now.plus(HOLD);
        connection.unfinished.hold(message, until);
        self.holds[usize::from(feed.0)]
            .waiting
            .push_back((client, until));
    }

    /// Answers messages that need not wait any more, as many as fit the turn.
    pub(super) fn release(&mut self, now: Moment) {
        for feed in 0..self.holds.len() {
            while !self.has_enough()
                && let Some((client, until)) = self.next_release(feed, now)
            {
                self.holds[feed].waiting.pop_front();
                let connection = self.connections.get(client.index());
                if connection.is_some_and(|connection| {
                    connection.unfinished.held_until() == Some(until)
                        && connection.phase == Phase::Open
                }) {
                    self.answer_at_once(client, now);
                    self.go_on_behind_held(client);
                }
            }
            if self.holds[feed].waiting.is_empty() {
                self.holds[feed].waiting = VecDeque::new();
            }
        }
    }

    /// What came behind a message that was held has its turn, if the message does not wait for
    /// something else.
    pub(super) fn go_on_behind_held(&mut self, client: ClientId) {
        let unfinished = &mut self.connections[client.index()].unfinished;
        if unfinished.held_until().is_none() {
            unfinished.leave_input(true);
            self.left.push(client);
        }
    }

    /// The next client of a feed that need not wait any more.
    fn next_release(&self, feed: usize, now: Moment) -> Option<(ClientId, Moment)> {
        let next = self.holds[feed].waiting.front().copied();
        next.filter(|(_, until)| !self.hubs[feed].is_in_doubt() || until.since(now) == 0)
    }

    /// The milliseconds until [`Server::release`] has something to do, if it ever has.
    pub(super) fn until_release(&self, now: Moment) -> Option<u32> {
        let until = |(holds, hub): (&Holds, &crate::hub::Hub)| {
            let (_, until) = holds.waiting.front()?;
            Some(if hub.is_in_doubt() {
                until.since(now)
            } else {
                0
            })
        };
        self.holds.iter().zip(&self.hubs).filter_map(until).min()
    }

    /// Answers a client's message that is held, if one is.
    pub(super) fn answer_at_once(&mut self, client: ClientId, now: Moment) {
        let connection = &mut self.connections[client.index()];
        let Some(message) = connection.unfinished.take_held() else {
            return;
        };
        self.flush_before_reply(client, now);
        self.answer_message(client, message, false, now);
    }
}
