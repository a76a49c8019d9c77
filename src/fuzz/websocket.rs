//! What a client sends behind its upgrade, in whatever pieces, beside a tungstenite that gets all of
//! it at once.

use std::io;

use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Error};

use super::script::Script;
use crate::connection::{CloseReason, Unfinished, Wire};
use crate::frame;
use crate::moment::Moment;

/// What a stream of frames has come to.
#[derive(Debug, Default)]
struct Came {
    messages: Vec<Bytes>,
    /// What was written meanwhile: the answers to pings and closes.
    written: Vec<u8>,
    end: Option<CloseReason>,
}

/// First how large messages may be, how the stream is cut, and whether what follows are bytes or what
/// frames are made of.
pub(super) fn frames(input: &[u8]) {
    let mut script = Script(input);
    let message_bytes_max = [125, 126, 200, 1_000, 70_000][usize::from(script.byte() % 5)];
    let piece = usize::from(script.byte()) + 1;
    let stream = match script.byte() & 1 {
        0 => script.0.to_vec(),
        _ => made_frames(&mut script),
    };
    let ours = read_here(&stream, piece, message_bytes_max);
    let theirs = read_by_tungstenite(&stream, message_bytes_max);
    match (ours.end, theirs.end) {
        // A header is refused before all of its payload has come, and a size before what else may
        // be wrong with it.
        (Some(_), None) | (Some(CloseReason::TooBig), Some(_)) => {
            assert!(theirs.messages.starts_with(&ours.messages));
            return assert!(theirs.written.starts_with(&ours.written));
        }
        (ours, theirs) => assert_eq!(ours, theirs),
    }
    assert_eq!(ours.messages, theirs.messages);
    assert_eq!(ours.written, theirs.written);
}

/// Frames with right lengths, and anything else.
fn made_frames(script: &mut Script<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !script.is_over() {
        let (first, kind, length) = (script.byte(), script.byte(), script.byte());
        let length = usize::from(length) * [1, 1, 1, 300][usize::from(kind & 3)];
        let mask = if kind & 4 == 0 { Some([kind; 4]) } else { None };
        let payload = script.bytes(length);
        let flag = if mask.is_some() { 0x80 } else { 0 };
        stream.push(first);
        match payload.len() {
            length @ 0..=125 => stream.push(flag | length as u8),
            length => {
                stream.push(flag | 126);
                stream.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        stream.extend_from_slice(&mask.unwrap_or_default()[..if mask.is_some() { 4 } else { 0 }]);
        stream.extend(
            payload
                .iter()
                .map(|byte| byte ^ mask.map_or(0, |mask| mask[0])),
        );
    }
    stream
}

/// As the server does it: frame by frame, by what has come.
fn read_here(stream: &[u8], piece: usize, message_bytes_max: usize) -> Came {
    let (mut read, mut unfinished, mut buffer) =
        (Came::default(), Unfinished::default(), Vec::new());
    for bytes in stream.chunks(piece) {
        buffer.extend_from_slice(bytes);
        loop {
            let payload_max = message_bytes_max
                .saturating_sub(unfinished.begun_bytes())
                .max(frame::CONTROL_BYTES_MAX);
            let whole = match frame::find(&buffer, payload_max) {
                Ok(Some(whole)) => whole,
                Ok(None) => break,
                Err(error) => {
                    read.end = Some(CloseReason::from(&*error));
                    return read;
                }
            };
            match unfinished.receive(whole, &buffer, message_bytes_max, &mut read.written) {
                Ok(message) => read.messages.extend(message),
                Err(reason) => {
                    read.end = Some(reason);
                    return read;
                }
            }
            buffer.drain(..whole.bytes);
        }
        unfinished.keep_input(Vec::new(), Moment(0));
        unfinished.check_invariants();
    }
    read
}

fn read_by_tungstenite(stream: &[u8], message_bytes_max: usize) -> Came {
    let config = WebSocketConfig::default()
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let mut read = Came::default();
    let mut wire = Wire {
        input: stream,
        output: &mut read.written,
    };
    while read.end.is_none() {
        let message = context.read(&mut wire);
        // After a close this says no more than the message.
        let _ = context.flush(&mut wire);
        match message {
            Ok(Message::Text(text)) => read.messages.push(text.into()),
            Ok(Message::Binary(bytes)) => read.messages.push(bytes),
            Ok(Message::Close(_)) => read.end = Some(CloseReason::ClosedByClient),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => read.end = Some(CloseReason::from(&error)),
        }
    }
    read
}
