//! One client's connection: its state between two events. Generic over the stream; knows no poll,
//! no hub, no other client.
//!
//! A client between two messages owns nothing but `Connection`, 32 bytes. Everything else hangs
//! on `Unfinished`, which owns memory only while a head, a frame or a message is incomplete, or
//! while the kernel refuses bytes.

mod close;
mod message;
mod unfinished;
mod unsent;

use std::io::{self, Read, Write};
use std::num::NonZeroU8;

use core::net::IpAddr;

pub use close::CloseReason;
#[cfg(any(test, fuzzing))]
pub(crate) use message::Wire;
pub use unfinished::Unfinished;
pub(crate) use unsent::Seal;

use crate::encoding::Encoding;
use crate::moment::Moment;
use crate::secure::SessionId;
use crate::turn::Listing;
use crate::update::FeedId;

/// What a connection runs on.
pub trait Stream: Read + Write {
    /// Ends the sending side (FIN): the peer can read all that was sent before it sees the end.
    ///
    /// # Errors
    /// When the connection is gone.
    fn shutdown_write(&self) -> io::Result<()>;

    /// The address of the other end; a Unix socket has none.
    fn peer(&self) -> Option<IpAddr> {
        None
    }

    /// Gives the peer up that takes nothing for so many milliseconds, although something was sent.
    fn give_up_after(&self, _milliseconds: u32) {}

    /// The TLS that the stream carries, if it does.
    fn session(&self) -> Option<SessionId> {
        None
    }
}

/// How far a connection has come. It only ever goes down this list, but that one whose post was
/// answered may send another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A proxy is to say first who it is, and has not done so.
    Proxied,
    /// Its request is not complete.
    Handshaking,
    /// Its post is with a source; the response follows. What comes meanwhile waits.
    Posting,
    /// It is being asked who sends its request; the response follows. What comes meanwhile waits.
    Presenting,
    /// Its post was answered, and nothing of another request has come.
    Kept,
    /// It speaks WebSocket, or gets server-sent events.
    Open,
    /// What comes is read and discarded. What is unsent is sent, then the sending side is shut
    /// down, and the peer has a moment to close by itself: a socket that is closed while the peer
    /// still sends is reset, and the reset would overtake what the peer has not read yet.
    Lingering(CloseReason),
    /// Nothing more is read. The connection ends as soon as all is sent.
    Leaving(CloseReason),
    /// The connection ends with this turn.
    Ended(CloseReason),
}

impl Phase {
    /// Why the connection ends, if it does.
    pub(crate) fn end(self) -> Option<CloseReason> {
        match self {
            Phase::Lingering(reason) | Phase::Leaving(reason) | Phase::Ended(reason) => {
                Some(reason)
            }
            Phase::Proxied
            | Phase::Handshaking
            | Phase::Posting
            | Phase::Presenting
            | Phase::Kept
            | Phase::Open => None,
        }
    }
}

/// What is expected of a client that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Nothing: it has been heard of since the last ping.
    Heard,
    /// Nothing has come since the last ping.
    Pinged,
    /// It never says anything: it gets server-sent events.
    Listens,
}

/// A client between two events.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    pub stream: S,
    pub unfinished: Unfinished,
    /// When the client last sent bytes, or took some that it had refused; in the phases before and
    /// after the WebSocket, when the phase began.
    pub heard: Moment,
    /// When the client will have used up none of its messages per second: the theoretical arrival
    /// time of the generic cell rate algorithm.
    messages_paid: Moment,
    /// What the turn has for the client.
    pub listing: Listing,
    /// How far it has come.
    pub phase: Phase,
    /// The feed's id and one more, so that no feed costs no byte more.
    feed: Option<NonZeroU8>,
    /// What is expected of it.
    pub presence: Presence,
}

impl<S: Stream> Connection<S> {
    /// A client that has just connected.
    pub(crate) fn new(stream: S, now: Moment) -> Self {
        Self {
            stream,
            unfinished: Unfinished::default(),
            heard: now,
            messages_paid: now,
            listing: Listing::default(),
            phase: Phase::Handshaking,
            feed: None,
            presence: Presence::Heard,
        }
    }

    /// Begins to speak WebSocket, as a client of `feed`.
    pub(crate) fn upgrade(&mut self, feed: FeedId, now: Moment) {
        self.phase = Phase::Open;
        self.feed = feed.0.checked_add(1).and_then(NonZeroU8::new);
        self.heard = now;
    }

    /// Begins to get server-sent events of `feed`.
    pub(crate) fn listen(&mut self, feed: FeedId, now: Moment) {
        self.upgrade(feed, now);
        self.presence = Presence::Listens;
    }

    /// Whether it gets server-sent events, or did so to its end.
    pub(crate) fn listens(&self) -> bool {
        self.presence == Presence::Listens
    }

    /// How it gets its messages.
    pub(crate) fn encoding(&self) -> Encoding {
        match self.presence {
            Presence::Listens => Encoding::Events,
            Presence::Heard | Presence::Pinged => Encoding::Frames,
        }
    }

    /// Keeps bytes that the kernel refused, or that must come after those.
    pub(crate) fn keep_unsent(&mut self, bytes: &[u8], now: Moment) {
        let encoding = self.encoding();
        self.unfinished.keep_unsent(bytes, encoding, now);
    }

    /// Keeps bytes that the kernel refused, and that are sealed already; to be called only while
    /// nothing is unsent.
    pub(crate) fn keep_sealed(&mut self, bytes: &[u8], now: Moment) {
        let encoding = self.encoding();
        self.unfinished.keep_sealed(bytes, encoding, now);
    }

    /// The client's feed, if it has ever been open.
    pub(crate) fn feed(&self) -> Option<FeedId> {
        self.feed.map(|feed| FeedId(feed.get() - 1))
    }

    /// Whether what comes is still read, even if only to be discarded.
    pub(crate) fn is_reading(&self) -> bool {
        matches!(
            self.phase,
            Phase::Proxied | Phase::Handshaking | Phase::Kept | Phase::Open | Phase::Lingering(_)
        )
    }

    /// Counts a message against `interval`, the milliseconds that each one costs, and `burst`, how
    /// many may come at once. Returns whether it is within the limit.
    pub(crate) fn pay_for_message(&mut self, now: Moment, interval: u32, burst: u32) -> bool {
        self.messages_paid = self.messages_paid.max(now).plus(interval);
        self.messages_paid.since(now) <= interval.saturating_mul(burst)
    }

    /// Whether nothing follows what is unsent.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Lingering(_) | Phase::Leaving(_))
    }

    /// Writes what is unsent until the kernel refuses again or nothing is left; with TLS, `seal` it.
    /// Returns how many bytes the kernel has taken.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) fn write_unsent(
        &mut self,
        seal: Option<Seal<'_>>,
        now: Moment,
    ) -> io::Result<usize> {
        let taken = self.unfinished.write_unsent(&mut self.stream, seal, now)?;
        if taken > 0 {
            self.heard = now;
        }
        Ok(taken)
    }

    /// Panics where the connection's state contradicts itself; for tests.
    pub(crate) fn check_invariants(&self) {
        match self.phase {
            Phase::Proxied
            | Phase::Handshaking
            | Phase::Presenting
            | Phase::Posting
            | Phase::Kept => {
                assert_eq!(self.feed, None);
            }
            Phase::Open => assert!(self.feed.is_some()),
            Phase::Lingering(_) | Phase::Leaving(_) | Phase::Ended(_) => {}
        }
        if !matches!(self.phase, Phase::Ended(_)) {
            self.unfinished.check_invariants();
        }
    }
}

/// Writes once; returns 0 when the kernel takes nothing now.
///
/// # Errors
/// When the connection is gone.
pub(crate) fn write_some(stream: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => return Ok(taken),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_thirty_two_bytes() {
        // A socket is a file descriptor and whether it is TCP; the slab needs no more for a taken
        // slot than an Option does.
        assert_eq!(size_of::<Option<Connection<(u32, u8)>>>(), 32);
    }

    #[test]
    fn each_feed_that_a_server_can_have_is_remembered() {
        let mut connection = Connection::new(std::io::empty(), Moment(0));
        assert_eq!(connection.feed(), None);
        for feed in 0..u8::MAX {
            connection.upgrade(FeedId(feed), Moment(0));
            assert_eq!(connection.feed(), Some(FeedId(feed)));
        }
    }

    #[test]
    fn a_client_is_heard_of_when_it_is_open_and_when_it_takes_what_it_had_refused() {
        let mut connection = Connection::new(std::io::empty(), Moment(1));
        connection.upgrade(FeedId(0), Moment(2));
        assert_eq!(connection.heard, Moment(2));
        connection.write_unsent(None, Moment(3)).unwrap();
        assert_eq!(connection.heard, Moment(2), "there was nothing to take");
        connection.keep_unsent(b"u", Moment(4));
        assert_eq!(connection.write_unsent(None, Moment(5)).unwrap(), 1);
        assert_eq!(connection.heard, Moment(5));
    }

    impl Stream for std::io::Empty {
        fn shutdown_write(&self) -> io::Result<()> {
            Ok(())
        }
    }
}
