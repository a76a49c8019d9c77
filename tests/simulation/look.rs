//! What everybody has got after a turn, and whether that was right.

use bugzfeed::moment::Moment;

use crate::client::{Client, Fate, Kind};
use crate::world::{LATE, LINGER, World};

impl World {
    /// Looks at what everybody has got, and forgets those that the server has removed.
    pub fn look(&mut self, acted_at: &[usize], may_be_full: bool) {
        for mut client in std::mem::take(&mut self.clients) {
            client.notice_answers();
            self.look_at_head(&mut client, may_be_full);
            self.look_at_frames(&mut client, acted_at);
            if client.handle.wire().is_dropped {
                self.bury(client);
            } else {
                self.check_deadlines(&mut client);
                self.react(&mut client);
                self.clients.push(client);
            }
        }
    }

    fn look_at_head(&mut self, client: &mut Client, may_be_full: bool) {
        let wire = client.handle.wire();
        let status = wire.written.get(..13).unwrap_or_default();
        if client.is_open || status.is_empty() {
            return;
        }
        let is_refused = status == b"HTTP/1.1 503 ";
        if client.seen_bytes == 0 {
            // A post is refused when nobody sees to it; nothing else is refused but an upgrade by a
            // full server.
            let is_post = matches!(&client.kind, Kind::Http { response } if contains(response, b"\r\nContent-Length: 0\r\n"));
            let is_upgrade = matches!(client.kind, Kind::Socket { .. });
            assert!(!is_refused || is_post || is_upgrade);
            assert!(
                !is_refused || !is_upgrade || !client.is_fast || may_be_full,
                "refused without a reason"
            );
            self.tally.full += usize::from(is_refused && is_upgrade);
        }
        match &client.kind {
            Kind::Socket { user, .. } if is_refused => {
                self.users[*user].is_connected &= client.fate == Fate::Vanishes;
                let response = wire.written.clone();
                drop(wire);
                client.kind = Kind::Http { response };
                client.seen_bytes = 13;
            }
            Kind::Socket { .. } => {
                let Some(end) = wire.written.windows(4).position(|end| end == b"\r\n\r\n") else {
                    return;
                };
                assert_eq!(status, b"HTTP/1.1 101 ");
                drop(wire);
                (client.is_open, client.seen_bytes) = (true, end + 4);
            }
            Kind::Http { response } => {
                assert!(
                    is_refused || undated(response).starts_with(&undated(&wire.written)),
                    "{}",
                    String::from_utf8_lossy(&wire.written)
                );
                drop(wire);
                client.seen_bytes = 13;
            }
            Kind::Silent => assert_eq!(status, b"HTTP/1.1 408 "),
        }
    }

    fn look_at_frames(&mut self, client: &mut Client, acted_at: &[usize]) {
        let Kind::Socket { session, user } = &mut client.kind else {
            return;
        };
        if !client.is_open {
            return;
        }
        let user = &self.users[*user];
        let feed = &self.feeds[user.feed];
        if session.is_held() {
            // What lies behind the held message is heard when that is answered, perhaps now.
            client.heard = self.now;
        }
        let wire = client.handle.wire();
        while let Some((first, payload, bytes)) = first_frame(&wire.written[client.seen_bytes..]) {
            client.seen_bytes += bytes;
            if self.is_traced {
                session.trace(first, payload, feed, acted_at[user.feed]);
            }
            session.receive(
                first,
                payload,
                client.seen_bytes,
                feed,
                acted_at[user.feed],
                self.is_departing || feed.has_gap(),
            );
        }
        let is_over = session.close.is_some()
            || wire.is_server_done
            || wire.is_dropped
            || wire.is_reset
            || wire.is_garbled;
        let is_quiet = !client.is_readable
            && !client.is_writable
            && !self.server.has_left()
            && !self.server.is_held_up()
            && self.server.until_tick(self.now) != Some(0);
        if session.close.is_some() && is_quiet && wire.room > 0 {
            assert!(
                wire.is_server_done || wire.is_dropped || wire.is_reset,
                "the end does not follow the close"
            );
        }
        if !is_over && is_quiet && wire.room > 0 {
            let may_be_held = session.may_be_held(feed, self.now);
            self.tally.held += usize::from(may_be_held);
            assert!(
                may_be_held || wire.to_server.is_empty(),
                "{} bytes are not read",
                wire.to_server.len()
            );
            session.check_all_sent(feed, may_be_held);
        }
    }

    /// What is to be done by the clock must have been done in time.
    fn check_deadlines(&self, client: &mut Client) {
        let (wire, limits) = (client.handle.wire(), &self.limits);
        let since = |moment: Moment| self.now.since(moment);
        let is_over = wire.is_server_done
            || matches!(&client.kind, Kind::Socket { session, .. } if session.close.is_some());
        if is_over && client.over.is_none() {
            client.over = Some(self.now);
        }
        if wire.is_refused
            && wire.room == 0
            && client.fate == Fate::IsStuck
            && client.refused.is_none()
        {
            client.refused = Some(self.now);
        }
        let is_overdue = client.over.is_some_and(|over| since(over) > LINGER + LATE);
        assert!(
            !is_overdue || !client.is_fast,
            "a client whose connection was ended is still there"
        );
        // With TLS, a client may refuse bytes before it has said what it wants.
        let patience = if client.is_open {
            limits.stall
        } else {
            limits.stall.max(limits.handshake)
        };
        let is_stuck = client
            .refused
            .is_some_and(|refused| since(refused) > patience + LINGER + 2 * LATE);
        assert!(!is_stuck, "a client that is stuck is still there");
        let silent = if client.id.is_some() {
            since(client.heard)
        } else {
            0
        };
        match &client.kind {
            Kind::Silent => assert!(
                silent <= limits.handshake + LINGER + 2 * LATE,
                "a client without a request is still there"
            ),
            Kind::Socket { session, .. } if client.is_open && client.is_fast && !is_over => {
                client.is_pinged |= session.pings > 0;
                assert!(
                    client.is_pinged || silent <= limits.ping + LATE,
                    "a silent client is not pinged"
                );
                assert!(
                    session.leaves_by.is_none_or(|by| self.now.since(by) == 0),
                    "a client that was connected across a gap is still there"
                );
                assert!(
                    silent <= limits.ping + limits.pong + LATE,
                    "a client that answers no ping is still there"
                );
            }
            Kind::Socket { .. } | Kind::Http { .. } => {}
        }
    }

    /// What a client does with what has come.
    fn react(&mut self, client: &mut Client) {
        let is_server_done = client.handle.wire().is_server_done;
        let Some(session) = client.session() else {
            return;
        };
        let is_closed = session.close.is_some() || is_server_done;
        let pings = std::mem::take(&mut session.pings);
        self.tally.pings += pings;
        if pings > 0 && client.is_talking() {
            client.pong(&mut self.random);
        }
        if is_closed && !client.handle.wire().is_client_gone && self.random.u8(0..3) > 0 {
            client.vanish(false);
        }
    }

    /// The server has removed a client: was that right?
    fn bury(&mut self, client: Client) {
        let wire = client.handle.wire();
        match &client.kind {
            Kind::Http { response } => {
                let is_refused = wire.written.starts_with(b"HTTP/1.1 503 ");
                assert!(
                    is_refused
                        || !client.is_fast
                        || client.fate == Fate::Vanishes
                        || undated(&wire.written) == undated(response)
                );
            }
            Kind::Silent => {
                let is_right = wire.written.starts_with(b"HTTP/1.1 408 ")
                    || client.fate == Fate::HalfCloses
                    || self.is_departing;
                assert!(
                    is_right || !client.is_fast,
                    "{:?}",
                    String::from_utf8_lossy(&wire.written)
                );
            }
            Kind::Socket { session, user } => {
                let may_leave = self.is_departing || self.feeds[self.users[*user].feed].has_gap();
                // A slow one has a moment to take the close frame, and may not use it.
                let is_told = session.close == Some(Some(1001));
                let leaves = may_leave && (is_told || !client.is_fast && session.close.is_none());
                self.tally.gaps += usize::from(leaves && !self.is_departing);
                let is_right = match client.fate {
                    Fate::Stays => leaves,
                    Fate::IsDeaf => leaves || session.close == Some(Some(1008)),
                    // A slow one has a moment, and may not use it.
                    Fate::Closes(code) => {
                        leaves
                            || session.close == Some(code)
                            || (!client.is_fast && session.close.is_none())
                    }
                    Fate::HalfCloses => {
                        leaves
                            || session.close.is_none() && !(client.is_fast && session.is_waiting())
                    }
                    Fate::Vanishes | Fate::IsStuck => true,
                };
                assert!(
                    is_right,
                    "a client that {:?} was removed after {:?}",
                    client.fate, session.close
                );
                self.tally.updates += session.updates;
                self.tally.firehoses += session.firehoses;
                self.tally.replayed += session.replayed;
                self.tally.folded += session.folded;
                if client.fate != Fate::Vanishes {
                    self.users[*user]
                        .known
                        .learn(&session.effects, client.seen_bytes);
                    self.users[*user].is_connected = false;
                }
            }
        }
    }
}

/// The first byte of a frame, its payload, and the length of the frame.
fn first_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (header, length) = match second {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())),
        ),
        127 => (
            10,
            u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize,
        ),
        length => (2, usize::from(length)),
    };
    Some((first, bytes.get(header..header + length)?, header + length))
}

/// A response without what depends on the time of day: a date always has the same length.
fn undated(response: &[u8]) -> Vec<u8> {
    let mut undated = response.to_vec();
    let name = b"\r\nDate: ";
    if let Some(at) = response.windows(name.len()).position(|bytes| bytes == name) {
        let length = "Sun, 06 Nov 1994 08:49:37 GMT".len();
        undated
            .iter_mut()
            .skip(at + name.len())
            .take(length)
            .for_each(|byte| *byte = b'-');
    }
    undated
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|bytes| bytes == part)
}
