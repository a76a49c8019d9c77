//! Clients with TLS: their bytes are records on the way in and on the way out, and their handshakes
//! take turns. Everything behind that is as for the others.

use std::collections::VecDeque;
use std::io;

use log::debug;

use super::Server;
use crate::connection::{CloseReason, Connection, Phase, Stream, write_some};
use crate::http::Refusal;
use crate::moment::Moment;
use crate::secure::{Failure, Received, SessionId, Sessions};
use crate::subscriptions::ClientId;

/// What has become of some output.
pub(super) struct Written {
    /// How many bytes of it need not be kept.
    pub taken: usize,
    /// How many bytes the kernel has taken, which are more with TLS.
    pub sent: usize,
    /// Whether the kernel has taken all.
    pub is_all: bool,
}

/// The TLS of all clients that have some.
#[derive(Debug)]
pub(super) struct Tls {
    sessions: Sessions,
    /// Clients whose hello is put off, in order of arrival; some may have left.
    put_off: VecDeque<ClientId>,
    /// The one buffer for what is opened.
    opened: Vec<u8>,
    /// The one buffer for what is sealed.
    sealed: Vec<u8>,
}

/// What the one buffer for data keeps between two clients, in bytes.
const OPENED_BYTES_KEPT: usize = 128 * 1024;

impl Tls {
    pub(super) fn new(sessions: Sessions) -> Self {
        Self {
            sessions,
            put_off: VecDeque::new(),
            opened: Vec::new(),
            sealed: Vec::new(),
        }
    }

    pub(super) fn sessions_len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether a handshake that was put off can begin in the next turn.
    pub(super) fn can_begin(&self) -> bool {
        !self.put_off.is_empty() && self.sessions.has_room()
    }
}

/// Writes what is unsent of a client with TLS.
pub(super) fn write_unsent<S: Stream>(
    tls: &mut Option<Tls>,
    session: SessionId,
    connection: &mut Connection<S>,
    now: Moment,
) -> io::Result<usize> {
    let is_last = connection.is_ending();
    connection.write_unsent(
        Some(&mut |data, output| match tls {
            Some(tls) => tls.sessions.seal(session, data, is_last, output),
            None => data.len(),
        }),
        now,
    )
}

/// Seals and writes output for a client with nothing unsent; what the kernel refuses of the last
/// record is kept. Not more than one record is ever sealed ahead of the kernel.
pub(super) fn write<S: Stream>(
    tls: &mut Option<Tls>,
    session: SessionId,
    connection: &mut Connection<S>,
    output: &[u8],
    now: Moment,
) -> io::Result<Written> {
    let (mut taken, mut all_sent) = (0, 0);
    while let Some(Tls {
        sessions, sealed, ..
    }) = tls
    {
        sealed.clear();
        taken += sessions.seal(session, &output[taken..], connection.is_ending(), sealed);
        if sealed.is_empty() {
            break;
        }
        let sent = write_some(&mut connection.stream, sealed)?;
        all_sent += sent;
        if sent < sealed.len() {
            connection.keep_sealed(&sealed[sent..], now);
            break;
        }
        if taken == output.len() {
            break;
        }
    }
    Ok(Written {
        taken,
        sent: all_sent,
        is_all: !connection.unfinished.has_unsent(),
    })
}

impl<S: Stream> Server<S> {
    /// Begins the TLS of a connection that is about to be accepted; `None` where there is none, or
    /// there are more than can be counted.
    pub fn begin_session(&mut self) -> Option<SessionId> {
        self.tls.as_mut()?.sessions.begin()
    }

    pub(super) fn end_session(&mut self, session: SessionId) {
        if let Some(tls) = &mut self.tls {
            tls.sessions.remove(session);
        }
    }

    /// Sets how many more handshakes may be under way, as far as memory is concerned.
    pub fn allow_handshakes(&mut self, more: usize) {
        if let Some(tls) = &mut self.tls {
            tls.sessions.allow(more);
        }
    }

    /// What a client's TLS owns beyond its keys, in bytes.
    pub(super) fn owned_by_session(&self, session: SessionId) -> usize {
        self.tls
            .as_ref()
            .map_or(0, |tls| tls.sessions.owned(session))
    }

    /// Whether a client's hello waits for its turn, by no fault of its own.
    pub(super) fn waits(&self, connection: &Connection<S>) -> bool {
        let session = connection.stream.session();
        session.is_some_and(|session| {
            let tls = self.tls.as_ref();
            tls.is_some_and(|tls| tls.sessions.is_waiting(session))
        })
    }

    /// Whether a client speaks TLS.
    pub(super) fn has_session(&self, client: ClientId) -> bool {
        let connection = &self.connections[client.index()];
        connection.stream.session().is_some()
    }

    /// Whether a client's hello has to wait: it is read later, since those who are in have their
    /// updates first, and each handshake takes memory.
    pub(super) fn puts_off_hello(&mut self, client: ClientId, session: SessionId) -> bool {
        let Some(tls) = &mut self.tls else {
            return false;
        };
        let must_wait = tls.sessions.must_wait(session);
        if must_wait && !tls.sessions.set_waiting(session, true) {
            tls.put_off.push_back(client);
        }
        must_wait
    }

    /// Begins as many handshakes that were put off as may begin in this turn.
    pub(super) fn begin_handshakes(&mut self, now: Moment) {
        if let Some(tls) = &mut self.tls {
            tls.sessions.begin_turn();
        }
        while let Some(tls) = &mut self.tls
            && tls.sessions.may_begin_handshake()
            && let Some(client) = tls.put_off.pop_front()
        {
            let Some(connection) = self.connections.get_mut(client.index()) else {
                continue;
            };
            if let Some(session) = connection.stream.session()
                && tls.sessions.set_waiting(session, false)
            {
                // Its time counts from here: the server has let it wait.
                connection.heard = now;
                self.read_on(client, now);
            }
        }
    }

    /// Handles bytes from a client with TLS.
    pub(super) fn take_records(
        &mut self,
        client: ClientId,
        session: SessionId,
        bytes: &[u8],
        now: Moment,
    ) {
        let connection = &self.connections[client.index()];
        if !matches!(
            connection.phase,
            Phase::Handshaking | Phase::Kept | Phase::Open
        ) {
            return;
        }
        let Some(tls) = &mut self.tls else {
            return;
        };
        let mut opened = std::mem::take(&mut tls.opened);
        let owned = tls.sessions.owned(session);
        let received = tls.sessions.receive(session, bytes, &mut opened);
        self.grown += tls.sessions.owned(session).saturating_sub(owned);
        if let Received::Failed(Failure::PlainHttp) = received {
            let mut response = Vec::new();
            Refusal::BadRequest("Here is TLS: the address begins with https:// or wss://.").write(
                &mut response,
                false,
                self.unix_time,
            );
            tls.sessions.answer_plainly(session, response);
        }
        if tls.sessions.has_output(session) {
            // Lists the client, so that this turn writes to it.
            self.reply(client, |_| {});
        }
        if !opened.is_empty() {
            self.take_bytes(client, &opened, now);
        }
        match received {
            Received::More => {}
            Received::Closed => {
                self.answer_at_once(client, now);
                self.end(client, CloseReason::Gone, now);
            }
            Received::Failed(failure) => {
                debug!("client {} is no client of TLS: {failure}", client.0);
                self.end(client, CloseReason::TlsError, now);
            }
        }
        if let Some(tls) = &mut self.tls {
            opened.clear();
            opened.shrink_to(OPENED_BYTES_KEPT);
            tls.opened = opened;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Actor, Stage, UPGRADE, frame};
    use crate::http::Page;
    use crate::secure::tests::{Peer, sessions};

    fn stage() -> Stage {
        let mut stage = Stage::new();
        stage.server.secure(sessions());
        stage
    }

    /// Says something by TLS, and returns what has come in the same turn.
    fn say(stage: &mut Stage, actor: &Actor, peer: &mut Peer, plain: &[u8]) -> String {
        stage.hear(actor, &peer.say(plain));
        let written = std::mem::take(&mut actor.wire.borrow_mut().written);
        String::from_utf8_lossy(&peer.hear(&written)).into_owned()
    }

    /// Somebody who speaks WebSocket by TLS.
    fn open(stage: &mut Stage) -> (Actor, Peer) {
        let (actor, mut peer) = (stage.connect("192.0.2.7"), Peer::new());
        assert_eq!(say(stage, &actor, &mut peer, b""), "");
        let answer = say(stage, &actor, &mut peer, UPGRADE.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        (actor, peer)
    }

    #[test]
    fn who_is_cut_off_is_told_from_who_has_ended_its_tls() {
        let mut stage = stage();
        let (cut_off, _) = open(&mut stage);
        stage.leave(&cut_off);
        let (polite, mut peer) = open(&mut stage);
        stage.hear(&polite, &peer.close());
        stage.leave(&polite);
        // Who has not come in yet has nothing that could have been cut off.
        for _ in 0..2 {
            let newcomer = stage.connect("192.0.2.7");
            stage.hear(&newcomer, &Peer::new().say(b""));
            stage.leave(&newcomer);
        }
        let closed = &stage.server.counts().closed;
        assert_eq!(*closed, [("cut_off", 1), ("gone", 3)].into());
    }

    #[test]
    fn who_closes_by_tls_has_a_moment_to_end_that_too() {
        let mut stage = stage();
        let (actor, mut peer) = open(&mut stage);
        let answer = say(&mut stage, &actor, &mut peer, &frame(0x88, &[3, 232]));
        assert!(!answer.is_empty() && !actor.is_gone());
        stage.leave(&actor);
        assert!(actor.is_gone());
    }

    #[test]
    fn what_the_kernel_takes_is_counted_sealed_however_many_records_it_is() {
        let mut stage = stage();
        let body = "a page of several records".repeat(2_000);
        stage.server.site.pages = vec![Page::new("/", "text/plain", body.clone())];
        let (actor, mut peer) = (stage.connect("192.0.2.7"), Peer::new());
        say(&mut stage, &actor, &mut peer, b"");
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(say(&mut stage, &actor, &mut peer, request).ends_with(&body));
        let taken = actor.wire.borrow().taken as u64;
        assert_eq!(stage.server.counts().sent_bytes, taken);
    }

    #[test]
    fn what_comes_and_is_kept_is_counted_with_and_without_tls() {
        let mut stage = stage();
        let half = [0x81, 0xfe, 0x10, 0, 0, 0, 0, 0, b'x', b'y'];
        let (actor, mut peer) = open(&mut stage);
        stage.server.take_grown();
        let command = frame(0x81, br#"{"command":"version"}"#);
        say(&mut stage, &actor, &mut peer, &command);
        assert_eq!(stage.server.take_grown(), 0, "it is answered");
        say(&mut stage, &actor, &mut peer, &half);
        assert_eq!(stage.server.take_grown(), half.len());
        assert_eq!(stage.server.take_grown(), 0);
        // A record that is not complete.
        let sealed = peer.say(&command);
        stage.hear(&actor, &sealed[..sealed.len() - 1]);
        assert!(stage.server.take_grown() >= sealed.len() - 1);
    }
}
