//! The end of a turn: each client that gets something is written to, once. What the kernel refuses
//! is kept.

use super::deadlines::RETRY;
use super::secure::{self, Written};
use super::{Access, Server};
use crate::connection::{CloseReason, Phase, Stream, write_some};
use crate::moment::Moment;
use crate::subscriptions::ClientId;
use crate::turn::{Outgoing, Place};

/// How many updates may wait for a client that wants all bugs: as many as wait at most for one
/// with the subscriptions that a client may have by default.
const WAITING_UPDATES_MAX: usize = 10_000;

impl<S: Stream> Server<S> {
    /// Writes what this turn has for its clients: one write for each, however many replies and
    /// updates it gets. After `writes_max` of them the rest is held up until the next call: until
    /// a packet has arrived, it costs the kernel thirty times the memory of its contents, and no
    /// kernel limit bounds this when each socket has one packet. A client whose output is held up
    /// owns no memory for it. Returns how many writes there were since the last call.
    pub fn flush(&mut self, writes_max: usize, now: Moment) -> usize {
        let mut gathered = Vec::new();
        let mut writes = std::mem::take(&mut self.early_writes);
        while writes < writes_max
            && let Some((place, outgoing)) = self.turn.take_next()
        {
            if self.flush_one(place, &outgoing, &mut gathered, now) {
                writes += 1;
            } else {
                self.end_if_behind(outgoing.client, now);
            }
        }
        self.held_up = self.turn.last_place();
        if self.turn.outgoing_len() == 0 {
            self.turn.clear();
            if let Access::Readers(readers) = &mut self.access {
                readers.end_turn();
            }
            self.held_up = None;
        }
        writes
    }

    /// How many clients are to be written to.
    pub(crate) fn unflushed_len(&self) -> usize {
        self.turn.outgoing_len()
    }

    /// Whether a part of what was to be written is held up until [`Server::flush`] is called again.
    pub fn is_held_up(&self) -> bool {
        self.held_up.is_some()
    }

    /// Writes what is held up for a client, before a reply to it: a reply must not overtake it.
    pub(super) fn flush_before_reply(&mut self, client: ClientId, now: Moment) {
        let place = self.connections[client.index()].listing.place();
        if place.is_some_and(|place| Some(place) <= self.held_up) {
            self.flush_client(client, now);
        }
    }

    /// Writes what there is for a client, before something else that would overtake it.
    pub(super) fn flush_client(&mut self, client: ClientId, now: Moment) {
        if let Some(place) = self.connections[client.index()].listing.place() {
            let outgoing = self.turn.outgoing(place);
            self.early_writes +=
                usize::from(self.flush_one(place, &outgoing, &mut Vec::new(), now));
        }
    }

    /// Writes to the client at this place of the turn's list, unless it has gone or was written to
    /// early; returns whether anything was written.
    fn flush_one(
        &mut self,
        place: Place,
        outgoing: &Outgoing,
        gathered: &mut Vec<u8>,
        now: Moment,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(outgoing.client.index()) else {
            return false;
        };
        if !self.turn.unlist(&mut connection.listing, place) {
            return false;
        }
        let is_written = self.write(outgoing, gathered, now);
        self.after_writing(outgoing.client);
        is_written
    }

    fn write(&mut self, outgoing: &Outgoing, gathered: &mut Vec<u8>, now: Moment) -> bool {
        let client = outgoing.client;
        let connection = &mut self.connections[client.index()];
        let encoding = connection.encoding();
        let replies = self.turn.replies_of(outgoing);
        if matches!(connection.phase, Phase::Ended(_)) {
            return false;
        }
        if connection.unfinished.has_unsent() {
            connection.keep_unsent(replies, now);
            self.keep_updates(outgoing, 0);
            return false;
        }
        let output = if replies.is_empty() && outgoing.has_all() {
            self.turn.encoded(outgoing.pushes(), encoding)
        } else {
            gathered.clear();
            gathered.extend_from_slice(replies);
            for push in self.pushes_to(outgoing) {
                gathered.extend_from_slice(self.turn.encoded(push..push + 1, encoding));
            }
            gathered
        };
        let connection = &mut self.connections[client.index()];
        let written = match connection.stream.session() {
            None if output.is_empty() => return false,
            None => write_some(&mut connection.stream, output).map(|taken| Written {
                taken,
                sent: taken,
                is_all: taken == output.len(),
            }),
            Some(session) => secure::write(&mut self.tls, session, connection, output, now),
        };
        if let (Some(traffic), Ok(written)) = (&mut self.traffic, &written) {
            traffic.sent(client, written.sent);
        }
        match written {
            Ok(Written {
                is_all: true, sent, ..
            }) => self.counts.sent_bytes += sent as u64,
            Ok(Written { taken, sent, .. }) => {
                self.counts.sent_bytes += sent as u64;
                // A reply, and a frame that was begun, must be finished; the updates after that may
                // be conflated.
                let mut end = replies.len();
                let mut kept_from = 0;
                for push in self.pushes_to(outgoing) {
                    if end > taken {
                        break;
                    }
                    end += self.turn.encoded(push..push + 1, encoding).len();
                    kept_from = push + 1;
                }
                self.connections[client.index()].keep_unsent(&output[taken..end], now);
                self.refused.push(client);
                self.sweep_by(now.plus(self.limits.stall.min(RETRY)));
                self.keep_updates(outgoing, kept_from);
                self.counts.unsent_clients += 1;
            }
            Err(_) => self.break_off(client, CloseReason::Gone),
        }
        true
    }

    /// The numbers of the updates that a client gets, in order.
    fn pushes_to(&self, outgoing: &Outgoing) -> impl Iterator<Item = usize> {
        let client = outgoing.client;
        let feed = self.connections[client.index()].feed();
        let has_all = outgoing.has_all();
        outgoing.pushes().filter(move |&at| {
            let push = self.turn.push_at(at);
            let is_wanted = || match &self.access {
                Access::Readers(readers) => readers.is_delivered(client, at),
                Access::Everybody | Access::Holders(_) => {
                    self.hubs[usize::from(push.feed.0)].is_subscribed(client, push.update.bug)
                }
            };
            has_all || (feed == Some(push.feed) && is_wanted())
        })
    }

    /// Keeps the updates from number `from` on until the client takes bytes again.
    fn keep_updates(&mut self, outgoing: &Outgoing, from: usize) {
        let pushes: Vec<usize> = self
            .pushes_to(outgoing)
            .filter(|&push| push >= from)
            .collect();
        let connection = &mut self.connections[outgoing.client.index()];
        for push in pushes {
            let update = &self.turn.push_at(push).update;
            let is_conflated = connection.unfinished.keep_update(update);
            self.counts.conflated += u64::from(is_conflated);
        }
    }

    /// Ends a client that wants all bugs when more of them wait than are kept for one. Only what
    /// could not be written can have added to them.
    fn end_if_behind(&mut self, client: ClientId, now: Moment) {
        let Some(connection) = self.connections.get(client.index()) else {
            return;
        };
        // One that is listed once more gets more updates, which must come before a close.
        let is_behind = connection.phase == Phase::Open
            && connection.listing.place().is_none()
            && connection.unfinished.waiting_updates() > WAITING_UPDATES_MAX;
        if is_behind
            && let Some(feed) = connection.feed()
            && self.hubs[usize::from(feed.0)].wants_all(client)
        {
            self.end(client, CloseReason::Behind, now);
        }
    }

    /// Takes the next step of a connection that was to end once all is sent.
    pub(super) fn after_writing(&mut self, client: ClientId) {
        let connection = &mut self.connections[client.index()];
        // Not while more output is unsent or held up.
        if connection.unfinished.has_unsent() || connection.listing.place().is_some() {
            return;
        }
        match connection.phase {
            Phase::Leaving(reason) => self.break_off(client, reason),
            Phase::Lingering(reason) => {
                if connection.stream.shutdown_write().is_err() {
                    self.break_off(client, reason);
                }
            }
            Phase::Proxied
            | Phase::Handshaking
            | Phase::Presenting
            | Phase::Posting
            | Phase::Kept => {}
            Phase::Open | Phase::Ended(_) => {}
        }
    }

    /// The clients that the kernel has refused bytes for since the last call: they wait for
    /// [`Server::writable`].
    pub fn take_refused(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.refused)
    }
}
