//! What a client has begun and not finished, in one pointer: its input, here, and its unsent
//! output, in [`super::unsent`]. Knows no phase.

use std::io::{self, Write};

use tungstenite::Bytes;

use super::CloseReason;
use super::message::{self, Begun};
use super::unsent::{Seal, Unsent};
use crate::encoding::Encoding;
use crate::frame;
use crate::moment::Moment;
use crate::update::Update;

/// What a client has begun and not finished; most clients have nothing, and own no memory for it.
#[derive(Debug, Default)]
pub struct Unfinished(Option<Box<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    input: Input,
    /// Few clients ever refuse a byte, so those with unfinished input alone pay a pointer for it.
    unsent: Option<Box<Unsent>>,
}

/// What has come from a client and is not handled yet.
#[derive(Debug, Default)]
struct Input {
    /// An incomplete head or frame, or what was left for a later turn.
    bytes: Vec<u8>,
    message: Option<Begun>,
    /// A complete message whose answer would be better a little later.
    held: Option<Box<Held>>,
    /// When the message began that is not complete, if `is_timed`: so both fit into a word.
    since: Moment,
    is_timed: bool,
    /// Whether input, here or in the socket, was left for a later turn.
    is_left: bool,
}

/// A message that is held, and until when.
#[derive(Debug)]
struct Held {
    message: Bytes,
    until: Moment,
}

impl Input {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.message.is_none() && self.held.is_none() && !self.is_left
    }
}

impl Unfinished {
    /// Whether the client owns any memory.
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Takes the bytes that were kept, to be continued with what has come now.
    pub(crate) fn take_input(&mut self) -> Vec<u8> {
        self.0
            .as_mut()
            .map(|parts| std::mem::take(&mut parts.input.bytes))
            .unwrap_or_default()
    }

    /// Keeps bytes until more come. From now on the message that they begin has its time.
    pub(crate) fn keep_input(&mut self, bytes: Vec<u8>, now: Moment) {
        if !bytes.is_empty() {
            self.0.get_or_insert_default().input.bytes = bytes;
        }
        self.tidy();
        if let Some(Parts { input, .. }) = self.0.as_deref_mut()
            && !input.is_timed
            && (input.message.is_some() || !input.bytes.is_empty())
        {
            (input.since, input.is_timed) = (now, true);
        }
    }

    /// How long a message has been incomplete, in milliseconds; `None` while none is, and while the
    /// rest of it may wait here.
    pub(crate) fn incomplete(&self, now: Moment) -> Option<u32> {
        let input = &self.0.as_ref()?.input;
        let waits = input.is_left || input.held.is_some();
        (input.is_timed && !waits).then(|| now.since(input.since))
    }

    /// Frees what has come and is not handled.
    pub(crate) fn discard_input(&mut self) {
        if let Some(parts) = &mut self.0 {
            parts.input.bytes = Vec::new();
            parts.input.message = None;
        }
        self.tidy();
    }

    /// What the client owns, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |parts| {
            let input = &parts.input;
            let message = input.message.as_ref().map_or(0, Begun::bytes);
            let held = input.held.as_ref().map_or(0, |held| held.message.len());
            let unsent = parts.unsent.as_ref().map_or(0, |unsent| unsent.bytes());
            size_of::<Parts>() + input.bytes.capacity() + message + held + unsent
        })
    }

    /// Whether input was left for a later turn.
    pub(crate) fn is_input_left(&self) -> bool {
        self.0.as_ref().is_some_and(|parts| parts.input.is_left)
    }

    /// Records that input is left for a later turn, or that this turn has come.
    pub(crate) fn leave_input(&mut self, is_left: bool) {
        if is_left || self.is_some() {
            self.0.get_or_insert_default().input.is_left = is_left;
        }
        self.tidy();
    }

    /// Holds a complete message: until it is answered, no other may be.
    pub(crate) fn hold(&mut self, message: Bytes, until: Moment) {
        self.0.get_or_insert_default().input.held = Some(Box::new(Held { message, until }));
    }

    /// Until when a message is held, if one is.
    pub(crate) fn held_until(&self) -> Option<Moment> {
        let parts = self.0.as_ref()?;
        parts.input.held.as_ref().map(|held| held.until)
    }

    /// Takes the message that was held.
    pub(crate) fn take_held(&mut self) -> Option<Bytes> {
        let held = self.0.as_mut()?.input.held.take();
        self.tidy();
        held.map(|held| held.message)
    }

    /// The length of what has come of an incomplete message, in bytes: the rest of it must be that
    /// much shorter.
    pub fn begun_bytes(&self) -> usize {
        self.0
            .as_ref()
            .and_then(|parts| parts.input.message.as_ref())
            .map_or(0, |message| message.payload_bytes)
    }

    /// Takes one complete frame, `whole` at the start of `input`. Returns the message that is complete
    /// with it, if one is. The answer to a ping or a close is appended to `output`.
    ///
    /// # Errors
    /// Why the connection ends: a close by the client is one reason.
    pub fn receive(
        &mut self,
        whole: frame::Whole,
        input: &[u8],
        message_bytes_max: usize,
        output: &mut Vec<u8>,
    ) -> Result<Option<Bytes>, CloseReason> {
        let mut begun = self.0.as_mut().and_then(|parts| parts.input.message.take());
        let result = message::receive(&mut begun, whole, input, message_bytes_max, output);
        match (begun, &mut self.0) {
            (None, None) => {}
            // The next message has a time of its own.
            (None, Some(parts)) => parts.input.is_timed = false,
            (begun, parts) => parts.get_or_insert_default().input.message = begun,
        }
        result
    }

    /// Whether the kernel has refused bytes that are not sent yet.
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent().is_some()
    }

    /// How long the kernel has taken nothing, in milliseconds; `None` while nothing is unsent.
    pub(crate) fn stalled(&self, now: Moment) -> Option<u32> {
        self.unsent().map(|unsent| unsent.stalled(now))
    }

    /// Keeps bytes that the kernel refused, or that must come after those, of a client that gets its
    /// messages like this.
    pub(super) fn keep_unsent(&mut self, bytes: &[u8], encoding: Encoding, now: Moment) {
        if bytes.is_empty() {
            return;
        }
        self.0
            .get_or_insert_default()
            .unsent
            .get_or_insert_with(|| Box::new(Unsent::new(encoding, now)))
            .append(bytes);
    }

    /// Keeps bytes that the kernel refused, and that are sealed already; to be called only while
    /// nothing is unsent.
    pub(super) fn keep_sealed(&mut self, bytes: &[u8], encoding: Encoding, now: Moment) {
        debug_assert!(!self.has_unsent());
        self.0
            .get_or_insert_default()
            .unsent
            .get_or_insert_with(|| Box::new(Unsent::new(encoding, now)))
            .append_sealed(bytes);
    }

    /// Keeps an update until what is unsent is sent; to be called only while something is. Returns
    /// whether it stands for an earlier one of its bug, too.
    pub(crate) fn keep_update(&mut self, update: &Update) -> bool {
        debug_assert!(self.has_unsent());
        let unsent = self.0.as_mut().and_then(|parts| parts.unsent.as_mut());
        unsent.is_some_and(|unsent| unsent.conflate(update))
    }

    /// How many updates wait until what is unsent is sent: one for each bug.
    pub(crate) fn waiting_updates(&self) -> usize {
        self.unsent().map_or(0, Unsent::pending_len)
    }

    /// Writes what is unsent until the kernel refuses again or nothing is left, sealed where there
    /// is something to seal it by; returns how many bytes the kernel took.
    pub(crate) fn write_unsent(
        &mut self,
        stream: &mut impl Write,
        seal: Option<Seal<'_>>,
        now: Moment,
    ) -> io::Result<usize> {
        let Some(parts) = &mut self.0 else {
            return Ok(0);
        };
        let Some(unsent) = &mut parts.unsent else {
            return Ok(0);
        };
        let taken = match seal {
            None => unsent.write(stream, now)?,
            Some(seal) => unsent.write_sealed(stream, seal, now)?,
        };
        if unsent.is_empty() {
            parts.unsent = None;
            self.tidy();
        }
        Ok(taken)
    }

    fn unsent(&self) -> Option<&Unsent> {
        self.0.as_ref().and_then(|parts| parts.unsent.as_deref())
    }

    /// Gives the memory back where nothing is unfinished.
    fn tidy(&mut self) {
        self.0
            .take_if(|parts| parts.input.is_empty() && parts.unsent.is_none());
    }

    /// Panics where memory is owned for nothing; for tests.
    pub(crate) fn check_invariants(&self) {
        let Some(parts) = &self.0 else {
            return;
        };
        assert!(
            !parts.input.is_empty() || parts.unsent.is_some(),
            "{parts:?}"
        );
        assert!(
            parts
                .unsent
                .as_ref()
                .is_none_or(|unsent| !unsent.is_empty()),
            "{parts:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::{BugId, When};

    #[test]
    fn an_incomplete_frame_costs_its_bytes_and_a_little() {
        assert_eq!(size_of::<Unfinished>(), 8);
        assert!(size_of::<Parts>() <= 64);
        // As much as both together had before they were apart, but for two pointers.
        assert!(size_of::<Parts>() + size_of::<Unsent>() <= 152);
    }

    /// A client's text frame, or the beginning of a text message, of zeros.
    fn frame(is_final: bool, payload_bytes: u16) -> Vec<u8> {
        let [high, low] = payload_bytes.to_be_bytes();
        let mut frame = vec![if is_final { 0x81 } else { 1 }, 0xfe, high, low, 0, 0, 0, 0];
        frame.resize(frame.len() + usize::from(payload_bytes), 0);
        frame
    }

    /// Receives a complete frame.
    fn receive(unfinished: &mut Unfinished, frame: &[u8]) -> Option<Bytes> {
        let whole = frame::find(frame, usize::MAX).unwrap().unwrap();
        let mut output = Vec::new();
        let received = unfinished.receive(whole, frame, 10_000, &mut output);
        assert_eq!(output, b"");
        received.unwrap()
    }

    fn update(bug: u32) -> Update {
        Update {
            bug: BugId::new(bug).unwrap(),
            when: When::from_unix_seconds(0),
        }
    }

    #[test]
    fn each_thing_that_a_client_owns_is_counted() {
        let mut unfinished = Unfinished::default();
        let mut last = 0;
        let mut has_grown = |unfinished: &Unfinished, bytes: usize, what: &str| {
            let now = unfinished.bytes();
            let grown = now - last;
            assert!(
                bytes <= grown && grown <= 2 * bytes + 500,
                "{what}: {grown}"
            );
            last = now;
        };
        unfinished.keep_input(vec![0; 1_000], Moment(0));
        has_grown(&unfinished, 1_000, "input");
        // tungstenite's buffers are up to twice as large as what is in them.
        receive(&mut unfinished, &frame(false, 3_000));
        has_grown(&unfinished, 6_000, "the beginning of a message");
        unfinished.hold(Bytes::from(vec![0; 2_000]), Moment(0));
        has_grown(&unfinished, 2_000, "a message that is held");
        unfinished.keep_sealed(&[0; 4_000], Encoding::Frames, Moment(0));
        has_grown(&unfinished, size_of::<Unsent>() + 4_000, "sealed bytes");
        unfinished.keep_unsent(&[0; 5_000], Encoding::Frames, Moment(0));
        has_grown(&unfinished, 5_000, "bytes");
        for bug in 1..=100 {
            unfinished.keep_update(&update(bug));
        }
        has_grown(&unfinished, 100 * size_of::<Update>(), "updates");
    }

    #[test]
    fn a_client_whose_input_is_discarded_owns_nothing() {
        let mut unfinished = Unfinished::default();
        receive(&mut unfinished, &frame(false, 10));
        unfinished.keep_input(vec![0; 10], Moment(0));
        unfinished.discard_input();
        assert!(!unfinished.is_some());
    }

    #[test]
    fn a_message_is_incomplete_since_it_began_but_not_while_the_rest_of_it_may_wait_here() {
        let mut unfinished = Unfinished::default();
        let incomplete = |unfinished: &Unfinished| unfinished.incomplete(Moment(100));
        unfinished.leave_input(true);
        assert_eq!(incomplete(&unfinished), None, "nothing has come of one");
        unfinished.leave_input(false);
        assert!(!unfinished.is_some());
        unfinished.keep_input(vec![0; 10], Moment(10));
        unfinished.keep_input(vec![0; 20], Moment(20));
        assert_eq!(incomplete(&unfinished), Some(90));
        unfinished.leave_input(true);
        assert_eq!(incomplete(&unfinished), None);
        unfinished.leave_input(false);
        unfinished.hold(Bytes::new(), Moment(0));
        assert_eq!(incomplete(&unfinished), None);
        unfinished.take_held().unwrap();
        assert_eq!(incomplete(&unfinished), Some(90));
    }

    #[test]
    fn each_message_has_a_time_of_its_own() {
        let mut unfinished = Unfinished::default();
        receive(&mut unfinished, &frame(false, 5));
        unfinished.keep_input(Vec::new(), Moment(10));
        assert_eq!(unfinished.incomplete(Moment(50)), Some(40));
        assert_eq!(unfinished.begun_bytes(), 5);
        let mut rest = frame(true, 5);
        rest[0] = 0x80;
        assert_eq!(receive(&mut unfinished, &rest).unwrap().len(), 10);
        assert_eq!(unfinished.begun_bytes(), 0);
        unfinished.keep_input(vec![0; 3], Moment(20));
        assert_eq!(unfinished.incomplete(Moment(50)), Some(30));
    }
}
