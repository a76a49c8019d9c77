//! What clients send: read, cut into heads and frames, and answered. What is too much for one turn
//! is left for the next, so that all other clients have theirs.

use std::io;

use tungstenite::Bytes;

use super::access::Admission;
use super::end::Ending;
use super::readers::View;
use super::{Access, Server, deadlines, secure};
use crate::connection::{CloseReason, Connection, Phase, Presence, Stream};
use crate::frame::{self, Whole};
use crate::http::{self, Entrance, Newcomer, Outcome};
use crate::hub::{Asked, Sight};
use crate::moment::Moment;
use crate::subscriptions::ClientId;
use crate::update::FeedId;

/// How often a client's socket is read in one turn before the others have theirs.
const READS_PER_TURN: usize = 4;

/// How many messages of a client are handled in one turn before the others have theirs: a message
/// may search the whole history.
const STEPS_PER_TURN: usize = 32;

/// A client with more bytes of replies than this in one turn, or unsent, is not read until they are
/// gone: one reply may be 700 KB.
const REPLIES_BYTES_MAX: usize = 64 * 1024;

/// How much of a client's input was handled.
enum Step {
    /// So many bytes were used; 0 when there is nothing complete.
    Used(usize),
    /// So many bytes were used, and no more may be in this turn.
    Paused(usize),
}

impl<S: Stream> Server<S> {
    /// To be called when a client's stream can be read. A stream that `is_ended` is read to its
    /// end; otherwise a read that does not fill the buffer is the last one, which saves a read that
    /// would block.
    pub fn readable(&mut self, client: ClientId, is_ended: bool, now: Moment) {
        let waits = |connection| self.waits(connection);
        if is_ended && self.connections.get(client.index()).is_some_and(waits) {
            // A handshake would be for nobody.
            return self.break_off(client, CloseReason::Gone);
        }
        self.read_by(client, is_ended, now);
    }

    /// Reads what an event has told of before, to the end.
    pub(super) fn read_on(&mut self, client: ClientId, now: Moment) {
        self.read_by(client, true, now);
    }

    fn read_by(&mut self, client: ClientId, is_ended: bool, now: Moment) {
        let mut received = std::mem::take(&mut self.received);
        self.read(client, is_ended, now, &mut received);
        self.received = received;
    }

    fn read(&mut self, client: ClientId, is_ended: bool, now: Moment, received: &mut [u8]) {
        for _ in 0..READS_PER_TURN {
            let has_enough = self.has_enough();
            let Some(connection) = self.connections.get_mut(client.index()) else {
                return;
            };
            if !connection.is_reading() || connection.unfinished.is_input_left() {
                return;
            }
            if has_enough {
                break;
            }
            let session = connection.stream.session();
            if session.is_some_and(|session| self.puts_off_hello(client, session)) {
                return;
            }
            let connection = &mut self.connections[client.index()];
            match connection.stream.read(received) {
                Ok(0) => {
                    self.answer_at_once(client, now);
                    // One that has ended its TLS before is not read any more.
                    let is_open = self.connections[client.index()].phase == Phase::Open;
                    let reason = if session.is_some() && is_open {
                        CloseReason::CutOff
                    } else {
                        CloseReason::Gone
                    };
                    return self.end(client, reason, now);
                }
                Ok(bytes) => {
                    if let Some(traffic) = &mut self.traffic {
                        traffic.received(client, bytes);
                    }
                    self.take_received(client, &received[..bytes], now);
                    // The kernel has no more, which need not be asked of it.
                    if bytes < received.len() && !is_ended {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.break_off(client, CloseReason::Gone),
            }
        }
        self.leave_input(client);
    }

    /// Handles bytes as they have come from a client.
    pub(super) fn take_received(&mut self, client: ClientId, bytes: &[u8], now: Moment) {
        let connection = &self.connections[client.index()];
        match connection.stream.session() {
            _ if connection.phase == Phase::Proxied => self.take_header(client, bytes, now),
            None => self.take_bytes(client, bytes, now),
            Some(session) => self.take_records(client, session, bytes, now),
        }
    }

    /// Puts off the rest of a client's input until all others have had their turn and its replies
    /// are sent.
    pub(super) fn leave_input(&mut self, client: ClientId) {
        if let Some(connection) = self.connections.get_mut(client.index())
            && !connection.unfinished.is_input_left()
        {
            connection.unfinished.leave_input(true);
            self.left.push(client);
        }
    }

    /// Goes on with the input that was left in the last turn.
    pub fn resume(&mut self, now: Moment) {
        self.begin_handshakes(now);
        let left = std::mem::take(&mut self.left);
        for (at, &client) in left.iter().enumerate() {
            if self.has_enough() {
                // These come before the clients that have had their turn. Those with unsent output
                // are listed again when it is sent.
                let waits = |client: &&ClientId| {
                    self.connections
                        .get(client.index())
                        .is_some_and(|connection| !connection.unfinished.has_unsent())
                };
                self.left
                    .splice(0..0, left[at..].iter().filter(waits).copied());
                break;
            }
            if let Some(connection) = self.connections.get_mut(client.index())
                && !connection.unfinished.has_unsent()
            {
                connection.unfinished.leave_input(false);
                self.take_bytes(client, &[], now);
                self.read_on(client, now);
            }
        }
    }

    /// Whether input was left that [`Server::resume`] can go on with.
    pub fn has_left(&self) -> bool {
        !self.left.is_empty() || self.tls.as_ref().is_some_and(secure::Tls::can_begin)
    }

    /// Handles bytes from a client, after those that were kept before.
    pub(super) fn take_bytes(&mut self, client: ClientId, bytes: &[u8], now: Moment) {
        let connection = &mut self.connections[client.index()];
        let mut kept = connection.unfinished.take_input();
        if kept.is_empty() {
            let used = self.consume(client, bytes, now);
            self.connections[client.index()]
                .unfinished
                .keep_input(bytes[used..].to_vec(), now);
        } else {
            kept.extend_from_slice(bytes);
            let used = self.consume(client, &kept, now);
            kept.drain(..used);
            self.connections[client.index()]
                .unfinished
                .keep_input(kept, now);
        }
        if self.connections[client.index()].unfinished.is_some() {
            self.grown += bytes.len();
            self.sweep_by(now.plus(self.limits.message));
        }
    }

    /// Handles what is complete of `input`, and returns how much that was.
    fn consume(&mut self, client: ClientId, input: &[u8], now: Moment) -> usize {
        let mut used = 0;
        for _ in 0..STEPS_PER_TURN {
            let rest = &input[used..];
            let connection = &mut self.connections[client.index()];
            let step = match connection.phase {
                Phase::Handshaking | Phase::Kept => self.shake_hands(client, rest, now),
                Phase::Open if connection.listens() => return input.len(),
                Phase::Open => self.read_frame(client, rest, now),
                Phase::Proxied | Phase::Posting | Phase::Presenting => return used,
                Phase::Lingering(_) | Phase::Leaving(_) | Phase::Ended(_) => return input.len(),
            };
            match step {
                Step::Used(0) => return used,
                Step::Used(bytes) => used += bytes,
                Step::Paused(bytes) => {
                    self.leave_input(client);
                    return used + bytes;
                }
            }
        }
        self.leave_input(client);
        used
    }

    fn shake_hands(&mut self, client: ClientId, input: &[u8], now: Moment) -> Step {
        if input.is_empty() {
            return Step::Used(0);
        }
        self.recognize(client, input);
        let room = self.room_for(client);
        let connection = &mut self.connections[client.index()];
        if connection.phase == Phase::Kept {
            connection.phase = Phase::Handshaking;
            connection.heard = now;
        }
        let outcome = self
            .turn
            .reply(client, &mut connection.listing, |response| {
                http::respond(&self.site, input, room, self.unix_time, response)
            });
        match outcome {
            Outcome::Incomplete => Step::Used(0),
            Outcome::Receiving => {
                self.give_posting_place(client);
                Step::Used(0)
            }
            Outcome::Answered => {
                self.end(client, CloseReason::Answered, now);
                Step::Used(input.len())
            }
            Outcome::Refused(refusal) => {
                self.note_refusal(refusal);
                self.end(client, CloseReason::Answered, now);
                Step::Used(input.len())
            }
            Outcome::Posted {
                feed,
                body,
                bytes,
                keeps_connection,
            } => {
                connection.phase = Phase::Posting;
                connection.heard = now;
                self.posts.add(client, feed, body, keeps_connection);
                self.give_posting_place(client);
                self.sweep_by(now.plus(deadlines::POST));
                Step::Used(if keeps_connection { bytes } else { input.len() })
            }
            Outcome::Listening { feed, events } => {
                self.answer_listener(client, feed, &events, now);
                Step::Used(input.len())
            }
            Outcome::Asked(newcomer) => {
                if let Some(refusal) = self.refuses_entrance(&newcomer) {
                    self.refuse(client, refusal, now);
                    return Step::Used(input.len());
                }
                let admission = self.let_in(client, &newcomer, now);
                self.take_admission(client, admission, &newcomer, input.len(), now)
            }
            Outcome::Upgraded { feed, head_bytes } => {
                self.upgrade(client, feed, now);
                Step::Used(head_bytes)
            }
        }
    }

    /// Goes on with a newcomer; the request of one who waits is read again when it is known who it is.
    fn take_admission(
        &mut self,
        client: ClientId,
        admission: Admission,
        newcomer: &Newcomer,
        input_bytes: usize,
        now: Moment,
    ) -> Step {
        match admission {
            Admission::IsIn => match &newcomer.entrance {
                Entrance::WebSocket(_) => {
                    self.upgrade(client, newcomer.feed, now);
                    Step::Used(newcomer.head_bytes)
                }
                Entrance::Question => Step::Used(input_bytes),
                Entrance::Events(events) => {
                    self.listen(client, newcomer.feed, events, now);
                    Step::Used(input_bytes)
                }
            },
            Admission::IsAnswered => Step::Used(input_bytes),
            Admission::Waits => {
                let connection = &mut self.connections[client.index()];
                connection.phase = Phase::Presenting;
                self.sweep_by(now.plus(deadlines::PRESENT));
                Step::Used(0)
            }
        }
    }

    /// Has a client speak WebSocket from now on.
    fn upgrade(&mut self, client: ClientId, feed: FeedId, now: Moment) {
        self.connections[client.index()].upgrade(feed, now);
        self.note_open(client, feed, now);
    }

    /// To be called with a client that has just become open.
    pub(super) fn note_open(&mut self, client: ClientId, feed: FeedId, now: Moment) {
        self.open += 1;
        self.feed_counts[usize::from(feed.0)].clients += 1;
        self.except_beyond(client);
        self.sweep_by(now.plus(self.limits.ping));
    }

    /// Handles the frame at the start of `input`, if it is complete.
    fn read_frame(&mut self, client: ClientId, input: &[u8], now: Moment) -> Step {
        let connection = &mut self.connections[client.index()];
        connection.heard = now;
        connection.presence = Presence::Heard;
        // A ping may always come in between.
        let payload_max = self
            .limits
            .message_bytes_max
            .saturating_sub(connection.unfinished.begun_bytes())
            .max(frame::CONTROL_BYTES_MAX);
        let whole = match frame::find(input, payload_max) {
            Ok(Some(whole)) => whole,
            Ok(None) => return Step::Used(0),
            Err(error) => {
                self.end(client, CloseReason::from(&*error), now);
                return Step::Used(input.len());
            }
        };
        if connection.unfinished.held_until().is_some() && !whole.is_control {
            // It waits behind the message that is held, and with it all that comes behind it.
            connection.unfinished.leave_input(true);
            return Step::Used(0);
        }
        let interval = 1_000 / self.limits.messages_per_second.max(1);
        if !connection.pay_for_message(now, interval, self.limits.messages_burst) {
            self.end(client, CloseReason::TooManyMessages, now);
            return Step::Used(input.len());
        }
        match self.handle_frame(client, whole, input, now) {
            Ok(true) => Step::Paused(whole.bytes),
            Ok(false) => Step::Used(whole.bytes),
            Err(reason) => {
                // A client that sends on after its close must not have a reset overtake the answer.
                // One with TLS does: its close_notify.
                let sends_on = whole.bytes < input.len() || self.has_session(client);
                let ending = if reason.lingers() || sends_on {
                    Ending::Linger
                } else {
                    Ending::Leave
                };
                self.end_by(client, ending, reason, now);
                Step::Used(input.len())
            }
        }
    }

    /// Answers a complete frame, `whole` at the start of `input`; returns whether the client has so
    /// much output now that no more is to be read from it.
    fn handle_frame(
        &mut self,
        client: ClientId,
        whole: Whole,
        input: &[u8],
        now: Moment,
    ) -> Result<bool, CloseReason> {
        let bytes_max = self.limits.message_bytes_max;
        if whole.is_pong {
            let unfinished = &mut self.connections[client.index()].unfinished;
            unfinished.receive(whole, input, bytes_max, &mut Vec::new())?;
            return Ok(unfinished.has_unsent());
        }
        self.flush_before_reply(client, now);
        let connection = &mut self.connections[client.index()];
        let (unfinished, listing) = (&mut connection.unfinished, &mut connection.listing);
        let message = self.turn.reply(client, listing, |output| {
            unfinished.receive(whole, input, bytes_max, output)
        })?;
        if let Some(message) = message {
            self.answer_message(client, message, true, now);
        }
        let Connection {
            unfinished,
            listing,
            ..
        } = &self.connections[client.index()];
        Ok(self.turn.replies_bytes(listing) > REPLIES_BYTES_MAX || unfinished.has_unsent())
    }

    /// Answers a message, or holds it until the answer is better; the end of a doubt is only waited
    /// for if the client still `may_wait`.
    pub(super) fn answer_message(
        &mut self,
        client: ClientId,
        message: Bytes,
        may_wait: bool,
        now: Moment,
    ) {
        let clients = self.connections.len();
        let connection = &mut self.connections[client.index()];
        let Some(feed) = connection.feed().map(|feed| usize::from(feed.0)) else {
            return;
        };
        let hub = &mut self.hubs[feed];
        let asked = Asked {
            at: self.unix_time,
            may_wait: may_wait && hub.is_in_doubt() && self.holds[feed].may_wait(now),
            clients,
            delay: self.feed_counts[feed].delay(),
        };
        let view = match &self.access {
            Access::Readers(readers) if readers.is_withheld(client) => {
                return self.hold_for_updates(client, message, now);
            }
            Access::Readers(readers) => Some(readers.view(client, now)),
            Access::Everybody | Access::Holders(_) => None,
        };
        let sight = view.as_ref().map(|view| view as &dyn Sight);
        let encoding = connection.encoding();
        let is_answered = self.turn.reply(client, &mut connection.listing, |output| {
            hub.handle_seeing(client, &message, asked, sight, |text| {
                encoding.write(output, text);
            })
        });
        if is_answered {
            return;
        }
        match view.map(View::unknown).unwrap_or_default() {
            unknown if unknown.is_empty() => self.hold(client, message, now),
            unknown => self.hold_for_answers(client, message, &unknown, now),
        }
    }
}
