//! Puts a client's frames together into messages, and answers its pings and closes, by
//! tungstenite's context. A context lives only as long as a message: it is 300 bytes and two
//! buffers, and making one costs some 100 ns. Knows no connection.

use std::io::{self, Read, Write};

use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Error};

use super::CloseReason;
use crate::frame;

/// A message of which some frames have come.
#[derive(Debug)]
pub(super) struct Begun {
    context: Box<WebSocketContext>,
    /// The length of the payloads of those frames together, in bytes.
    pub payload_bytes: usize,
}

/// Takes one complete frame, `whole` at the start of `input`. Returns the message that is complete
/// with it, if one is, or why the connection ends: a close by the client is one reason. The answer
/// to a ping or a close is appended to `output`.
pub(super) fn receive(
    begun: &mut Option<Begun>,
    whole: frame::Whole,
    input: &[u8],
    message_bytes_max: usize,
    output: &mut Vec<u8>,
) -> Result<Option<Bytes>, CloseReason> {
    let frame = &input[..whole.bytes];
    let was_begun = begun.is_some();
    let (
        Begun {
            mut context,
            payload_bytes,
        },
        rest,
    ) = match begun.take() {
        Some(begun) => (begun, frame),
        None => (Begun::with_frame(frame, message_bytes_max), [].as_slice()),
    };
    let mut wire = Wire {
        input: rest,
        output,
    };
    let result = context.read(&mut wire).map_err(Box::new);
    if whole.is_control {
        // Writes the pong or the answer to a close. After a close this reports an error, which says
        // no more than the message does.
        let _ = context.flush(&mut wire);
    }
    if was_begun || !whole.is_control {
        let added = if whole.is_control {
            0
        } else {
            whole.payload_bytes
        };
        *begun = (!whole.ends_message).then_some(Begun {
            context,
            payload_bytes: payload_bytes + added,
        });
    }
    match result {
        Ok(Message::Text(text)) => Ok(Some(text.into())),
        Ok(Message::Binary(bytes)) => Ok(Some(bytes)),
        Ok(Message::Close(_)) => Err(CloseReason::ClosedByClient),
        Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(None),
        Err(error) if is_would_block(&error) => Ok(None),
        Err(error) => Err(CloseReason::from(&*error)),
    }
}

/// Whether a context has read all that has come.
fn is_would_block(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

impl Begun {
    /// What it costs, in bytes: tungstenite's buffers are up to twice as large as what is in them.
    pub(super) fn bytes(&self) -> usize {
        size_of::<WebSocketContext>() + 2 * self.payload_bytes
    }

    /// A message that begins with `frame`. The context's buffers are made no larger than needed.
    fn with_frame(frame: &[u8], message_bytes_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(0)
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let context =
            WebSocketContext::from_partially_read(frame.to_vec(), Role::Server, Some(config));
        Self {
            context: Box::new(context),
            payload_bytes: 0,
        }
    }
}

/// What a context reads from and writes to: bytes that have come already, and the turn's replies.
pub(crate) struct Wire<'a> {
    pub input: &'a [u8],
    pub output: &'a mut Vec<u8>,
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
