//! One client's connection: its state between two events, and what it has begun and not finished.
//! Generic over the stream; knows no poll, no hub, no other client.
//!
//! A client that is between two messages owns nothing but [`Connection`], 32 bytes. Everything else
//! hangs on `Unfinished`, which is there only while a head, a frame or a message is incomplete, or
//! while the kernel refuses bytes.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use foldhash::fast::RandomState;
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Error};

use crate::frame;
use crate::moment::Moment;
use crate::protocol;
use crate::update::{BugId, FeedId, Update, When};

/// What a connection runs on.
pub trait Stream: Read + Write {
    /// Tells the peer that nothing more will come, so that it can read all that was sent before it
    /// sees the end.
    ///
    /// # Errors
    /// When the connection is gone.
    fn shutdown_write(&self) -> io::Result<()>;
}

/// Why a connection ends. There is one place that ends it; this is the word in the log and the text
/// of the close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed the WebSocket.
    ClosedByClient,
    /// The stream ended or broke.
    Gone,
    /// A request over plain HTTP, or a refused handshake, has its answer.
    Answered,
    /// The client broke RFC 6455.
    ProtocolError,
    /// A text message was no UTF-8.
    InvalidData,
    /// A message was larger than the limit.
    TooBig,
    /// The client sent more messages than the limit.
    TooManyMessages,
    /// The client did not answer a ping.
    Silent,
    /// The client took no bytes for too long.
    Stalled,
    /// The server is going away.
    ShuttingDown,
}

impl CloseReason {
    /// The code and reason of the close frame, where one is sent: RFC 6455 section 7.4.1. 1000 is
    /// never used: known clients come back only when the code is neither 1000 nor 1005.
    pub fn close_frame(self) -> Option<(u16, &'static str)> {
        match self {
            CloseReason::ClosedByClient | CloseReason::Gone | CloseReason::Answered => None,
            CloseReason::ProtocolError => Some((1002, "protocol error")),
            CloseReason::InvalidData => Some((1007, "invalid UTF-8")),
            CloseReason::TooBig => Some((1009, "message too big")),
            CloseReason::TooManyMessages => Some((1008, "too many messages")),
            CloseReason::Silent => Some((1008, "no answer to a ping")),
            CloseReason::Stalled => Some((1013, "too slow")),
            CloseReason::ShuttingDown => Some((1001, "the server is going away")),
        }
    }
}

impl CloseReason {
    /// Whether the client is given a moment to read what it was sent last and to leave by itself.
    pub fn lingers(self) -> bool {
        !matches!(
            self,
            CloseReason::ClosedByClient | CloseReason::Gone | CloseReason::Silent
        )
    }
}

impl From<&Error> for CloseReason {
    fn from(error: &Error) -> Self {
        match error {
            Error::Capacity(_) => CloseReason::TooBig,
            Error::Utf8(_) => CloseReason::InvalidData,
            _ => CloseReason::ProtocolError,
        }
    }
}

/// How far a connection has come. It only ever goes down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The head of its request is not complete.
    Handshaking,
    /// What it has posted is with a source; its response follows.
    Posting,
    /// It speaks WebSocket.
    Open,
    /// Nothing more is read; what is unsent is sent, the peer is told of the end, and then has a
    /// moment to leave by itself: closing while it still sends would reset the connection, and the
    /// reset would overtake what it has not read yet.
    Lingering(CloseReason),
    /// Nothing more is read; it ends as soon as all is sent.
    Leaving(CloseReason),
    /// It ends with this turn.
    Ended(CloseReason),
}

/// A client's connection.
#[derive(Debug)]
pub struct Connection<S> {
    /// The socket.
    pub stream: S,
    unfinished: Option<Box<Unfinished>>,
    /// When the client was last heard of; in the phases before and after the WebSocket, when the
    /// phase began.
    pub heard: Moment,
    /// When the client will have used up none of its messages per second: the theoretical arrival
    /// time of the generic cell rate algorithm.
    messages_paid: Moment,
    /// The client's place in the turn's list of what is to be written; see [`crate::turn::Turn`].
    pub place: u32,
    /// How far it has come.
    pub phase: Phase,
    /// The feed that it listens to; set by the handshake.
    pub feed: FeedId,
    /// Whether a ping is on its way since the client was last heard.
    pub is_pinged: bool,
}

/// What a client has begun and not finished.
#[derive(Debug, Default)]
struct Unfinished {
    /// The bytes of an incomplete head or frame, or what was left for a later turn.
    input: Vec<u8>,
    /// Whether input, here or in the socket, was left for a later turn.
    is_input_left: bool,
    /// A message of which some frames have come.
    message: Option<Box<WebSocketContext>>,
    /// How long their payloads are together, in bytes.
    message_bytes: usize,
    /// What the kernel refused.
    unsent: Vec<u8>,
    /// How much of `unsent` has been written since.
    sent: usize,
    /// Updates that came while bytes were unsent: of each bug the latest, by order of arrival.
    waiting: HashMap<BugId, Waiting, RandomState>,
    arrivals: u64,
    /// When the kernel last took a byte.
    progress: Option<Moment>,
}

#[derive(Debug)]
struct Waiting {
    arrival: u64,
    when: When,
}

impl<S: Stream> Connection<S> {
    /// A client that has just connected.
    pub fn new(stream: S, now: Moment) -> Self {
        Self {
            stream,
            unfinished: None,
            heard: now,
            messages_paid: now,
            place: 0,
            phase: Phase::Handshaking,
            feed: FeedId(0),
            is_pinged: false,
        }
    }

    /// Whether what comes in is still read, be it to be discarded.
    pub fn is_reading(&self) -> bool {
        matches!(
            self.phase,
            Phase::Handshaking | Phase::Open | Phase::Lingering(_)
        )
    }

    /// Counts a message against `interval`, the milliseconds that each one costs, and `burst`, how
    /// many may come at once. Returns whether it is within the limit.
    pub fn pay_for_message(&mut self, now: Moment, interval: u32, burst: u32) -> bool {
        self.messages_paid = self.messages_paid.max(now).plus(interval);
        self.messages_paid.since(now) <= interval.saturating_mul(burst)
    }

    /// Takes the bytes that were kept, to be continued with what has come now.
    pub fn take_input(&mut self) -> Vec<u8> {
        self.unfinished
            .as_mut()
            .map(|unfinished| std::mem::take(&mut unfinished.input))
            .unwrap_or_default()
    }

    /// Whether input was left for a later turn.
    pub fn is_input_left(&self) -> bool {
        self.unfinished
            .as_ref()
            .is_some_and(|unfinished| unfinished.is_input_left)
    }

    /// Notes that input is left for a later turn, or that this turn has come.
    pub fn leave_input(&mut self, is_left: bool) {
        if is_left || self.unfinished.is_some() {
            self.unfinished.get_or_insert_default().is_input_left = is_left;
        }
        self.forget_if_finished();
    }

    /// Keeps bytes until more come.
    pub fn keep_input(&mut self, input: Vec<u8>) {
        if !input.is_empty() {
            self.unfinished.get_or_insert_default().input = input;
        }
        self.forget_if_finished();
    }

    /// The length of what has come of an incomplete message, in bytes: the rest of it must be that
    /// much shorter.
    pub fn begun_bytes(&self) -> usize {
        self.unfinished
            .as_ref()
            .map_or(0, |unfinished| unfinished.message_bytes)
    }

    /// Takes one complete frame, `whole` at the start of `input`. Returns the message that is
    /// complete with it, if one is; answers to pings and closes are appended to `output`.
    ///
    /// # Errors
    /// When the frame ends the connection; a close by the client, which `output` answers, is one
    /// such end.
    pub fn receive(
        &mut self,
        whole: frame::Whole,
        input: &[u8],
        message_bytes_max: usize,
        output: &mut Vec<u8>,
    ) -> Result<Option<Bytes>, CloseReason> {
        let frame = &input[..whole.bytes];
        let begun = self
            .unfinished
            .as_mut()
            .and_then(|unfinished| unfinished.message.take());
        let was_begun = begun.is_some();
        let (mut context, mut wire) = match begun {
            None => (
                Box::new(new_context(frame.to_vec(), message_bytes_max)),
                Wire { input: &[], output },
            ),
            Some(context) => (
                context,
                Wire {
                    input: frame,
                    output,
                },
            ),
        };
        let result = context.read(&mut wire).map_err(Box::new);
        if whole.is_control {
            // Writes the pong, or the answer to a close; the state after a close is reported as an
            // error and told by the message.
            let _ = context.flush(&mut wire);
        }
        if !whole.ends_message && (was_begun || !whole.is_control) {
            let unfinished = self.unfinished.get_or_insert_default();
            unfinished.message = Some(context);
            unfinished.message_bytes += if whole.is_control {
                0
            } else {
                whole.payload_bytes
            };
        } else if let Some(unfinished) = &mut self.unfinished {
            unfinished.message_bytes = 0;
        }
        match result {
            Ok(Message::Text(text)) => Ok(Some(text.into())),
            Ok(Message::Binary(bytes)) => Ok(Some(bytes)),
            Ok(Message::Close(_)) => Err(CloseReason::ClosedByClient),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(None),
            Err(error) if matches!(&*error, Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock) => {
                Ok(None)
            }
            Err(error) => Err(CloseReason::from(&*error)),
        }
    }

    /// Whether it owns more than its place: something is begun and not finished.
    pub fn has_unfinished(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Whether the kernel has refused bytes that are not sent yet.
    pub fn has_unsent(&self) -> bool {
        self.unfinished
            .as_ref()
            .is_some_and(|unfinished| !unfinished.unsent.is_empty())
    }

    /// How long the kernel has taken nothing, in milliseconds; `None` while nothing is unsent.
    pub fn stalled(&self, now: Moment) -> Option<u32> {
        self.unfinished
            .as_ref()
            .and_then(|unfinished| unfinished.progress)
            .map(|progress| now.since(progress))
    }

    /// Keeps bytes that the kernel refused. They come after the updates that wait, which happened
    /// before: a replay must not tell of a newer time first, and nothing may follow a close.
    pub fn keep_unsent(&mut self, bytes: &[u8], now: Moment) {
        if !bytes.is_empty() {
            let unfinished = self.unfinished.get_or_insert_default();
            unfinished.encode_waiting();
            unfinished.unsent.extend_from_slice(bytes);
            unfinished.progress.get_or_insert(now);
        }
    }

    /// Keeps an update until what is unsent is sent. An update says that a bug changed, so of
    /// several of one bug the newest time stands for all of them, at the place in the order where
    /// the latest arrived: a client that is cut off in between must not have seen a newer time than
    /// that of an update it has not got.
    pub fn keep_waiting(&mut self, update: &Update) {
        debug_assert!(self.has_unsent());
        let unfinished = self.unfinished.get_or_insert_default();
        unfinished.arrivals += 1;
        let arrival = unfinished.arrivals;
        let waiting = unfinished
            .waiting
            .entry(update.bug)
            .or_insert_with(|| Waiting {
                arrival,
                when: update.when.clone(),
            });
        waiting.arrival = arrival;
        if waiting.when.unix_seconds() <= update.when.unix_seconds() {
            waiting.when = update.when.clone();
        }
    }

    /// Writes what is unsent, then the updates that waited, until the kernel refuses again or
    /// nothing is left.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn write_unsent(&mut self, now: Moment) -> io::Result<()> {
        while let Some(unfinished) = &mut self.unfinished
            && unfinished.fill()
        {
            let taken = write_some(&mut self.stream, &unfinished.unsent[unfinished.sent..])?;
            if taken == 0 {
                break;
            }
            unfinished.sent += taken;
            unfinished.progress = Some(now);
            self.heard = now;
        }
        self.forget_if_finished();
        Ok(())
    }

    fn forget_if_finished(&mut self) {
        if self
            .unfinished
            .as_ref()
            .is_some_and(|unfinished| unfinished.is_finished())
        {
            self.unfinished = None;
        }
    }

    /// Panics where the connection's state contradicts itself; for tests.
    pub fn check_invariants(&self) {
        let Some(unfinished) = &self.unfinished else {
            return;
        };
        assert!(
            !unfinished.is_finished() || matches!(self.phase, Phase::Ended(_)),
            "{unfinished:?}"
        );
        assert!(
            unfinished.waiting.is_empty() || !unfinished.unsent.is_empty(),
            "{unfinished:?}"
        );
        assert_eq!(
            unfinished.progress.is_some(),
            !unfinished.unsent.is_empty(),
            "{unfinished:?}"
        );
    }
}

impl Unfinished {
    /// Makes sure that `unsent` holds what is to be sent next; returns whether there is anything.
    fn fill(&mut self) -> bool {
        if self.sent == self.unsent.len() {
            (self.unsent, self.sent) = (Vec::new(), 0);
            self.encode_waiting();
        }
        if self.unsent.is_empty() {
            self.progress = None;
        }
        !self.unsent.is_empty()
    }

    fn encode_waiting(&mut self) {
        let mut waiting: Vec<_> = std::mem::take(&mut self.waiting).into_iter().collect();
        waiting.sort_unstable_by_key(|(_, waiting)| waiting.arrival);
        let mut text = Vec::new();
        for (bug, Waiting { when, .. }) in waiting {
            text.clear();
            protocol::write_update(&mut text, &Update { bug, when });
            frame::write_text(&mut self.unsent, &text);
        }
    }

    fn is_finished(&self) -> bool {
        self.input.is_empty()
            && !self.is_input_left
            && self.message.is_none()
            && self.unsent.is_empty()
    }
}

/// Writes once; returns 0 when the kernel takes nothing now.
///
/// # Errors
/// When the connection is gone.
pub fn write_some(stream: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
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

/// A context for a message that begins with `frame`. It is dropped when the message ends, so its
/// buffers are made no larger than needed.
fn new_context(frame: Vec<u8>, message_bytes_max: usize) -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(0)
        .write_buffer_size(0)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    WebSocketContext::from_partially_read(frame, Role::Server, Some(config))
}

/// What a context reads from and writes to: bytes that have come already, and the turn's replies.
struct Wire<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
}
